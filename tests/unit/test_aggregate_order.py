"""$sort, $skip, $limit, $count, $sample, $unwind."""

from __future__ import annotations

from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from rango.database import Database
from tests.unit.aggregate_case import db, filled, over, refused, run, typed

__all__ = ["db"]


def test_sort_orders_types_as_bson_does(db: Database) -> None:
    values = ["a", 2, None, 1.5, True, {"x": 1}, Decimal128("1.75"), [7]]
    found = over(db, [{"v": each} for each in values], {"$sort": {"v": 1}})
    assert [each["v"] for each in found] == [
        None, 1.5, Decimal128("1.75"), 2, [7], "a", {"x": 1}, True,
    ]  # fmt: skip


def test_arrays_sort_by_their_least_going_up_and_their_greatest_going_down(db: Database) -> None:
    documents = [{"v": [5, 1]}, {"v": 3}, {"v": [2, 9]}, {"v": []}, {"v": None}, {}]
    up = over(db, documents, {"$sort": {"v": 1}})
    assert up == [{"v": []}, {"v": None}, {}, {"v": [5, 1]}, {"v": [2, 9]}, {"v": 3}]
    down = over(db, documents, {"$sort": {"v": -1}})
    assert down == [{"v": [2, 9]}, {"v": [5, 1]}, {"v": 3}, {"v": None}, {}, {"v": []}]


def test_sort_by_several_paths_keeps_the_order_of_equal_documents(db: Database) -> None:
    documents = [{"a": {"b": at % 2}, "c": -(at % 3), "n": at} for at in range(12)]
    found = over(db, documents, {"$sort": {"a.b": -1, "c": 1}})
    assert found == sorted(documents, key=lambda each: (-each["a"]["b"], each["c"]))


@pytest.mark.parametrize("limit", [1, 3, 7, 50])
@pytest.mark.parametrize("skip", [0, 2])
def test_the_first_of_a_sort_are_those_of_the_whole_sort(
    db: Database, limit: int, skip: int
) -> None:
    documents = [{"_id": at, "v": at * 7 % 10, "w": [at % 3, at % 4]} for at in range(40)]
    filled(db, documents)
    for sort in ({"v": 1}, {"v": -1, "_id": 1}, {"w": 1}, {"w": -1}):
        whole = over(db, documents, {"$sort": sort})[skip : skip + limit]
        first = [{"$sort": sort}, {"$skip": skip}, {"$limit": limit}]
        assert over(db, documents, *first) == whole
        assert run(db, *first) == whole


def test_a_long_sort_of_a_collection_is_right(db: Database) -> None:
    filled(db, [{"_id": at, "v": at * 7919 % 3001} for at in range(1500)])
    found = run(db, {"$sort": {"v": 1}})
    assert [each["v"] for each in found] == sorted(at * 7919 % 3001 for at in range(1500))
    assert run(db, {"$sort": {"v": 1}}, {"$skip": 3}, {"$limit": 1200}) == found[3:1203]
    db["c"].create_index("v")
    assert run(db, {"$sort": {"v": 1}}) == found
    assert run(db, {"$sort": {"v": -1}}, {"$limit": 5}) == found[:-6:-1]


def test_skip_and_limit_across_batches(db: Database) -> None:
    documents = [{"n": at} for at in range(1000)]
    assert over(db, documents, {"$skip": 300}, {"$limit": 400}) == documents[300:700]
    assert over(db, documents, {"$limit": 400}, {"$skip": 300}) == documents[300:400]
    assert over(db, documents, {"$limit": 10}, {"$skip": 10}) == []
    filled(db, [{"_id": at} for at in range(1000)])
    assert [each["_id"] for each in run(db, {"$skip": 300}, {"$limit": 2})] == [300, 301]
    assert run(db, {"$limit": 10}, {"$skip": 10}) == []
    assert run(db, {"$limit": 10}, {"$skip": 10}, {"$count": "n"}) == []


def test_count(db: Database) -> None:
    assert over(db, [{}, {}], {"$count": "n"}) == [{"n": 2}]
    assert over(db, [], {"$count": "n"}) == []


def test_sample(db: Database) -> None:
    filled(db, [{"_id": at} for at in range(50)])
    found = [each["_id"] for each in run(db, {"$sample": {"size": 20}})]
    assert len(set(found)) == 20
    assert set(found) <= set(range(50))
    everything = [each["_id"] for each in run(db, {"$sample": {"size": 99}})]
    assert sorted(everything) == list(range(50))


