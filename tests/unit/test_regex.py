"""Regular expressions: PCRE's notation on a linear engine, and what is refused."""

from __future__ import annotations

import re

import pytest

from rango.engine.regex import compile_regex, literal_prefix
from rango.errors import InvalidFilter, LimitExceeded
from tests.evil import EVIL_PATTERNS, SUBJECTS


def found(pattern: str, text: str, options: str = "") -> bool:
    kind, literal, test = compile_regex("a", pattern, options)
    data = text.encode()
    if kind == "prefix":
        return data.startswith(literal)
    if literal not in data:
        return False
    return True if test is None else test(data)


@pytest.mark.parametrize(
    ("pattern", "kind", "literal"),
    [
        ("", "contains", ""),
        ("^", "contains", ""),
        ("abc", "contains", "abc"),
        ("a\\.b", "contains", "a.b"),
        ("\\Qa.b\\Ec", "contains", "a.bc"),
        ("^abc", "prefix", "abc"),
        ("\\Aabc", "prefix", "abc"),
        ("^ä\\/b", "prefix", "ä/b"),
        ("^abc$", "call", "abc"),
        ("ab+c", "call", "ab"),
        ("ab*cde", "call", "cde"),
        ("a|b", "call", ""),
        ("(abc)d", "call", "d"),
        ("ab?(x|y)cd", "call", "cd"),
        ("a{2}bc", "call", "bc"),
        ("a{b", "contains", "a{b"),
        ("a\\x41bc", "call", "bc"),
        ("a\\dbc", "call", "bc"),
        ("a\\pLbc", "call", "bc"),
        ("a[xyz]bc", "call", "bc"),
        ("a(?i)bc", "call", ""),
    ],
)
def test_the_text_that_every_match_has(pattern: str, kind: str, literal: str) -> None:
    assert compile_regex("a", pattern, "")[:2] == (kind, literal.encode())


@pytest.mark.parametrize("options", ["i", "x", "ix"])
def test_options_that_change_a_text(options: str) -> None:
    assert compile_regex("a", "^ab", options)[0] == ("call" if "i" in options else "prefix")


