"""Python to BSON: kernels only; the Python doors are those of record."""
