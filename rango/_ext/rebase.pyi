"""A snapshot on top of a newer generation: nothing for Python."""
