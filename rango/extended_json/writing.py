"""Values to Extended JSON text.

Invariants  The types are those that the codec stores (rango/_ext/bson_kinds.pyx), found in the
            same order, so what can be inserted can be written and nothing else. A plain int is an
            int32 if it fits, an Int64 always an int64. Fields keep their order.
Failure     InvalidDocument names the path, LimitExceeded the limit. Nothing is returned in part.
"""

from __future__ import annotations

import base64
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

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

from rango.errors import InvalidArgument, InvalidDocument, LimitExceeded
from rango.extended_json.wrappers import DATE_MS_MAX, EPOCH, MS, REGEX_OPTIONS
from rango.limits import NESTING_DEPTH_MAX

Mode = Literal["relaxed", "canonical", "legacy"]

_WIDE: Final = re.compile("[^\\x00-\\x7f]")


def dumps(
    value: Any,
    *,
    mode: Mode = "relaxed",
    indent: int | str | None = None,
    ensure_ascii: bool = False,
    sort_keys: bool = False,
) -> str:
    """A value as Extended JSON text: a document, or anything that a document can hold.

    `mode`  "relaxed": numbers and dates of the years 1970 to 9999 are plain; "canonical": every
    type is kept; "legacy": version 1, for old tools
    `indent`, `sort_keys`  as in json.dumps; `ensure_ascii` escapes all that is not ASCII

    A document whose names look like a wrapper (`{"$oid": 1}`) is written as it is and would be
    read as one: the format has no escape for it. Raises InvalidDocument, LimitExceeded.
    """
    tree = plain_of(value, mode)
    text = json.dumps(
        tree,
        ensure_ascii=False,
        indent=indent,
        sort_keys=sort_keys,
        separators=(",", ": ") if indent is not None else (", ", ": "),
    )
    if text.isascii():
        return text
    if ensure_ascii:
        return _WIDE.sub(_escaped, text)
    return text


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 | code >> 10:04x}\\u{0xDC00 | code & 0x3FF:04x}"


def plain_of(value: Any, mode: Mode) -> Any:
    """The value in terms of JSON: dicts, lists, strings, numbers, booleans and None."""
    writer = _WRITERS.get(mode)
    if writer is None:
        raise InvalidArgument(f"mode is relaxed, canonical or legacy, not {mode!r:.60}")
    path: list[str] = []
    try:
        return writer.value(value, 0, path)
    except InvalidDocument as error:
        if not path:
            raise
        raise InvalidDocument(f"{'.'.join(reversed(path))}: {error}") from None


_BASES: Final[tuple[type, ...]] = (
    *(Int64, Binary, bytes, datetime, float, int, uuid.UUID, ObjectId, DatetimeMS),
    *(Decimal128, Timestamp, MinKey, MaxKey, Regex, re.Pattern),
)
"""What a subclass may derive from, the special before the general."""


