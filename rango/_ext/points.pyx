"""The bounds of a long $in on the keys of an index: a sequence of intervals, kept as keys only.

Terms       point: a key; its interval holds all keys that start with it (see rango/engine/bounds.py
            for intervals). Turn: how many intervals a scan has done, in its direction.
Invariants  The intervals are disjoint and ascending: a point that starts with another one is left
            out, for its keys lie in the other's interval. An interval is the same as `bounds.point`
            would make, its labels included.
Failure     InvalidDocument and its kin for a value that has no key.
Sources     rango/engine/bounds.py; tests/reference/points.py.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcmp
from rango._ext.buffer cimport buffer_free, buffer_init, buffer_put
from rango._ext.key cimport key_append_value
from rango._ext.page cimport key_compare


cdef int point_compare(const void *a, const void *b) noexcept nogil:
    cdef const Point *left = <const Point *>a
    cdef const Point *right = <const Point *>b
    return key_compare(left.key, left.size, right.key, right.size)


cdef bint is_beginning(const Point *point, const uint8_t *key, size_t size) noexcept nogil:
    return point.size <= size and (point.size == 0 or memcmp(point.key, key, point.size) == 0)


cdef bytes successor(bytes key):
    cdef bytes stripped = key.rstrip(b"\xff")
    if not stripped:
        return None
    return stripped[:len(stripped) - 1] + bytes((stripped[len(stripped) - 1] + 1,))


@cython.final
cdef class Points:
    def __cinit__(self, values not None, frozenset plain not None, other, Py_ssize_t size_max):
        buffer_init(&self.keys)
        self.values = values
        self.is_points = True
        self.is_exact = True
        self.size_max = size_max
        self.fill(plain, other)
        self.sort()

    def __dealloc__(self):
        buffer_free(&self.keys)
        free(self.points)

    cdef int fill(self, frozenset plain, object other) except -1:
        # the keys, and for each the place where it starts: an address would move with the buffer
        cdef Py_ssize_t capacity = len(self.values)
        cdef Py_ssize_t number = 0
        cdef size_t start
        cdef bytes key
        self.points = <Point *>malloc((2 * capacity + 1) * sizeof(Point))
        if self.points == NULL:
            raise MemoryError
        for value in self.values:
            if type(value) in plain:
                start = self.keys.size
                key_append_value(&self.keys, value)
                if self.keys.size - start > <size_t>self.size_max:
                    self.keys.size = start + <size_t>self.size_max
                    self.is_points = self.is_exact = False
                self._note(start, number)
            else:
                bounds = other(value)
                self.is_points = self.is_points and bounds.is_points
                self.is_exact = self.is_exact and bounds.is_exact
                for interval in bounds.intervals:
                    start = self.keys.size
                    key = interval[0]
                    if buffer_put(&self.keys, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)) < 0:
                        raise MemoryError
                    self._note(start, number)
            number += 1
        for number in range(self.count):
            self.points[number].key = self.keys.data + <size_t>self.points[number].key
        return 0

    cdef int _note(self, size_t start, Py_ssize_t number) noexcept:
        # a value has two intervals at most
        cdef Point *point = &self.points[self.count]
        point.key = <const uint8_t *>start
        point.size = <uint32_t>(self.keys.size - start)
        point.number = <uint32_t>number
        self.count += 1
        return 0

    cdef int sort(self) except -1:
        cdef Py_ssize_t kept = 0
        cdef Py_ssize_t i
        cdef Point *point
        with nogil:
            qsort(self.points, <size_t>self.count, sizeof(Point), point_compare)
            for i in range(self.count):
                point = &self.points[i]
                if kept and is_beginning(&self.points[kept - 1], point.key, point.size):
                    continue
                self.points[kept] = point[0]
                kept += 1
        self.count = kept
        return 0

    def __len__(self):
        return self.count

    def __iter__(self):
        cdef Py_ssize_t at
        for at in range(self.count):
            yield self[at]

    def __getitem__(self, Py_ssize_t at):
        cdef Point *point
        cdef bytes key
        if at < 0:
            at += self.count
        if not 0 <= at < self.count:
            raise IndexError(at)
        point = &self.points[at]
        key = PyBytes_FromStringAndSize(<const char *>point.key, point.size)
        label = (self.values[point.number], True)
        return (key, successor(key), label, label)

    cdef Py_ssize_t turn_at(
        self, Py_ssize_t turn, const uint8_t *key, size_t size, bint reverse
    ) noexcept nogil:
        # the first turn, from `turn` on, whose interval may hold `key` or what lies behind it;
        # none if there is no such key (NULL)
        cdef Py_ssize_t step = 1
        cdef Py_ssize_t lower = turn
        cdef Py_ssize_t upper
        cdef Py_ssize_t middle
        if key == NULL:
            return self.count
        while lower < self.count and self._is_before(lower, key, size, reverse):
            turn = lower + 1
            lower += step
            step *= 2
        upper = lower if lower < self.count else self.count
        while turn < upper:
            middle = turn + (upper - turn) // 2
            if self._is_before(middle, key, size, reverse):
                turn = middle + 1
            else:
                upper = middle
        return turn

    cdef bint _is_before(
        self, Py_ssize_t turn, const uint8_t *key, size_t size, bint reverse
    ) noexcept nogil:
        # whether the interval of a turn ends before the scan comes to the key
        cdef Point *point = &self.points[self.count - 1 - turn if reverse else turn]
        cdef int order = key_compare(point.key, point.size, key, size)
        if reverse:
            return order > 0
        return order < 0 and not is_beginning(point, key, size)

    def turn_of(self, bytes key not None, Py_ssize_t turn, bint reverse):
        """The turn that a scan goes on with whose next key is this one."""
        return self.turn_at(
            turn, <const uint8_t *>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), reverse
        )
