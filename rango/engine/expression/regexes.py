"""Regular expressions: $regexMatch $regexFind $regexFindAll, on the engine of rango.engine.regex.

Terms       captures: the texts of the groups, null for a group that took no part; idx: where the
            match begins, in code points.
Invariants  Time is linear in the string for one match; $regexFindAll stops with LimitExceeded after
            REGEX_FIND_ALL_MS_MAX. A regular expression that is constant is compiled once.
Failure     ExpressionFailed names the operator and the operand; 51111 for what is no expression.
Sources     MongoDB manual, "$regexFind", "$regexFindAll", "$regexMatch"; ADR-0014.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from bson.regex import Regex

from rango.engine.expression.operands import named, refuse_kind
from rango.engine.expression.scope import Compiler, Run, Scope
from rango.engine.regex import Find, compile_finder
from rango.engine.values import MISSING, shown
from rango.errors import ExpressionFailed, InvalidFilter, LimitExceeded
from rango.limits import REGEX_FIND_ALL_MS_MAX

FLAGS: Final = ((re.IGNORECASE, "i"), (re.MULTILINE, "m"), (re.DOTALL, "s"), (re.VERBOSE, "x"))
CHECKED_EVERY: Final = 64
NOTHING: Final[dict[str, Any]] = {"$regexMatch": False, "$regexFind": None, "$regexFindAll": []}


@lru_cache(maxsize=256)
def _finder(operator: str, pattern: str, options: str) -> Find:
    try:
        return compile_finder(operator, pattern, options)
    except InvalidFilter as error:
        raise ExpressionFailed(str(error), code=51111) from None


def _options(operator: str, pattern: Any, given: Any) -> str:
    """The options of a regular expression and those beside it; both at once are refused."""
    own = ""
    if isinstance(pattern, Regex):
        own = "".join(letter for flag, letter in FLAGS if pattern.flags & flag)
    if given is None or given is MISSING:
        return own
    if not isinstance(given, str):
        raise refuse_kind(operator, "a string as its options", given, 51106)
    if own and given:
        raise ExpressionFailed(
            f"{operator}: options are in the regular expression and in 'options': give them once",
            code=51107,
        )
    if "\0" in given:
        raise ExpressionFailed(f"{operator}: the options hold a NUL: {shown(given)}", code=51110)
    unknown = set(given) - set("imsxu")
    if unknown:
        raise ExpressionFailed(
            f"{operator}: unknown option {min(unknown)!r}; known are i m s x", code=51108
        )
    return given or own


def _find_of(operator: str, pattern: Any, options: Any) -> Find | None:
    """The compiled expression, or None for null."""
    letters = _options(operator, pattern, options)
    if pattern is None or pattern is MISSING:
        return None
    text = pattern.pattern if isinstance(pattern, Regex) else pattern
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if not isinstance(text, str):
        raise refuse_kind(operator, "a string or a regular expression as its regex", pattern, 51105)
    if "\0" in text:
        raise ExpressionFailed(
            f"{operator}: the regular expression holds a NUL: {shown(text)}", code=51109
        )
    return _finder(operator, text, letters)


def _matches(find: Find, data: bytes) -> Iterator[dict[str, Any]]:
    """Every match, from left to right, none inside another one."""
    deadline = time.monotonic() + REGEX_FIND_ALL_MS_MAX / 1000
    start = index = counted = count = 0
    # as in MongoDB, nothing matches at the very end, except in an empty string
    while start < len(data) or start == 0:
        spans = find(data, start)
        if spans is None:
            return
        first, end = spans[0]
        index += len(data[counted:first].decode())
        counted = first
        yield {
            "match": data[first:end].decode(),
            "idx": index,
            "captures": [data[at:to].decode() if at >= 0 else None for at, to in spans[1:]],
        }
        start = end
        if end == first:
            # an empty match: go on behind the character that is there
            start += 1
            while start < len(data) and data[start] & 0xC0 == 0x80:
                start += 1
        count += 1
        if count % CHECKED_EVERY == 0 and time.monotonic() > deadline:
            raise LimitExceeded(
                "REGEX_FIND_ALL_MS_MAX",
                REGEX_FIND_ALL_MS_MAX,
                f"$regexFindAll took longer than {REGEX_FIND_ALL_MS_MAX} ms for one string of "
                f"{len(data)} bytes; make the expression match more at a time",
            )


def _apply(operator: str, find: Find, data: bytes) -> Any:
    if operator == "$regexMatch":
        return find(data, 0) is not None
    if operator == "$regexFind":
        return next(_matches(find, data), None)
    return list(_matches(find, data))


def _regex(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(operator, operand, ("input", "regex"), ("options",), codes=(51103, 31024, 31022))
    source = scope.run(given["input"])
    pattern, options = scope.compile(given["regex"]), scope.compile(given.get("options"))
    is_fixed = pattern.is_constant and options.is_constant and scope.is_folding
    fixed_find = _find_of(operator, pattern.value, options.value) if is_fixed else None
    pattern_run, options_run = pattern.run, options.run

    def run(root: Any, variables: dict[str, Any]) -> Any:
        text = source(root, variables)
        find = fixed_find
        if not is_fixed:
            find = _find_of(operator, pattern_run(root, variables), options_run(root, variables))
        if text is None or text is MISSING or find is None:
            nothing = NOTHING[operator]
            return list(nothing) if type(nothing) is list else nothing
        if not isinstance(text, str):
            raise refuse_kind(operator, "a string as its input", text, 51104)
        return _apply(operator, find, text.encode())

    return run


OPERATORS: Final[dict[str, Compiler]] = {
    "$regexFind": _regex,
    "$regexFindAll": _regex,
    "$regexMatch": _regex,
}
