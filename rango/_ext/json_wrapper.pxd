# The wrappers of Extended JSON that real files are made of, as values of BSON. Like json_text: 0,
# -1 (unusual) or -2 (no memory).

from libc.stdint cimport uint8_t
from rango._ext.buffer cimport Buffer
from rango._ext.json_text cimport Text

# The wrapper whose first name was read (`name`), up to its closing brace; the value is appended to
# `out` and its type stored.
cdef int wrapper_read(
    Text *text, const uint8_t *name, size_t size, Buffer *out, uint8_t *type
) noexcept nogil
