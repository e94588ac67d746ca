"""BSON to Python: kernels only; the Python doors are those of record."""
