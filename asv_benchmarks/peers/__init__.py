"""The same work on several stores, in one process, taking turns: see __main__.py."""
