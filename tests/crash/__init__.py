"""Crashes and I/O errors, enumerated inside one process on a simulated disk."""
