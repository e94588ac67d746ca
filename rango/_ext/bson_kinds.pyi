"""Inside the encoder: kernels only; the Python doors are those of record."""
