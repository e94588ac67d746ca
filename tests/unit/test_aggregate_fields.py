"""$project, $addFields, $set, $unset, $replaceRoot, $replaceWith, $redact, $match."""

from __future__ import annotations

from typing import Any

import pytest

from rango.database import Database
from rango.errors import ExpressionFailed
from tests.unit.aggregate_case import db, filled, over, refused, run

__all__ = ["db"]

BOOK = {"_id": 1, "title": "abc", "author": {"last": "zzz", "first": "aaa"}, "copies": 5}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"title": 1}, {"_id": 1, "title": "abc"}),
        ({"_id": 0, "title": True}, {"title": "abc"}),
        ({"title": 0}, {"_id": 1, "author": BOOK["author"], "copies": 5}),
        ({"_id": 0}, {"title": "abc", "author": BOOK["author"], "copies": 5}),
        ({"author.first": 1}, {"_id": 1, "author": {"first": "aaa"}}),
        ({"author": {"first": 1}}, {"_id": 1, "author": {"first": "aaa"}}),
        ({"author.first": 0, "title": 0}, {"_id": 1, "author": {"last": "zzz"}, "copies": 5}),
        ({"_id": 0, "n": "$copies"}, {"n": 5}),
        ({"_id": 0, "n": {"$add": ["$copies", 1]}}, {"n": 6}),
        ({"_id": 0, "n": ["$copies", "$none"]}, {"n": [5, None]}),
        ({"_id": 0, "n": "$none"}, {}),
        ({"_id": 0, "n": {"$literal": 1}}, {"n": 1}),
        ({"_id": 0, "a": {"b": "$copies", "c": {"$literal": 0}}}, {"a": {"b": 5, "c": 0}}),
        ({"_id": "$title", "copies": 1}, {"copies": 5, "_id": "abc"}),
        ({"title": 1.0, "none": 1}, {"_id": 1, "title": "abc"}),
        ({"author.first": 1, "author.full": "$title"}, {
            "_id": 1, "author": {"first": "aaa", "full": "abc"}
        }),
    ],
)  # fmt: skip
def test_project(db: Database, spec: dict[str, Any], expected: dict[str, Any]) -> None:
    assert over(db, [BOOK], {"$project": spec}) == [expected]


def test_project_keeps_the_order_of_the_document_and_appends_what_is_computed(db: Database) -> None:
    (found,) = over(db, [BOOK], {"$project": {"copies": 1, "x": "$title", "title": 1}})
    assert list(found) == ["_id", "title", "copies", "x"]


def test_project_goes_into_the_documents_of_arrays(db: Database) -> None:
    document = {"a": [{"b": 1, "c": 2}, 3, [{"b": 4, "c": 5}], {"c": 6}]}
    assert over(db, [document], {"$project": {"a.b": 1}}) == [{"a": [{"b": 1}, [{"b": 4}], {}]}]
    assert over(db, [document], {"$project": {"a.b": 0}}) == [
        {"a": [{"c": 2}, 3, [{"c": 5}], {"c": 6}]}
    ]


def test_added_fields_go_into_documents_arrays_and_what_is_neither(db: Database) -> None:
    stage = {"$addFields": {"a.x": "$v"}}
    assert over(db, [{"v": 1, "a": {"y": 2}}], stage) == [{"v": 1, "a": {"y": 2, "x": 1}}]
    assert over(db, [{"v": 1, "a": [{"y": 2}, 3]}], stage) == [
        {"v": 1, "a": [{"y": 2, "x": 1}, {"x": 1}]}
    ]
    assert over(db, [{"v": 1, "a": 5}], stage) == [{"v": 1, "a": {"x": 1}}]
    assert over(db, [{"v": 1}], stage) == [{"v": 1, "a": {"x": 1}}]


def test_a_field_that_is_set_to_nothing_goes_away(db: Database) -> None:
    assert over(db, [{"a": 1, "b": 2}], {"$set": {"a": "$none"}}) == [{"b": 2}]
    assert over(db, [{"a": 1, "b": 2}], {"$set": {"a": "$$REMOVE", "c": 3}}) == [{"b": 2, "c": 3}]


def test_expressions_see_the_document_as_it_came_in(db: Database) -> None:
    assert over(db, [{"a": 1, "b": 2}], {"$set": {"a": "$b", "b": "$a"}}) == [{"a": 2, "b": 1}]


def test_a_number_or_a_flag_that_is_added_is_a_value(db: Database) -> None:
    assert over(db, [{}], {"$addFields": {"a": 1, "b": True, "c": {}, "d": {"e": 0}}}) == [
        {"a": 1, "b": True, "c": {}, "d": {"e": 0}}
    ]


