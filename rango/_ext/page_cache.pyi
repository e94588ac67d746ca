"""Opened pages in memory: kernels; the doors are those of pager."""
