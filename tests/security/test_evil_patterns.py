"""Evil patterns through every door where a pattern enters: all reach the same linear engine.

Method      each door is run with each of the 200 patterns on a string that a backtracking engine
            would not leave. What it answers is compared with what the engine says of the pattern
            and the string; a pattern that the engine does not have is refused by a typed error at
            each door. Python's own `re` is watched meanwhile: no pattern may reach it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bson.regex import Regex

import rango
from rango.engine.regex import compile_regex
from rango.errors import InvalidFilter, RangoError
from tests.evil import EVIL_PATTERNS

SUBJECT = "a" * 1999 + "!"
DOCUMENT = {"_id": 1, "a": SUBJECT, "l": [SUBJECT], "d": [{"a": SUBJECT}], SUBJECT[:300]: 1}
PLAIN = {"_id": 0, "a": 5, "l": [], "d": []}

Door = Callable[[rango.Collection, str], bool]
"""Whether the string matches, as this door says."""


def found(filter_of: Callable[[str], dict[str, Any]]) -> Door:
    """A door that is a filter; it is true of the document if the pattern matches."""
    return lambda c, pattern: c.count_documents({"_id": 1, **filter_of(pattern)}) == 1


def missed(filter_of: Callable[[str], dict[str, Any]]) -> Door:
    """A door that is a filter; it is false of the document if the pattern matches."""
    return lambda c, pattern: c.count_documents({"_id": 1, **filter_of(pattern)}) == 0


def computed(expression_of: Callable[[str], Any]) -> Door:
    """A door that is an expression in a pipeline."""

    def door(c: rango.Collection, pattern: str) -> bool:
        stages = [{"$match": {"_id": 1}}, {"$set": {"r": expression_of(pattern)}}]
        return bool(next(c.aggregate(stages))["r"])

    return door


def matches(pattern: str) -> dict[str, Any]:
    return {"$regexMatch": {"input": "$a", "regex": pattern}}


def changes(c: rango.Collection, update: Any, **options: Any) -> bool:
    """Whether an update changes the document, which is put back."""
    is_changed = c.update_one({"_id": 1}, update, **options).modified_count == 1
    c.replace_one({"_id": 1}, DOCUMENT)
    return is_changed


def pushed_through(c: rango.Collection, stage: dict[str, Any]) -> bool:
    """Whether a stage whose field `r` is a list leaves anything in it."""
    stages = [{"$match": {"_id": 1}}, {"$limit": 1}, stage, {"$match": {"r.0": {"$exists": True}}}]
    return next(c.aggregate(stages), None) is not None


def joined(pattern: str, **more: Any) -> dict[str, Any]:
    inner = [{"$match": {"_id": 1, "a": {"$regex": pattern}}}]
    return {"$lookup": {"from": "c", "pipeline": inner, "as": "r", **more}}


def walked(pattern: str) -> dict[str, Any]:
    return {
        "$graphLookup": {
            "from": "c",
            "startWith": "$a",
            "connectFromField": "none",
            "connectToField": "a",
            "as": "r",
            "restrictSearchWithMatch": {"a": {"$regex": pattern}},
        }
    }


DOORS: dict[str, Door] = {
    "$regex": found(lambda p: {"a": {"$regex": p}}),
    "a Regex": found(lambda p: {"a": Regex(p)}),
    "$regex of a Regex": found(lambda p: {"a": {"$regex": Regex(p)}}),
    "$options": found(lambda p: {"a": {"$regex": p, "$options": "s"}}),
    "$in": found(lambda p: {"a": {"$in": ["x", Regex(p)]}}),
    "$nin": missed(lambda p: {"a": {"$nin": ["x", Regex(p)]}}),
    "$not": missed(lambda p: {"a": {"$not": Regex(p)}}),
    "$not of $regex": missed(lambda p: {"a": {"$not": {"$regex": p}}}),
    "$or": found(lambda p: {"$or": [{"a": 7}, {"a": {"$regex": p}}]}),
    "$nor": missed(lambda p: {"$nor": [{"a": {"$regex": p}}]}),
    "$all": found(lambda p: {"l": {"$all": [Regex(p)]}}),
    "an array": found(lambda p: {"l": {"$regex": p}}),
    "$elemMatch": found(lambda p: {"l": {"$elemMatch": {"$regex": p}}}),
    "$elemMatch of documents": found(lambda p: {"d": {"$elemMatch": {"a": {"$regex": p}}}}),
    "an indexed field": lambda c, p: [each["_id"] for each in c.find({"k": {"$regex": p}})] == [1],
    "a covered query": lambda c, p: bool(c.find_many({"k": Regex(p)}, {"k": 1, "_id": 0})),
    "a collation": lambda c, p: bool(
        c.find_many({"_id": 1, "a": {"$regex": p}}, collation={"locale": "en", "strength": 2})
    ),
    "$jsonSchema pattern": found(
        lambda p: {"$jsonSchema": {"properties": {"a": {"pattern": p}}}},
    ),
    "$jsonSchema patternProperties": missed(
        lambda p: {"$jsonSchema": {"patternProperties": {p: {"type": "array"}}}},
    ),
    "$expr": found(lambda p: {"$expr": matches(p)}),
    "$regexMatch": computed(matches),
    "$regexMatch of a Regex": computed(
        lambda p: {"$regexMatch": {"input": "$a", "regex": Regex(p)}}
    ),
    "$regexFind": computed(lambda p: {"$regexFind": {"input": "$a", "regex": p}}),
    "$regexFindAll": computed(
        lambda p: {"$size": {"$regexFindAll": {"input": "$a", "regex": p, "options": "s"}}}
    ),
    "a pattern from the document": computed(
        lambda p: {
            "$let": {
                "vars": {"p": {"$concat": [{"$literal": p}, {"$substrCP": ["$a", 0, 0]}]}},
                "in": {"$regexMatch": {"input": "$a", "regex": "$$p"}},
            }
        }
    ),
    "$switch": computed(
        lambda p: {"$switch": {"branches": [{"case": matches(p), "then": 1}], "default": 0}}
    ),
    "$filter": computed(
        lambda p: {
            "$size": {
                "$filter": {
                    "input": "$l",
                    "cond": {"$regexMatch": {"input": "$$this", "regex": p}},
                }
            }
        }
    ),
    "a projection": lambda c, p: bool(c.find_one({"_id": 1}, {"r": matches(p)})["r"]),
    "$elemMatch of a projection": lambda c, p: (
        "l" in c.find_one({"_id": 1}, {"l": {"$elemMatch": {"$regex": p}}})
    ),
    "the positional operator": lambda c, p: bool(
        c.find_many({"_id": 1, "l": {"$regex": p}}, {"l.$": 1})
    ),
    "$match": lambda c, p: bool(c.aggregate([{"$match": {"_id": 1, "a": Regex(p)}}]).to_list()),
    "$match later": lambda c, p: bool(
        c.aggregate([{"$match": {"_id": 1}}, {"$limit": 1}, {"$match": {"a": Regex(p)}}]).to_list()
    ),
    "$group": lambda c, p: bool(
        next(c.aggregate([{"$match": {"_id": 1}}, {"$group": {"_id": matches(p)}}]))["_id"]
    ),
    "$redact": lambda c, p: bool(
        c.aggregate(
            [
                {"$match": {"_id": 1}},
                {"$redact": {"$cond": [matches(p), "$$KEEP", "$$PRUNE"]}},
            ]
        ).to_list()
    ),
    "$lookup": lambda c, p: pushed_through(c, joined(p)),
    "$lookup with let": lambda c, p: pushed_through(c, joined(p, let={"x": 1})),
    "$graphLookup": lambda c, p: pushed_through(c, walked(p)),
    "$facet": lambda c, p: pushed_through(c, {"$facet": {"r": [{"$match": {"a": Regex(p)}}]}}),
    "$unionWith": lambda c, p: bool(
        c.aggregate(
            [
                {"$match": {"_id": "none"}},
                {
                    "$unionWith": {
                        "coll": "c",
                        "pipeline": [{"$match": {"_id": 1, "a": {"$regex": p}}}],
                    }
                },
            ]
        ).to_list()
    ),
    "count": lambda c, p: c.count_documents({"a": {"$regex": p}}) == 1,
    "distinct": lambda c, p: c.distinct("_id", {"a": {"$regex": p}}) == [1],
    "$pull": lambda c, p: changes(c, {"$pull": {"l": Regex(p)}}),
    "$pull of $regex": lambda c, p: changes(c, {"$pull": {"l": {"$regex": p}}}),
    "$pull of documents": lambda c, p: changes(c, {"$pull": {"d": {"a": Regex(p)}}}),
    "array filters": lambda c, p: changes(
        c, {"$set": {"l.$[e]": 0}}, array_filters=[{"e": {"$regex": p}}]
    ),
    "a pipeline update": lambda c, p: changes(
        c, [{"$set": {"a": {"$cond": [matches(p), 1, "$a"]}}}]
    ),
    "the filter of an update": lambda c, p: (
        c.update_one({"_id": 1, "a": {"$regex": p}}, {"$unset": {"none": 1}}).matched_count == 1
    ),
    "the filter of an upsert": lambda c, p: (
        c.update_one(
            {"_id": 1, "$or": [{"a": {"$regex": p}}, {"a": {"$not": {"$regex": p}}}]},
            {"$set": {"t": 1}},
            upsert=True,
        ).upserted_id
        is None
        and c.count_documents({"_id": 1, "a": {"$regex": p}}) == 1
    ),
    "the filter of a deletion": lambda c, p: (
        c.delete_many({"_id": 1, "a": {"$regex": p}, "none": 1}).deleted_count == 0
        and c.count_documents({"_id": 1, "a": {"$regex": p}}) == 1
    ),
    "find_one_and_update": lambda c, p: (
        c.find_one_and_update({"_id": 1, "a": {"$regex": p}}, {"$unset": {"none": 1}}) is not None
    ),
    "bulk_write": lambda c, p: (
        c.bulk_write(
            [rango.UpdateOne({"_id": 1, "a": {"$regex": p}}, {"$unset": {"none": 1}})]
        ).matched_count
        == 1
    ),
}

ALL_PATTERNS = ("$regex", "$in", "$jsonSchema pattern", "$regexFindAll", "array filters", "$pull")
"""Doors that are tried with all 200; the others, which lead to the same rooms, with every third."""

SOME_PATTERNS = [*EVIL_PATTERNS[:30], *EVIL_PATTERNS[30::4]]

FIELD_DOORS = ("$jsonSchema patternProperties",)
"""Doors whose subject is a name of the document, not its text."""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rango.Collection]:
    """One document with the string in several places, and one without; `k` has an index."""
    with rango.open(tmp_path_factory.mktemp("evil") / "db", durability="memory") as db:
        collection = db["c"]
        collection.create_index("k")
        DOCUMENT["k"] = SUBJECT[:200] + "!"
        collection.insert_many([DOCUMENT, PLAIN])
        yield collection


def verdict(pattern: str, subjects: list[str]) -> bool | None:
    """Whether one of the strings matches; None for a pattern that the engine does not have."""
    try:
        kind, literal, test = compile_regex("a", pattern, "")
    except InvalidFilter:
        return None
    encoded = [subject.encode() for subject in subjects]
    if test is not None:
        return any(test(subject) for subject in encoded)
    return any(
        subject.startswith(literal) if kind == "prefix" else literal in subject
        for subject in encoded
    )


@pytest.fixture
def handed_to_re(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every pattern that Python's own engine is given while a test runs."""
    given: list[str] = []
    compile_own = re._compile  # type: ignore[attr-defined]

    def noted(pattern: Any, flags: Any) -> Any:
        given.append(str(getattr(pattern, "pattern", pattern)))
        return compile_own(pattern, flags)

    monkeypatch.setattr(re, "_compile", noted)
    return given


