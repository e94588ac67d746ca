"""Filters as flat programs over raw BSON.

Terms       step: one comparison of one path; it names the step that follows when it is true and the
            one when it is false, so $and, $or, $nor and $not cost nothing at run time. Part: one
            name of a dotted path. Place: of the element by which an array matched.
Invariants  A step is true when any value that its path reaches makes it true; a negation negates
            that whole answer. A path fans out through arrays, where a number also names a place; an
            array at its end offers its elements and itself. A path that ends early reaches
            "missing", which equals null. A program is immutable after compile, so many threads run
            it at once; what a run learns lies on its stack.
States      ready after compile_filter; there is no other.
Failure     a malformed record answers TEST_MALFORMED and nothing is read past its end. TEST_RAISED
            is an error of a function in Python that a step called; raise_failure raises it.
Sources     MongoDB manual, "Query an Array", "Query for Null or Missing Fields";
            tests/reference/filter.py.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from rango._ext.assemble cimport code_of
from rango._ext.layout cimport (
    RECORD_FLAG_TOMBSTONE, RECORD_FLAGS, RECORD_HEADER_SIZE, RECORD_NODE_SIZE,
)
from rango._ext.match cimport TEST_MALFORMED, TEST_RAISED, program_run, step_place
from rango._ext.page_column cimport test_of
from rango._ext.record_header cimport document_start
from rango._ext.siphash cimport node_tag

from rango._ext.normal import filter_parse
from rango.errors import Corrupted


class NoValue:
    """The type of NO_VALUE, which is different from every value that a document can have."""

    def __repr__(self):
        return "NO_VALUE"


NO_VALUE = NoValue()


cdef int raise_failure(int answer, str where) except -1:
    # the error that a negative answer stands for
    if answer == TEST_RAISED:
        return -1
    raise Corrupted(where, "its header or its BSON is malformed")


@cython.final
cdef class Program:
    """A compiled filter. Immutable; any number of threads may run it."""

    cdef int run(self, const uint8_t *record, size_t size) noexcept nogil:
        cdef size_t start
        if size < RECORD_HEADER_SIZE or record[RECORD_NODE_SIZE] > size - RECORD_HEADER_SIZE:
            return TEST_MALFORMED
        if record[RECORD_FLAGS] & RECORD_FLAG_TOMBSTONE:
            return 0
        start = document_start(record, size)
        return program_run(&self.code.program, record, record + start, size - start)

    def matches(self, bytes record not None):
        """Does this record (header, node id, BSON) match? Corrupted if it is malformed."""
        cdef int answer = self.run(<const uint8_t *>PyBytes_AS_STRING(record), len(record))
        if answer < 0:
            raise_failure(answer, "record")
        return answer == 1

    def matches_bson(self, bytes bson not None):
        """Does this document match? BSON without a record's header: `_rev`, `_updated_at` and
        `_source_node` are ordinary fields. Corrupted if it is malformed.
        """
        cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(bson)
        cdef size_t size = <size_t>PyBytes_GET_SIZE(bson)
        cdef int answer = program_run(&self.code.program, NULL, start, size)
        if answer < 0:
            raise_failure(answer, "document")
        return answer == 1

    def position(self, bytes bson not None):
        """The place for the positional operator `$`: of the element in the outermost array by which
        the last predicate that goes through one matched; None if there is none.

        Predicates below $or, $nor and $not do not choose, but an $or of equalities on one path is
        an $in. BSON without a record's header.
        """
        cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(bson)
        cdef size_t size = <size_t>PyBytes_GET_SIZE(bson)
        cdef int64_t place
        cdef uint32_t step
        cdef int answer
        cdef object chosen = None
        if not self.matches_bson(bson):
            return None
        for group in self.code.places:
            found = []
            for step in group:
                place = -1
                answer = step_place(&self.code.program, step, NULL, start, size, &place)
                if answer < 0:
                    raise_failure(answer, "document")
                if place >= 0:
                    found.append(place)
            if found:
                chosen = min(found)
        return chosen

    def run_many(self, records):
        """The places of the matching records in a list, in order; runs with the GIL released."""
        cdef tuple held = tuple(records)
        cdef Py_ssize_t count = len(held)
        cdef Py_ssize_t i
        cdef int answer = 0
        cdef const uint8_t **starts = <const uint8_t **>calloc(count + 1, sizeof(void *))
        cdef size_t *sizes = <size_t *>calloc(count + 1, sizeof(size_t))
        cdef uint8_t *answers = <uint8_t *>calloc(count + 1, 1)
        try:
            if starts == NULL or sizes == NULL or answers == NULL:
                raise MemoryError
            for i in range(count):
                record = held[i]
                if type(record) is not bytes:
                    raise TypeError(f"a record is bytes, not {type(record).__name__}")
                starts[i] = <const uint8_t *>PyBytes_AS_STRING(record)
                sizes[i] = <size_t>PyBytes_GET_SIZE(record)
            with nogil:
                for i in range(count):
                    answer = self.run(starts[i], sizes[i])
                    if answer < 0:
                        break
                    answers[i] = <uint8_t>answer
            if answer < 0:
                raise_failure(answer, f"record {i}")
            return [i for i in range(count) if answers[i]]
        finally:
            free(<void *>starts)
            free(sizes)
            free(answers)


cdef object id_equality(tuple node):
    # the value that `_id` must equal, wherever at the top level it is said
    if node[0] == "$eq" and node[1] == "_id":
        return node[2]
    if node[0] == "$and":
        for part in node[1]:
            if part[0] == "$eq" and part[1] == "_id":
                return part[2]
    return NO_VALUE


def compile_filter(filter, hooks=None, collation=None):
    """The program of a filter. InvalidFilter names what is not understood.

    `hooks`       what $regex, $expr, $jsonSchema and a collation need of the engine: see
                  assemble.pyx and rango.engine.filters
    `collation`   kept for who asks; hooks.fold is what takes effect
    """
    cdef Program program = Program.__new__(Program)
    cdef tuple normal = filter_parse(filter)
    program.normal = normal
    program.collation = collation
    program.code = code_of(normal, hooks, False)
    test_of(&program.code.program, &program.test)
    program.is_always = normal == ("$and", ())
    program.id_equals = NO_VALUE
    program.is_id_only = False
    if collation is None:
        program.id_equals = id_equality(normal)
        program.is_id_only = normal[0] == "$eq" and normal[1] == "_id"
    return program


def revision_tag(str node_id not None):
    """The short tag of a node in a revision: 4 hex digits."""
    cdef bytes node = node_id.encode()
    return format(node_tag(<const uint8_t *>PyBytes_AS_STRING(node), len(node)), "04x")
