"""Decoded documents that hang on a leaf in the cache, and copies of them.

Terms       template: a decoded document that is kept with its leaf; a read gets a copy. Plain: of a
            type whose values nobody can change. Idle: not read since the hand of the clock passed.
Invariants  Nobody outside ever holds a template, nor a dict or a list of one: copies share plain
            values only. Templates are not seen by the garbage collector: they hold no cycle, and
            gc.get_objects() must not give one away.
            A leaf never changes, so neither does a template; it goes with its page, or before,
            when other leaves need the room. It counts as part of the cache from its first moment.
            Made by scans of a leaf that was in the cache already, at the second read of the same
            document among SEEN_COUNT; while there are few leaves, at the first. So a pass over many
            and reads by `_id` make none: making one takes as long as decoding, and a copy of what
            is not in the processor's caches longer.
            Templates take room that no page needs: one that was read since the hand passed stays.
            All together are at most templates_max().
            The GIL is the lock of all that happens here. A page lets its templates go without it,
            but they are freed under it (page_cache.pyx), and what is being copied is held.
Failure     Without memory for the slots of a leaf there is no template. A document that has
            anything but dicts, lists and plain values has none.
Sources     ADR-0040.
"""

from cpython.datetime cimport PyDateTime_CheckExact, import_datetime
from cpython.dict cimport PyDict_Copy, PyDict_Next, PyDict_SetItem, PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from rango._ext.page cimport page_count
from rango._ext.page_cache cimport (
    SEEN_COUNT, Page, PageCache, Templates, buried, buried_free, cache_admit, cache_step, has_room,
    page_bytes, templates_max,
)
from rango._ext.pager cimport Pager, pthread_mutex_lock, pthread_mutex_unlock
from rango._ext.record cimport record_some

cdef extern from *:
    """
    #define rango_templates_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    """
    Templates *rango_templates_load(Templates **place) noexcept nogil

cdef extern from "Python.h":
    ctypedef struct PyASCIIObject:
        pass
    ctypedef struct PyCompactUnicodeObject:
        pass
    ctypedef struct PyDictObject:
        pass
    ctypedef struct PyListObject:
        pass
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    int PyUnicode_KIND(object text)
    bint PyUnicode_IS_ASCII(object text)
    bint PyUnicode_CHECK_INTERNED(object text)
    void PyObject_GC_UnTrack(object container)
    void Py_INCREF(object value)

import_datetime()

cdef enum:
    COLLECTED_SIZE = 16         # of the collector's words in front of an object
    DIGITS_SIZE = 48            # of a number that is not small
    BYTES_HEAD_SIZE = 33
    SMALL_SHARE = 4             # of templates_max: so much of leaves may have a template each
    REFUSED_PER_STEP = 4       # for so many that found no room the hand moves on by a page

cdef frozenset PLAIN_CLASSES = frozenset(("ObjectId", "Int64", "UUID", "Decimal128"))


cdef inline Py_ssize_t allocated(size_t size) noexcept:
    # what Python's allocator takes for it
    return <Py_ssize_t>((size + 15) & ~<size_t>15)


cdef Py_ssize_t text_size(object text) noexcept:
    cdef size_t count = <size_t>PyUnicode_GET_LENGTH(text) + 1
    if PyUnicode_IS_ASCII(text):
        return allocated(sizeof(PyASCIIObject) + count)
    # encoding it leaves its UTF-8 with it: of a character up to 3 bytes, 4 of those beyond U+FFFF
    return allocated(
        sizeof(PyCompactUnicodeObject) + count * <size_t>PyUnicode_KIND(text)
    ) + allocated(count * <size_t>(4 if PyUnicode_KIND(text) == 4 else 3))


