"""Running plans: what is read for an answer, as explain() tells, and hints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import errors
from rango.collection import Collection


@pytest.fixture
def things(tmp_path: Path) -> Iterator[Collection]:
    with rango.open(tmp_path / "db", durability="memory") as db:
        collection = db["things"]
        collection.insert_many(
            [{"_id": f"{i:03}", "a": i % 10, "b": f"x{i % 7}", "c": i} for i in range(200)]
        )
        collection.create_index([("a", 1), ("b", -1)])
        collection.create_index("c")
        yield collection


def test_a_count_on_exact_bounds_reads_keys_only(things: Collection) -> None:
    explained = things.find({"c": {"$gte": 50, "$lt": 150}}).explain()
    assert (explained["exact"], explained["keys_examined"]) == (True, 100)
    assert things.count_documents({"c": {"$gte": 50, "$lt": 150}}) == 100
    assert things.count_documents({"a": {"$gt": 7}, "b": "x3"}) == len(
        [i for i in range(200) if i % 10 > 7 and i % 7 == 3]
    )


def test_a_projection_of_indexed_fields_reads_no_document(things: Collection) -> None:
    cursor = things.find({"a": 3}, {"a": 1, "b": 1})
    explained = cursor.explain()
    assert (explained["covered"], explained["docs_examined"]) == (True, 0)
    assert explained["queryPlanner"]["winningPlan"]["stage"] == "PROJECTION_COVERED"
    expected = [{"_id": f"{i:03}", "a": 3, "b": f"x{i % 7}"} for i in range(3, 200, 10)]
    assert sorted(cursor, key=lambda each: each["_id"]) == expected
    # a condition that only narrows the keys that were visited is decided on them as well
    explained = things.find({"a": {"$gt": 7}, "b": "x3"}, {"b": 1, "_id": 0}).explain()
    assert (explained["covered"], explained["docs_examined"]) == (True, 0)
    assert things.find({"a": 3}, {"c": 1}).explain()["covered"] is False


def test_a_covered_find_looks_up_what_an_entry_does_not_tell(things: Collection) -> None:
    things.insert_many([{"_id": "n", "a": [3, 5], "b": "y"}, {"_id": "m", "a": 3, "b": {"z": 1}}])
    found = things.find_many({"a": 3, "b": {"$not": {"$regex": "^x"}}}, {"a": 1, "b": 1})
    assert sorted(found, key=lambda each: each["_id"]) == [
        {"_id": "m", "a": 3, "b": {"z": 1}},
        {"_id": "n", "a": [3, 5], "b": "y"},
    ]


@pytest.mark.parametrize(
    ("filter", "options"),
    [
        ({"a": {"$gt": 7}, "b": "x3"}, {}),
        ({"a": {"$gte": 0}, "b": {"$regex": "3$"}}, {}),
        ({"a": {"$gt": 7}, "b": "x3"}, {"projection": {"c": 1}}),
        ({"a": {"$gt": 7}, "b": "x3"}, {"projection": {"c": 1, "d": {"$add": ["$c", 1]}}}),
        ({"a": {"$gt": 7}, "b": "x3"}, {"sort": [("c", -1)]}),
        ({"a": {"$gt": 7}, "b": "x3"}, {"sort": [("a", 1)], "skip": 1, "limit": 2}),
        ({"a": {"$gt": 7}, "b": "x3"}, {"meta": True}),
    ],
)
def test_documents_are_fetched_only_for_entries_that_match(
    things: Collection, filter: dict[str, Any], options: dict[str, Any]
) -> None:
    explained = things.find(filter, **options).explain()
    if "limit" not in options:
        assert explained["docs_examined"] == explained["returned"]
    assert explained["docs_examined"] < explained["keys_examined"]
    stage = explained["queryPlanner"]["winningPlan"]
    while stage["stage"] != "FETCH":
        stage = stage["inputStage"]
    assert (stage["filter"], stage["inputStage"]["filter"]) == (False, True)
    everything = things.find(filter, hint=[("$natural", 1)], **options).to_list()
    found = things.find_many(filter, **options)
    if "sort" in options:
        assert found == everything
    else:
        assert sorted(found, key=lambda each: each["_id"]) == everything


def test_entries_that_do_not_tell_are_decided_by_their_documents(things: Collection) -> None:
    things.insert_many(
        [
            {"_id": "list", "a": [8, 9], "b": "x3"},
            {"_id": "several", "a": 8, "b": ["x3", "x9"]},
            {"_id": "document", "a": 8, "b": {"x": "x3"}},
            {"_id": "long", "a": 8, "b": "x3" + "y" * 2000},
        ]
    )
    found = things.find_many({"a": {"$gt": 7}, "b": {"$regex": "^x3"}, "_id": {"$type": "string"}})
    assert {"list", "several", "long"} <= {each["_id"] for each in found}
    found = things.find_many({"a": {"$gt": 7}, "b": {"$not": {"$regex": "x3$"}}})
    ids = [each["_id"] for each in found]
    assert {"document", "long"} <= {*ids} and not {"list", "several"} & {*ids}
    assert len(ids) == len({*ids})


@pytest.mark.parametrize(
    ("expression", "let", "keys"),
    [
        ({"$eq": ["$c", 50]}, {}, 1),
        ({"$eq": [{"$add": [20, 30]}, "$c"]}, {}, 1),
        ({"$eq": ["$c", "$$wanted"]}, {"wanted": 50}, 1),
        ({"$and": [{"$eq": ["$c", 50]}, {"$lt": ["$a", 5]}]}, {}, 1),
        # without type bracketing, so that a range of one class would lose documents
        ({"$gte": ["$c", 199]}, {}, 200),
        ({"$eq": ["$c", None]}, {}, 200),
        ({"$eq": ["$_rev", "any"]}, {}, 200),
    ],
)
def test_an_equality_of_expr_uses_an_index(
    things: Collection, expression: dict[str, Any], let: dict[str, Any], keys: int
) -> None:
    for filter in ({"$expr": expression}, {"$and": [{"$expr": expression}]}):
        explained = things.find(filter, let=let).explain()
        assert explained["keys_examined"] == keys
        everything = things.find(filter, let=let, hint=[("$natural", 1)])
        assert things.find_many(filter, let=let) == list(everything)
        assert things.count_documents(filter, let=let) == explained["returned"]


def test_an_equality_of_expr_does_not_take_elements_of_arrays(things: Collection) -> None:
    things.insert_one({"_id": "list", "c": [500, 501]})
    assert things.find_many({"$expr": {"$eq": ["$c", 500]}}) == []
    assert things.update_many({"$expr": {"$eq": ["$c", 7]}}, {"$set": {"z": 1}}).matched_count == 1
    assert things.delete_many({"$expr": {"$eq": ["$_id", "007"]}}).deleted_count == 1


@pytest.mark.parametrize(
    ("filter", "options", "plan", "index", "sort"),
    [
        ({"_id": "001"}, {}, "id", None, None),
        ({"a": 3}, {"sort": [("b", 1)]}, "index", "a_1_b_-1", "index"),
        ({"a": {"$in": [1, 2]}}, {"sort": [("b", 1)], "limit": 5}, "union", "a_1_b_-1", "merge"),
        ({"$or": [{"a": 1}, {"c": 7}]}, {}, "union", None, None),
        ({}, {"sort": [("z", 1)]}, "scan", None, "memory"),
        ({"a": 1}, {"hint": {"$natural": -1}}, "scan", None, None),
        ({}, {"hint": "c_1"}, "index", "c_1", None),
    ],
)
def test_explain_names_the_choice(
    things: Collection,
    filter: dict[str, Any],
    options: dict[str, Any],
    plan: str,
    index: str | None,
    sort: str | None,
) -> None:
    explained = things.find(filter, **options).explain()
    assert (explained["plan"], explained["index"], explained["sort"]) == (plan, index, sort)
    assert explained["returned"] == explained["executionStats"]["nReturned"]


def test_bounds_are_shown_for_people(things: Collection) -> None:
    explained = things.find({"a": {"$gte": 1, "$lt": 5}}).explain()
    assert explained["bounds"] == {"a": ["[1, 5)"], "b": ["[MinKey, MaxKey]"]}
    rejected = things.find({"a": 1, "c": {"$gt": 5}}).explain()["queryPlanner"]["rejectedPlans"]
    assert [(each["indexName"], each["class"]) for each in rejected] == [("c_1", 6), (None, 8)]


def test_natural_hints_walk_in_both_directions(things: Collection) -> None:
    first = things.find({}, hint={"$natural": 1}).next()["_id"]
    last = things.find({}, hint=[("$natural", -1)]).next()["_id"]
    assert (first, last) == ("000", "199")
    with pytest.raises(errors.NotFound) as raised:
        things.find({}, hint="none").to_list()
    assert raised.value.code == 2
