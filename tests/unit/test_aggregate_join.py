"""$lookup, $graphLookup, $unionWith, $facet, $documents."""

from __future__ import annotations

from typing import Any

import pytest
from bson.regex import Regex

from rango.database import Database
from rango.errors import ExpressionFailed, InvalidPipeline, LimitExceeded
from tests.unit.aggregate_case import db, filled, over, refused, run

__all__ = ["db"]


def joined(db: Database, local: list[Any], foreign: list[Any], **options: Any) -> list[list[int]]:
    """The places of the foreign values that each local value is joined with; ... is no field."""
    documents = [
        {"_id": at, **({} if value is ... else {"f": value})} for at, value in enumerate(foreign)
    ]
    filled(db, documents, "foreign")
    stage = {"$lookup": {"from": "foreign", "localField": "l", "foreignField": "f", "as": "j"}}
    found = over(db, [{} if value is ... else {"l": value} for value in local], stage, **options)
    return [[each["_id"] for each in document["j"]] for document in found]


CASES: list[tuple[Any, list[int]]] = [
    (1, [0, 1, 4]),
    (2.0, [4, 5]),
    ("a", [6]),
    (None, [2, 3, 8]),
    (..., [2, 3, 8]),
    ([1, "a"], [0, 1, 4, 6]),
    ([[2, 3]], [5]),
    ([], [2, 3, 8]),
    ({"x": 1}, [7]),
    (9, []),
    (Regex("a"), [9]),
]
FOREIGN = [1, 1.0, None, ..., [1, 2], [[2, 3], 2], "a", {"x": 1}, [None], Regex("a"), []]


@pytest.mark.parametrize("index", [False, True])
def test_equality_means_what_a_filter_means(db: Database, index: bool) -> None:
    if index:
        db["foreign"].create_index("f")
    found = joined(db, [value for value, _ in CASES], FOREIGN)
    assert [sorted(each) for each in found] == [expected for _, expected in CASES]


def test_lookup_by_id(db: Database) -> None:
    filled(db, [{"_id": at, "n": at * 2} for at in range(5)], "f")
    stage = {"$lookup": {"from": "f", "localField": "k", "foreignField": "_id", "as": "j"}}
    assert over(db, [{"k": 3}, {"k": [1, 1, 4]}, {"k": 7}, {}], stage) == [
        {"k": 3, "j": [{"_id": 3, "n": 6}]},
        {"k": [1, 1, 4], "j": [{"_id": 1, "n": 2}, {"_id": 4, "n": 8}]},
        {"k": 7, "j": []},
        {"j": []},
    ]


def test_lookup_of_a_collection_that_does_not_exist(db: Database) -> None:
    stage = {"$lookup": {"from": "f", "localField": "k", "foreignField": "x", "as": "j.l"}}
    assert over(db, [{"k": 3, "j": 1}], stage) == [{"k": 3, "j": {"l": []}}]


def test_dotted_paths_go_through_arrays(db: Database) -> None:
    filled(db, [{"_id": 1, "f": [{"x": 1}, {"x": 2}]}, {"_id": 2, "f": {"x": [2, 3]}}], "f")
    stage = {"$lookup": {"from": "f", "localField": "l.k", "foreignField": "f.x", "as": "j"}}
    found = over(db, [{"l": [{"k": 1}, {"k": 3}]}, {"l": {"k": 2}}, {"l": {"k": 4}}], stage)
    assert [[each["_id"] for each in document["j"]] for document in found] == [[1, 2], [1, 2], []]


def test_lookup_beyond_one_batch_and_beyond_the_memory_of_a_table(db: Database) -> None:
    filled(db, [{"_id": at, "k": at % 700, "pad": "x" * 50} for at in range(1400)], "f")
    filled(db, [{"_id": at, "l": at} for at in range(800)])
    stage = {"$lookup": {"from": "f", "localField": "l", "foreignField": "k", "as": "j"}}
    for memory in (10_000_000, 120_000):
        found = run(db, stage, memory_bytes_max=memory)
        assert [len(each["j"]) for each in found] == [2] * 700 + [0] * 100
        assert all(joined["k"] == each["_id"] for each in found for joined in each["j"])


def test_lookup_with_a_pipeline_and_variables(db: Database) -> None:
    filled(db, [{"_id": at, "n": at} for at in range(6)], "f")
    stage = {
        "$lookup": {
            "from": "f",
            "let": {"low": "$a", "none": "$none"},
            "pipeline": [
                {"$match": {"n": {"$gte": 3}}},
                {"$project": {"_id": 0, "sum": {"$add": ["$n", "$$low"]}, "x": "$$none"}},
                {"$limit": 2},
            ],
            "as": "j",
        }
    }
    assert over(db, [{"a": 10}, {"a": 20}], stage) == [
        {"a": 10, "j": [{"sum": 13}, {"sum": 14}]},
        {"a": 20, "j": [{"sum": 23}, {"sum": 24}]},
    ]