class _Writer:
    """The forms of one mode."""

    def __init__(self, mode: Mode) -> None:
        self._is_canonical = mode == "canonical"
        self._is_legacy = mode == "legacy"
        self._kinds: dict[type, Callable[[Any], Any]] = {
            int: self._int,
            Int64: self._long,
            float: self._double,
            bytes: lambda value: self._binary(value, 0),
            datetime: lambda value: self._date(_ms_of(value)),
            uuid.UUID: lambda value: self._binary(value.bytes, 4),
            ObjectId: lambda value: {"$oid": str(value)},
            DatetimeMS: lambda value: self._date(int(value)),
            Decimal128: lambda value: {"$numberDecimal": str(value)},
            Binary: lambda value: self._binary(bytes(value), value.subtype),
            Timestamp: lambda value: {"$timestamp": {"t": value.time, "i": value.inc}},
            MinKey: lambda _: {"$minKey": 1},
            MaxKey: lambda _: {"$maxKey": 1},
            Regex: self._regex,
            re.Pattern: self._regex,
        }

    def value(self, value: Any, depth: int, path: list[str]) -> Any:
        kind = type(value)
        if kind is str:
            return value if value.isascii() else _text_of(value)
        if value is None or kind is bool:
            return value
        if kind is dict:
            return self._document(value, depth + 1, path)
        if kind is list or kind is tuple:
            return self._array(value, depth + 1, path)
        write = self._kinds.get(kind)
        return write(value) if write is not None else self._other(value, depth, path)

    def _document(self, document: Mapping[Any, Any], depth: int, path: list[str]) -> Any:
        if depth > NESTING_DEPTH_MAX:
            raise LimitExceeded("NESTING_DEPTH_MAX", depth)
        found: dict[str, Any] = {}
        name: Any = ""
        try:
            for name, value in document.items():
                if type(name) is not str and not isinstance(name, str):
                    raise InvalidDocument(f"a field name is a str, not {name!r:.60}")
                if "\0" in name:
                    raise InvalidDocument(f"a field name must not contain NUL: {name!r:.60}")
                written = name if name.isascii() else _text_of(name)
                found[written] = self.value(value, depth, path)
        except (InvalidDocument, LimitExceeded):
            path.append(str(name))
            raise
        return found

    def _array(self, values: Any, depth: int, path: list[str]) -> list[Any]:
        if depth > NESTING_DEPTH_MAX:
            raise LimitExceeded("NESTING_DEPTH_MAX", depth)
        found: list[Any] = []
        try:
            for value in values:
                found.append(self.value(value, depth, path))
        except (InvalidDocument, LimitExceeded):
            path.append(str(len(found)))
            raise
        return found

    def _other(self, value: Any, depth: int, path: list[str]) -> Any:
        """Values that hold others, and subclasses."""
        if isinstance(value, Code):
            return self._code(value, depth, path)
        if isinstance(value, DBRef):
            return self._document(value.as_doc(), depth + 1, path)
        if isinstance(value, str):
            return _text_of(str(value))
        if isinstance(value, (list, tuple)):
            return self._array(value, depth + 1, path)
        for base in _BASES:
            if isinstance(value, base):
                return self._kinds[base](value)
        if isinstance(value, Mapping):
            return self._document(value, depth + 1, path)
        raise InvalidDocument(f"BSON has no type for {type(value).__name__}: {value!r:.60}")

    def _code(self, value: Code, depth: int, path: list[str]) -> dict[str, Any]:
        written: dict[str, Any] = {"$code": _text_of(str(value))}
        if value.scope is not None:
            written["$scope"] = self._document(value.scope, depth + 1, path)
        return written

    def _int(self, value: int) -> Any:
        if -(1 << 31) <= value < 1 << 31:
            return {"$numberInt": str(int(value))} if self._is_canonical else int(value)
        return self._long(value)

    def _long(self, value: int) -> Any:
        if not -(1 << 63) <= value < 1 << 63:
            raise InvalidDocument(
                "an integer must fit into 64 bits; write it as a string or a Decimal128"
            )
        if self._is_canonical or self._is_legacy:
            return {"$numberLong": str(int(value))}
        return int(value)

    def _double(self, value: float) -> Any:
        if math.isnan(value):
            return {"$numberDouble": "NaN"}
        if math.isinf(value):
            return {"$numberDouble": "Infinity" if value > 0 else "-Infinity"}
        return {"$numberDouble": float.__repr__(value).upper()} if self._is_canonical else value

    def _binary(self, data: bytes, subtype: int) -> dict[str, Any]:
        text = base64.b64encode(data).decode("ascii")
        if self._is_legacy:
            return {"$binary": text, "$type": f"{subtype:02x}"}
        return {"$binary": {"base64": text, "subType": f"{subtype:02x}"}}

    def _date(self, ms: int) -> dict[str, Any]:
        if self._is_canonical or not 0 <= ms <= DATE_MS_MAX:
            return {"$date": {"$numberLong": str(ms)}}
        at = EPOCH + ms * MS
        text = at.strftime("%Y-%m-%dT%H:%M:%S")
        return {"$date": f"{text}.{ms % 1000:03d}Z" if ms % 1000 else f"{text}Z"}

    def _regex(self, value: Any) -> dict[str, Any]:
        pattern = value.pattern
        if isinstance(pattern, bytes):
            try:
                pattern = pattern.decode()
            except UnicodeDecodeError:
                raise InvalidDocument("the pattern of a regular expression is not UTF-8") from None
        if "\0" in pattern:
            raise InvalidDocument("a regular expression must not contain NUL")
        bits = zip(REGEX_OPTIONS, (2, 4, 8, 16, 32, 64), strict=True)
        options = "".join(letter for letter, bit in bits if value.flags & bit)
        if self._is_legacy:
            return {"$regex": _text_of(pattern), "$options": options}
        return {"$regularExpression": {"pattern": _text_of(pattern), "options": options}}


def _text_of(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidDocument(
            f"the string {text!r:.60} has half of a surrogate pair, which UTF-8 does not have"
        ) from None
    return text


def _ms_of(value: datetime) -> int:
    if value.utcoffset() is None:
        value = value.replace(tzinfo=UTC)
    return (value - EPOCH) // MS


_WRITERS: Final[dict[str, _Writer]] = {
    "relaxed": _Writer("relaxed"),
    "canonical": _Writer("canonical"),
    "legacy": _Writer("legacy"),
}
