"""Where the encoder is, how it refuses, and how its buffer grows.

Terms       document: see the glossary. path: names joined by dots, array positions in brackets
            (`meta.tags[3]`).
Invariants  A message names the path of what cannot be stored and says what to do instead.
Failure     InvalidDocument or LimitExceeded; MemoryError when the buffer cannot grow.
"""

from cpython.object cimport PyObject

from rango._ext.bson_check cimport BSON_DEPTH_MAX, BSON_SIZE_MAX
from rango._ext.buffer cimport Buffer, buffer_reserve

from rango.errors import InvalidDocument, LimitExceeded

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(PyObject *text, Py_ssize_t *size) except NULL

cdef enum:
    PATH_SHOWN_MAX = 200        # characters of a path in a message
    # room_grow is asked for a little more than what is used in the end; document_close has the
    # exact check
    SIZE_SLACK = 4096


cdef str step_path(Step *step):
    cdef list parts = []
    cdef str path
    while step != NULL:
        if step.name != NULL:
            name = <object>step.name
            parts.append(f".{name if isinstance(name, str) else repr(name)}")
        elif step.index >= 0:
            parts.append(f"[{step.index}]")
        step = step.outer
    parts.reverse()
    path = "".join(parts)[1:]
    return path if len(path) <= PATH_SHOWN_MAX else path[:PATH_SHOWN_MAX] + "..."


cdef int refuse(Step *step, str why) except -1:
    raise InvalidDocument(f"{step_path(step)!r}: {why}")


cdef int refuse_size(Step *step, size_t size) except -1:
    raise LimitExceeded(
        "DOCUMENT_SIZE_BYTES_MAX",
        size,
        f"{step_path(step)!r}: the document is larger than {BSON_SIZE_MAX} bytes; split it",
    )


cdef int refuse_depth(Step *step) except -1:
    raise LimitExceeded(
        "NESTING_DEPTH_MAX",
        BSON_DEPTH_MAX + 1,
        f"{step_path(step)!r}: documents and arrays are nested deeper than {BSON_DEPTH_MAX};"
        " flatten them (is there a cycle?)",
    )


cdef int refuse_type(Step *step, object value) except -1:
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    hint = "use bson.decimal128.Decimal128" if name == "decimal.Decimal" else "convert it first"
    refuse(step, f"a value of type {name} cannot be stored; {hint}")


cdef int room_grow(Buffer *out, size_t need, Step *step) except -1:
    if out.size + need - step.start > BSON_SIZE_MAX + SIZE_SLACK:
        refuse_size(step, out.size + need - step.start)
    if buffer_reserve(out, need) < 0:
        raise MemoryError
    return 0


cdef const char *text_encode(PyObject *text, size_t *size, Step *step) except NULL:
    cdef Py_ssize_t length = 0
    cdef const char *utf8 = NULL
    try:
        utf8 = PyUnicode_AsUTF8AndSize(text, &length)
    except UnicodeEncodeError:
        refuse(step, "a string holds a lone surrogate, so it has no UTF-8 form")
    size[0] = <size_t>length
    return utf8