def test_lookup_with_fields_and_a_pipeline(db: Database) -> None:
    filled(db, [{"_id": at, "k": at % 2, "n": at} for at in range(6)], "f")
    stage = {
        "$lookup": {
            "from": "f",
            "localField": "l",
            "foreignField": "k",
            "pipeline": [{"$match": {"n": {"$gt": 1}}}, {"$count": "count"}],
            "as": "j",
        }
    }
    assert over(db, [{"l": 0}, {"l": 1}, {"l": 5}], stage) == [
        {"l": 0, "j": [{"count": 2}]},
        {"l": 1, "j": [{"count": 2}]},
        {"l": 5, "j": []},
    ]


def test_lookup_without_a_collection(db: Database) -> None:
    stage = {
        "$lookup": {"pipeline": [{"$documents": [{"x": 1}, {"x": 2}]}, {"$skip": 1}], "as": "j"}
    }
    assert over(db, [{"a": 1}], stage) == [{"a": 1, "j": [{"x": 2}]}]


def test_what_is_joined_is_nobody_elses(db: Database) -> None:
    filled(db, [{"_id": 1, "x": {"y": 1}}], "f")
    stage = {"$lookup": {"from": "f", "localField": "k", "foreignField": "_id", "as": "j"}}
    first, second = over(db, [{"k": 1}, {"k": 1}], stage)
    first["j"][0]["x"]["y"] = 2
    assert second["j"][0]["x"]["y"] == 1


def test_lookup_reads_the_snapshot_of_the_cursor(db: Database) -> None:
    filled(db, [{"_id": 1}])
    filled(db, [{"_id": 1}], "f")
    stage = {"$lookup": {"from": "f", "localField": "_id", "foreignField": "_id", "as": "j"}}
    cursor = db["c"].aggregate([stage])
    db["f"].delete_many({})
    filled(db, [{"_id": 2}])
    assert cursor.to_list() == [{"_id": 1, "j": [{"_id": 1}]}]


LOOKUP = {"from": "f", "localField": "a", "foreignField": "b", "as": "j"}


@pytest.mark.parametrize(
    ("code", "stage"),
    [
        (40319, {"$lookup": 1}),
        (9, {"$lookup": {**LOOKUP, "x": 1}}),
        (9, {"$lookup": {"from": "f", "as": "j"}}),
        (9, {"$lookup": {"from": "f", "localField": "a", "as": "j"}}),
        (9, {"$lookup": {"from": "f", "localField": "a", "foreignField": "b"}}),
        (9, {"$lookup": {"pipeline": [], "as": "j"}}),
        (9, {"$lookup": {**LOOKUP, "let": {"x": 1}}}),
        (16867, {"$lookup": {"from": "f", "let": {"X": 1}, "pipeline": [], "as": "j"}}),
        (51047, {"$lookup": {"from": "f", "pipeline": [{"$out": "x"}], "as": "j"}}),
        (40324, {"$lookup": {"from": "f", "pipeline": [{"$none": 1}], "as": "j"}}),
        (40105, {"$graphLookup": {"from": "f"}}),
        (40104, {"$graphLookup": {"from": "f", "x": 1}}),
        (40327, {"$graphLookup": "f"}),
        (9, {"$unionWith": 1}),
        (9, {"$unionWith": {}}),
        (40415, {"$unionWith": {"coll": "f", "x": 1}}),
        (14, {"$unionWith": {"coll": 1}}),
        (40169, {"$facet": 1}),
        (40169, {"$facet": {}}),
        (40170, {"$facet": {"a": 1}}),
        (40600, {"$facet": {"a": [{"$out": "x"}]}}),
        (40600, {"$facet": {"a": [{"$facet": {"b": []}}]}}),
        (40602, {"$documents": [{"a": 1}]}),
    ],
)
def test_what_is_refused(db: Database, code: int, stage: dict[str, Any]) -> None:
    refused(db, code, stage)