@pytest.mark.parametrize("name", DOORS)
def test_evil_patterns_end_at_every_door(
    c: rango.Collection, handed_to_re: list[str], name: str
) -> None:
    door = DOORS[name]
    subjects = [*DOCUMENT] if name in FIELD_DOORS else [SUBJECT]
    if name in ("an indexed field", "a covered query"):
        subjects = [DOCUMENT["k"]]
    answered = 0
    for pattern in EVIL_PATTERNS if name in ALL_PATTERNS else SOME_PATTERNS:
        wanted = verdict(pattern, subjects)
        if wanted is None:
            with pytest.raises(RangoError, match="RE2"):
                door(c, pattern)
            continue
        answered += 1
        assert door(c, pattern) is wanted, pattern
    assert answered > 60
    assert not {*EVIL_PATTERNS}.intersection(handed_to_re)
    assert c.count_documents({}) == 2


def test_a_partial_index_takes_no_pattern(c: rango.Collection) -> None:
    for pattern in EVIL_PATTERNS[:3]:
        for condition in ({"$regex": pattern}, Regex(pattern), {"$not": {"$regex": pattern}}):
            with pytest.raises(RangoError):
                c.create_index("x", partialFilterExpression={"a": condition})
    assert [each["name"] for each in c.list_indexes()] == ["_id_", "k_1"]


