# What every part of the encoder needs: where it is (for errors), room in the buffer, text as UTF-8.

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from rango._ext.buffer cimport Buffer
from rango._ext.span cimport store_u32, store_u64

cdef extern from "Python.h":
    void *PyUnicode_DATA(PyObject *text)
    bint PyUnicode_IS_COMPACT_ASCII(PyObject *text)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *text)


ctypedef struct Step:
    # one for each open document or array, on the C stack; only errors read it
    Step *outer
    PyObject *name              # of the field being written; NULL in an array
    Py_ssize_t index            # of the array element being written; -1 in a document
    size_t start                # offset of the whole document in the buffer
    int depth


cdef int refuse(Step *step, str why) except -1
cdef int refuse_size(Step *step, size_t size) except -1
cdef int refuse_depth(Step *step) except -1
cdef int refuse_type(Step *step, object value) except -1
cdef int room_grow(Buffer *out, size_t need, Step *step) except -1
cdef const char *text_encode(PyObject *text, size_t *size, Step *step) except NULL


cdef inline int room(Buffer *out, size_t need, Step *step) except -1:
    if need > out.capacity - out.size:
        return room_grow(out, need, step)
    return 0


cdef inline const char *text_utf8(PyObject *text, size_t *size, Step *step) except NULL:
    # valid while `text` lives
    if PyUnicode_IS_COMPACT_ASCII(text):
        size[0] = <size_t>PyUnicode_GET_LENGTH(text)
        return <const char *>PyUnicode_DATA(text)
    return text_encode(text, size, step)


cdef inline int sized_put(Buffer *out, const void *source, size_t size, Step *step) except -1:
    # size u32 (NUL included), bytes, NUL
    room(out, size + 5, step)
    store_u32(out.data + out.size, <uint32_t>(size + 1))
    memcpy(out.data + out.size + 4, source, size)
    out.data[out.size + 4 + size] = 0
    out.size += size + 5
    return 0


cdef inline void u64_put(Buffer *out, uint64_t value) noexcept:
    # whoever wrote the name left room for it
    store_u64(out.data + out.size, value)
    out.size += 8
