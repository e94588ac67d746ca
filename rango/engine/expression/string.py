"""Strings: joining, cutting, searching, trimming, replacing, case and length.

Terms       byte and code point positions: $substrBytes and $indexOfBytes count UTF-8 bytes, their
            ...CP siblings count characters.
Invariants  Case is that of ASCII. A position inside a character is refused, never rounded.
Failure     ExpressionFailed names the operator and the operand.
Sources     MongoDB manual, "String Expression Operators".
"""

from __future__ import annotations

import math
from typing import Any, Final

from rango.engine.expression.operands import (
    fixed,
    named,
    operands,
    refuse_kind,
    size_check,
    variadic,
)
from rango.engine.expression.scope import Compiler, Run, Scope
from rango.engine.expression.texts import text_of
from rango.engine.numbers import double_of, whole_of
from rango.engine.values import INT32_MAX, INT32_MIN, MISSING, is_number, shown
from rango.errors import ExpressionFailed

STRING_SIZE_MAX: Final = 2**31
ASCII_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
ASCII_UPPER: Final = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
SPACES: Final = (
    "\0 \t\n\v\f\r\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
)


def _concat(operator: str, operand: Any, scope: Scope) -> Run:
    runs = [node.run for node in operands(operator, operand, scope, 0, -1)]

    def run(root: Any, variables: dict[str, Any]) -> Any:
        parts: list[str] = []
        for each in runs:
            value = each(root, variables)
            if value is None or value is MISSING:
                return None
            if not isinstance(value, str):
                raise refuse_kind("$concat", "strings", value, 16702)
            parts.append(value)
        size_check(operator, sum(map(len, parts)))
        return "".join(parts)

    return run


def _to_lower(value: Any) -> str:
    text = text_of("$toLower", value)
    return text.lower() if text.isascii() else text.translate(ASCII_LOWER)


def _to_upper(value: Any) -> str:
    text = text_of("$toUpper", value)
    return text.upper() if text.isascii() else text.translate(ASCII_UPPER)


def _strcasecmp(left: Any, right: Any) -> int:
    one = text_of("$strcasecmp", left).translate(ASCII_UPPER)
    two = text_of("$strcasecmp", right).translate(ASCII_UPPER)
    return (one > two) - (one < two)


def _length_bytes(value: Any) -> int:
    if not isinstance(value, str):
        raise refuse_kind("$strLenBytes", "a string", value, 34473)
    return len(value.encode())


def _length_points(value: Any) -> int:
    if not isinstance(value, str):
        raise refuse_kind("$strLenCP", "a string", value, 34471)
    return len(value)


def _is_inside(data: bytes, at: int) -> bool:
    """True if a character of UTF-8 does not begin here but goes on."""
    return at < len(data) and data[at] & 0xC0 == 0x80


def _substr_bytes(value: Any, start: Any, size: Any) -> str:
    name = "$substrBytes"
    data = text_of(name, value).encode()
    if not is_number(start):
        raise refuse_kind(name, "a number as starting index", start, 16034)
    if not is_number(size):
        raise refuse_kind(name, "a number as length", size, 16035)
    lower = _truncated(start)
    if lower < 0:
        raise ExpressionFailed(
            f"{name} needs a starting index that is not negative: {shown(start)}", code=50752
        )
    length = _truncated(size)
    upper = len(data) if length < 0 else min(lower + length, len(data))
    if lower >= len(data):
        return ""
    if _is_inside(data, lower):
        raise ExpressionFailed(
            f"{name}: the starting index {lower} is in the middle of a UTF-8 character", code=28656
        )
    if _is_inside(data, upper):
        raise ExpressionFailed(
            f"{name}: the ending index {upper} is in the middle of a UTF-8 character", code=28657
        )
    return data[lower:upper].decode()


def _truncated(value: Any) -> int:
    number = double_of(value)
    if math.isnan(number):
        return 0
    # beyond any string, so that infinity and 1E+6000 need no big integer
    return int(max(-STRING_SIZE_MAX, min(STRING_SIZE_MAX, number)))


def _substr_points(value: Any, start: Any, size: Any) -> str:
    name = "$substrCP"
    text = text_of(name, value)
    lower = _position32(name, "starting index", start, 34450)
    length = _position32(name, "length", size, 34452)
    if length < 0:
        raise ExpressionFailed(
            f"{name} needs a length that is not negative: {shown(size)}", code=34454
        )
    if lower < 0:
        raise ExpressionFailed(
            f"{name} needs a starting index that is not negative: {shown(start)}", code=34455
        )
    return text[lower : lower + length]


def _position32(name: str, what: str, value: Any, code: int) -> int:
    if not is_number(value):
        raise refuse_kind(name, f"a number as {what}", value, code)
    whole = whole_of(value)
    if whole is None or not INT32_MIN <= whole <= INT32_MAX:
        raise ExpressionFailed(
            f"{name} needs a {what} that is a 32-bit integer, not {shown(value)}", code=code + 1
        )
    return whole