@pytest.mark.parametrize(
    ("code", "stage"),
    [
        (15973, {"$sort": "a"}),
        (15976, {"$sort": {}}),
        (15975, {"$sort": {"a": 2}}),
        (15975, {"$sort": {"a": True}}),
        (17312, {"$sort": {"a": {"$meta": "textScore"}}}),
        (15958, {"$limit": 0}),
        (15958, {"$limit": -1}),
        (2107201, {"$limit": 1.5}),
        (2107201, {"$limit": "1"}),
        (5107200, {"$skip": -1}),
        (40156, {"$count": 1}),
        (40157, {"$count": ""}),
        (40158, {"$count": "$a"}),
        (40160, {"$count": "a.b"}),
        (28745, {"$sample": 1}),
        (28748, {"$sample": {"size": 1, "x": 1}}),
        (28749, {"$sample": {}}),
        (28747, {"$sample": {"size": -1}}),
        (15981, {"$unwind": 1}),
        (28808, {"$unwind": {"path": 1}}),
        (28809, {"$unwind": {"path": "$a", "preserveNullAndEmptyArrays": 1}}),
        (28810, {"$unwind": {"path": "$a", "includeArrayIndex": ""}}),
        (28811, {"$unwind": {"path": "$a", "x": 1}}),
        (28812, {"$unwind": {}}),
        (28818, {"$unwind": "a"}),
        (28822, {"$unwind": {"path": "$a", "includeArrayIndex": "$i"}}),
    ],
)
def test_what_is_refused(db: Database, code: int, stage: dict[str, Any]) -> None:
    refused(db, code, stage)


UNWOUND = [{"a": [1, 2]}, {"a": 3}, {"a": []}, {"a": None}, {"b": 1}, {"a": [[4], {"x": 5}]}]


def test_unwind(db: Database) -> None:
    assert over(db, UNWOUND, {"$unwind": "$a"}) == [
        {"a": 1}, {"a": 2}, {"a": 3}, {"a": [4]}, {"a": {"x": 5}},
    ]  # fmt: skip


def test_unwind_that_preserves(db: Database) -> None:
    stage = {"$unwind": {"path": "$a", "preserveNullAndEmptyArrays": True}}
    assert over(db, UNWOUND, stage) == [
        {"a": 1}, {"a": 2}, {"a": 3}, {}, {"a": None}, {"b": 1}, {"a": [4]}, {"a": {"x": 5}},
    ]  # fmt: skip


def test_unwind_with_an_index(db: Database) -> None:
    stage = {
        "$unwind": {"path": "$a", "includeArrayIndex": "i.n", "preserveNullAndEmptyArrays": True}
    }
    found = over(db, UNWOUND[:5], stage)
    assert [each["i"]["n"] for each in found] == [0, 1, None, None, None, None]
    assert typed(found[0]["i"]["n"]) == ("long", Int64(0))


def test_unwind_goes_through_documents_only(db: Database) -> None:
    documents = [{"a": {"b": [1, 2], "c": 3}}, {"a": [{"b": [1]}]}, {"a": 5}]
    assert over(db, documents, {"$unwind": "$a.b"}) == [
        {"a": {"b": 1, "c": 3}},
        {"a": {"b": 2, "c": 3}},
    ]
    stage = {"$unwind": {"path": "$a.b", "preserveNullAndEmptyArrays": True}}
    assert over(db, documents, stage)[2:] == documents[1:]


def test_unwind_does_not_change_what_is_shared(db: Database) -> None:
    document = {"a": {"b": []}, "x": 1}
    stage = {"$unwind": {"path": "$a.b", "preserveNullAndEmptyArrays": True}}
    (found,) = over(db, [document], {"$facet": {"one": [stage], "two": [{"$match": {}}]}})
    assert found == {"one": [{"a": {}, "x": 1}], "two": [document]}


def test_large_arrays_are_unwound_in_pieces(db: Database) -> None:
    documents = [{"a": list(range(at)), "b": {"a": list(range(at))}} for at in (5000, 3, 9000, 0)]
    for path, stage in (("a", "$a"), ("b", "$b.a"), ("b", "$b.a")):
        found = over(db, documents, {"$unwind": stage}, {"$project": {path: 1}})
        values = [each[path] if path == "a" else each[path]["a"] for each in found]
        assert values == [*range(5000), *range(3), *range(9000)]
