"""The marks of JSON text; see json_text.pxd.

Invariants  What is read is RFC 8259 and nothing else. A double is the nearest one, as float() of
            Python finds it: exactly where mantissa and power of ten are exact (Clinger 1990),
            otherwise by Python's own conversion.
Sources     RFC 8259; W. D. Clinger, How to read floating point numbers accurately (1990).
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from rango._ext.buffer cimport Buffer, buffer_put
from rango._ext.span cimport load_u64

cdef extern from "Python.h":
    double PyOS_string_to_double(const char *s, char **endptr, PyObject *overflow) except? -1.0

cdef extern from *:
    int __builtin_ctzll(unsigned long long value) nogil

cdef enum:
    DIGITS_MAX = 19             # fewer never overflow 64 bits
    EXACT_POWER_MAX = 22        # 10^22 is a double

cdef uint64_t EXACT_MANTISSA_MAX = 1 << 53
cdef uint64_t INT64_MAX = 0x7fffffffffffffffULL
cdef double POWERS[23]
POWERS[:] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
]


cdef inline size_t plain_size(const uint8_t *p, size_t left) noexcept nogil:
    # bytes before the next quote, backslash or control character
    cdef uint64_t ones = 0x0101010101010101ULL
    cdef uint64_t high = 0x8080808080808080ULL
    cdef uint64_t word, quote, escape, found
    cdef size_t at = 0
    while left - at >= 8:
        word = load_u64(p + at)
        quote = word ^ 0x2222222222222222ULL
        escape = word ^ 0x5c5c5c5c5c5c5c5cULL
        found = ((quote - ones) & ~quote) | ((escape - ones) & ~escape)
        found = (found | ((word - ones * 0x20) & ~word)) & high
        if found:
            return at + (<size_t>__builtin_ctzll(found) >> 3)
        at += 8
    while at < left and p[at] != c'"' and p[at] != c"\\" and p[at] >= 0x20:
        at += 1
    return at


cdef int unit_read(Text *text, uint32_t *unit) noexcept nogil:
    # the four digits of \uXXXX
    cdef int _place, digit
    if text.size - text.at < 4:
        return UNUSUAL
    unit[0] = 0
    for _place in range(4):
        digit = hex_digit(text.base[text.at])
        if digit < 0:
            return UNUSUAL
        unit[0] = unit[0] << 4 | <uint32_t>digit
        text.at += 1
    return 0


cdef int utf8_put(Buffer *out, uint32_t code) noexcept nogil:
    cdef uint8_t put[4]
    cdef size_t size
    if code < 0x80:
        put[0] = <uint8_t>code
        size = 1
    elif code < 0x800:
        put[0] = <uint8_t>(0xc0 | code >> 6)
        put[1] = <uint8_t>(0x80 | (code & 0x3f))
        size = 2
    elif code < 0x10000:
        put[0] = <uint8_t>(0xe0 | code >> 12)
        put[1] = <uint8_t>(0x80 | (code >> 6 & 0x3f))
        put[2] = <uint8_t>(0x80 | (code & 0x3f))
        size = 3
    else:
        put[0] = <uint8_t>(0xf0 | code >> 18)
        put[1] = <uint8_t>(0x80 | (code >> 12 & 0x3f))
        put[2] = <uint8_t>(0x80 | (code >> 6 & 0x3f))
        put[3] = <uint8_t>(0x80 | (code & 0x3f))
        size = 4
    return NO_MEMORY if buffer_put(out, put, size) < 0 else 0


cdef int escape_read(Text *text, Buffer *out) noexcept nogil:
    # behind a backslash
    cdef uint32_t code = 0
    cdef uint32_t low = 0
    cdef uint8_t mark
    if text.at >= text.size:
        return UNUSUAL
    mark = text.base[text.at]
    text.at += 1
    if mark == c"u":
        if unit_read(text, &code) < 0:
            return UNUSUAL
        if 0xd800 <= code < 0xe000:
            # half of a pair: the other one follows, or the slow way says what is wrong
            if code >= 0xdc00 or text.size - text.at < 2:
                return UNUSUAL
            if text.base[text.at] != c"\\" or text.base[text.at + 1] != c"u":
                return UNUSUAL
            text.at += 2
            if unit_read(text, &low) < 0 or not 0xdc00 <= low < 0xe000:
                return UNUSUAL
            code = 0x10000 + ((code & 0x3ff) << 10 | (low & 0x3ff))
    elif mark == c"n":
        code = 10
    elif mark == c"t":
        code = 9
    elif mark == c"r":
        code = 13
    elif mark == c"b":
        code = 8
    elif mark == c"f":
        code = 12
    elif mark == c'"' or mark == c"\\" or mark == c"/":
        code = mark
    else:
        return UNUSUAL
    return utf8_put(out, code)


cdef int string_read(Text *text, Buffer *out) noexcept nogil:
    cdef size_t size
    cdef int fault
    text.at += 1
    while True:
        size = plain_size(text.base + text.at, text.size - text.at)
        if buffer_put(out, text.base + text.at, size) < 0:
            return NO_MEMORY
        text.at += size
        if text.at >= text.size or text.base[text.at] < 0x20:
            return UNUSUAL
        text.at += 1
        if text.base[text.at - 1] == c'"':
            return 0
        fault = escape_read(text, out)
        if fault < 0:
            return fault


cdef int plain_string_read(Text *text, const uint8_t **found, size_t *size) noexcept nogil:
    if mark_take(text, c'"') < 0:
        return UNUSUAL
    found[0] = text.base + text.at
    size[0] = plain_size(found[0], text.size - text.at)
    text.at += size[0]
    if text.at >= text.size or text.base[text.at] != c'"':
        return UNUSUAL
    text.at += 1
    return 0


cdef inline bint is_digit(Text *text) noexcept nogil:
    return text.at < text.size and c"0" <= text.base[text.at] <= c"9"


cdef int python_double(const uint8_t *digits, size_t size, double *out) noexcept with gil:
    # the text behind the number is no part of it, so the conversion ends where we did
    cdef char *end = NULL
    try:
        out[0] = PyOS_string_to_double(<const char *>digits, &end, NULL)
    except ValueError:
        return UNUSUAL
    return 0 if end == <char *>digits + size else UNUSUAL


cdef int digits_take(Text *text, uint64_t *mantissa, int *count) noexcept nogil:
    # one digit at least; `count` leaves out zeros in front
    if not is_digit(text):
        return UNUSUAL
    while is_digit(text):
        if count[0] < DIGITS_MAX:
            mantissa[0] = mantissa[0] * 10 + (text.base[text.at] - c"0")
        if count[0] or text.base[text.at] != c"0":
            count[0] += 1
        text.at += 1
    return 0


cdef int number_read(Text *text, Number *out) noexcept nogil:
    cdef size_t start = text.at
    cdef size_t first
    cdef uint64_t mantissa = 0
    cdef int count = 0
    cdef int power = 0
    cdef int given = 0
    cdef bint is_negative = text.base[text.at] == c"-"
    cdef bint is_below
    if is_negative:
        text.at += 1
    first = text.at
    if digits_take(text, &mantissa, &count) < 0:
        return UNUSUAL
    if text.base[first] == c"0" and text.at - first > 1:
        return UNUSUAL
    out.is_integer = True
    if text.at < text.size and text.base[text.at] == c".":
        out.is_integer = False
        text.at += 1
        first = text.at
        if digits_take(text, &mantissa, &count) < 0 or text.at - first > 1000:
            return UNUSUAL
        power = -<int>(text.at - first)
    if text.at < text.size and (text.base[text.at] | 0x20) == c"e":
        out.is_integer = False
        text.at += 1
        is_below = text.at < text.size and text.base[text.at] == c"-"
        if is_below or (text.at < text.size and text.base[text.at] == c"+"):
            text.at += 1
        if not is_digit(text):
            return UNUSUAL
        while is_digit(text):
            if given < 100000:
                given = given * 10 + (text.base[text.at] - c"0")
            text.at += 1
        power += -given if is_below else given
    if out.is_integer:
        if count > DIGITS_MAX or mantissa > INT64_MAX:
            return UNUSUAL
        out.integer = -<int64_t>mantissa if is_negative else <int64_t>mantissa
        return 0
    if count > DIGITS_MAX or mantissa > EXACT_MANTISSA_MAX \
            or not -EXACT_POWER_MAX <= power <= EXACT_POWER_MAX:
        return python_double(text.base + start, text.at - start, &out.real)
    out.real = <double>mantissa
    if power < 0:
        out.real /= POWERS[-power]
    else:
        out.real *= POWERS[power]
    if is_negative:
        out.real = -out.real
    return 0


cdef int number_of(const uint8_t *digits, size_t size, Number *out) noexcept nogil:
    # a number that is all of a string
    cdef Text text
    if size == 0:
        return UNUSUAL
    text.base = digits
    text.size = size
    text.at = 0
    if number_read(&text, out) < 0 or text.at != size:
        return UNUSUAL
    return 0
