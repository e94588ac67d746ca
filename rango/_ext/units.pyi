"""The unit bitmap: kernels only; the Python doors are those of store."""