def test_unset(db: Database) -> None:
    document = {"a": {"b": 1, "c": 2}, "d": [{"e": 1, "f": 2}], "g": 3}
    assert over(db, [document], {"$unset": "g"}) == [{"a": {"b": 1, "c": 2}, "d": document["d"]}]
    assert over(db, [document], {"$unset": ["a.b", "d.e"]}) == [
        {"a": {"c": 2}, "d": [{"f": 2}], "g": 3}
    ]


@pytest.mark.parametrize(
    ("code", "stage"),
    [
        (51272, {"$project": {}}),
        (15969, {"$project": "a"}),
        (31254, {"$project": {"a": 1, "b": 0}}),
        (31253, {"$project": {"a": 0, "b": 1}}),
        (31252, {"$project": {"a": 0, "b": "$c"}}),
        (31250, {"$project": {"a": 1, "a.b": 1}}),
        (31250, {"$project": {"a.b": 1, "a": 1}}),
        (31250, {"$project": {"a.b": 1, "a": {"b": "$x"}}}),
        (51270, {"$project": {"a": {}}}),
        (40353, {"$project": {"a.": 1}}),
        (15998, {"$project": {"a..b": 1}}),
        (16410, {"$project": {"a.$b": 1}}),
        (15983, {"$project": {"a": {"$add": [1], "$subtract": [1]}}}),
        (40272, {"$addFields": 1}),
        (40177, {"$set": {}}),
        (31002, {"$unset": {"a": 1}}),
        (31119, {"$unset": []}),
        (40229, {"$replaceRoot": "$a"}),
        (40230, {"$replaceRoot": {"newRoot": "$a", "x": 1}}),
        (40231, {"$replaceRoot": {}}),
        (15959, {"$match": "a"}),
    ],
)
def test_what_is_refused(db: Database, code: int, stage: dict[str, Any]) -> None:
    refused(db, code, stage)


def test_replace_root(db: Database) -> None:
    documents = [{"a": {"b": 1}}, {"a": {"b": 2}}]
    assert over(db, documents, {"$replaceRoot": {"newRoot": "$a"}}) == [{"b": 1}, {"b": 2}]
    assert over(db, documents, {"$replaceWith": {"c": "$a.b"}}) == [{"c": 1}, {"c": 2}]


@pytest.mark.parametrize("document", [{}, {"a": None}, {"a": 1}, {"a": [{}]}])
def test_a_root_that_is_no_document_is_refused(db: Database, document: dict[str, Any]) -> None:
    with pytest.raises(ExpressionFailed, match="must give a document") as raised:
        over(db, [document], {"$replaceWith": "$a"})
    assert raised.value.code == 40228


def test_match_in_the_middle_means_what_find_means(db: Database) -> None:
    documents = [{"a": 1}, {"a": [1, 2]}, {"a": None}, {}, {"a": {"b": 3}}]
    assert over(db, documents, {"$match": {"a": 1}}) == documents[:2]
    assert over(db, documents, {"$match": {"a": None}}) == documents[2:4]
    assert over(db, documents, {"$match": {"$or": [{"a.b": 3}, {"a": 2}]}}) == [
        {"a": [1, 2]},
        {"a": {"b": 3}},
    ]


def test_match_sees_computed_fields(db: Database) -> None:
    filled(db, [{"_id": each, "a": each} for each in range(4)])
    found = run(db, {"$addFields": {"d": {"$multiply": ["$a", 2]}}}, {"$match": {"d": {"$gt": 3}}})
    assert [each["_id"] for each in found] == [2, 3]


def test_a_pipeline_without_stages_returns_everything(db: Database) -> None:
    filled(db, [{"_id": each} for each in range(300)])
    assert run(db) == [{"_id": each} for each in range(300)]
    assert db["none"].aggregate([]).to_list() == []


def test_redact_keeps_prunes_and_descends(db: Database) -> None:
    document = {
        "level": 1,
        "a": {"level": 5, "secret": True},
        "b": {"level": 1, "c": [{"level": 9}, {"level": 0, "d": {"level": 9}}, 7]},
    }
    condition = {"$lte": ["$level", 3]}
    descend = {"$redact": {"$cond": [condition, "$$DESCEND", "$$PRUNE"]}}
    keep = {"$redact": {"$cond": [condition, "$$KEEP", "$$PRUNE"]}}
    assert over(db, [document], descend) == [
        {"level": 1, "b": {"level": 1, "c": [{"level": 0}, 7]}}
    ]
    assert over(db, [document], keep) == [document]
    with pytest.raises(ExpressionFailed, match="KEEP"):
        over(db, [document], {"$redact": "$level"})
