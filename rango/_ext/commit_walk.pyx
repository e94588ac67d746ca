"""Reading a log in order for those who watch it: commits with their chain values, and definitions.

Terms       commit, chain value, mark, mutation, definition: see the glossary. Proof: the first
            PROOF_SIZE bytes of the chain value after a commit, which a resume token carries.
Invariants  I-16: nothing behind the ordinal that the caller names is looked at; it may be half
            written. The walk is the scanner's, so tags and chain are verified.
Failure     what the scanner raises; then the scanner is of no use any more, and its user begins
            again at the mark that it had. A malformed body: LogCorrupted.
Sources     ADR-0030.
"""

from rango.errors import LogCorrupted

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from rango._ext.buffer cimport Buffer, buffer_free, buffer_grow, buffer_init
from rango._ext.layout cimport (
    COMMIT_COUNT, COMMIT_HEADER_SIZE, MUTATION_HEADER_SIZE, MUTATION_KEY_SIZE, MUTATION_OP,
    MUTATION_PURGED, MUTATION_SIZE, MUTATION_TREE, MUTATION_VALUE_SIZE, TREE_CATALOG,
)
from rango._ext.segment_scan cimport Entry, Scanner
from rango._ext.span cimport Span, load_u16, load_u32, span_of, span_take
from rango._ext.view cimport TREE_PREFIX, tree_of

cdef enum:
    PROOF_BYTES = 8
    DROP_SIZE = 1048576     # what is walked over is forgotten in steps of this

PROOF_SIZE = PROOF_BYTES


cdef int raise_body(uint64_t ordinal) except -1:
    raise LogCorrupted(
        f"oplog, commit {ordinal}", "its body is malformed although its tag is right")


cdef void begin(Scanner scanner, uint64_t ordinal) noexcept nogil:
    scanner.stop = ordinal
    if scanner.is_ended:
        # what was not written yet when the window was read may be there now
        scanner.window_size = 0
        scanner.is_ended = False


cdef void forget(Scanner scanner) noexcept nogil:
    scanner.entries.size = 0
    scanner.arena.size = 0
    if scanner.arena.capacity > 8 * <size_t>DROP_SIZE:
        buffer_free(&scanner.arena)


cdef int walk_proven(Scanner scanner, size_t size_max, Buffer *proofs) except -1 nogil:
    # whole commits until there are size_max bytes of them, and the proof of each
    cdef size_t count = 0
    cdef uint8_t *into
    while scanner.arena.size < size_max and not scanner.is_ended:
        scanner.walk(scanner.arena.size + 1)
        if scanner.entries.size // sizeof(Entry) == count:
            continue
        count += 1
        into = buffer_grow(proofs, PROOF_BYTES)
        if into == NULL:
            with gil:
                raise MemoryError("no memory for the commits of a log")
        memcpy(into, scanner.end_chain_value, PROOF_BYTES)
    return 0


def commits_read(Scanner scanner not None, uint64_t ordinal, size_t size_max) -> list:
    """The next commits up to `ordinal`, until they have size_max bytes: [(ordinal, ordinal of the
    first frame, body, proof)]. The scanner's end is behind the last of them.
    """
    cdef Buffer proofs
    cdef Entry *entries
    cdef const char *bodies
    cdef size_t i
    buffer_init(&proofs)
    try:
        begin(scanner, ordinal)
        with nogil:
            walk_proven(scanner, size_max, &proofs)
        entries = <Entry *>scanner.entries.data
        bodies = <const char *>scanner.arena.data
        return [
            (entries[i].ordinal, entries[i].first_ordinal,
             bodies[entries[i].start:entries[i].start + entries[i].size],
             (<const char *>proofs.data)[i * PROOF_BYTES:(i + 1) * PROOF_BYTES])
            for i in range(scanner.entries.size // sizeof(Entry))
        ]
    finally:
        buffer_free(&proofs)
        forget(scanner)


def commit_reach(Scanner scanner not None, uint64_t ordinal):
    """Walk on until behind `ordinal`, or to the segment's end: (ordinal, ordinal of the first
    frame, body) of the commit there, None if what is there is no commit, or nothing was walked.
    """
    cdef Entry *entry
    cdef uint64_t last
    begin(scanner, ordinal)
    try:
        with nogil:
            while not scanner.is_ended and scanner.end_ordinal < ordinal:
                if scanner.arena.size > <size_t>DROP_SIZE:
                    forget(scanner)
                scanner.walk(scanner.arena.size + 1)
        if scanner.entries.size == 0:
            return None
        last = scanner.entries.size // sizeof(Entry) - 1
        entry = <Entry *>scanner.entries.data + last
        if entry.ordinal != scanner.end_ordinal:
            return None
        return (entry.ordinal, entry.first_ordinal,
                (<const char *>scanner.arena.data)[entry.start:entry.start + entry.size])
    finally:
        forget(scanner)


cdef int definitions_of(
    const uint8_t *body, size_t size, uint64_t ordinal, list found
) except -1:
    cdef Span span = span_of(body, size)
    cdef Span inner
    cdef const uint8_t *head = span_take(&span, COMMIT_HEADER_SIZE)
    cdef const uint8_t *mutation
    cdef const uint8_t *key
    cdef const uint8_t *value
    cdef uint32_t _at
    cdef uint32_t mutation_size
    if head == NULL:
        raise_body(ordinal)
    for _at in range(load_u32(head + COMMIT_COUNT)):
        if span.size - span.at < MUTATION_HEADER_SIZE:
            raise_body(ordinal)
        mutation_size = load_u32(span.base + span.at + MUTATION_SIZE)
        mutation = span_take(&span, mutation_size)
        if mutation == NULL or mutation_size < MUTATION_HEADER_SIZE:
            raise_body(ordinal)
        if (load_u32(mutation + MUTATION_TREE) != TREE_CATALOG
                or mutation[MUTATION_OP] == MUTATION_PURGED
                or load_u16(mutation + MUTATION_KEY_SIZE) != TREE_PREFIX):
            continue
        inner = span_of(mutation, mutation_size)
        span_take(&inner, MUTATION_HEADER_SIZE)
        key = span_take(&inner, TREE_PREFIX)
        value = span_take(&inner, load_u32(mutation + MUTATION_VALUE_SIZE))
        if key == NULL or value == NULL:
            raise_body(ordinal)
        found.append((
            mutation[MUTATION_OP], tree_of(key),
            (<const char *>value)[:load_u32(mutation + MUTATION_VALUE_SIZE)],
        ))
    return 0


def definitions_read(Scanner scanner not None, uint64_t ordinal) -> list:
    """What the commits up to `ordinal`, or to the segment's end, say of trees: [(operation, tree,
    definition)]. One segment of 64 MiB takes some 50 ms.
    """
    cdef Entry *entries
    cdef size_t i
    found = []
    begin(scanner, ordinal)
    try:
        while not scanner.is_ended:
            with nogil:
                scanner.walk(DROP_SIZE)
            entries = <Entry *>scanner.entries.data
            for i in range(scanner.entries.size // sizeof(Entry)):
                definitions_of(
                    scanner.arena.data + entries[i].start, entries[i].size, entries[i].ordinal,
                    found)
            forget(scanner)
        return found
    finally:
        forget(scanner)
