"""One field of every record of a leaf, as numbers: kernels only."""