def test_graph_lookup(db: Database) -> None:
    people = {"a": ["b", "c"], "b": ["d"], "c": ["d", "a"], "d": [], "e": ["a"]}
    filled(db, [{"_id": name, "knows": others} for name, others in people.items()])
    stage = {
        "from": "c",
        "startWith": "$knows",
        "connectFromField": "knows",
        "connectToField": "_id",
        "as": "net",
        "depthField": "depth",
    }
    found = {
        each["_id"]: {one["_id"]: one["depth"] for one in each["net"]}
        for each in run(db, {"$graphLookup": stage})
    }
    assert found == {
        "a": {"b": 0, "c": 0, "d": 1, "a": 1},
        "b": {"d": 0},
        "c": {"d": 0, "a": 0, "b": 1, "c": 1},
        "d": {},
        "e": {"a": 0, "b": 1, "c": 1, "d": 2},
    }
    (limited,) = run(db, {"$match": {"_id": "e"}}, {"$graphLookup": {**stage, "maxDepth": 1}})
    assert {each["_id"] for each in limited["net"]} == {"a", "b", "c"}
    restricted = {**stage, "restrictSearchWithMatch": {"_id": {"$ne": "b"}}}
    (found_one,) = run(db, {"$match": {"_id": "e"}}, {"$graphLookup": restricted})
    assert {each["_id"] for each in found_one["net"]} == {"a", "c", "d"}


def test_union_with(db: Database) -> None:
    filled(db, [{"_id": 1}])
    filled(db, [{"_id": 2}, {"_id": 3}], "f")
    assert run(db, {"$unionWith": "f"}) == [{"_id": 1}, {"_id": 2}, {"_id": 3}]
    stage = {"$unionWith": {"coll": "f", "pipeline": [{"$match": {"_id": 3}}]}}
    assert run(db, stage, {"$sort": {"_id": -1}}) == [{"_id": 3}, {"_id": 1}]
    assert run(db, {"$unionWith": {"pipeline": [{"$documents": [{"x": 1}]}]}}) == [
        {"_id": 1},
        {"x": 1},
    ]


def test_facet_runs_each_pipeline_on_the_same_documents(db: Database) -> None:
    filled(db, [{"_id": at, "a": at % 3} for at in range(700)])
    (found,) = run(
        db,
        {"$match": {"_id": {"$gte": 100}}},
        {
            "$facet": {
                "n": [{"$count": "n"}],
                "first": [{"$limit": 2}],
                "last": [{"$sort": {"_id": -1}}, {"$limit": 1}],
                "none": [{"$match": {"a": 9}}],
                "groups": [{"$group": {"_id": "$a", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}],
                "all": [],
            }
        },
    )
    assert found["n"] == [{"n": 600}]
    assert found["first"] == [{"_id": 100, "a": 1}, {"_id": 101, "a": 2}]
    assert found["last"] == [{"_id": 699, "a": 0}]
    assert found["none"] == []
    assert found["groups"] == [{"_id": each, "n": 200} for each in range(3)]
    assert len(found["all"]) == 600
    assert list(found) == ["n", "first", "last", "none", "groups", "all"]


def test_a_facet_with_only_a_limit_does_not_read_on(db: Database) -> None:
    filled(db, [{"_id": at} for at in range(1000)])
    (found,) = run(db, {"$facet": {"a": [{"$limit": 1}], "b": [{"$limit": 2}]}})
    assert found == {"a": [{"_id": 0}], "b": [{"_id": 0}, {"_id": 1}]}


def test_the_answer_of_a_facet_obeys_the_limit_of_a_document(db: Database) -> None:
    filled(db, [{"_id": at, "pad": "x" * 1_000_000} for at in range(20)])
    with pytest.raises(LimitExceeded) as raised:
        run(db, {"$facet": {"a": []}})
    assert raised.value.limit == "DOCUMENT_SIZE_BYTES_MAX"


def test_documents_must_be_documents(db: Database) -> None:
    with pytest.raises(ExpressionFailed):
        db.aggregate([{"$documents": 1}]).to_list()
    with pytest.raises(ExpressionFailed):
        db.aggregate([{"$documents": [1]}]).to_list()
    assert db.aggregate([{"$documents": [{"a": {"$add": [1, 2]}}]}]).to_list() == [{"a": 3}]
    with pytest.raises(InvalidPipeline, match="documents") as raised:
        db.aggregate([{"$match": {}}])
    assert raised.value.code == 73


def test_a_join_of_more_than_a_document_holds_is_refused(db: Database) -> None:
    filled(db, [{"_id": at, "pad": "x" * 1_000_000} for at in range(20)], "f")
    for options in ({"pipeline": []}, {"localField": "k", "foreignField": "none"}):
        stage = {"$lookup": {"from": "f", "as": "j", **options}}
        with pytest.raises(LimitExceeded) as raised:
            over(db, [{"a": 1}], stage, memory_bytes_max=10**9)
        assert raised.value.limit == "DOCUMENT_SIZE_BYTES_MAX"
