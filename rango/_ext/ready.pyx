"""What the readers of JSON Lines and of BSON dumps share; see ready.pxd."""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy, memmove

from rango._ext.buffer cimport Buffer, buffer_grow, buffer_put

cdef const char *RESERVED[5]
RESERVED[0] = b"_rev"
RESERVED[1] = b"_updated_at"
RESERVED[2] = b"_source_node"
RESERVED[3] = b"_deleted"
RESERVED[4] = b"_conflicts"
cdef size_t RESERVED_SIZES[5]
RESERVED_SIZES[:] = [4, 11, 12, 8, 10]


cdef bint name_is_ready(const uint8_t *name, size_t size, bint is_top) noexcept nogil:
    cdef int place
    if size == 0:
        return True
    if name[0] == c"$":
        return False
    if is_top and name[0] == c"_":
        for place in range(5):
            if size == RESERVED_SIZES[place] and memcmp(name, RESERVED[place], size) == 0:
                return False
    return True


cdef int name_add(
    Buffer *marks, size_t first, const uint8_t *base, size_t at, size_t size
) noexcept nogil:
    cdef NameMark mark
    cdef const NameMark *other = <const NameMark *>(marks.data + first)
    cdef size_t count = (marks.size - first) / sizeof(NameMark)
    cdef size_t place
    if count >= NAMES_OPEN_MAX:
        return -1
    mark.at = at
    mark.size = size
    mark.first = base[at] if size else 0
    mark.last = base[at + size - 1] if size else 0
    for place in range(count):
        if (
            other[place].size == size
            and other[place].last == mark.last
            and other[place].first == mark.first
            and memcmp(base + other[place].at, base + at, size) == 0
        ):
            return -1
    return -2 if buffer_put(marks, &mark, sizeof(NameMark)) < 0 else 0


cdef int id_first(Buffer *out, size_t start, size_t id_at, size_t id_size) noexcept nogil:
    # what stands before it moves up; the element waits at the end meanwhile. 0, or -1: no memory
    cdef uint8_t *aside
    cdef size_t before = id_at - start - 4
    if before == 0:
        return 0
    aside = buffer_grow(out, id_size)
    if aside == NULL:
        return -1
    memcpy(aside, out.data + id_at, id_size)
    memmove(out.data + start + 4 + id_size, out.data + start + 4, before)
    memcpy(out.data + start + 4, aside, id_size)
    out.size -= id_size
    return 0
