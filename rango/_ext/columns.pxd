# Some fields of the documents of a scan: the doors are Python's, see columns.pyi.
