"""Extended JSON text to values: the strict JSON of the standard scanner, then the wrappers.

Invariants  The walk is from the top, so that a wrapper sees its parts as they were written: a
            `$date` that is a plain number differs from one that is a `$numberLong`. The text is
            only walked if it can hold what the scanner does not know: a name that starts with $
            or an escape that BSON refuses.
Failure     InvalidJson; nothing is returned in part.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from rango.errors import InvalidJson, LimitExceeded
from rango.extended_json.wrappers import LEGACY, WRAPPERS, Wrapper, reference_of
from rango.limits import JSON_DEPTH_MAX

_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|-?Infinity|NaN')
_INT64_MAX: Final = (1 << 63) - 1
_INT64_MIN: Final = -(1 << 63)


def loads(text: str | bytes | bytearray, *, legacy: bool = False, document: bool = False) -> Any:
    """The value that Extended JSON text stands for; canonical and relaxed forms may be mixed.

    `text`      str, or UTF-8 bytes (a byte order mark is skipped)
    `legacy`    also read the forms of version 1: `{"$date": 0}`, `{"$binary": "...", "$type": 0}`,
    `{"$regex": "...", "$options": ""}`. Filters then lose their `$regex`.
    `document`  the text is one whole document: its top level is never a wrapper

    Integers become int32, int64 or, where they are larger, a double. Of several equal names in an
    object the last counts. Raises InvalidJson, which says where; LimitExceeded if the text nests
    more than 250 levels.
    """
    source = _text_of(text)
    value = _scan(source)
    if document and not isinstance(value, dict):
        raise InvalidJson("line 1 column 1", f"a document is an object, not {_kind_of(value)}")
    return finish(value, source, legacy=legacy, is_document=document)


def finish(value: Any, source: str, *, legacy: bool, is_document: bool) -> Any:
    """What the scanner read, with wrappers replaced; `source` is the text that it came from."""
    # what is nested so deeply has as many brackets, twice
    is_deep = (
        len(source) > 2 * JSON_DEPTH_MAX and source.count("{") + source.count("[") > JSON_DEPTH_MAX
    )
    has_escape = "\\u" in source
    if not (is_deep or has_escape or '"$' in source):
        return value
    try:
        if has_escape or is_deep:
            _strings_check(value, 1)
        return (_WALK_LEGACY if legacy else _WALK).root(value, is_document)
    except InvalidJson as error:
        if not error.path:
            raise
        path = ".".join(reversed(error.path))
        raise InvalidJson(f"at {path}", f"{error.place} {error.what}") from None


def _text_of(text: str | bytes | bytearray) -> str:
    if isinstance(text, str):
        if not text.isascii():
            _unicode_check(text)
        return text
    if not isinstance(text, (bytes, bytearray)):
        raise InvalidJson(
            "the argument", f"JSON text is a str or UTF-8 bytes, not {type(text).__name__}"
        )
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidJson(f"byte {error.start}", "the text is not valid UTF-8") from None


def _whole(digits: str) -> int | float:
    # 19 digits may still be too many; int() is slow, and limited, for thousands of them
    if len(digits) > 20:
        return float(digits)
    value = int(digits)
    return value if _INT64_MIN <= value <= _INT64_MAX else float(digits)


class _Constant(Exception):
    """NaN or Infinity was met: the scanner does not say where."""


def _constant(name: str) -> NoReturn:
    raise _Constant(name)


_SCANNER: Final = json.JSONDecoder(parse_int=_whole, parse_constant=_constant)


def _scan(source: str) -> Any:
    try:
        return _SCANNER.decode(source)
    except json.JSONDecodeError as error:
        raise InvalidJson(f"line {error.lineno} column {error.colno}", error.msg) from None
    except _Constant:
        raise _constant_error(source, 0) from None
    except RecursionError:
        raise _too_deep() from None


def _constant_error(source: str, at: int) -> InvalidJson:
    tokens = (each for each in _TOKEN.finditer(source, at) if each[0][0] != '"')
    found = next(tokens)
    line = source.count("\n", 0, found.start()) + 1
    column = found.start() - source.rfind("\n", 0, found.start())
    return InvalidJson(
        f"line {line} column {column}",
        f'{found[0]} is not JSON; write {{"$numberDouble": "{found[0]}"}}',
    )


def scan_at(source: str, at: int) -> tuple[Any, int]:
    """The value that starts at a position of a text, and the position behind it.

    Raises json.JSONDecodeError; LimitExceeded.
    """
    try:
        return _SCANNER.raw_decode(source, at)
    except _Constant:
        raise _constant_error(source, at) from None
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> LimitExceeded:
    return LimitExceeded(
        "JSON_DEPTH_MAX",
        JSON_DEPTH_MAX + 1,
        f"the JSON text nests more than {JSON_DEPTH_MAX} objects and arrays; flatten it",
    )


def _kind_of(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _strings_check(value: Any, depth: int) -> None:
    """Refuse what an escape can bring in and BSON cannot hold: NUL in names, lone surrogates."""
    if depth > JSON_DEPTH_MAX:
        raise _too_deep()
    if isinstance(value, str):
        _unicode_check(value)
        return
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for name, each in pairs:
        try:
            if isinstance(name, str):
                if "\0" in name:
                    raise InvalidJson("the name", "must not contain NUL (\\u0000)")
                _unicode_check(name)
            if isinstance(each, (str, dict, list)):
                _strings_check(each, depth + 1)
        except InvalidJson as error:
            error.path.append(str(name).encode("ascii", "backslashreplace").decode())
            raise


def _unicode_check(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidJson(
            "the text", f"has half of a surrogate pair, \\u{ord(text[error.start]):04x}"
        ) from None


class _Walk:
    """Replaces wrappers in what the scanner made, in place."""

    __slots__ = ("_wrappers",)

    def __init__(self, wrappers: dict[str, Wrapper]) -> None:
        self._wrappers = wrappers

    def root(self, value: Any, is_document: bool) -> Any:
        if type(value) is dict:
            if is_document:
                self.fields(value, 1)
                return value
            return self.document(value, 1)
        if type(value) is list:
            self.elements(value, 1)
        return value

    def document(self, raw: dict[str, Any], depth: int) -> Any:
        """The value that an object stands for."""
        # most objects have no name with a $; a wrapper that is not alone is found by any of them
        for name in raw:
            if name[:1] == "$":
                wrapper = self._wrappers.get(name)
                if wrapper is not None and wrapper.applies(raw):
                    return wrapper.read(raw, self)
        self.fields(raw, depth)
        if "$ref" in raw:
            return reference_of(raw)
        return raw

    def fields(self, raw: dict[str, Any], depth: int) -> None:
        if depth > JSON_DEPTH_MAX:
            raise _too_deep()
        name = ""
        try:
            for name, value in raw.items():
                kind = type(value)
                if kind is dict:
                    # the names stay, so the iteration does too
                    raw[name] = self.document(value, depth + 1)
                elif kind is list:
                    self.elements(value, depth + 1)
        except InvalidJson as error:
            error.path.append(name)
            raise

    def elements(self, raw: list[Any], depth: int) -> None:
        if depth > JSON_DEPTH_MAX:
            raise _too_deep()
        at = 0
        try:
            for at, value in enumerate(raw):
                kind = type(value)
                if kind is dict:
                    raw[at] = self.document(value, depth + 1)
                elif kind is list:
                    self.elements(value, depth + 1)
        except InvalidJson as error:
            error.path.append(str(at))
            raise


_WALK: Final = _Walk(WRAPPERS)
_WALK_LEGACY: Final = _Walk(LEGACY)
