"""Two hundred patterns that make backtracking engines run for ever, and strings to run them on."""

from __future__ import annotations

from typing import Final

SUBJECT_SIZE: Final = 50_000

SUBJECTS: Final = (
    b"a" * (SUBJECT_SIZE - 1) + b"!",
    (b"ab" * SUBJECT_SIZE)[:SUBJECT_SIZE],
    (b"The quick brown fox jumps over 12 lazy dogs! " * 1200)[:SUBJECT_SIZE],
)

_NESTED = [
    f"({atom}{inner}){outer}{end}"
    for atom in ("a", "[a-z]", "\\w", ".", "(?:a|b)")
    for inner in ("+", "*")
    for outer in ("+", "*", "{2,}")
    for end in ("$", "!$", "x")
]
_OVERLAPPING = [
    f"{start}({one}|{two})*{end}"
    for start in ("", "^")
    for one, two in (("a", "a"), ("a", "ab?"), ("a+", "b+"), ("\\w", "\\d"), (".", "\\s"))
    for end in ("c$", "z", "\\d{3}$")
]
_SEQUENCES = [
    f"{atom}{end}"
    for atom in ("a*" * 20, "a?" * 50 + "a" * 50, "\\w*" * 20, ".*" * 20, "(.*a){11}", "(.*,){12}")
    for end in ("z", "$b", "\\d$")
]
_COUNTED = [
    f"({atom}{{1,{inner}}}){{1,{outer}}}{end}"
    for atom in ("a", "\\w", "[ab]")
    for inner, outer in ((10, 10), (30, 30), (3, 200))
    for end in ("z", "!$")
]
_FAMOUS = [
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "^([a-zA-Z0-9])(([\\-.]|[_]+)?([a-zA-Z0-9]+))*(@){1}[a-z0-9]+[.]{1}(([a-z]{2,3})|([a-z]{2}))$",
    "(x+x+)+y",
    "(?:(?:a|b|ab)*)*c",
    "([^,]*,){20}z",
    "\\s+$",
    "(.+)+\\)$",
    "^(.*?,){11}P",
    "(?i)(?:aa|a)+b",
    "(a|b)*a(a|b){12}c",
    "[ab]*a[ab]{20}c",
    "((a*)*)*b",
    "(((a+)+)+)+$",
    "^\\d*[0-9](|.\\d*[0-9]|)*$",
    "<(?:\"[^\"]*\"|'[^']*'|[^>])*>$",
    '(?:[^"\\\\]|\\\\.)*"$',
    "(=+|-+|\\w+)*;$",
    "^(?:a?){100}a{100}b",
    "(\\w+\\s?){1,20}!!$",
    "a.{100}b",
    "(?=a+)+b",
    "(a)\\1+$",
    "(?>a+)b",
    "a++b",
    "(.{0,100}){10}z",
    ".{1000}b",
]


def _many() -> list[str]:
    found = list(dict.fromkeys([*_FAMOUS, *_COUNTED, *_SEQUENCES, *_OVERLAPPING, *_NESTED]))
    found += [
        f"({word}|{word}{word})+$" for word in ("ab", "ba", "a!", "fox", "dog", "1", "2", "z")
    ]
    number = 0
    while len(found) < 200:
        number += 1
        found.append(f"(?:a{{0,{number}}}b?)*c{{{number}}}$")
    return found[:200]


EVIL_PATTERNS: Final = _many()
