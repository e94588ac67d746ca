# The marks of JSON: white space, strings, numbers. `at` is behind what was read. Every function
# says 0 if it read it, -1 if it is not there or is unusual (the slow way reads it), -2 when memory
# ran out. The text must be valid UTF-8, checked before.

from libc.stdint cimport int64_t, uint8_t
from rango._ext.buffer cimport Buffer

cdef enum:
    UNUSUAL = -1
    NO_MEMORY = -2


ctypedef struct Text:
    const uint8_t *base         # a NUL stands behind it
    size_t size
    size_t at


# A number: an integer of 64 bits, or a double.
ctypedef struct Number:
    bint is_integer
    int64_t integer
    double real


cdef inline void space_skip(Text *text) noexcept nogil:
    cdef uint8_t mark
    while text.at < text.size:
        mark = text.base[text.at]
        if mark != c" " and mark != c"\t" and mark != c"\r" and mark != c"\n":
            return
        text.at += 1


cdef inline int mark_peek(Text *text) noexcept nogil:
    # the next byte that is no white space, or 0 at the end
    if text.at < text.size and text.base[text.at] > 0x20:
        return text.base[text.at]
    space_skip(text)
    return text.base[text.at] if text.at < text.size else 0


cdef inline int mark_take(Text *text, uint8_t wanted) noexcept nogil:
    if mark_peek(text) != wanted:
        return UNUSUAL
    text.at += 1
    return 0


# The value of a hexadecimal digit, or -1.
cdef inline int hex_digit(uint8_t mark) noexcept nogil:
    if c"0" <= mark <= c"9":
        return mark - c"0"
    mark |= 0x20
    return mark - c"a" + 10 if c"a" <= mark <= c"f" else -1


# The content of the string that starts here (its opening quote), appended to `out`.
cdef int string_read(Text *text, Buffer *out) noexcept nogil

# The same, without escapes, left where it is.
cdef int plain_string_read(Text *text, const uint8_t **found, size_t *size) noexcept nogil

cdef int number_read(Text *text, Number *out) noexcept nogil
cdef int number_of(const uint8_t *digits, size_t size, Number *out) noexcept nogil