@pytest.mark.parametrize(
    ("pattern", "options", "yes", "no"),
    [
        ("a$", "", ["ba", "ba\n"], ["ab", "a\n\n"]),
        ("a$", "m", ["a\nb"], ["ab"]),
        ("^a", "m", ["b\na"], ["ba"]),
        ("a.b", "", ["axb"], ["a\nb"]),
        ("a.b", "s", ["a\nb"], ["ab"]),
        ("A B", "ix", ["ab"], ["a b"]),
        ("a # c\nb", "x", ["ab"], ["a"]),
        ("a(?#c)b", "", ["ab"], ["a"]),
        ("(?x)a b", "", ["ab"], ["a b"]),
        ("(?x: a b ) c", "", ["ab c"], ["abc"]),
        ("(?i-x:A)b", "x", ["ab"], ["aB"]),
        ("(?s-m)a.b$", "m", ["a\nb"], ["a\nb\nc"]),
        ("(?<y>a)(?'z'b)(?P<w>c)", "", ["abc"], ["ab"]),
        ("\\s", "", ["\v", " ", "\t"], ["x", "\u00a0"]),
        ("[\\s,]x", "", ["\vx", ",x"], ["xx"]),
        ("[^\\S]", "", ["\v", " "], ["x"]),
        ("\\S", "", ["x"], ["\v", " "]),
        ("\\h\\H", "", ["\u00a0x"], ["xx"]),
        ("\\v\\V", "", ["\nx"], ["\n\n"]),
        ("\\R", "", ["\r\n", "\u2028"], ["x"]),
        ("\\N", "", ["x"], ["\n"]),
        ("a\\Z", "", ["a", "a\n"], ["a\n\n"]),
        ("a\\z", "", ["a"], ["a\n"]),
        ("\\e", "", ["\x1b"], ["e"]),
        ("[]a]", "", ["]", "a"], ["b"]),
        ("[^]a]", "", ["b"], ["]"]),
        ("[[:digit:]x]", "", ["5", "x"], [":"]),
        ("[a[]", "", ["["], ["b"]),
        ("[\\b]", "", ["\x08"], ["b"]),
        ("[\\_\\-]", "", ["_", "-"], ["b"]),
        ("\\_\\ä", "", ["_ä"], ["_a"]),
        ("a{2,3}?b", "", ["aab"], ["ab"]),
        ("a{,3}", "", ["a{,3}"], ["aa"]),
        ("\\bcat\\b", "", ["a cat"], ["cats"]),
        ("\\d+\\w", "", ["12x"], ["x"]),
        ("\\x41\\x{e4}", "", ["Aä"], ["Aa"]),
        ("\\Q.*\\E+", "", [".**"], ["a"]),
        ("\\p{Greek}", "", ["λ"], ["a"]),
        ("straße", "i", ["STRAßE"], ["x"]),
        ("x|", "", ["", "y"], []),
    ],
)
def test_notation(pattern: str, options: str, yes: list[str], no: list[str]) -> None:
    for text in yes:
        assert found(pattern, text, options), text
    for text in no:
        assert not found(pattern, text, options), text


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(?=a)", "look-ahead"),
        ("(?!a)", "look-ahead"),
        ("(?<=a)b", "look-behind"),
        ("(?<!a)b", "look-behind"),
        ("(a)\\1", "backreference"),
        ("(?P<x>a)(?P=x)", "backreference"),
        ("(a)\\g1", "backreference"),
        ("(?<x>a)\\k<x>", "backreference"),
        ("(?>a)", "atomic"),
        ("a++b", "possessive"),
        ("a{2}+b", "possessive"),
        ("(?R)", "recursion"),
        ("(?1)", "recursion"),
        ("(?(1)a|b)", "condition"),
        ("(?|a|b)", "branch reset"),
        ("(", "not understood"),
        (")", "not understood"),
        ("[", "not understood"),
        ("*", "not understood"),
        ("a\\", "not understood"),
        ("a{1001}", "repetition"),
        ("\\pL{900}{900}", "not understood"),
        ("(*VERB)", "not understood"),
    ],
)
def test_what_the_engine_does_not_have(pattern: str, message: str) -> None:
    with pytest.raises(InvalidFilter, match=message):
        compile_regex("a", pattern, "")


@pytest.mark.parametrize(
    ("pattern", "options", "prefix"),
    [
        ("^abc.*d", "", "abc"),
        ("^ab+c", "", "ab"),
        ("^ab*c", "", "a"),
        ("^a|b", "", ""),
        ("^abc", "i", ""),
        ("^abc", "m", ""),
        ("^ab c", "x", "abc"),
        ("abc", "", ""),
        ("^(abc)", "", ""),
        ("^(?=a)", "", ""),
    ],
)
def test_the_prefix_for_index_bounds(pattern: str, options: str, prefix: str) -> None:
    assert literal_prefix(pattern, options) == prefix


def test_large_programs_do_not_read_long_strings() -> None:
    test = compile_regex("a", "(.{0,100}){10}z", "")[2]
    assert test is not None
    assert test(b"x" * 100 + b"z")
    with pytest.raises(LimitExceeded, match="counted repetitions") as caught:
        test(b"x" * 50_000)
    assert caught.value.limit == "REGEX_WORK_MAX"


@pytest.mark.parametrize("pattern", EVIL_PATTERNS[::8])
def test_evil_patterns_end(pattern: str) -> None:
    for subject in SUBJECTS:
        try:
            test = compile_regex("a", pattern, "")[2]
            assert test is None or test(subject) in (True, False)
        except (InvalidFilter, LimitExceeded):
            continue


def test_literals_agree_with_the_standard_library() -> None:
    texts = ["abc", "xabcx", "ab", "", "a.c", "ABC"]
    for pattern in ("abc", "^abc", "a\\.c", "^ab", "b+c", "a.c", "^a.*c$", "c$", "x?a"):
        for text in texts:
            assert found(pattern, text) is bool(re.search(pattern, text)), (pattern, text)
