"""Which units of the data file are used.

Terms       unit, generation: see the glossary.
Invariants  I-2: a unit is given out only if it is free in the generation being built and in every
            generation that a slot or a
            reader can still reach. I-5: a generation's bitmap marks exactly what is reachable from
            its slot.
Layout      docs/reference/format.md#bitmap: bit n of the pieces, in order, speaks of unit n; the
            lowest bit of a byte comes first.
Failure     Units beyond the bitmap count as free and as outside the file.
Sources     storage-notes, details: free space as a bitmap.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset


cdef void units_init(Units *units) noexcept nogil:
    units.bits = NULL
    units.count = 0


cdef void units_free(Units *units) noexcept nogil:
    free(units.bits)
    units_init(units)


cdef int units_resize(Units *units, uint64_t count) except -1 nogil:
    cdef uint64_t old = (units.count + 7) >> 3
    cdef uint64_t size = (count + 7) >> 3
    cdef uint8_t *grown
    cdef uint64_t unit
    if size > old:
        grown = <uint8_t *>realloc(units.bits, size)
        if grown == NULL:
            with gil:
                raise MemoryError
        memset(grown + old, 0, size - old)
        units.bits = grown
    if count < units.count:
        # bits behind the end must read as free when the bitmap grows again
        for unit in range(count, size << 3):
            units.bits[unit >> 3] &= <uint8_t>~(1 << (unit & 7))
        if old > size:
            memset(units.bits + size, 0, old - size)
    units.count = count
    return 0


cdef int units_copy(Units *target, const Units *source) except -1 nogil:
    if target.bits != NULL:
        memset(target.bits, 0, (target.count + 7) >> 3)
    if source.count > target.count:
        units_resize(target, source.count)
    if source.count:
        memcpy(target.bits, source.bits, (source.count + 7) >> 3)
    target.count = source.count
    return 0


cdef int units_merge(Units *target, const Units *source) except -1 nogil:
    cdef uint64_t at
    if source.count > target.count:
        units_resize(target, source.count)
    for at in range((source.count + 7) >> 3):
        target.bits[at] |= source.bits[at]
    return 0


cdef bint units_get(const Units *units, uint64_t unit) noexcept nogil:
    if unit >= units.count:
        return False
    return (units.bits[unit >> 3] >> (unit & 7)) & 1


cdef void units_mark(Units *units, uint64_t first, uint64_t count, bint used) noexcept nogil:
    cdef uint64_t unit
    for unit in range(first, first + count):
        if used:
            units.bits[unit >> 3] |= <uint8_t>(1 << (unit & 7))
        else:
            units.bits[unit >> 3] &= <uint8_t>~(1 << (unit & 7))


cdef uint64_t units_end(const Units *units) noexcept nogil:
    cdef uint64_t unit = units.count
    while unit > 0 and not units_get(units, unit - 1):
        if (unit & 7) == 0 and units.bits[(unit >> 3) - 1] == 0:
            unit -= 8
        else:
            unit -= 1
    return unit


cdef uint64_t units_used(const Units *units) noexcept nogil:
    cdef uint64_t at
    cdef uint64_t used = 0
    cdef uint8_t bits
    for at in range((units.count + 7) >> 3):
        bits = units.bits[at]
        while bits:
            bits &= bits - 1
            used += 1
    return used


cdef uint64_t units_find(
    const Units *a, const Units *b, uint64_t start, uint64_t end, uint64_t count
) noexcept nogil:
    cdef uint64_t unit = start
    cdef uint64_t run = 0
    cdef uint64_t at
    while unit < end:
        if (unit & 7) == 0 and run == 0:
            # whole bytes of used units are skipped at once
            at = unit >> 3
            if (at < (a.count >> 3) and a.bits[at] == 0xff) or (
                b != NULL and at < (b.count >> 3) and b.bits[at] == 0xff
            ):
                unit += 8
                continue
        if units_get(a, unit) or (b != NULL and units_get(b, unit)):
            run = 0
        else:
            run += 1
            if run == count:
                return unit + 1 - count
        unit += 1
    return end
