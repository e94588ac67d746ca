"""$regexMatch, $regexFind and $regexFindAll."""

from __future__ import annotations

import re
from typing import Any

import pytest
from bson.regex import Regex

from tests.unit.expression_case import fails, refused, value_of

TEXT = "caf\u00e9 Carlo, carlo@x.org"


def found(name: str, regex: Any, **more: Any) -> Any:
    """The value of an operator for TEXT."""
    return value_of({name: {"input": "$t", "regex": regex, **more}}, {"t": TEXT, "r": "[A-Z]"})


def test_a_match_has_its_place_in_code_points_and_its_groups() -> None:
    assert found("$regexFind", "([a-z])(ar)(z)?", options="i") == {
        "match": "Car",
        "idx": 5,
        "captures": ["C", "ar", None],
    }
    assert found("$regexFind", "nothing") is None


def test_all_matches_come_in_order_and_do_not_overlap() -> None:
    matches = found("$regexFindAll", Regex("car", "i"))
    assert [(match["match"], match["idx"]) for match in matches] == [("Car", 5), ("car", 12)]
    assert found("$regexFindAll", "zzz") == []
    assert value_of({"$regexFindAll": {"input": "aaaa", "regex": "aa"}})[1]["idx"] == 2


def test_empty_matches_go_on_behind_the_next_character_and_not_at_the_end() -> None:
    matches = value_of({"$regexFindAll": {"input": "\u00e9b", "regex": "x*"}})
    assert [match["idx"] for match in matches] == [0, 1]
    matches = value_of({"$regexFindAll": {"input": "\u00e9b", "regex": "b*"}})
    assert [(match["match"], match["idx"]) for match in matches] == [("", 0), ("b", 1)]
    assert len(value_of({"$regexFindAll": {"input": "", "regex": "x*"}})) == 1


def test_match_takes_patterns_of_every_form() -> None:
    assert found("$regexMatch", "^caf") is True
    assert found("$regexMatch", re.compile("CARLO", re.IGNORECASE)) is True
    assert found("$regexMatch", "$r") is True
    assert found("$regexMatch", "CARLO@", options="i") is True
    assert found("$regexMatch", "CARLO@") is False


def test_null_matches_nothing() -> None:
    for name, nothing in (("$regexMatch", False), ("$regexFind", None), ("$regexFindAll", [])):
        assert value_of({name: {"input": "$x", "regex": "a"}}) == nothing
        assert value_of({name: {"input": "a", "regex": None}}) == nothing
        assert value_of({name: {"input": "a", "regex": "a", "options": None}}) != nothing


@pytest.mark.parametrize(
    ("operand", "code"),
    [
        ({"input": 1, "regex": "a"}, 51104),
        ({"input": "a", "regex": 1}, 51105),
        ({"input": "a", "regex": "a", "options": 1}, 51106),
        ({"input": "a", "regex": Regex("a", "i"), "options": "i"}, 51107),
        ({"input": "a", "regex": "a", "options": "q"}, 51108),
        ({"input": "a", "regex": "a\0"}, 51109),
        ({"input": "a", "regex": "a", "options": "\0"}, 51110),
        ({"input": "a", "regex": "("}, 51111),
        ({"input": "a", "regex": "(?=a)"}, 51111),
    ],
)
def test_errors_have_the_code_of_mongodb(operand: Any, code: int) -> None:
    fails({"$regexFind": operand}, None, code)
    given = {**operand, "regex": "$r"} if isinstance(operand["regex"], str) else operand
    fails({"$regexFindAll": given}, {"r": operand["regex"]}, code)


def test_what_is_malformed_is_refused() -> None:
    refused({"$regexFind": "a"}, 51103)
    refused({"$regexFind": {"input": "a", "regex": "a", "x": 1}}, 31024)
    refused({"$regexFind": {"regex": "a"}}, 31022)


def test_an_evil_expression_is_linear() -> None:
    text = "a" * 50_000
    assert value_of({"$regexMatch": {"input": text, "regex": "(a+)+$b"}}) is False
    assert value_of({"$regexFind": {"input": text, "regex": "(a|aa)+$"}})["match"] == text
