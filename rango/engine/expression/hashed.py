"""$toHashedIndexKey: the hash that MongoDB's hashed indexes have of a value.

Layout      MD5 over: the seed 0 (int32), then for the value its canonical type (int32), for a
            nested one also its name and a NUL, then its bytes: numbers as int64 cut off, documents
            and arrays as their elements and a closing zero (int32). The hash is the first 8 bytes,
            int64. Little-endian everywhere.
Sources     MongoDB's BSONElementHasher.
"""

from __future__ import annotations

import hashlib
import math
import struct
from typing import Any, Final

from bson.code import Code

from rango._ext.record import encode
from rango.engine.expression.scope import Compiler, Run, Scope
from rango.engine.numbers import double_of, integer, is_nan
from rango.engine.values import INT64_MAX, INT64_MIN, MISSING, fields_of, is_number, type_name

CANONICAL_TYPES: Final = {
    "minKey": -1,
    "missing": 0,
    "null": 5,
    "int": 10,
    "long": 10,
    "double": 10,
    "decimal": 10,
    "string": 15,
    "object": 20,
    "array": 25,
    "binData": 30,
    "objectId": 35,
    "bool": 40,
    "date": 45,
    "timestamp": 47,
    "regex": 50,
    "javascript": 60,
    "javascriptWithScope": 65,
    "maxKey": 127,
}
CLOSING: Final = struct.pack("<i", 0)


def _int64_of(value: Any) -> int:
    """A number cut off to an int64; what is no number or out of range has a fixed place."""
    if isinstance(value, int):
        return int(value)
    if is_nan(value):
        return 0
    number = double_of(value)
    if math.isinf(number) or not INT64_MIN <= number < INT64_MAX:
        return INT64_MAX if number > 0 else INT64_MIN
    return int(number)


def _value_bytes(value: Any) -> bytes:
    """The bytes of an element after its type and name."""
    document = encode({"v": value})
    return document[7:-1]


def _parts(value: Any, name: str | None) -> bytes:
    out = struct.pack("<i", CANONICAL_TYPES[type_name(value)])
    if name is not None:
        out += name.encode() + b"\0"
    if value is MISSING:
        return out
    if is_number(value):
        return out + struct.pack("<q", _int64_of(value))
    if isinstance(value, Code) and value.scope is not None:
        out += str(value).encode() + b"\0"
        fields: Any = dict(value.scope)
    elif type(value) is list:
        fields = {str(place): element for place, element in enumerate(value)}
    else:
        fields = fields_of(value)
    if fields is None:
        return out + _value_bytes(value)
    return out + b"".join(_parts(each, key) for key, each in fields.items()) + CLOSING


def hashed_key(value: Any) -> Any:
    """The hash of a value."""
    data = CLOSING + _parts(value, None)
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    found = struct.unpack("<q", digest[:8])[0]
    return integer(found, True)


def _to_hashed_index_key(_operator: str, operand: Any, scope: Scope) -> Run:
    # its operand is the value itself: an array is no list of operands
    source = scope.run(operand)
    return lambda root, variables: hashed_key(source(root, variables))


OPERATORS: Final[dict[str, Compiler]] = {"$toHashedIndexKey": _to_hashed_index_key}
