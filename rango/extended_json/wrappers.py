"""The wrappers of Extended JSON: which names make one, and the value that it stands for.

Invariants  A wrapper has exactly its names, in any order, each with a value of the right kind;
            anything else is an error, never a plain document. The exceptions are the
            specification's: `$ref` (a convention), and in legacy text `$regex` and `$type`, which
            are also operators of filters.
Failure     InvalidJson, whose place is the wrapper's name; the walk adds the path.
"""

from __future__ import annotations

import base64
import binascii
import decimal
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn, Protocol

from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from rango.errors import InvalidJson

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MS: Final = timedelta(milliseconds=1)
DATE_MS_MIN: Final = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH) // MS
DATE_MS_MAX: Final = (datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC) - EPOCH) // MS

REGEX_OPTIONS: Final = "ilmsux"

_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_DOUBLE: Final = re.compile(
    r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?Infinity|NaN"
)
_DECIMAL: Final = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan)", re.IGNORECASE
)
_OID: Final = re.compile(r"[0-9a-fA-F]{24}")
_SUBTYPE: Final = re.compile(r"[0-9a-fA-F]{1,2}")
_UUID: Final = re.compile(
    r"(?:urn:uuid:)?(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32})",
    re.IGNORECASE,
)
_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})"
)


class Walk(Protocol):
    """What a wrapper needs of the walk that met it."""

    def fields(self, raw: dict[str, Any], depth: int) -> None: ...


Read = Callable[[dict[str, Any], Walk], Any]


@dataclass(frozen=True, slots=True)
class Wrapper:
    """One name that makes a wrapper."""

    applies: Callable[[dict[str, Any]], bool]
    read: Read


def _wrong(place: str, what: str) -> NoReturn:
    raise InvalidJson(place, what)


def _names_check(name: str, raw: Mapping[str, Any], names: frozenset[str]) -> None:
    if raw.keys() != names:
        missing, extra = sorted(names - raw.keys()), sorted(raw.keys() - names)
        found = f"{', '.join(missing)} is missing" if missing else f"{', '.join(extra)} is too much"
        _wrong(name, f"has exactly {', '.join(sorted(names))}; {found:.100}")


def _text(name: str, value: Any) -> str:
    if type(value) is not str:
        _wrong(name, f"needs a string, not {value!r:.60}")
    return str(value)


def _object(name: str, value: Any, names: frozenset[str]) -> dict[str, Any]:
    if type(value) is not dict:
        _wrong(name, f"needs an object with {', '.join(sorted(names))}, not {value!r:.60}")
    found: dict[str, Any] = value
    _names_check(name, found, names)
    return found


def _integer(name: str, text: str, bits: int) -> int:
    if not _INTEGER.fullmatch(text):
        _wrong(name, f"needs an integer in a string, not {text!r:.60}")
    value = int(text)
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        _wrong(name, f"{text} does not fit {bits} bits")
    return value


def int64_of(value: int) -> int:
    """An int64 as the codec returns it: Int64 only where a plain int would be stored as int32."""
    return Int64(value) if -(1 << 31) <= value < 1 << 31 else value


def date_of(ms: int) -> datetime | DatetimeMS:
    """A date as the codec returns it: DatetimeMS outside the years 1 to 9999."""
    if DATE_MS_MIN <= ms <= DATE_MS_MAX:
        return EPOCH + timedelta(milliseconds=ms)
    return DatetimeMS(ms)


def _oid(raw: dict[str, Any], _: Walk) -> ObjectId:
    text = _text("$oid", raw["$oid"])
    if not _OID.fullmatch(text):
        _wrong("$oid", f"needs 24 hexadecimal digits, not {text!r:.60}")
    return ObjectId(bytes.fromhex(text))


def _number_int(raw: dict[str, Any], _: Walk) -> int:
    return _integer("$numberInt", _text("$numberInt", raw["$numberInt"]), 32)


def _number_long(raw: dict[str, Any], _: Walk) -> int:
    return int64_of(_integer("$numberLong", _text("$numberLong", raw["$numberLong"]), 64))


def _number_double(raw: dict[str, Any], _: Walk) -> float:
    text = _text("$numberDouble", raw["$numberDouble"])
    if not _DOUBLE.fullmatch(text):
        _wrong("$numberDouble", f"needs a number, Infinity, -Infinity or NaN, not {text!r:.60}")
    return float(text)


def _number_decimal(raw: dict[str, Any], _: Walk) -> Decimal128:
    return decimal_of(_text("$numberDecimal", raw["$numberDecimal"]))


