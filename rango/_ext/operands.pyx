"""The operands of a filter's operators, checked and brought into one form.

Terms       code: the number of a BSON type, 1 to 19, 127 (MaxKey), 255 (MinKey). Bits: pairs
            (byte, mask) in ascending order, bit 0 being the lowest bit of byte 0.
Invariants  bool is not a number. A number counts by its value, whatever its type.
Failure     InvalidFilter names the path, the operator, the operand and what was expected.
Sources     MongoDB manual: $type, $mod, $size, $bitsAllSet, $regex.
"""

import math
import re

from bson.code import Code
from bson.decimal128 import Decimal128
from bson.regex import Regex

from rango.errors import InvalidFilter

TYPE_CODES = {
    "double": 1, "string": 2, "object": 3, "array": 4, "binData": 5, "undefined": 6, "objectId": 7,
    "bool": 8, "date": 9, "null": 10, "regex": 11, "dbPointer": 12, "javascript": 13, "symbol": 14,
    "javascriptWithScope": 15, "int": 16, "timestamp": 17, "long": 18, "decimal": 19, "minKey": 255,
    "maxKey": 127,
}

cdef tuple NUMBER_CODES = (1, 16, 18, 19)
cdef str OPTIONS = "imsux"
cdef int PATTERN_SIZE_BYTES_MAX = 32764
cdef object INT64_MIN = -(1 << 63)
cdef object INT64_MAX = (1 << 63) - 1
cdef object INT32_MAX = (1 << 31) - 1


cdef object whole_part(object value):
    # a number cut towards zero, or None: not a number, not finite, or beyond int64
    if isinstance(value, bool):
        return None
    if isinstance(value, Decimal128):
        value = value.to_decimal()
        if not value.is_finite() or value.adjusted() > 19:
            return None
    elif isinstance(value, float):
        if not math.isfinite(value):
            return None
    elif not isinstance(value, int):
        return None
    value = int(value)
    return value if INT64_MIN <= value <= INT64_MAX else None


cdef bint is_number(object value):
    return isinstance(value, (int, float, Decimal128)) and not isinstance(value, bool)


cdef object whole_number(object value):
    # an int64 of the same value, or None
    cdef object whole = whole_part(value)
    if whole is None:
        return None
    if isinstance(value, Decimal128):
        value = value.to_decimal()
    return whole if whole == value else None


def type_codes(str path not None, operand):
    """The codes that $type names, sorted."""
    cdef set found = set()
    cdef object names = operand if isinstance(operand, (list, tuple)) else (operand,)
    if not names:
        raise InvalidFilter(f"{path!r}: $type needs at least one type, not an empty list", code=9)
    for name in names:
        # Code is a str that cannot be hashed
        if isinstance(name, str) and not isinstance(name, Code):
            if name == "number":
                found.update(NUMBER_CODES)
                continue
            if name not in TYPE_CODES:
                raise InvalidFilter(
                    f"{path!r}: $type does not know the type {name!r:.100}; known are number, "
                    + ", ".join(TYPE_CODES)
                )
            found.add(TYPE_CODES[name])
            continue
        if not is_number(name):
            raise InvalidFilter(
                f"{path!r}: $type needs the number or the name of a type, not {name!r:.100}",
                code=14,
            )
        code = whole_number(name)
        if code == -1:
            code = 255
        elif code is None or not (1 <= code <= 19 or code == 127):
            raise InvalidFilter(
                f"{path!r}: $type: {name!r:.100} is not the number of a type: 1 to 19, -1 or 127"
                + ("; use {'$exists': False} for a missing field" if code == 0 else "")
            )
        found.add(code)
    return tuple(sorted(found))


cdef tuple mod_operand(str path, object operand):
    cdef list parts = []
    if not isinstance(operand, (list, tuple)) or len(operand) != 2:
        raise InvalidFilter(
            f"{path!r}: $mod needs a list [divisor, remainder], not {operand!r:.100}"
        )
    for name, value in zip(("divisor", "remainder"), operand):
        whole = whole_part(value)
        if whole is None:
            raise InvalidFilter(
                f"{path!r}: the {name} of $mod must be a number that fits in 64 bits, not "
                f"{value!r:.100}"
            )
        parts.append(whole)
    if parts[0] == 0:
        raise InvalidFilter(f"{path!r}: the divisor of $mod cannot be 0: {operand!r:.100}")
    return tuple(parts)


cdef object size_operand(str path, object operand):
    cdef object size = whole_number(operand)
    if size is None or size < 0:
        raise InvalidFilter(
            f"{path!r}: $size needs a whole number that is not negative, not {operand!r:.100}"
        )
    return size


cdef tuple bits_operand(str path, str name, object operand):
    cdef dict found = {}
    cdef Py_ssize_t place
    if isinstance(operand, (list, tuple)):
        for position in operand:
            whole = whole_number(position)
            if whole is None or not 0 <= whole <= INT32_MAX:
                raise InvalidFilter(
                    f"{path!r}: {name}: a position is a whole number from 0 to 2^31 - 1, not "
                    f"{position!r:.100}"
                )
            found[whole >> 3] = found.get(whole >> 3, 0) | 1 << (whole & 7)
        return tuple(sorted(found.items()))
    if isinstance(operand, bytes):
        return tuple([(place, operand[place]) for place in range(len(operand)) if operand[place]])
    whole = whole_number(operand)
    if whole is None or whole < 0:
        raise InvalidFilter(
            f"{path!r}: {name} needs a mask (a whole number from 0 to 2^63 - 1, or bytes) or a "
            f"list of positions, not {operand!r:.100}",
            code=9 if is_number(operand) else 2,
        )
    data = (<object>whole).to_bytes(8, "little")
    return tuple([(place, data[place]) for place in range(8) if data[place]])


def regex_text(str path not None, operand, options=None):
    """(pattern, options) of a regular expression; the options are sorted."""
    cdef object flags = ""
    if isinstance(operand, re.Pattern):
        operand = Regex.from_native(operand)
    if isinstance(operand, Regex):
        flags = "".join([
            letter for letter, bit in (("i", re.I), ("l", re.L), ("m", re.M), ("s", re.S),
                                       ("u", re.U), ("x", re.X))
            if operand.flags & bit
        ])
        operand = operand.pattern
        if isinstance(operand, bytes):
            operand = operand.decode("utf-8", "surrogateescape")
        if flags and options is not None:
            raise InvalidFilter(
                f"{path!r}: options are set in both $regex and $options", code=51075
            )
    if not isinstance(operand, str):
        raise InvalidFilter(
            f"{path!r}: $regex needs a string or a regular expression, not {operand!r:.100}"
        )
    if options is not None and not isinstance(options, str):
        raise InvalidFilter(f"{path!r}: $options needs a string, not {options!r:.100}")
    flags = options or flags
    for letter in flags:
        if letter not in OPTIONS:
            raise InvalidFilter(
                f"{path!r}: $options: unknown flag {letter!r}; known are {', '.join(OPTIONS)}",
                code=51108,
            )
    if "\x00" in operand:
        raise InvalidFilter(f"{path!r}: a regular expression cannot have a NUL character")
    try:
        size = len(operand.encode())
    except UnicodeEncodeError as error:
        raise InvalidFilter(f"{path!r}: $regex is not valid Unicode: {operand!r:.100}") from error
    if size > PATTERN_SIZE_BYTES_MAX:
        raise InvalidFilter(
            f"{path!r}: $regex is too long: {size} bytes; {PATTERN_SIZE_BYTES_MAX} are allowed"
        )
    return operand, "".join(sorted(set(flags)))
