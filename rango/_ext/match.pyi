"""Kernels only; nothing is visible from Python."""