def decimal_of(text: str) -> Decimal128:
    """The Decimal128 that a text stands for; InvalidJson if there is none or it is inexact."""
    if not _DECIMAL.fullmatch(text):
        _wrong("$numberDecimal", f"needs a decimal number, Infinity or NaN, not {text!r:.60}")
    try:
        return Decimal128(text)
    except (decimal.DecimalException, ValueError):
        raise InvalidJson(
            "$numberDecimal", f"{text:.60} has more than 34 digits or is out of the range"
        ) from None


def _base64(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidJson(name, f"needs padded base64, not {text!r:.60}") from None


def _binary_value(data: bytes, subtype: int) -> Any:
    if subtype == 0:
        return data
    if subtype == 4 and len(data) == 16:
        return uuid.UUID(bytes=data)
    return Binary(data, subtype)


_BINARY_NAMES: Final = frozenset(("base64", "subType"))


def _binary(raw: dict[str, Any], _: Walk) -> Any:
    inner = _object("$binary", raw["$binary"], _BINARY_NAMES)
    data = _base64("$binary", _text("$binary.base64", inner["base64"]))
    subtype = _text("$binary.subType", inner["subType"])
    if not _SUBTYPE.fullmatch(subtype):
        _wrong("$binary.subType", f"needs one or two hexadecimal digits, not {subtype!r:.60}")
    return _binary_value(data, int(subtype, 16))


def _uuid(raw: dict[str, Any], _: Walk) -> uuid.UUID:
    text = _text("$uuid", raw["$uuid"])
    if not _UUID.fullmatch(text):
        _wrong("$uuid", f"needs a UUID like 73ffd264-44b3-4c69-90e8-e7d1dfc035d4, not {text!r:.60}")
    return uuid.UUID(text)


def _code(raw: dict[str, Any], walk: Walk) -> Code:
    text = _text("$code", raw.get("$code"))
    if "$scope" not in raw:
        return Code(text)
    scope = raw["$scope"]
    if type(scope) is not dict:
        _wrong("$scope", f"needs an object, not {scope!r:.60}")
    walk.fields(scope, 1)
    return Code(text, scope)


_TIMESTAMP_NAMES: Final = frozenset(("t", "i"))


def _timestamp(raw: dict[str, Any], _: Walk) -> Timestamp:
    inner = _object("$timestamp", raw["$timestamp"], _TIMESTAMP_NAMES)
    for name in ("t", "i"):
        part = inner[name]
        if type(part) is not int or not 0 <= part < 1 << 32:
            _wrong(f"$timestamp.{name}", f"needs an integer from 0 to 4294967295, not {part!r:.60}")
    return Timestamp(inner["t"], inner["i"])


_REGEX_NAMES: Final = frozenset(("pattern", "options"))


def _regular_expression(raw: dict[str, Any], _: Walk) -> Regex[str]:
    inner = _object("$regularExpression", raw["$regularExpression"], _REGEX_NAMES)
    return _regex_of("$regularExpression", inner["pattern"], inner["options"])


def _regex_of(name: str, pattern: Any, options: Any) -> Regex[str]:
    pattern, options = _text(f"{name} pattern", pattern), _text(f"{name} options", options)
    if "\0" in pattern or "\0" in options:
        _wrong(name, "must not contain NUL (\\u0000)")
    unknown = sorted(set(options) - set(REGEX_OPTIONS))
    if unknown:
        _wrong(name, f"has the options {', '.join(REGEX_OPTIONS)}; {unknown[0]!r} is none")
    return Regex(pattern, options)


_POINTER_NAMES: Final = frozenset(("$ref", "$id"))
_OID_NAMES: Final = frozenset(("$oid",))


def _db_pointer(raw: dict[str, Any], walk: Walk) -> DBRef:
    inner = _object("$dbPointer", raw["$dbPointer"], _POINTER_NAMES)
    collection = _text("$dbPointer.$ref", inner["$ref"])
    return DBRef(collection, _oid(_object("$dbPointer.$id", inner["$id"], _OID_NAMES), walk))


_LONG_NAMES: Final = frozenset(("$numberLong",))


def _date(raw: dict[str, Any], _: Walk) -> datetime | DatetimeMS:
    value = raw["$date"]
    if type(value) is str:
        return _date_text(value)
    if type(value) is not dict:
        _wrong("$date", f'needs a string or {{"$numberLong": ...}}, not {value!r:.60}')
    text = _text("$date", _object("$date", value, _LONG_NAMES)["$numberLong"])
    return date_of(_integer("$date", text, 64))


def _date_text(text: str) -> datetime:
    if _DATE.fullmatch(text) is None:
        _wrong("$date", f"needs a date like 2012-12-24T12:15:30.501Z, not {text!r:.60}")
    try:
        found = datetime.fromisoformat(text.upper())
        if found.tzinfo is not UTC:
            found = found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidJson("$date", f"{text:.60} is no date: {error}") from None
    extra = found.microsecond % 1000
    return found.replace(microsecond=found.microsecond - extra) if extra else found


def _min_key(raw: dict[str, Any], _: Walk) -> MinKey:
    _one_check("$minKey", raw["$minKey"])
    return MinKey()


def _max_key(raw: dict[str, Any], _: Walk) -> MaxKey:
    _one_check("$maxKey", raw["$maxKey"])
    return MaxKey()


def _one_check(name: str, value: Any) -> None:
    if type(value) is not int or value != 1:
        _wrong(name, f"needs the number 1, not {value!r:.60}")


def _undefined(raw: dict[str, Any], _: Walk) -> None:
    if raw["$undefined"] is not True:
        _wrong("$undefined", f"needs true, not {raw['$undefined']!r:.60}")


def _symbol(raw: dict[str, Any], _: Walk) -> str:
    return _text("$symbol", raw["$symbol"])


def reference_of(raw: dict[str, Any]) -> Any:
    """A DBRef if encoding that gives the same fields in the same order; else the document."""
    order = list(raw)
    if order[0] != "$ref" or len(order) < 2 or order[1] != "$id" or type(raw["$ref"]) is not str:
        return raw
    database = None
    if "$db" in raw:
        if order[2] != "$db" or type(raw["$db"]) is not str:
            return raw
        database = raw["$db"]
    extra = {name: raw[name] for name in order[2 if database is None else 3 :]}
    return DBRef(raw["$ref"], raw["$id"], database, extra)


def _always(_: dict[str, Any]) -> bool:
    return True


def _alone(name: str, read: Read) -> Wrapper:
    names = frozenset((name,))

    def checked(raw: dict[str, Any], walk: Walk) -> Any:
        if len(raw) != 1:
            _names_check(name, raw, names)
        return read(raw, walk)

    return Wrapper(_always, checked)


def _code_checked(raw: dict[str, Any], walk: Walk) -> Code:
    names = frozenset(("$code", "$scope") if "$scope" in raw else ("$code",))
    _names_check("$code", raw, names)
    return _code(raw, walk)


WRAPPERS: Final[dict[str, Wrapper]] = {
    **{
        name: _alone(name, read)
        for name, read in (
            ("$oid", _oid),
            ("$symbol", _symbol),
            ("$numberInt", _number_int),
            ("$numberLong", _number_long),
            ("$numberDouble", _number_double),
            ("$numberDecimal", _number_decimal),
            ("$binary", _binary),
            ("$uuid", _uuid),
            ("$timestamp", _timestamp),
            ("$regularExpression", _regular_expression),
            ("$dbPointer", _db_pointer),
            ("$date", _date),
            ("$minKey", _min_key),
            ("$maxKey", _max_key),
            ("$undefined", _undefined),
        )
    },
    "$code": Wrapper(_always, _code_checked),
    "$scope": Wrapper(_always, _code_checked),
}


# --- version 1


def _legacy_date(raw: dict[str, Any], walk: Walk) -> datetime | DatetimeMS:
    value = raw["$date"]
    if type(value) is int:
        return date_of(value)
    return _date(raw, walk)


def _legacy_binary(raw: dict[str, Any], walk: Walk) -> Any:
    if "$type" not in raw:
        return WRAPPERS["$binary"].read(raw, walk)
    _names_check("$binary", raw, frozenset(("$binary", "$type")))
    data = _base64("$binary", _text("$binary", raw["$binary"]))
    subtype = raw["$type"]
    if type(subtype) is str and _SUBTYPE.fullmatch(subtype[-2:]) and len(subtype) in (1, 2, 8):
        # eight digits: the sign-extended form of mongoexport, ffffff80
        subtype = int(subtype[-2:], 16)
    if type(subtype) is not int or not 0 <= subtype <= 255:
        _wrong("$type", f"needs a subtype from 0 to ff, not {raw['$type']!r:.60}")
    return _binary_value(data, subtype)


def _legacy_long(raw: dict[str, Any], walk: Walk) -> int:
    value = raw["$numberLong"]
    return int64_of(value) if type(value) is int else _number_long(raw, walk)


def _is_legacy_regex(raw: dict[str, Any]) -> bool:
    return (
        raw.keys() == {"$regex", "$options"}
        and type(raw["$regex"]) is str
        and type(raw["$options"]) is str
    )


def _legacy_regex(raw: dict[str, Any], _: Walk) -> Regex[str]:
    return _regex_of("$regex", raw["$regex"], raw["$options"])


LEGACY: Final[dict[str, Wrapper]] = {
    **WRAPPERS,
    "$date": _alone("$date", _legacy_date),
    "$binary": Wrapper(_always, _legacy_binary),
    "$numberLong": _alone("$numberLong", _legacy_long),
    "$regex": Wrapper(_is_legacy_regex, _legacy_regex),
}
