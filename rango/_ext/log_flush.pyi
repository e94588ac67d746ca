"""One flush of the oplog for all processes that wait for one: nothing for Python."""
