"""The wrappers of Extended JSON that real files are made of; see json_wrapper.pxd.

Terms       wrapper: see rango/extended_json/__init__.py.
Invariants  $oid, $date (UTC text, or milliseconds in a $numberLong), $numberInt, $numberLong,
            $numberDouble, $binary, $uuid and $timestamp in the form that is written today, with
            their names in that order. Other wrappers, other forms and all mistakes are unusual.
Sources     mongodb/specifications extended-json.md; RFC 3339; RFC 4648;
            H. Hinnant, chrono-compatible low-level date algorithms (days from civil).
"""

from libc.math cimport INFINITY, NAN
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, strlen

from rango._ext.bson_element cimport (
    BSON_BINARY,
    BSON_DATE,
    BSON_DOUBLE,
    BSON_INT32,
    BSON_INT64,
    BSON_OBJECTID,
    BSON_TIMESTAMP,
)
from rango._ext.buffer cimport Buffer, buffer_grow
from rango._ext.json_text cimport (
    NO_MEMORY,
    UNUSUAL,
    Number,
    Text,
    hex_digit,
    mark_peek,
    mark_take,
    number_of,
    number_read,
    plain_string_read,
)
from rango._ext.span cimport store_double, store_u32, store_u64

cdef enum:
    SUBTYPE_OLD = 2             # has a second length inside: the slow way writes it
    SUBTYPE_UUID = 4
    DAY_MS = 86400000

# of a leap year
cdef const uint8_t *MONTH_DAYS = b"\x1f\x1d\x1f\x1e\x1f\x1e\x1f\x1f\x1e\x1f\x1e\x1f"


cdef inline bint is_text(const uint8_t *found, size_t size, const char *wanted) noexcept nogil:
    return size == strlen(wanted) and memcmp(found, wanted, size) == 0


cdef int bytes_of_hex(const uint8_t *digits, size_t count, uint8_t *into) noexcept nogil:
    cdef size_t place
    cdef int high, low
    for place in range(count):
        high = hex_digit(digits[2 * place])
        low = hex_digit(digits[2 * place + 1])
        if high < 0 or low < 0:
            return UNUSUAL
        into[place] = <uint8_t>(high << 4 | low)
    return 0


cdef int u64_append(Buffer *out, uint64_t value) noexcept nogil:
    cdef uint8_t *into = buffer_grow(out, 8)
    if into == NULL:
        return NO_MEMORY
    store_u64(into, value)
    return 0


cdef int oid_read(Text *text, Buffer *out) noexcept nogil:
    cdef const uint8_t *found = NULL
    cdef size_t size = 0
    cdef uint8_t *into
    if plain_string_read(text, &found, &size) < 0 or size != 24:
        return UNUSUAL
    into = buffer_grow(out, 12)
    if into == NULL:
        return NO_MEMORY
    return bytes_of_hex(found, 12, into)


cdef int uuid_read(Text *text, Buffer *out) noexcept nogil:
    cdef const uint8_t *found = NULL
    cdef size_t size = 0
    cdef size_t place, digits
    cdef uint8_t plain[32]
    cdef uint8_t *into
    if plain_string_read(text, &found, &size) < 0 or size != 36:
        return UNUSUAL
    digits = 0
    for place in range(36):
        if place == 8 or place == 13 or place == 18 or place == 23:
            if found[place] != c"-":
                return UNUSUAL
        else:
            plain[digits] = found[place]
            digits += 1
    into = buffer_grow(out, 21)
    if into == NULL:
        return NO_MEMORY
    store_u32(into, 16)
    into[4] = SUBTYPE_UUID
    return bytes_of_hex(plain, 16, into + 5)


cdef int integer_text_read(Text *text, int64_t *out) noexcept nogil:
    # an integer in a string
    cdef const uint8_t *found = NULL
    cdef size_t size = 0
    cdef Number number
    if plain_string_read(text, &found, &size) < 0 or number_of(found, size, &number) < 0:
        return UNUSUAL
    if not number.is_integer:
        return UNUSUAL
    out[0] = number.integer
    return 0


cdef int int_read(Text *text, Buffer *out) noexcept nogil:
    cdef int64_t value = 0
    cdef uint8_t *into
    if integer_text_read(text, &value) < 0 or value != <int32_t>value:
        return UNUSUAL
    into = buffer_grow(out, 4)
    if into == NULL:
        return NO_MEMORY
    store_u32(into, <uint32_t>value)
    return 0


cdef int long_read(Text *text, Buffer *out) noexcept nogil:
    cdef int64_t value = 0
    if integer_text_read(text, &value) < 0:
        return UNUSUAL
    return u64_append(out, <uint64_t>value)


