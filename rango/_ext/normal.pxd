# The normal form of a filter. Tuples of Python objects: compiled callers use the doors, too.
