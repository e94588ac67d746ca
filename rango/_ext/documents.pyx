"""Documents on their way into a batch: encoded one behind the other, without an object for each.

Terms       plain: a dict whose names can be seen to be allowed at a glance, with an `_id` of a type
            that is always allowed, or none. Run: neighbours, from `start` on and before `end`.
Invariants  What encode() takes by itself, the caller's `other` would have taken with the same
            outcome: the same bytes, `_id` and error.
            A run goes into a batch as that many calls of Batch.insert would.
Failure     What encoding a document or `other` raises: the documents before it are here, so len()
            is its place.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport uint64_t
from rango._ext.batch cimport Batch
from rango._ext.buffer cimport buffer_free, buffer_grow, buffer_init, buffer_put
from rango._ext.collection_info cimport CollectionInfo
from rango._ext.record cimport document_encode

from rango.errors import DuplicateKey

cdef extern from "Python.h":
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept
    Py_UCS4 PyUnicode_READ_CHAR(object text, Py_ssize_t at) noexcept
    PyObject *PyDict_GetItemWithError(dict document, object name) except? NULL

cdef enum:
    ID_NAME_SIZE = 3        # "_id"
    ENCODED_SIZE_MAX = 1048576


cdef bint is_plain(dict document) noexcept:
    # the names that Rango keeps itself begin with a "_", and all are longer than "_id"
    cdef Py_ssize_t at = 0
    cdef PyObject *name
    while PyDict_Next(document, &at, &name, NULL):
        if not PyUnicode_CheckExact(<object>name):
            return False
        if (
            PyUnicode_GET_LENGTH(<object>name) > <Py_ssize_t>ID_NAME_SIZE
            and PyUnicode_READ_CHAR(<object>name, 0) == 95
        ):
            return False
    return True


@cython.final
cdef class Documents:
    """Encoded documents in the order in which they were added."""

    def __cinit__(self):
        buffer_init(&self.bytes)
        buffer_init(&self.ends)
        self.count = 0

    def __dealloc__(self):
        buffer_free(&self.bytes)
        buffer_free(&self.ends)

    cdef size_t start(self, Py_ssize_t place) noexcept nogil:
        return (<size_t *>self.ends.data)[place - 1] if place else 0

    cdef size_t size(self, Py_ssize_t place) noexcept nogil:
        return (<size_t *>self.ends.data)[place] - self.start(place)

    cdef int end_put(self) except -1:
        # what the buffer holds by now ends with the next document
        cdef size_t *end = <size_t *>buffer_grow(&self.ends, sizeof(size_t))
        if end == NULL:
            raise MemoryError
        end[0] = self.bytes.size
        self.count += 1
        return 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, Py_ssize_t place) -> bytes:
        if not 0 <= place < self.count:
            raise IndexError(f"there are {self.count} documents, and no number {place}")
        return PyBytes_FromStringAndSize(
            <const char *>self.bytes.data + self.start(place), <Py_ssize_t>self.size(place))

    def add(self, bytes bson not None) -> None:
        """One that was encoded elsewhere."""
        if buffer_put(
            &self.bytes, PyBytes_AS_STRING(bson), <size_t>PyBytes_GET_SIZE(bson)
        ) < 0:
            raise MemoryError
        self.end_put()

    def encode(
        self, list given not None, Py_ssize_t end, list ids not None, id_types not None,
        new_id not None, other not None
    ) -> None:
        """Add those of `given` from number len(self) on, before `end`, and their `_id`s to `ids`.

        It returns earlier behind a mebibyte, so that a signal and other threads get their turn.
        `id_types`: the types of an `_id` that need no check. `new_id()` gives one to a document
        that has none. `other(document)` checks and encodes what is not plain: (`_id`, bytes).
        """
        cdef PyObject *id_value
        cdef size_t begun = self.bytes.size
        while (
            self.count < min(end, PyList_GET_SIZE(given))
            and self.bytes.size - begun < <size_t>ENCODED_SIZE_MAX
        ):
            document = <object>PyList_GET_ITEM(given, self.count)
            # an encoding that failed may have left a part
            self.bytes.size = self.start(self.count)
            if type(document) is dict and is_plain(<dict>document):
                id_value = PyDict_GetItemWithError(<dict>document, "_id")
                if id_value == NULL:
                    made = new_id()
                    document_encode(&self.bytes, document, made)
                    (<dict>document)["_id"] = made
                    self.end_put()
                    ids.append(made)
                    continue
                kept = <object>id_value
                if type(kept) in id_types:
                    document_encode(&self.bytes, document, kept)
                    self.end_put()
                    ids.append(kept)
                    continue
            made, bson = other(document)
            self.add(bson)
            ids.append(made)

    def run_end(self, Py_ssize_t start, Py_ssize_t count_max, size_t size_max) -> int:
        """The end of the run from `start` on that one commit takes: at least one document."""
        cdef Py_ssize_t end = start + 1
        cdef size_t size = self.size(start)
        while end < min(self.count, start + count_max):
            size += self.size(end)
            if size > size_max:
                break
            end += 1
        return end

    def insert_run(
        self, Batch batch not None, CollectionInfo info not None, Py_ssize_t start,
        Py_ssize_t end, size_t size_max, uint64_t now_ms
    ) -> tuple[int, DuplicateKey | None]:
        """Insert a run into a batch up to the first duplicate, or one larger than `size_max`.

        Its number and the DuplicateKey, or None for one that is too large; (end, None) if all went
        in. Raises LimitExceeded, InvalidDocument.
        """
        cdef Py_ssize_t place = start
        if not 0 <= start <= end <= self.count:
            raise IndexError(f"there are {self.count} documents, not those before number {end}")
        try:
            while place < end and self.size(place) <= size_max:
                batch.insert_bytes(
                    info, self.bytes.data + self.start(place), self.size(place), now_ms)
                place += 1
        except DuplicateKey as error:
            return place, error
        return place, None