@pytest.mark.parametrize(
    "expression",
    [
        {"$split": ["$a", Regex("(a+)+$")]},
        {"$replaceAll": {"input": "$a", "find": Regex("(a+)+$"), "replacement": ""}},
        {"$replaceOne": {"input": "$a", "find": Regex("(a+)+$"), "replacement": ""}},
        {"$trim": {"input": "$a", "chars": Regex("(a+)+$")}},
        {"$indexOfCP": ["$a", Regex("(a+)+$")]},
        {"$dateFromString": {"dateString": "$a", "format": Regex("(a+)+$")}},
    ],
)
def test_functions_of_strings_take_texts_only(c: rango.Collection, expression: Any) -> None:
    with pytest.raises(RangoError):
        c.aggregate([{"$set": {"r": expression}}]).to_list()
    text = json.loads(json.dumps(expression, default=lambda value: value.pattern))
    if "$dateFromString" not in text:
        # the same text is a text
        assert c.aggregate([{"$match": {"_id": 1}}, {"$set": {"r": text}}]).to_list()


def test_patterns_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rango.cli import root
    from rango.cli.failures import run_guarded

    monkeypatch.setenv("RANGO_PATH", str(tmp_path / "db"))
    monkeypatch.delenv("RANGO_PASSPHRASE", raising=False)
    with rango.open(tmp_path / "db") as db:
        db["c"].insert_one({"_id": 1, "a": SUBJECT})
    known = [each for each in EVIL_PATTERNS if verdict(each, [SUBJECT]) is not None]
    for at in range(0, len(known), 50):
        some = known[at : at + 50]
        written = json.dumps({"$or": [{"a": {"$regex": pattern}} for pattern in some]})
        assert run_guarded(root, ["count", "c", written]) == 0
        assert capsys.readouterr().out.strip() == str(
            int(any(verdict(each, [SUBJECT]) for each in some))
        )
    for pattern in ("(?=a+)+b", "(a)\\1+$"):
        assert run_guarded(root, ["count", "c", json.dumps({"a": {"$regex": pattern}})]) != 0
        assert "RE2" in capsys.readouterr().err
