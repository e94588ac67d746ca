"""B+trees of sealed pages: kernels; the Python doors are those of view."""