cdef int double_read(Text *text, Buffer *out) noexcept nogil:
    cdef const uint8_t *found = NULL
    cdef size_t size = 0
    cdef Number number
    cdef uint8_t *into
    if plain_string_read(text, &found, &size) < 0:
        return UNUSUAL
    if is_text(found, size, b"NaN"):
        number.real = NAN
    elif is_text(found, size, b"Infinity"):
        number.real = INFINITY
    elif is_text(found, size, b"-Infinity"):
        number.real = -INFINITY
    elif number_of(found, size, &number) < 0:
        return UNUSUAL
    elif number.is_integer:
        number.real = <double>number.integer
        if number.integer == 0 and found[0] == c"-":
            number.real = -0.0
    into = buffer_grow(out, 8)
    if into == NULL:
        return NO_MEMORY
    store_double(into, number.real)
    return 0


cdef int part_of(const uint8_t *digits, int count) noexcept nogil:
    # a number of so many digits, or -1
    cdef int place
    cdef int value = 0
    for place in range(count):
        if not c"0" <= digits[place] <= c"9":
            return -1
        value = value * 10 + (digits[place] - c"0")
    return value


cdef int64_t days_of(int year, int month, int day) noexcept nogil:
    # since 1970-01-01; years begin in March, so that the leap day is the last one
    cdef int64_t shifted = year - 1 if month <= 2 else year
    cdef int64_t era = shifted // 400
    cdef int64_t of_era = shifted - era * 400
    cdef int64_t of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


cdef int date_of(const uint8_t *p, size_t size, int64_t *out) noexcept nogil:
    # 2012-12-24T12:15:30Z, with up to nine digits of a fraction, of which three are kept
    cdef int year, month, day, hour, minute, second
    cdef int ms = 0
    cdef size_t place
    if size < 20 or size > 30 or size == 21 or p[size - 1] != c"Z":
        return UNUSUAL
    if p[4] != c"-" or p[7] != c"-" or p[10] != c"T" or p[13] != c":" or p[16] != c":":
        return UNUSUAL
    year = part_of(p, 4)
    month = part_of(p + 5, 2)
    day = part_of(p + 8, 2)
    hour = part_of(p + 11, 2)
    minute = part_of(p + 14, 2)
    second = part_of(p + 17, 2)
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= MONTH_DAYS[month - 1]:
        return UNUSUAL
    if month == 2 and day == 29 and (year % 4 or (year % 100 == 0 and year % 400)):
        return UNUSUAL
    if not 0 <= hour <= 23 or not 0 <= minute <= 59 or not 0 <= second <= 59:
        return UNUSUAL
    if size > 20:
        if p[19] != c".":
            return UNUSUAL
        for place in range(20, size - 1):
            if not c"0" <= p[place] <= c"9":
                return UNUSUAL
        for place in range(20, 23):
            ms = ms * 10 + (p[place] - c"0" if place < size - 1 else 0)
    out[0] = days_of(year, month, day) * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + ms
    return 0


cdef int date_read(Text *text, Buffer *out) noexcept nogil:
    cdef const uint8_t *found = NULL
    cdef size_t size = 0
    cdef int64_t ms = 0
    if mark_peek(text) == c"{":
        text.at += 1
        if plain_string_read(text, &found, &size) < 0 or not is_text(found, size, b"$numberLong"):
            return UNUSUAL
        if mark_take(text, c":") < 0 or integer_text_read(text, &ms) < 0:
            return UNUSUAL
        if mark_take(text, c"}") < 0:
            return UNUSUAL
    elif plain_string_read(text, &found, &size) < 0 or date_of(found, size, &ms) < 0:
        return UNUSUAL
    return u64_append(out, <uint64_t>ms)


cdef int sextet_of(uint8_t mark) noexcept nogil:
    if c"A" <= mark <= c"Z":
        return mark - c"A"
    if c"a" <= mark <= c"z":
        return mark - c"a" + 26
    if c"0" <= mark <= c"9":
        return mark - c"0" + 52
    if mark == c"+":
        return 62
    return 63 if mark == c"/" else -1