def _index_of_bytes(values: list[Any]) -> Any:
    return _index_of("$indexOfBytes", values, (40091, 40092), True)


def _index_of_points(values: list[Any]) -> Any:
    return _index_of("$indexOfCP", values, (40093, 40094), False)


def _index_of(name: str, values: list[Any], codes: tuple[int, int], in_bytes: bool) -> Any:
    text, wanted = values[:2]
    if text is None or text is MISSING:
        return None
    if not isinstance(text, str):
        raise refuse_kind(name, "a string as its first argument", text, codes[0])
    if not isinstance(wanted, str):
        raise refuse_kind(name, "a string as its second argument", wanted, codes[1])
    lower = index_argument(name, values[2], "starting index") if len(values) > 2 else 0
    upper = index_argument(name, values[3], "ending index") if len(values) > 3 else None
    subject: Any = text.encode() if in_bytes else text
    part: Any = wanted.encode() if in_bytes else wanted
    if upper is None:
        upper = len(subject)
    if lower > len(subject) or upper < lower:
        return -1
    return subject.find(part, lower, upper)


def index_argument(name: str, value: Any, what: str) -> int:
    """The operand of $indexOf... that is a position."""
    whole = whole_of(value) if is_number(value) else None
    if whole is None or not INT32_MIN <= whole <= INT32_MAX:
        raise refuse_kind(name, f"an integral {what}", value, 40096)
    if whole < 0:
        raise ExpressionFailed(
            f"{name} needs a {what} that is not negative: {shown(value)}", code=40097
        )
    return whole


def _split(value: Any, separator: Any) -> Any:
    if value is None or value is MISSING or separator is None or separator is MISSING:
        return None
    if not isinstance(value, str):
        raise refuse_kind("$split", "a string as its first argument", value, 40085)
    if not isinstance(separator, str):
        raise refuse_kind("$split", "a string as its separator", separator, 40086)
    if not separator:
        raise ExpressionFailed("$split needs a separator that is not empty", code=40087)
    return value.split(separator)


def _trim(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(operator, operand, ("input",), ("chars",), codes=(50696, 50694, 50695))
    source = scope.run(given["input"])
    trimmed = scope.run(given["chars"]) if "chars" in given else None
    strip = {"$trim": str.strip, "$ltrim": str.lstrip, "$rtrim": str.rstrip}[operator]

    def run(root: Any, variables: dict[str, Any]) -> Any:
        text = source(root, variables)
        if text is None or text is MISSING:
            return None
        if not isinstance(text, str):
            raise refuse_kind(operator, "a string as its input", text, 50699)
        if trimmed is None:
            return strip(text, SPACES)
        characters = trimmed(root, variables)
        if characters is None or characters is MISSING:
            return None
        if not isinstance(characters, str):
            raise refuse_kind(operator, "a string as its chars", characters, 50700)
        return strip(text, characters) if characters else text

    return run


def _replace(operator: str, operand: Any, scope: Scope) -> Run:
    names = ("input", "find", "replacement")
    given = named(operator, operand, names, codes=(51751, 51750, 51749))
    runs = [scope.run(given[name]) for name in names]
    count = 1 if operator == "$replaceOne" else -1

    def run(root: Any, variables: dict[str, Any]) -> Any:
        values = [each(root, variables) for each in runs]
        for name, value, code in zip(names, values, (51746, 51745, 51744), strict=True):
            if not isinstance(value, str) and value is not None and value is not MISSING:
                raise refuse_kind(operator, f"a string or null as its {name!r}", value, code)
        text, find, replacement = values
        if not all(isinstance(value, str) for value in values):
            return None
        if len(replacement) > len(find):
            times = min(text.count(find), count) if count >= 0 else text.count(find)
            size_check(operator, len(text) + times * (len(replacement) - len(find)))
        return text.replace(find, replacement, count)

    return run


OPERATORS: Final[dict[str, Compiler]] = {
    "$concat": _concat,
    "$indexOfBytes": variadic(_index_of_bytes, 2, 4),
    "$indexOfCP": variadic(_index_of_points, 2, 4),
    "$ltrim": _trim,
    "$replaceAll": _replace,
    "$replaceOne": _replace,
    "$rtrim": _trim,
    "$split": fixed(2, _split),
    "$strLenBytes": fixed(1, _length_bytes),
    "$strLenCP": fixed(1, _length_points),
    "$strcasecmp": fixed(2, _strcasecmp),
    "$substr": fixed(3, _substr_bytes),
    "$substrBytes": fixed(3, _substr_bytes),
    "$substrCP": fixed(3, _substr_points),
    "$toLower": fixed(1, _to_lower),
    "$toUpper": fixed(1, _to_upper),
    "$trim": _trim,
}
