"""Copies of decoded documents that hang on leaves: kernels only."""
