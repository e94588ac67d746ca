"""Records that do not match, passed over inside their leaf. Nothing for Python."""
