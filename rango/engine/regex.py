"""Regular expressions: PCRE's notation, RE2's engine.

Terms       text: what every match has in it, as bytes; prefix: what every match begins with.
Invariants  Time is linear in the subject, and no pattern is exponential: RE2 has no backtracking.
            A counted repetition can still make a large program, so that subject size times program
            size is bounded (REGEX_WORK_MAX). A pattern that is only a text never reaches RE2.
Failure     InvalidFilter: what RE2 does not have (look-around, backreferences, atomic groups,
            possessive quantifiers, recursion), or what is no expression. LimitExceeded: the bound.
Sources     RE2 syntax; PCRE2 pattern syntax; ADR-0014.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import re2

from rango.errors import InvalidFilter, LimitExceeded
from rango.limits import REGEX_MEMORY_BYTES_MAX, REGEX_WORK_MAX

Kind = Literal["prefix", "contains", "call"]
Test = Callable[[bytes], bool]
Find = Callable[[bytes, int], list[tuple[int, int]] | None]

_SPACES: Final = r"\t-\r "
_HORIZONTAL: Final = r"\t \x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}"
_VERTICAL: Final = r"\n-\r\x{85}\x{2028}\x{2029}"
_SETS: Final = {"s": _SPACES, "h": _HORIZONTAL, "v": _VERTICAL}
_ESCAPES: Final = {
    "Z": r"(?:\n?\z)",
    "R": rf"(?:\r\n|[{_VERTICAL}])",
    "N": r"[^\n]",
    "e": r"\x1B",
}
_REFUSED_GROUPS: Final = (
    ("?=", "look-ahead"),
    ("?!", "look-ahead"),
    ("?<=", "look-behind"),
    ("?<!", "look-behind"),
    ("?>", "an atomic group"),
    ("?|", "a branch reset"),
    ("?(", "a condition"),
    ("?P=", "a backreference"),
    ("?P>", "recursion"),
    ("?&", "recursion"),
    ("?R", "recursion"),
)
_END: Final = r"(?:\n?\z)"
_BRACED: Final = r"\{[^}]*\}"
_OPERANDS: Final = {
    "x": re.compile(rf"{_BRACED}|[0-9A-Fa-f]{{1,2}}"),
    "p": re.compile(rf"{_BRACED}|."),
    "P": re.compile(rf"{_BRACED}|."),
    "o": re.compile(_BRACED),
    "0": re.compile("[0-7]{1,2}"),
    "c": re.compile("."),
}
_QUANTIFIERS: Final = "*+?{"


@dataclass(slots=True)
class _Scope:
    """The options that hold inside a group."""

    extended: bool
    multiline: bool


@dataclass(slots=True)
class _Reader:
    """Reads a pattern once: its translation, and the literal characters outside of groups."""

    path: str
    pattern: str
    scopes: list[_Scope]
    at: int = 0
    out: list[str] = field(default_factory=list)
    # None breaks a text; "^" and "$" are anchors as (anchor,)
    atoms: list[str | tuple[str] | None] = field(default_factory=list)
    is_simple: bool = True

    def read(self) -> None:
        while self.at < len(self.pattern):
            self._token()

    def _refuse(self, what: str) -> InvalidFilter:
        return InvalidFilter(
            f"{self.path!r}: $regex {self.pattern!r:.100} has {what}, which the engine (RE2) does "
            "not have, because it would not be linear in time; say it with several conditions",
            code=51091,
        )

    def _atom(self, atom: str | tuple[str] | None) -> None:
        if len(self.scopes) == 1:
            self.atoms.append(atom)

    def _token(self) -> None:
        char = self.pattern[self.at]
        scope = self.scopes[-1]
        self.at += 1
        if char == "\\":
            self._escape()
        elif char == "[":
            self._class()
        elif char == "(":
            self._group()
        elif char == ")":
            self.out.append(char)
            if len(self.scopes) > 1:
                self.scopes.pop()
            self._atom(None)
        elif char == "|":
            self.out.append(char)
            self.is_simple = self.is_simple and len(self.scopes) > 1
        elif char == "^":
            self.out.append(char)
            self._atom(None if scope.multiline else ("^",))
        elif char == "$":
            self.out.append(char if scope.multiline else _END)
            self._atom(None)
        elif char in _QUANTIFIERS:
            self._quantifier(char)
        elif scope.extended and char in " \t\n\v\f\r":
            pass
        elif scope.extended and char == "#":
            end = self.pattern.find("\n", self.at)
            self.at = len(self.pattern) if end < 0 else end + 1
        else:
            self.out.append(char)
            self._atom(None if char == "." else char)

    def _quantifier(self, char: str) -> None:
        self.out.append(char)
        if char == "{":
            end = self.pattern.find("}", self.at)
            counts = self.pattern[self.at : end].split(",") if end > 0 else [""]
            if not (counts[0].isdigit() and all(count.isdigit() or not count for count in counts)):
                self._atom("{")
                return
            self.out.append(self.pattern[self.at : end + 1])
            self.at = end + 1
        if self.pattern[self.at : self.at + 1] == "+":
            raise self._refuse("a possessive quantifier")
        if self.pattern[self.at : self.at + 1] == "?":
            self.out.append("?")
            self.at += 1
        if len(self.scopes) == 1 and self.atoms:
            # one or more: the character is there at least once, and what follows does not join it
            if char != "+" or not isinstance(self.atoms[-1], str):
                self.atoms.pop()
            self.atoms.append(None)

    def _escape(self) -> None:
        char = self.pattern[self.at : self.at + 1]
        self.at += 1
        if char in "123456789gk" and char:
            raise self._refuse("a backreference")
        if char == "Q":
            end = self.pattern.find("\\E", self.at)
            end = len(self.pattern) if end < 0 else end
            for literal in self.pattern[self.at : end]:
                self.out.append(re2.escape(literal))
                self._atom(literal)
            self.at = end + 2
        elif char.lower() in _SETS and char:
            self.out.append(f"[{'^' if char.isupper() else ''}{_SETS[char.lower()]}]")
            self._atom(None)
        elif char == "A":
            self.out.append("\\A")
            self._atom(("^",))
        elif char in _ESCAPES:
            self.out.append(_ESCAPES[char])
            self._atom(None)
        elif char == "_" or char > "\x7f":
            self.out.append(char)
            self._atom(char)
        else:
            self.out.append("\\" + char)
            self._atom(None if char.isalnum() else char)
            operand = _OPERANDS.get(char)
            if operand is not None and (found := operand.match(self.pattern, self.at)):
                self.out.append(found[0])
                self.at = found.end()

    def _class(self) -> None:
        start = self.at
        if self.pattern[self.at : self.at + 1] == "^":
            self.at += 1
        if self.pattern[self.at : self.at + 1] == "]":
            self.at += 1
        self.out.append("[" + self.pattern[start : self.at])
        while self.at < len(self.pattern) and self.pattern[self.at] != "]":
            self._class_part()
        self.out.append(self.pattern[self.at : self.at + 1])
        self.at += 1
        self._atom(None)

    def _class_part(self) -> None:
        end = self.pattern.find(":]", self.at + 2)
        if self.pattern.startswith("[:", self.at) and end > 0:
            self.out.append(self.pattern[self.at : end + 2])
            self.at = end + 2
            return
        char = self.pattern[self.at]
        self.at += 1
        if char == "\\":
            char = self.pattern[self.at : self.at + 1]
            self.at += 1
            if char in _SETS:
                char = _SETS[char]
            elif char == "b":
                char = "\\x08"
            elif char == "S":
                char = "\\x00-\\x08\\x0E-\\x1F!-\\x{10FFFF}"
            elif char != "_" and char <= "\x7f":
                char = "\\" + char
        elif char == "[":
            char = "\\["
        self.out.append(char)

    def _group(self) -> None:
        rest = self.pattern[self.at : self.at + 4]
        for sign, what in _REFUSED_GROUPS:
            if rest.startswith(sign):
                raise self._refuse(what)
        scope = self.scopes[-1]
        if rest.startswith("?#"):
            self.at = self.pattern.find(")", self.at) + 1 or len(self.pattern)
            return
        self._atom(None)
        if rest.startswith("?<") or rest.startswith("?'"):
            self.out.append("(?P<")
            self.at += 2
            if rest[1] == "'":
                end = self.pattern.find("'", self.at)
                self.out.append(self.pattern[self.at : end] + ">")
                self.at = end + 1
        elif rest.startswith("?") and not rest.startswith("?P"):
            self._flags(scope)
            return
        else:
            self.out.append("(")
        self.scopes.append(_Scope(scope.extended, scope.multiline))

    def _flags(self, scope: _Scope) -> None:
        # (?flags) or (?flags:...); x is ours, the others are RE2's
        end = self.at + 1
        while end < len(self.pattern) and self.pattern[end] not in ":)":
            end += 1
        flags = self.pattern[self.at + 1 : end]
        if flags[:1].isdigit() or flags[1:2].isdigit():
            raise self._refuse("recursion")
        inner = _Scope(scope.extended, scope.multiline)
        on, _, off = flags.partition("-")
        inner.extended = ("x" in on or inner.extended) and "x" not in off
        inner.multiline = ("m" in on or inner.multiline) and "m" not in off
        is_group = self.pattern[end : end + 1] == ":"
        kept = on.replace("x", "") + ("-" + off.replace("x", "") if off.replace("x", "") else "")
        self.at = end + 1
        if is_group:
            self.out.append(f"(?{kept}:")
            self.scopes.append(inner)
            return
        self.is_simple = False
        self.scopes[-1] = inner
        if kept:
            self.out.append(f"(?{kept})")


def _read(path: str, pattern: str, options: str) -> _Reader:
    reader = _Reader(path, pattern, [_Scope("x" in options, "m" in options)])
    reader.read()
    return reader


def _texts(reader: _Reader, options: str) -> tuple[str, str, bool]:
    """(prefix, longest text, is the whole pattern that text)."""
    if not reader.is_simple or "i" in options:
        return "", "", False
    atoms = reader.atoms
    is_anchored = atoms[:1] == [("^",)]
    if is_anchored:
        atoms = atoms[1:]
    runs = [""]
    for atom in atoms:
        if isinstance(atom, str):
            runs[-1] += atom
        else:
            runs.append("")
    prefix = runs[0] if is_anchored else ""
    return prefix, max(runs, key=len), len(runs) == 1


def literal_prefix(pattern: str, options: str) -> str:
    """What every string that the expression matches begins with; "" if nothing is known.

    For index bounds: strings from the prefix to its successor, and stored regular expressions that
    are equal to this one, which also match.
    """
    try:
        reader = _read("", pattern, options)
    except InvalidFilter:
        return ""
    return _texts(reader, options)[0]


def compile_regex(path: str, pattern: str, options: str) -> tuple[Kind, bytes, Test | None]:
    """How to test a string: by a text alone, or by a text (may be empty) and then a function."""
    reader = _read(path, pattern, options)
    prefix, text, is_whole = _texts(reader, options)
    test = _tester(path, pattern, "".join(reader.out), options)
    if is_whole:
        return ("prefix", prefix.encode(), None) if prefix else ("contains", text.encode(), None)
    return "call", text.encode(), test


def compile_finder(path: str, pattern: str, options: str) -> Find:
    """How to find a match and its groups in UTF-8, from an offset on.

    The spans are in bytes, the whole match first; a group that took no part is (-1, -1).
    """
    translated = "".join(_read(path, pattern, options).out)
    compiled = _compiled(path, pattern, translated, options, never_capture=False)
    longest = REGEX_WORK_MAX // max(compiled.programsize, 1)
    groups = range(compiled.groups + 1)

    def find(data: bytes, start: int) -> list[tuple[int, int]] | None:
        if len(data) > longest:
            raise _too_large(path, pattern, len(data), compiled.programsize)
        match = compiled.search(data, start)
        return None if match is None else [match.span(group) for group in groups]

    return find


def _too_large(path: str, pattern: str, size: int, program_size: int) -> LimitExceeded:
    return LimitExceeded(
        "REGEX_WORK_MAX",
        size * program_size,
        f"{path!r}: $regex {pattern!r:.100} is too large for {size} bytes; "
        "make its counted repetitions smaller",
    )


def _compiled(
    path: str, pattern: str, translated: str, options: str, *, never_capture: bool
) -> Any:
    settings: Any = re2.Options()
    settings.max_mem = REGEX_MEMORY_BYTES_MAX
    settings.never_capture = never_capture
    settings.log_errors = False
    flags = "".join(flag for flag in "ims" if flag in options)
    try:
        return re2.compile(f"(?{flags}){translated}" if flags else translated, settings)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        said = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        raise InvalidFilter(
            f"{path!r}: $regex {pattern!r:.100} is not understood: {said}; see "
            "docs/reference/filter.md for what the engine (RE2) does not have",
            code=51091,
        ) from error


def _tester(path: str, pattern: str, translated: str, options: str) -> Test:
    compiled = _compiled(path, pattern, translated, options, never_capture=True)
    longest = REGEX_WORK_MAX // max(compiled.programsize, 1)
    search = _search_of(compiled)

    def test(data: bytes) -> bool:
        if len(data) > longest:
            raise _too_large(path, pattern, len(data), compiled.programsize)
        return search(data)

    return test


def _search_of(compiled: Any) -> Test:
    # the engine itself, without the objects that the module makes of a match: 2.6 us instead of 7.4
    try:
        match, anywhere = compiled._regexp.Match, re2._Anchor.UNANCHORED
    except AttributeError:
        return lambda data: compiled.search(data) is not None
    return lambda data: match(anywhere, data, 0, len(data))[0][0] >= 0