cdef Py_ssize_t fields_size(dict fields) except -2:
    cdef size_t slots = 8
    cdef size_t index_size = 1
    cdef size_t count = <size_t>PyDict_Size(fields)
    cdef Py_ssize_t size = allocated(COLLECTED_SIZE + sizeof(PyDictObject))
    cdef Py_ssize_t more
    cdef Py_ssize_t place = 0
    cdef PyObject *name
    cdef PyObject *value
    if count == 0:
        return size
    while slots * 2 // 3 < count:
        slots *= 2
    if slots > 256:
        index_size = 2 if slots <= 65536 else 4
    size += allocated(32 + slots * index_size + slots * 2 // 3 * 16)
    while PyDict_Next(fields, &place, &name, &value):
        if not PyUnicode_CHECK_INTERNED(<object>name):
            size += text_size(<object>name)
        more = size_of(<object>value)
        if more < 0:
            return -1
        size += more
    return size


cdef Py_ssize_t values_size(list values) except -2:
    cdef Py_ssize_t count = PyList_GET_SIZE(values)
    cdef Py_ssize_t size = allocated(COLLECTED_SIZE + sizeof(PyListObject))
    cdef Py_ssize_t more
    cdef Py_ssize_t at
    size += allocated(<size_t>count * sizeof(void *))
    for at in range(count):
        more = size_of(<object>PyList_GET_ITEM(values, at))
        if more < 0:
            return -1
        size += more
    return size


cdef Py_ssize_t size_of(object value) except -2:
    # bytes of memory of a template; -1: it has something that is not plain
    cdef type kind = type(value)
    if kind is str:
        return text_size(value)
    if kind is dict:
        return fields_size(<dict>value)
    if kind is list:
        return values_size(<list>value)
    if kind is int or kind is float:
        return allocated(<size_t>kind.__sizeof__(value))
    if value is None or kind is bool:
        return 0
    if kind is bytes:
        return allocated(BYTES_HEAD_SIZE + <size_t>len(<bytes>value))
    if PyDateTime_CheckExact(value):
        return allocated(<size_t>(<PyTypeObject *>kind).tp_basicsize)
    if kind.__name__ in PLAIN_CLASSES:
        # the object and the one value in it
        return allocated(COLLECTED_SIZE + <size_t>(<PyTypeObject *>kind).tp_basicsize) + DIGITS_SIZE
    return -1


cdef dict fields_copied(dict fields, bint is_template):  # hot
    cdef dict copy = PyDict_Copy(fields)
    cdef Py_ssize_t place = 0
    cdef PyObject *name
    cdef PyObject *value
    while PyDict_Next(fields, &place, &name, &value):
        if type(<object>value) is dict:
            PyDict_SetItem(copy, <object>name, fields_copied(<dict>value, is_template))
        elif type(<object>value) is list:
            PyDict_SetItem(copy, <object>name, values_copied(<list>value, is_template))
    if is_template:
        PyObject_GC_UnTrack(copy)
    return copy


cdef list values_copied(list values, bint is_template):  # hot
    cdef Py_ssize_t count = PyList_GET_SIZE(values)
    cdef list copy = PyList_New(count)
    cdef Py_ssize_t at
    for at in range(count):
        value = <object>PyList_GET_ITEM(values, at)
        if type(value) is dict:
            value = fields_copied(<dict>value, is_template)
        elif type(value) is list:
            value = values_copied(<list>value, is_template)
        Py_INCREF(value)
        PyList_SET_ITEM(copy, at, value)
    if is_template:
        PyObject_GC_UnTrack(copy)
    return copy


cdef Templates *templates_new(int count) noexcept:
    cdef size_t size = sizeof(Templates) + <size_t>count * sizeof(void *)
    cdef Templates *templates = <Templates *>malloc(size)
    if templates == NULL:
        return NULL
    memset(templates, 0, size)
    templates.count = <uint32_t>count
    templates.slots = <void **>(<uint8_t *>templates + sizeof(Templates))
    return templates


cdef bint is_wanted(PageCache *cache, const Page *page, int slot) noexcept:
    # whether the document is likely to be read again
    cdef uint64_t mark
    cdef uint32_t *seen
    if cache.bytes_used - cache.templates_size <= templates_max(cache) // SMALL_SHARE:
        return True
    mark = (page.tag ^ <uint64_t>slot * 0x9e3779b97f4a7c15ULL) * 0xff51afd7ed558ccdULL
    seen = &cache.seen[mark % SEEN_COUNT]
    if seen[0] == <uint32_t>(mark >> 32):
        return True
    seen[0] = <uint32_t>(mark >> 32)
    return False


cdef void refuse(Pager pager) noexcept:
    pager.cache.templates_refused += 1
    if pager.cache.templates_refused % REFUSED_PER_STEP == 0:
        pthread_mutex_lock(&pager.mutex)
        cache_step(&pager.cache)
        pthread_mutex_unlock(&pager.mutex)
        buried_free()


cdef int keep(Pager pager, Page *page, int slot, dict document) except -1:
    cdef Templates *templates
    cdef Templates *made = NULL
    cdef Py_ssize_t size
    cdef bint is_admitted
    cdef object template = None
    size = fields_size(document)
    if size >= 0:
        template = fields_copied(document, True)
    if buried != NULL:
        buried_free()
    # from here on no other thread gets the GIL; but the hand of the clock needs none
    templates = rango_templates_load(&page.templates)
    if templates == NULL:
        templates = made = templates_new(page_count(page_bytes(page)))
        if templates == NULL:
            return 0
        size = (size if size > 0 else 0) + <Py_ssize_t>(
            sizeof(Templates) + templates.count * sizeof(void *)
        )
    elif templates.slots[slot] != NULL:
        return 0
    pthread_mutex_lock(&pager.mutex)
    is_admitted = cache_admit(&pager.cache, page, templates, <uint32_t>(size if size > 0 else 0))
    pthread_mutex_unlock(&pager.mutex)
    if is_admitted:
        # None: this document has none
        Py_INCREF(template)
        templates.slots[slot] = <void *>template
    else:
        free(made)
        refuse(pager)
    return 0


cdef object document_of(
    Pager pager, Page *page, int slot, const uint8_t *record, size_t size, bint is_one
):  # hot
    cdef Templates *templates
    cdef PyObject *kept = NULL
    cdef object document
    if page != NULL:
        templates = rango_templates_load(&page.templates)
        if templates != NULL:
            kept = <PyObject *>templates.slots[slot]
            if kept != NULL and kept != <PyObject *>None:
                templates.recent = 1
                document = <object>kept
                return fields_copied(<dict>document, False)
    document = record_some(record, size, None, False)
    # one that is asked for by itself is not worth a look at the marks: see ADR-0040
    if kept == NULL and page != NULL and page.recent and not is_one:
        if is_wanted(&pager.cache, page, slot):
            if has_room(&pager.cache):
                keep(pager, page, slot, document)
            else:
                refuse(pager)
    return document
