"""Numbers inside keys: all kinds in one order, equal numbers giving equal bytes.

Terms       key: see the glossary. floor(v): the greatest double that is not greater than v.
Invariants  For all numbers a and b of any kind: memcmp(form(a), form(b)) has the sign of a - b,
            computed exactly. NaN (of any kind and payload) is one form, below -infinity. -0 is 0.
            No form is the beginning of another one.
Layout      floor(v) as 8 sortable bytes (big-endian; sign bit flipped if positive, all bits if
            negative; NaN: zeros), then 0x00 if v is that double, else 0x01 and v in decimal:
            exponent E u16 big-endian + 0x8000 where |v| = 0.d1d2d3... x 10^E and d1 > 0, then two
            digits a byte plus 1, then 0x00; all of these inverted if v < 0. Numbers with the same
            floor have the same sign, so the decimal form orders them.
Failure     None: every bit pattern is some number (a decimal128 coefficient of more than 34 digits
            is zero, IEEE 754-2008).
Sources     IEEE 754-2008 (binary integer decimal), specifications/bson-decimal128. Decimals are
            compared with doubles by multiplying both with powers of 5 and 2 until they are integers
            (at most 1,100 bits: see BIG_LIMBS).
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport strtod
from libc.string cimport memcpy, memset

from rango._ext.buffer cimport Buffer, buffer_grow
from rango._ext.span cimport load_u64

cdef enum:
    DIGITS_MAX = 40             # decimal digits of a coefficient (34) or of an int64 (19)
    # Exponents that matter are -358..308: 113 bits x 5^358 (832 bits), or 53 bits x 2^1074 / 2^358.
    # 48 x 32 = 1,536.
    BIG_LIMBS = 48
    EXPONENT_BIAS = 6176
    EXACT = 0
    INEXACT = 1

cdef uint64_t SIGN_BIT = 0x8000000000000000ULL
cdef uint64_t INFINITY_BITS = 0x7ff0000000000000ULL
# 10^34 - 1, the greatest coefficient
cdef uint64_t COEFFICIENT_HIGH = 0x0001ed09bead87c0ULL
cdef uint64_t COEFFICIENT_LOW = 0x378d8e63ffffffffULL


ctypedef struct Big:
    uint32_t limbs[BIG_LIMBS]   # least first
    int count                   # limbs in use; the last one is not 0


cdef inline void sortable_store(uint8_t *into, uint64_t bits) noexcept nogil:
    cdef int place
    bits = ~bits if bits & SIGN_BIT else bits | SIGN_BIT
    for place in range(8):
        into[place] = <uint8_t>(bits >> (56 - 8 * place))


cdef int exact_append(Buffer *out, uint64_t bits) noexcept nogil:
    cdef uint8_t *into = buffer_grow(out, 9)
    if into == NULL:
        return -1
    sortable_store(into, bits)
    into[8] = EXACT
    return 0


cdef int inexact_append(
    Buffer *out, uint64_t floor_bits, bint negative, const char *digits, int count, int exponent
) noexcept nogil:
    # digits: `count` decimal digits of |v| = 0.ddd x 10^exponent, the first one not 0
    cdef uint8_t invert = 0xff if negative else 0
    cdef uint32_t biased = <uint32_t>(exponent + 0x8000)
    cdef uint8_t *into
    cdef int at = 0
    cdef int place = 11
    cdef int pair
    while count > 1 and digits[count - 1] == 48:
        count -= 1
    into = buffer_grow(out, <size_t>(12 + (count + 1) / 2))
    if into == NULL:
        return -1
    sortable_store(into, floor_bits)
    into[8] = INEXACT
    into[9] = <uint8_t>(biased >> 8) ^ invert
    into[10] = <uint8_t>(biased & 0xff) ^ invert
    while at < count:
        pair = (digits[at] - 48) * 10 + (digits[at + 1] - 48 if at + 1 < count else 0)
        into[place] = <uint8_t>(pair + 1) ^ invert
        place += 1
        at += 2
    into[place] = invert
    return 0


cdef int double_append(Buffer *out, double value) noexcept nogil:
    cdef uint64_t bits
    cdef uint8_t *into
    if value != value:
        into = buffer_grow(out, 9)
        if into == NULL:
            return -1
        memset(into, 0, 9)
        return 0
    value += 0.0                # -0 becomes 0
    memcpy(&bits, &value, 8)
    return exact_append(out, bits)


cdef int integer_append(Buffer *out, int64_t value) noexcept nogil:
    cdef double near = <double>value
    cdef uint64_t bits, rest
    cdef bint above
    cdef char digits[DIGITS_MAX]
    cdef int count = 0
    cdef int at
    memcpy(&bits, &near, 8)
    # 2^63 itself does not fit into an int64, so it is looked at before the conversion back
    above = near >= 9223372036854775808.0
    if not above:
        if <int64_t>near == value:
            return exact_append(out, bits)
        above = <int64_t>near > value
    if above:
        bits = bits - 1 if value > 0 else bits + 1
    rest = <uint64_t>value if value > 0 else 0 - <uint64_t>value
    while rest:
        count += 1
        digits[DIGITS_MAX - count] = <char>(48 + rest % 10)
        rest /= 10
    at = DIGITS_MAX - count
    return inexact_append(out, bits, value < 0, digits + at, count, count)


cdef void big_set(Big *big, uint64_t high, uint64_t low) noexcept nogil:
    big.limbs[0] = <uint32_t>(low & 0xffffffffU)
    big.limbs[1] = <uint32_t>(low >> 32)
    big.limbs[2] = <uint32_t>(high & 0xffffffffU)
    big.limbs[3] = <uint32_t>(high >> 32)
    big.count = 4
    while big.count and big.limbs[big.count - 1] == 0:
        big.count -= 1


cdef void big_multiply(Big *big, uint32_t by) noexcept nogil:
    cdef uint64_t carry = 0
    cdef int at
    for at in range(big.count):
        carry += <uint64_t>big.limbs[at] * by
        big.limbs[at] = <uint32_t>(carry & 0xffffffffU)
        carry >>= 32
    if carry and big.count < BIG_LIMBS:
        big.limbs[big.count] = <uint32_t>carry
        big.count += 1


cdef void big_multiply_power5(Big *big, int power) noexcept nogil:
    while power >= 13:
        big_multiply(big, 1220703125U)      # 5^13, the greatest power of 5 in 32 bits
        power -= 13
    while power > 0:
        big_multiply(big, 5)
        power -= 1


cdef void big_shift(Big *big, int bits) noexcept nogil:
    cdef int limbs = bits / 32
    cdef int at
    if big.count == 0:
        return
    big_multiply(big, <uint32_t>1 << (bits % 32))
    if limbs + big.count > BIG_LIMBS:
        limbs = BIG_LIMBS - big.count
    for at in range(big.count - 1, -1, -1):
        big.limbs[at + limbs] = big.limbs[at]
    for at in range(limbs):
        big.limbs[at] = 0
    big.count += limbs


cdef int big_compare(const Big *a, const Big *b) noexcept nogil:
    cdef int at
    if a.count != b.count:
        return 1 if a.count > b.count else -1
    for at in range(a.count - 1, -1, -1):
        if a.limbs[at] != b.limbs[at]:
            return 1 if a.limbs[at] > b.limbs[at] else -1
    return 0


cdef int big_digits(uint64_t high, uint64_t low, char *digits) noexcept nogil:
    # decimal digits of a coefficient, NUL-terminated; their number
    cdef Big big
    cdef char reversed[DIGITS_MAX]
    cdef int count = 0
    cdef int at
    cdef uint64_t rest
    big_set(&big, high, low)
    while big.count:
        rest = 0
        for at in range(big.count - 1, -1, -1):
            rest = (rest << 32) | big.limbs[at]
            big.limbs[at] = <uint32_t>(rest / 10)
            rest %= 10
        reversed[count] = <char>(48 + rest)
        count += 1
        while big.count and big.limbs[big.count - 1] == 0:
            big.count -= 1
    for at in range(count):
        digits[at] = reversed[count - 1 - at]
    digits[count] = 0
    return count


cdef int decimal_compare(uint64_t high, uint64_t low, int exponent, uint64_t bits) noexcept nogil:
    # sign of coefficient x 10^exponent minus the positive double that has these bits
    cdef Big left, right
    cdef int field = <int>(bits >> 52)
    cdef uint64_t fraction = bits & 0x000fffffffffffffULL
    cdef int shift
    if bits >= INFINITY_BITS:
        return -1
    # the double is fraction x 2^shift
    shift = (field if field else 1) - 1075
    if field:
        fraction |= 0x0010000000000000ULL
    big_set(&left, high, low)
    big_set(&right, 0, fraction)
    if exponent > 0:
        big_multiply_power5(&left, exponent)
    else:
        big_multiply_power5(&right, -exponent)
    if exponent > shift:
        big_shift(&left, exponent - shift)
    else:
        big_shift(&right, shift - exponent)
    return big_compare(&left, &right)


cdef int decimal_append(Buffer *out, const uint8_t *value) noexcept nogil:
    cdef uint64_t low = load_u64(value)
    cdef uint64_t high = load_u64(value + 8)
    cdef bint negative = (high & SIGN_BIT) != 0
    cdef uint64_t sign = SIGN_BIT if negative else 0
    cdef int exponent, count, order
    cdef uint64_t bits
    cdef double near
    cdef char digits[DIGITS_MAX]
    cdef char text[DIGITS_MAX + 16]
    if (high >> 61) & 3 == 3:
        if (high >> 58) & 31 == 31:
            return double_append(out, float_nan())
        # infinity, or a coefficient that has too many digits
        return exact_append(out, sign | INFINITY_BITS if (high >> 58) & 31 == 30 else 0)
    exponent = <int>((high >> 49) & 0x3fff) - EXPONENT_BIAS
    high &= 0x0001ffffffffffffULL
    if high > COEFFICIENT_HIGH or (high == COEFFICIENT_HIGH and low > COEFFICIENT_LOW):
        return exact_append(out, 0)
    if high == 0 and low == 0:
        return exact_append(out, 0)
    if exponent == 0 and high == 0 and low <= 0x0020000000000000ULL:
        return integer_append(out, -<int64_t>low if negative else <int64_t>low)
    count = big_digits(high, low, digits)
    if exponent + count > 310:
        order = -1
        bits = INFINITY_BITS
    elif exponent + count < -324:
        order = 1
        bits = 0
    else:
        snprintf(text, sizeof(text), "%se%d", digits, exponent)
        near = strtod(text, NULL)
        memcpy(&bits, &near, 8)
        order = decimal_compare(high, low, exponent, bits)
    if order == 0:
        return exact_append(out, sign | bits)
    # floor: toward minus infinity, so for a negative number the magnitude goes up
    if negative and order > 0:
        bits += 1
    elif not negative and order < 0:
        bits -= 1
    return inexact_append(out, sign | bits, negative, digits, count, exponent + count)


cdef inline double float_nan() noexcept nogil:
    cdef double zero = 0.0
    return zero / zero
