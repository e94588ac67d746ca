"""Sizes of values: about what they take as BSON, for bounds on memory.

Invariants  Never more than a few bytes per value away from the encoded size for what documents
            hold. Recursion is as deep as the value, which encoding and decoding bound.
Failure     none.
"""

from cpython.dict cimport PyDict_Next
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_GET_LENGTH


cdef Py_ssize_t value_size(object value):
    cdef Py_ssize_t total = 5
    cdef Py_ssize_t at = 0
    cdef PyObject *name = NULL
    cdef PyObject *each = NULL
    kind = type(value)
    if kind is int or kind is float:
        return 8
    if kind is str:
        return PyUnicode_GET_LENGTH(value) + 5
    if value is None or kind is bool:
        return 1
    if kind is dict:
        while PyDict_Next(value, &at, &name, &each):
            total += len(<object>name) + 2 + value_size(<object>each)
        return total
    if kind is list:
        for at in range(PyList_GET_SIZE(value)):
            total += 5 + value_size(<object>PyList_GET_ITEM(value, at))
        return total
    if isinstance(value, (str, bytes)):
        return len(value) + 5
    return 16


def size_of(value) -> int:
    """About how many bytes a value takes as BSON."""
    return value_size(value)


def sizes_of(list values) -> int:
    """The sum of the sizes of a list's values."""
    cdef Py_ssize_t total = 0
    for value in values:
        total += value_size(value)
    return total
