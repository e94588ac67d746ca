"""The wrappers of Extended JSON; nothing of it is called from Python."""
