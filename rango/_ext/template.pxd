# Decoded documents that hang on a leaf in the cache, and copies of them. All with the GIL.

from libc.stdint cimport uint8_t
from rango._ext.page_cache cimport Page
from rango._ext.pager cimport Pager


# the document of a record that the engine wrote, whole; it lies in this slot of the page (NULL: in
# none). is_one: it was asked for by itself, not by a scan
cdef object document_of(
    Pager pager, Page *page, int slot, const uint8_t *record, size_t size, bint is_one
)
