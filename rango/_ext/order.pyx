"""Sorting records: the keys that order them, and the first of many, without the GIL.

Terms       sort key: for each field the key of one value (the least one going up, the greatest one
            going down), inverted where the field falls, so that one memcmp compares two records.
            Slow: a Python function that makes the key of a record; it is asked for what is not
            done here: collations, header fields, values whose key was shortened, and fields of
            which several met an array.
Invariants  With a limit no more than that many records are held: a heap whose top is the last of
            them. Records with equal keys keep the order in which they came.
States      filling -> sorted (the first read ends the filling).
Failure     LimitExceeded when what is held passes `held_max` bytes; nothing is given then.
            Errors of the slow function come through, as do QueryCancelled and Timeout.
Sources     MongoDB manual, "cursor.sort()"; tests/reference/order.py.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcpy, memset
from rango._ext.buffer cimport Buffer, buffer_free, buffer_grow, buffer_init, buffer_put
from rango._ext.key cimport KEY_HASH_SIZE, KEY_PREFIX_SIZE, IndexPath
from rango._ext.layout cimport RECORD_FLAG_TOMBSTONE, RECORD_FLAGS
from rango._ext.leaf_run cimport leaf_record
from rango._ext.match cimport name_wanted
from rango._ext.page cimport key_compare
from rango._ext.page_cache cimport Column
from rango._ext.page_column cimport VALUE_DATE, VALUE_NUMBER, column_of, field_number
from rango._ext.record cimport RecordHeader, record_header_read
from rango._ext.scan cimport Scan
from rango._ext.span cimport load_u16
from rango._ext.stop cimport Stop, signals_look
from rango._ext.view cimport Found, found_release

from rango.errors import InvalidDocument, LimitExceeded, RangoError


cdef enum:
    RUN_COUNT = 4096                # items that are sorted between two looks at the stop, < 1 ms


cdef inline size_t min_size(size_t a, size_t b) noexcept nogil:
    return a if a < b else b


cdef int raise_memory() except -1 with gil:
    raise MemoryError


cdef int raise_held(size_t held, size_t held_max) except -1 with gil:
    raise LimitExceeded(
        "SORT_SIZE_BYTES_MAX", held,
        f"a sort holds more than {held_max} bytes in memory; give it a limit, or an index that has "
        "the order",
    )


cdef inline int item_compare(const Item *a, const Item *b) noexcept nogil:
    cdef int order
    if a.head != b.head:
        return -1 if a.head < b.head else 1
    order = key_compare(a.bytes, a.key_size, b.bytes, b.key_size)
    if order != 0:
        return order
    return -1 if a.turn < b.turn else 1


cdef int items_compare(const void *a, const void *b) noexcept nogil:
    return item_compare(<const Item *>a, <const Item *>b)


cdef inline uint64_t head_of(const uint8_t *key, size_t size) noexcept nogil:
    cdef uint64_t head = 0
    cdef size_t at
    for at in range(8):
        head = (head << 8) | (key[at] if at < size else 0)
    return head


cdef void heap_sift_down(Item *items, size_t size, size_t at) noexcept nogil:
    # the greatest on top
    cdef Item item = items[at]
    cdef size_t child
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and item_compare(&items[child], &items[child + 1]) < 0:
            child += 1
        if item_compare(&items[child], &item) < 0:
            break
        items[at] = items[child]
        at = child
    items[at] = item


cdef void heap_sift_up(Item *items, size_t at) noexcept nogil:
    cdef Item item = items[at]
    cdef size_t parent
    while at:
        parent = (at - 1) // 2
        if item_compare(&item, &items[parent]) < 0:
            break
        items[at] = items[parent]
        at = parent
    items[at] = item


cdef inline bint is_beyond(
    const Bound *bound, bint falling, const Column *column, int slot
) noexcept nogil:
    # a value of the same kind that comes behind the last of those that are held, whatever the
    # other fields say. Everything else is compared by its key.
    if column.kinds[slot] != bound.kind:
        return False
    if falling:
        return column.values[slot] < bound.value
    return column.values[slot] > bound.value


@cython.final
cdef class SortField:
    def __init__(self, str path not None, bint falling, SortField behind=None):
        self.path = IndexPath(path)
        self.falling = falling
        self.next = behind
        self.has_next = behind is not None
        self.is_top = "." not in path
        self.name_bytes = path.encode()
        name_wanted(&self.name, PyBytes_AS_STRING(self.name_bytes), len(self.name_bytes))

    cdef bint is_bound(self) noexcept nogil:
        # Whether the first field may decide alone. Of three the other two may both be arrays, which
        # is an error that has to be seen
        return self.is_top and not (self.has_next and self.next.has_next)

    cdef int append(
        self, const uint8_t *bson, size_t size, Buffer *out, Buffer *scratch, int arrays
    ) except -1 nogil:
        cdef int multikey = 0
        cdef size_t at = 0
        cdef size_t chosen = 0
        cdef size_t key_size
        cdef uint8_t *into
        scratch.size = 0
        self.path.keys(bson, size, scratch, &multikey)
        if multikey:
            arrays += 1
            if arrays > 1:
                return KEY_LEFT
        while at < scratch.size:
            key_size = load_u16(scratch.data + at)
            if key_size == KEY_PREFIX_SIZE + KEY_HASH_SIZE:
                return KEY_LEFT
            if self.falling:
                chosen = at
            at += 2 + key_size
        key_size = load_u16(scratch.data + chosen)
        into = buffer_grow(out, key_size)
        if into == NULL:
            return raise_memory()
        memcpy(into, scratch.data + chosen + 2, key_size)
        if self.falling:
            for at in range(key_size):
                into[at] = <uint8_t>(0xff - into[at])
        if self.has_next:
            return self.next.append(bson, size, out, scratch, arrays)
        return KEY_MADE


@cython.final
cdef class Sorter:
    def __cinit__(self, SortField first, slow, size_t limit, size_t held_max):
        self.first = first
        self.slow = slow
        self.is_slow = first is None
        self.limit = limit
        self.held_max = held_max
        buffer_init(&self.key)
        buffer_init(&self.scratch)

    def __dealloc__(self):
        cdef size_t at
        for at in range(self.size):
            free(self.items[at].bytes)
        free(self.items)
        buffer_free(&self.key)
        buffer_free(&self.scratch)

    cdef int key_make(self, const uint8_t *record, size_t size) except -1 nogil:
        # the sort key of a record, in self.key
        cdef RecordHeader header
        self.key.size = 0
        if not self.is_slow:
            if record_header_read(record, size, &header) < 0:
                with gil:
                    raise InvalidDocument("the record is shorter than its header; it is damaged")
            if self.first.append(
                header.bson, header.bson_size, &self.key, &self.scratch, 0
            ) == KEY_MADE:
                return 0
            self.key.size = 0
        return self.key_slow(record, size)

    cdef int key_slow(self, const uint8_t *record, size_t size) except -1 with gil:
        key = self.slow(PyBytes_FromStringAndSize(<const char *>record, <Py_ssize_t>size))
        if buffer_put(&self.key, PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key)) < 0:
            raise MemoryError
        return 0

    cdef int add(self, const uint8_t *record, size_t size) except -1 nogil:
        cdef Item item
        cdef Item *grown
        cdef size_t capacity
        self.key_make(record, size)
        memset(&item, 0, sizeof(Item))
        item.head = head_of(self.key.data, self.key.size)
        item.turn = self.turn
        item.bytes = self.key.data
        item.key_size = self.key.size
        self.turn += 1
        if self.limit and self.size == self.limit:
            if item_compare(&item, &self.items[0]) > 0:
                return 0
            self.put(&item, record, size)
            self.held -= self.items[0].key_size + self.items[0].record_size
            free(self.items[0].bytes)
            self.items[0] = item
            heap_sift_down(self.items, self.size, 0)
            return 0
        if self.size == self.capacity:
            capacity = 2 * self.capacity if self.capacity else 64
            grown = <Item *>realloc(self.items, capacity * sizeof(Item))
            if grown == NULL:
                return raise_memory()
            self.items = grown
            self.capacity = capacity
        self.put(&item, record, size)
        self.items[self.size] = item
        self.size += 1
        if self.limit:
            heap_sift_up(self.items, self.size - 1)
        return 0

    cdef int put(self, Item *item, const uint8_t *record, size_t size) except -1 nogil:
        # the item's own copy of its key (in self.key) and its record
        cdef uint8_t *into
        if self.held + self.key.size + size + sizeof(Item) * (self.size + 1) > self.held_max:
            return raise_held(self.held + self.key.size + size, self.held_max)
        into = <uint8_t *>malloc(self.key.size + size)
        if into == NULL:
            return raise_memory()
        memcpy(into, self.key.data, self.key.size)
        memcpy(into + self.key.size, record, size)
        item.bytes = into
        item.record_size = size
        self.held += self.key.size + size
        return 0

    cdef int finish(self) except -1:
        if not self.is_sorted:
            self.is_sorted = True
            with nogil:
                self.sort()
        return 0

    cdef int sort(self) except -1 nogil:
        # short runs, then merged two by two: one call for all could not be stopped
        cdef Item *target
        cdef size_t at = 0
        cdef size_t width = RUN_COUNT
        while at < self.size:
            qsort(
                &self.items[at], min_size(RUN_COUNT, self.size - at), sizeof(Item), &items_compare
            )
            self.look()
            at += RUN_COUNT
        if self.size <= RUN_COUNT:
            return 0
        target = <Item *>malloc(self.size * sizeof(Item))
        if target == NULL:
            return raise_memory()
        try:
            while width < self.size:
                at = 0
                while at < self.size:
                    self.merge(
                        &self.items[at], min_size(width, self.size - at),
                        min_size(2 * width, self.size - at), &target[at],
                    )
                    at += 2 * width
                # only now: `items` names all of them, whenever it ends
                target, self.items = self.items, target
                width *= 2
        finally:
            free(target)
        self.capacity = self.size
        return 0

    cdef int merge(
        self, const Item *items, size_t split, size_t count, Item *target
    ) except -1 nogil:
        # two sorted runs that lie behind one another
        cdef size_t left = 0
        cdef size_t right = split
        cdef size_t at
        for at in range(count):
            if at % RUN_COUNT == 0:
                self.look()
            if right == count or (
                left < split and item_compare(&items[left], &items[right]) < 0
            ):
                target[at] = items[left]
                left += 1
            else:
                target[at] = items[right]
                right += 1
        return 0

    cdef int look(self) except -1 nogil:
        if self.may_stop:
            self.stop.look()
        return signals_look(&self.signals_due_ns)

    def end_with(self, Stop stop) -> None:
        """Raise what `stop` says, once it does."""
        self.stop = stop
        self.may_stop = stop is not None

    def add_records(self, list records not None):
        """Add records as bytes."""
        cdef bytes record
        if self.is_sorted or self.is_running:
            raise RangoError("a sort that is read, or running, takes no more records")
        self.is_running = True
        try:
            for record in records:
                self.add(
                    <const uint8_t *>PyBytes_AS_STRING(record), <size_t>PyBytes_GET_SIZE(record)
                )
        finally:
            self.is_running = False

    def add_scan(self, scan not None):
        """Add all that a scan still gives; the scan is done then."""
        cdef Scan native
        cdef Found found
        if not isinstance(scan, Scan):     # a twin of tests
            while batch := scan.next_records(256):
                self.add_records(batch)
            return
        native = scan
        if self.is_sorted or self.is_running:
            raise RangoError("a sort that is read, or running, takes no more records")
        if native.done:
            return
        native.enter()
        self.is_running = True
        try:
            if native.taken >= 0 or native.start():
                with nogil:
                    while native.next_match(&found):
                        try:
                            self.add(found.value, found.size)
                        finally:
                            found_release(&found)
                        if native.program is None:
                            self.add_leaf(native)
        finally:
            native._end()
            native.is_running = False
            self.is_running = False

    cdef int add_leaf(self, Scan scan) except -1 nogil:
        # what is left of the scan's leaf, as far as it can be had without a step of the scan each
        cdef int left = scan.cells_left()
        cdef int first
        cdef int at = 0
        cdef uint32_t records = 0
        cdef const uint8_t *record
        cdef size_t size = 0
        cdef const Column *column = NULL
        cdef Bound bound
        cdef bint is_bound = self.limit > 0 and not self.is_slow and self.first.is_bound()
        if left == 0:
            return 0
        first = scan.base.slots[scan.base.height - 1] + 1
        bound.is_known = False
        bound.turn = <uint64_t>-1
        while at < left:
            if is_bound:
                self.bound_take(&bound)
                if bound.is_known:
                    column = column_of(scan.base.pages[scan.base.height - 1], &self.first.name)
                    is_bound = column != NULL
                while is_bound and bound.is_known and at < left and is_beyond(
                    &bound, self.first.falling, column, first + at
                ):
                    records += 1
                    at += 1
                if at == left:
                    break
            record = leaf_record(&scan.base, at + 1, &size)
            if record == NULL or size == 0:
                break
            if not record[RECORD_FLAGS] & RECORD_FLAG_TOMBSTONE:
                self.add(record, size)
                records += 1
            at += 1
        scan.matched += records
        return scan.gone_over(at, records)

    cdef void bound_take(self, Bound *bound) noexcept nogil:
        cdef const Item *last = self.items
        if self.size < self.limit or bound.turn == last.turn:
            return
        bound.kind = field_number(
            last.bytes + last.key_size, last.record_size, &self.first.name, &bound.value)
        bound.is_known = bound.kind == VALUE_NUMBER or bound.kind == VALUE_DATE
        bound.turn = last.turn

    def __len__(self):
        return self.size

    def records(self, size_t start, size_t count) -> list:
        """`count` records in order, from the one at `start`; fewer at the end."""
        cdef list found = []
        cdef size_t at
        self.finish()
        for at in range(start, min(start + count, self.size)):
            found.append(PyBytes_FromStringAndSize(
                <const char *>(self.items[at].bytes + self.items[at].key_size),
                <Py_ssize_t>self.items[at].record_size,
            ))
        return found

    def key_of(self, bytes record not None) -> bytes:
        """The sort key of one record."""
        self.key_make(
            <const uint8_t *>PyBytes_AS_STRING(record), <size_t>PyBytes_GET_SIZE(record)
        )
        return PyBytes_FromStringAndSize(<const char *>self.key.data, <Py_ssize_t>self.key.size)
