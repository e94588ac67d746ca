"""The marks of JSON text; nothing of it is called from Python."""
