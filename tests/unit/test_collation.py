"""Collations: what folds to the same, in which order folds lie, and filters that use them."""

from __future__ import annotations

from typing import Any

import pytest
from bson import DBRef
from bson.code import Code

from rango._ext.record import encode
from rango.engine.collation import WEIGHTS, Collation, collation_of
from rango.engine.filters import program_of
from rango.errors import InvalidArgument


def matches(filter: dict[str, Any], document: dict[str, Any], strength: int) -> bool:
    collation = {"locale": "en", "strength": strength}
    return program_of(filter, collation=collation).matches_bson(encode(document))


@pytest.mark.parametrize(
    ("left", "right", "equal_at"),
    [
        ("abc", "ABC", 2),
        ("abc", "abc", 3),
        ("resume", "résumé", 1),
        ("Resume", "résumé", 1),
        ("résumé", "re\u0301sume\u0301", 3),
        ("a\x00b", "ab", 3),
        ("ab", "ac", 0),
        ("a b", "ab", 0),
        ("strasse", "straße", 2),
        ("ΑΣ", "ας", 2),
    ],
)
def test_what_is_equal(left: str, right: str, equal_at: int) -> None:
    for strength in (1, 2, 3):
        collation = Collation("en", strength)
        assert (collation.fold(left) == collation.fold(right)) is (strength <= equal_at)


@pytest.mark.parametrize(
    ("strength", "ordered"),
    [
        (1, ["", " ", "_", "!", "~", "0", "9", "a", "ab", "b", "z", "ä\u00dfz", "β"]),
        (3, ["a", "A", "á", "Á", "ab", "aB", "Ab", "b", "B"]),
        (2, ["e", "é", "éa", "f"]),
    ],
)
def test_order(strength: int, ordered: list[str]) -> None:
    collation = Collation("en", strength)
    if strength == 1:
        ordered = [text for text in ordered if text != "ä\u00dfz"]
    assert sorted(reversed(ordered), key=collation.fold) == ordered


def test_the_case_level() -> None:
    collation = Collation("en", 1, case_level=True)
    assert collation.fold("e") == collation.fold("é")
    assert collation.fold("e") < collation.fold("E")


def test_a_fold_of_ascii_is_ascii_and_weights_are_in_order() -> None:
    text = "".join(map(chr, range(128)))
    for strength in (1, 2, 3):
        assert Collation("en", strength).fold(text).isascii()
    kept = [weight for weight in WEIGHTS if weight]
    assert min(kept) > 3
    assert len(set(kept)) == len(kept) - 26


def test_values_are_folded_however_deep() -> None:
    fold = Collation("en", 2).fold_value
    assert fold({"A": ["B", {"C": "D"}], "n": 1}) == {"A": ["b", {"C": "d"}], "n": 1}
    assert fold(Code("X")) == Code("X")
    assert fold(DBRef("C", "I")) == {"$ref": "c", "$id": "i"}


@pytest.mark.parametrize(
    ("filter", "document", "strengths"),
    [
        ({"a": "abc"}, {"a": "ABC"}, (1, 2)),
        ({"a": "abc"}, {"a": ["x", "äbc"]}, (1,)),
        ({"a": "äbc"}, {"a": "ABC"}, (1,)),
        ({"a": {"$in": ["x", "abc"]}}, {"a": "aBc"}, (1, 2)),
        ({"a": {"$in": [{"x": "Q"}, 5]}}, {"a": {"x": "q"}}, (1, 2)),
        ({"a": {"x": "Q"}}, {"a": {"X": "Q"}}, ()),
        ({"a": ["B"]}, {"a": ["b"]}, (1, 2)),
        ({"a": {"$gt": "b"}}, {"a": "C"}, (1, 2, 3)),
        ({"a": {"$gt": "b"}}, {"a": "A"}, ()),
        ({"a": {"$gt": "b"}}, {"a": "~"}, ()),
        ({"a": {"$gt": "b"}}, {"a": "é"}, (1, 2, 3)),
        ({"a": {"$gt": "a"}}, {"a": "A"}, (3,)),
        ({"a": {"$gte": "a"}}, {"a": "A"}, (1, 2, 3)),
        ({"a": {"$ne": "a"}}, {"a": "A"}, (3,)),
        ({"a": {"$all": ["a", "B"]}}, {"a": ["A", "b"]}, (1, 2)),
        ({"a": {"$elemMatch": {"b": "x"}}}, {"a": [{"b": "X"}]}, (1, 2)),
        ({"a": {"$elemMatch": {"$lte": "x"}}}, {"a": ["X"]}, (1, 2)),
        ({"a": {"$regex": "^abc"}}, {"a": "ABC"}, ()),
        ({"a": {"$type": "string"}}, {"a": "ABC"}, (1, 2, 3)),
        ({"a": 5}, {"a": 5.0}, (1, 2, 3)),
        ({"a": None}, {}, (1, 2, 3)),
        ({"_id": "x"}, {"_id": "X"}, (1, 2)),
    ],
)
def test_filters_compare_folded_strings(
    filter: dict[str, Any], document: dict[str, Any], strengths: tuple[int, ...]
) -> None:
    assert tuple(s for s in (1, 2, 3) if matches(filter, document, s)) == strengths


def test_programs_say_their_collation() -> None:
    program = program_of({"_id": "x"}, collation={"locale": "en", "strength": 2})
    assert program.collation == Collation("en", 2)
    assert not program.is_id_only
    assert program_of({"a": "x"}, collation={"locale": "simple"}).collation is None
    assert program_of({"a": "x"}) is program_of({"a": "x"}, collation={"locale": "simple"})
    assert program_of({"a": "x"}) is not program_of({"a": "x"}, collation={"locale": "en"})


@pytest.mark.parametrize(
    ("collation", "message"),
    [
        ({}, "locale"),
        ({"locale": 5}, "locale"),
        ({"locale": "sv"}, "known are"),
        ({"locale": "en", "strength": 4}, "strength"),
        ({"locale": "en", "strength": True}, "strength"),
        ({"locale": "en", "caseLevel": 1}, "caseLevel"),
        ({"locale": "en", "numericOrdering": True}, "numericOrdering"),
        ({"locale": "en", "caseFirst": "upper"}, "caseFirst"),
        ({"locale": "en", "alternate": "shifted"}, "alternate"),
        ({"locale": "en", "backwards": True}, "backwards"),
        ({"locale": "en", "strenght": 2}, "no option"),
        ("en", "document"),
    ],
)
def test_what_is_not_supported(collation: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        collation_of(collation)
