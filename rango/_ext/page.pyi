"""Slotted pages: kernels only; the Python doors are those of btree and store."""
