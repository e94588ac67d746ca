"""Numbers inside keys: kernels only; the Python doors are those of key."""