cdef Py_ssize_t base64_decode(const uint8_t *p, size_t size, uint8_t *into) noexcept nogil:
    # how many bytes; -1 unless it is padded, and its spare bits are 0
    cdef size_t pads = 0
    cdef size_t at, place
    cdef size_t put = 0
    cdef uint32_t word
    cdef int sextet
    if size % 4:
        return UNUSUAL
    if size and p[size - 1] == c"=":
        pads = 2 if p[size - 2] == c"=" else 1
    for at in range(0, size, 4):
        word = 0
        for place in range(at, at + 4):
            sextet = 0 if place >= size - pads else sextet_of(p[place])
            if sextet < 0:
                return UNUSUAL
            word = word << 6 | <uint32_t>sextet
        into[put] = <uint8_t>(word >> 16)
        into[put + 1] = <uint8_t>(word >> 8 & 0xff)
        into[put + 2] = <uint8_t>(word & 0xff)
        put += 3
        if at + 4 == size and word & (0xff if pads == 1 else 0xffff if pads == 2 else 0):
            return UNUSUAL
    return <Py_ssize_t>(put - pads)


cdef int member_open(Text *text, const char *name) noexcept nogil:
    # "name":
    cdef const uint8_t *found = NULL
    cdef size_t size = 0
    if plain_string_read(text, &found, &size) < 0 or not is_text(found, size, name):
        return UNUSUAL
    return mark_take(text, c":")


cdef int binary_read(Text *text, Buffer *out) noexcept nogil:
    cdef const uint8_t *packed = NULL
    cdef const uint8_t *found = NULL
    cdef size_t packed_size = 0
    cdef size_t size = 0
    cdef int subtype, digit
    cdef size_t place
    cdef size_t start = out.size
    cdef Py_ssize_t count
    cdef uint8_t *into
    if mark_take(text, c"{") < 0 or member_open(text, b"base64") < 0:
        return UNUSUAL
    if plain_string_read(text, &packed, &packed_size) < 0 or mark_take(text, c",") < 0:
        return UNUSUAL
    if member_open(text, b"subType") < 0 or plain_string_read(text, &found, &size) < 0:
        return UNUSUAL
    if mark_take(text, c"}") < 0 or not 1 <= size <= 2:
        return UNUSUAL
    subtype = 0
    for place in range(size):
        digit = hex_digit(found[place])
        if digit < 0:
            return UNUSUAL
        subtype = subtype << 4 | digit
    if subtype == SUBTYPE_OLD:
        return UNUSUAL
    into = buffer_grow(out, 5 + packed_size // 4 * 3 + 3)
    if into == NULL:
        return NO_MEMORY
    count = base64_decode(packed, packed_size, into + 5)
    if count < 0:
        return UNUSUAL
    store_u32(into, <uint32_t>count)
    into[4] = <uint8_t>subtype
    out.size = start + 5 + <size_t>count
    return 0


cdef int timestamp_part(Text *text, const char *name, uint64_t *out) noexcept nogil:
    cdef Number number
    if member_open(text, name) < 0 or not c"0" <= mark_peek(text) <= c"9":
        return UNUSUAL
    if number_read(text, &number) < 0 or not number.is_integer:
        return UNUSUAL
    if number.integer >> 32:
        return UNUSUAL
    out[0] = <uint64_t>number.integer
    return 0


cdef int timestamp_read(Text *text, Buffer *out) noexcept nogil:
    cdef uint64_t time = 0
    cdef uint64_t place = 0
    if mark_take(text, c"{") < 0 or timestamp_part(text, b"t", &time) < 0:
        return UNUSUAL
    if mark_take(text, c",") < 0 or timestamp_part(text, b"i", &place) < 0:
        return UNUSUAL
    if mark_take(text, c"}") < 0:
        return UNUSUAL
    return u64_append(out, time << 32 | place)


cdef int wrapper_read(
    Text *text, const uint8_t *name, size_t size, Buffer *out, uint8_t *type
) noexcept nogil:
    cdef int fault
    if is_text(name, size, b"$date"):
        type[0] = BSON_DATE
        fault = date_read(text, out)
    elif is_text(name, size, b"$oid"):
        type[0] = BSON_OBJECTID
        fault = oid_read(text, out)
    elif is_text(name, size, b"$numberInt"):
        type[0] = BSON_INT32
        fault = int_read(text, out)
    elif is_text(name, size, b"$numberDouble"):
        type[0] = BSON_DOUBLE
        fault = double_read(text, out)
    elif is_text(name, size, b"$numberLong"):
        type[0] = BSON_INT64
        fault = long_read(text, out)
    elif is_text(name, size, b"$binary"):
        type[0] = BSON_BINARY
        fault = binary_read(text, out)
    elif is_text(name, size, b"$uuid"):
        type[0] = BSON_BINARY
        fault = uuid_read(text, out)
    elif is_text(name, size, b"$timestamp"):
        type[0] = BSON_TIMESTAMP
        fault = timestamp_read(text, out)
    else:
        return UNUSUAL
    return fault if fault < 0 else mark_take(text, c"}")
