"""Finds whose plan is known, each in one call from Python: a scan of documents by an index or
without one, with a sort that the scan gives, and a limit.

Terms       key: what a plan hangs on: the collection, the filter, the sort, and whether there is a
            limit; and the projection. The filter is its BSON, or of one equality its path: which
            value it is decides nothing (see shape in rango/engine/planned.py) but the one interval
            that is scanned. The projection is its fields with 1 or 0.
            Prepared: a plan under its key, as a scan takes it.
            Refused: a key whose plan is no such scan, which is remembered, too.
Invariants  What find() gives, a query for it outside of any transaction would give at this moment.
            A plan is made of the key, not of what the caller gave (rango/engine/preparing.py), who
            may change it at any time, and by the general planner. It is asked for after a query
            like it has run, and at the second time only: most filters are not asked twice.
            It is good for the catalog that it was made for, and for the marks that were read before
            it was made: bits are only ever set, so the same marks mean the same plan. Both are
            looked at when the view is there: a commit's marks are set before it may be seen.
            Keys hold what nobody can change, of exact types: True is no 1, a StrEnum no str. The
            caller's filter is read once.
Failure     What the scan raises. Whatever is unusual, and every error in the arguments, is left to
            the general way.
Sources     ADR-0045.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.contextvars cimport get_value
from cpython.dict cimport PyDict_GetItem, PyDict_Next
from cpython.object cimport PyObject
from cpython.set cimport PySet_Contains
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset
from rango._ext.bson_encode cimport fields_encode
from rango._ext.buffer cimport Buffer, buffer_free, buffer_init
from rango._ext.collection_info cimport IndexInfo
from rango._ext.histogram cimport now_ns
from rango._ext.key cimport key_append_value
from rango._ext.points cimport successor
from rango._ext.scan cimport Scan
from rango._ext.stop cimport Stop
from rango._ext.store cimport Store
from rango._ext.view cimport View

from rango.errors import InvalidDocument, LimitExceeded

cdef bytes EMPTY = b"\x05\0\0\0\0"
cdef Py_ssize_t LIMIT_MAX = 2147483647


@cython.final
cdef class Prepared:
    """How a plan is run, or that it is none that can be."""

    cdef bint is_current(self, object catalog) except -1:
        cdef IndexInfo index
        cdef Py_ssize_t at = 0
        if self.catalog is not catalog:
            return False
        for index in self.info.indexes:
            if <uint64_t>self.marks[at] != index.marks:
                return False
            at += 1
        return True


@cython.final
cdef class Unprepared:
    """A key that was asked for before, and is not known: what a plan is to be made of."""

    @property
    def by_path(self) -> bool:
        """Whether the plan has to hold for every value of one equality."""
        return type(self.key[1]) is str

    @property
    def filter(self):
        """A filter as a dict, or its BSON."""
        return {self.key[1]: self.value} if self.by_path else self.key[1]

    @property
    def sort(self):
        """None, a name, a pair or a tuple of pairs."""
        return self.key[2]

    @property
    def has_limit(self) -> bool:
        return self.key[3]

    @property
    def projection(self):
        """Names with 1 or 0, or None."""
        return None if self.key[4] is None else dict(self.key[4])

    def refuse(self, catalog not None) -> None:
        """Remember that this is for the general way, as long as the catalog is the same."""
        cdef Prepared prepared = Prepared.__new__(Prepared)
        prepared.catalog = catalog
        self.finds.keep(self.key, prepared)

    def prepare(
        self, catalog not None, CollectionInfo info not None, tuple marks not None, *,
        int index_tree, intervals, bint reverse, bint is_unique, Program program, frozenset names,
        bint is_kept
    ) -> None:
        """Keep how a plan is run that was made after `marks` had been those of the indexes."""
        cdef Prepared prepared = Prepared.__new__(Prepared)
        prepared.catalog = catalog
        prepared.info = info
        prepared.marks = marks
        prepared.index_tree = index_tree
        prepared.intervals = None if self.by_path else intervals
        prepared.reverse = reverse
        prepared.is_unique = is_unique
        prepared.program = program
        prepared.names = names
        prepared.is_kept = is_kept
        self.finds.keep(self.key, prepared)


@cython.final
cdef class PreparedFinds:
    """Those of one handle."""

    def __init__(
        self, CoreState core not None, metrics, *, transactions, scope, frozenset plain not None
    ):
        self.core = core
        self.metrics = metrics
        self.times = metrics.times["find"]
        self.transactions = transactions
        self.scope = scope
        self.plain = plain
        self.known = {}
        memset(self.seen, 0, sizeof(self.seen))

    def find(self, str name not None, filter, projection, dict options not None):  # hot
        """The documents as a list; or an Unprepared, which the general way should prepare when it
        has run the query; or None: the general way.
        """
        cdef object metrics = self.metrics
        cdef uint64_t queries
        cdef int sample
        cdef int64_t started
        cdef Py_ssize_t limit = 0
        cdef Scan scan
        cdef object found = self.started(name, filter, projection, options, &limit)
        if type(found) is not Scan:
            return found
        scan = <Scan>found
        queries = metrics.queries
        sample = metrics.find_sample
        started = now_ns() if queries % sample == 0 else 0
        metrics.queries = queries + 1
        try:
            return scan.next_documents(limit if limit else LIMIT_MAX)
        finally:
            scan._end()
            if started:
                self.times.add(now_ns() - started, sample)

    def scan(self, str name not None, filter, dict options not None, Stop stop):
        """The scan of the documents, `limit` aside, for a caller that fetches, counts and times
        them itself; or as find(). `stop` has started.
        """
        cdef Py_ssize_t limit = 0
        cdef object found = self.started(name, filter, None, options, &limit)
        if type(found) is Scan:
            (<Scan>found).end_with(stop)
        return found

    cdef object started(
        self, str name, object filter, object projection, dict options, Py_ssize_t *limit
    ):
        # what is to be run, or as find()
        cdef PyObject *found
        cdef PyObject *first
        cdef PyObject *second
        cdef Py_ssize_t at = 0
        cdef object path = None
        cdef object value = None
        cdef object way = None
        cdef object shown = None
        cdef object asked
        cdef object intervals
        cdef View view
        cdef Prepared prepared
        cdef tuple key
        if type(filter) is not dict or not self.is_free():
            return None
        if options:
            limit[0] = limit_of(options)
            way = sort_key(options)
            if limit[0] < 0 or way is NotImplemented:
                return None
        if projection is not None:
            shown = flags_of(projection)
        if len(<dict>filter) == 1:
            # with own references: whatever runs below may change the dict
            PyDict_Next(filter, &at, &first, &second)
            path, value = <object>first, <object>second
        asked = self.asked(filter, path, value)
        if asked is None or shown is NotImplemented:
            return None
        key = (name, asked, way, limit[0] > 0, shown)
        found = PyDict_GetItem(self.known, key)
        if found == NULL:
            return self.missed(key, value)
        prepared = <Prepared>found
        if prepared.info is None:
            if prepared.catalog is not (<Store>self.core.store).seen.known:
                self.known.pop(key, None)
            return None
        view = (<Store>self.core.store).view()
        if not prepared.is_current(view.known):
            self.known.pop(key, None)
            return None
        intervals = prepared.intervals
        if intervals is None:
            intervals = interval_of(value)
            if intervals is None:
                return None
        return scan_of(view, prepared, intervals)

    cdef bint is_free(self) except -1:
        # nothing is around this find that it had to obey
        return (
            type(self.core.store) is Store and not get_value(self.transactions)
            and get_value(self.scope) is None
        )

    cdef object asked(self, dict filter, object path, object value):
        # the filter's part of a key; None: the general way
        cdef Buffer bson
        if path is not None:
            if type(path) is not str or path == "_id":
                return None
            if self.is_plain(value) and not (<str>path).startswith("$"):
                return path if len(<str>path) <= NAME_SIZE_MAX else None
        elif not filter:
            return EMPTY
        buffer_init(&bson)
        try:
            fields_encode(&bson, filter, None)
            if bson.size > FILTER_SIZE_MAX:
                return None
            return PyBytes_FromStringAndSize(<const char *>bson.data, <Py_ssize_t>bson.size)
        except (InvalidDocument, LimitExceeded):
            return None
        finally:
            buffer_free(&bson)

    cdef bint is_plain(self, object value) except -1:
        cdef type kind = type(value)
        if kind is str:
            return len(<str>value) <= TEXT_SIZE_MAX
        if kind is float:
            return value == value
        return PySet_Contains(self.plain, kind)

    cdef object missed(self, tuple key, object value):
        cdef Unprepared unprepared
        cdef uint64_t mark = <uint64_t><int64_t>hash(key)
        cdef uint64_t *place = &self.seen[mark & (SEEN_COUNT - 1)]
        if place[0] != mark:
            place[0] = mark
            return None
        unprepared = Unprepared.__new__(Unprepared)
        unprepared.finds = self
        unprepared.key = key
        unprepared.value = value
        return unprepared

    cdef int keep(self, tuple key, Prepared prepared) except -1:
        if len(self.known) >= PREPARED_MAX:
            self.known.clear()
        self.known[key] = prepared
        return 0


cdef Scan scan_of(View view, Prepared prepared, object intervals):
    cdef set seen = set() if prepared.is_unique else None
    cdef Scan scan = Scan.__new__(
        Scan, view, prepared.info.tree_id, prepared.index_tree, intervals, prepared.reverse,
        prepared.program, seen
    )
    scan.names = prepared.names
    scan.is_kept = prepared.is_kept
    return scan


cdef Py_ssize_t limit_of(dict options) except -2:
    # 0: none; -1: the general way
    cdef PyObject *found = PyDict_GetItem(options, "limit")
    if found == NULL:
        return 0
    if type(<object>found) is not int or not 0 <= <object>found <= LIMIT_MAX:
        return -1
    return <Py_ssize_t><object>found


cdef bint is_name(object name) except -1:
    return type(name) is str and len(<str>name) <= NAME_SIZE_MAX


cdef object sort_key(dict options):
    # the sort's part of a key; NotImplemented: the general way
    cdef PyObject *found = PyDict_GetItem(options, "sort")
    cdef object pair
    cdef tuple pairs
    if len(options) != (found != NULL) + ("limit" in options):
        return NotImplemented
    if found == NULL or <object>found is None:
        return None
    if type(<object>found) is str:
        return <object>found if len(<str>found) <= NAME_SIZE_MAX else NotImplemented
    if type(<object>found) is not list and type(<object>found) is not tuple:
        return NotImplemented
    pairs = tuple(<object>found)
    if len(pairs) > FIELDS_MAX:
        return NotImplemented
    for pair in pairs:
        if type(pair) is not tuple or len(<tuple>pair) != 2:
            return NotImplemented
        if not is_name((<tuple>pair)[0]) or type((<tuple>pair)[1]) is not int:
            return NotImplemented
    return pairs[0] if len(pairs) == 1 else pairs


cdef object flags_of(object projection):
    # the projection's part of a key; NotImplemented: the general way
    cdef tuple flags
    if type(projection) is not dict or not 0 < len(<dict>projection) <= FIELDS_MAX:
        return NotImplemented
    flags = tuple((<dict>projection).items())
    for name, value in flags:
        if not is_name(name) or (type(value) is not int and type(value) is not bool):
            return NotImplemented
    return flags


cdef object interval_of(object value):
    # the keys of one value; None: the general way
    cdef Buffer out
    cdef bytes key
    buffer_init(&out)
    try:
        key_append_value(&out, value)
        key = PyBytes_FromStringAndSize(<const char *>out.data, <Py_ssize_t>out.size)
    except (InvalidDocument, LimitExceeded):
        return None
    finally:
        buffer_free(&out)
    return ((key, successor(key)),)
