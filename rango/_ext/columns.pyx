"""Some fields of the documents of a scan, decoded without the rest of them.

Terms       column: the values of one top-level field, one for each document.
Invariants  A value is what decoding the whole document would give. Of a field that a document has
            twice, which no encoder here writes, the first counts.
Failure     as decoding: a document that is malformed raises InvalidDocument.
Sources     rango/_ext/scan.pyx; rango/_ext/record.pyx.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from rango._ext.bson_element cimport Element, document_span, element_next
from rango._ext.record cimport value_decode
from rango._ext.record_header cimport document_start
from rango._ext.scan cimport Scan
from rango._ext.span cimport Span, span_of
from rango._ext.view cimport Found, found_release

from rango.errors import InvalidDocument


cdef extern from "Python.h":
    int PyGC_Disable()
    int PyGC_Enable()


cdef enum:
    BATCH = 256                     # matches collected without the GIL before they are decoded
    NAMES_MAX = 32                  # as bits of one word

NAMES_COUNT_MAX = NAMES_MAX


ctypedef struct Wanted:
    const char *name
    size_t size


cdef int wanted_fill(Wanted *wanted, list utf8) except -1:
    # the list keeps the bytes alive as long as the caller keeps the list
    cdef int at
    cdef bytes name
    if len(utf8) > NAMES_MAX:
        raise ValueError(f"at most {NAMES_MAX} fields, not {len(utf8)}")
    for at in range(<int>len(utf8)):
        name = utf8[at]
        wanted[at].name = PyBytes_AS_STRING(name)
        wanted[at].size = <size_t>PyBytes_GET_SIZE(name)
    return 0


cdef inline int element_wanted(const Element *element, const Wanted *wanted, int count) noexcept:
    # the number of the wanted name that an element has, or -1
    cdef int at
    for at in range(count):
        if wanted[at].size == element.name_size \
                and memcmp(wanted[at].name, element.name, element.name_size) == 0:
            return at
    return -1


cdef int record_span(const uint8_t *record, size_t size, Span *out) except -1:
    cdef size_t head = document_start(record, size)
    if document_span(record + head, size - head, out) < 0:
        raise InvalidDocument("malformed BSON in a stored record; run db.check()")
    return 0


cdef int record_columns(
    const Found *found, const Wanted *wanted, int count, list columns, object missing
) except -1:
    # append one value to each column
    cdef Span span
    cdef Element element
    cdef unsigned int met = 0
    cdef int at
    cdef int left = count
    cdef list column
    span = span_of(NULL, 0)
    record_span(found.value, found.size, &span)
    while left and element_next(&span, &element) == 1:
        at = element_wanted(&element, wanted, count)
        if at >= 0 and not met & (<unsigned int>1 << at):
            met |= <unsigned int>1 << at
            left -= 1
            column = <list>columns[at]
            column.append(value_decode(element.type, element.value, element.value_size))
    if left:
        for at in range(count):
            if not met & (<unsigned int>1 << at):
                column = <list>columns[at]
                column.append(missing)
    return 0


cdef dict record_fields(const Found *found, const Wanted *wanted, int count, tuple names):
    # the wanted fields, in the order of the document
    cdef Span span
    cdef Element element
    cdef dict fields = {}
    cdef int at
    cdef int left = count
    span = span_of(NULL, 0)
    record_span(found.value, found.size, &span)
    while left and element_next(&span, &element) == 1:
        at = element_wanted(&element, wanted, count)
        if at >= 0 and names[at] not in fields:
            left -= 1
            fields[names[at]] = value_decode(element.type, element.value, element.value_size)
    return fields


cdef class _Batch:
    # the matches in hand; what was not looked at is released with it
    cdef Found found[BATCH]
    cdef int count
    cdef int at

    def __cinit__(self):
        self.count = 0
        self.at = 0

    def __dealloc__(self):
        while self.at < self.count:
            found_release(&self.found[self.at])
            self.at += 1


def next_columns(Scan scan, Py_ssize_t limit, tuple names, missing) -> list:
    """One list for each name, with the values of at most `limit` more documents.

    Documents without the field have `missing` there. Lists are empty at the end.
    """
    cdef list columns = [[] for _ in names]
    cdef list utf8 = [name.encode() for name in names]
    cdef Wanted wanted[NAMES_MAX]
    cdef int count = <int>len(utf8)
    cdef _Batch batch
    wanted_fill(wanted, utf8)
    while limit > 0 and not scan.done:
        batch = _Batch()
        batch.count = scan._fill(batch.found, <int>(limit if limit < BATCH else BATCH))
        limit -= batch.count
        # decoding makes no garbage, only containers that would trigger collections
        was_enabled = PyGC_Disable()
        try:
            while batch.at < batch.count:
                record_columns(&batch.found[batch.at], wanted, count, columns, missing)
                found_release(&batch.found[batch.at])
                batch.at += 1
        finally:
            if was_enabled:
                PyGC_Enable()
    return columns


def next_fields(Scan scan, Py_ssize_t limit, tuple names) -> list:
    """At most `limit` more documents with only these top-level fields; empty at the end."""
    cdef list documents = []
    cdef list utf8 = [name.encode() for name in names]
    cdef Wanted wanted[NAMES_MAX]
    cdef int count = <int>len(utf8)
    cdef _Batch batch
    wanted_fill(wanted, utf8)
    while limit > 0 and not scan.done:
        batch = _Batch()
        batch.count = scan._fill(batch.found, <int>(limit if limit < BATCH else BATCH))
        limit -= batch.count
        was_enabled = PyGC_Disable()
        try:
            while batch.at < batch.count:
                documents.append(record_fields(&batch.found[batch.at], wanted, count, names))
                found_release(&batch.found[batch.at])
                batch.at += 1
        finally:
            if was_enabled:
                PyGC_Enable()
    return documents
