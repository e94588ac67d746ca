"""Pipelines as a whole: refusals, the cursor, its options, the bound on memory, the optimiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bson.son import SON

import rango
from rango._ext.filter import Program
from rango.database import Database
from rango.engine.aggregate import source
from rango.engine.aggregate.memory import size_of
from rango.engine.aggregate.source import open_query
from rango.engine.query import Query
from rango.errors import (
    DatabaseClosed,
    InvalidArgument,
    InvalidPipeline,
    LimitExceeded,
    NotFound,
    Timeout,
    TransactionError,
)
from tests.unit.aggregate_case import db, filled, over, refused, run

__all__ = ["db"]


@pytest.mark.parametrize(
    ("code", "stages", "text"),
    [
        (40324, [{"$none": 1}], "'$none'"),
        (40324, [{"match": {}}], "'match'"),
        (40323, [{}], "0 fields"),
        (40323, [{"$match": {}, "$limit": 1}], "2 fields"),
        (14, [1], "document"),
        (14, ["$match"], "document"),
        (40324, [{"$currentOp": {}}], "server"),
        (40324, [{"$geoNear": {}}], "geospatial"),
        (40324, [{"$search": {}}], "search server"),
        (40324, [{"$indexStats": {}}], "explain"),
    ],
)
def test_what_is_no_stage_is_refused(db: Database, code: int, stages: list[Any], text: str) -> None:
    refused(db, code, *stages, text=text)


@pytest.mark.parametrize("pipeline", [None, 1, "x", {"$match": {}}, b"x"])
def test_a_pipeline_is_a_list(db: Database, pipeline: Any) -> None:
    with pytest.raises(InvalidArgument):
        db["c"].aggregate(pipeline)


def test_an_error_says_which_stage_it_was(db: Database) -> None:
    with pytest.raises(InvalidPipeline) as raised:
        db["c"].aggregate([{"$match": {}}, {"$limit": 0}])
    assert raised.value.__notes__ == ["it is stage 1 ($limit) of the pipeline; nothing has run"]


def test_too_many_and_too_deep_pipelines_are_refused(db: Database) -> None:
    refused(db, 7749501, *[{"$skip": 1}] * 1001)
    stage: dict[str, Any] = {"$match": {}}
    for _ in range(21):
        stage = {"$unionWith": {"coll": "c", "pipeline": [stage]}}
    refused(db, 232, stage)


def test_mappings_and_tuples_of_all_kinds_are_taken(db: Database) -> None:
    filled(db, [{"_id": 1, "a": 2}, {"_id": 2, "a": 1}])
    pipeline = ({"$sort": SON([("a", 1), ("_id", 1)])}, SON([("$limit", 1)]))
    assert db["c"].aggregate(pipeline).to_list() == [{"_id": 2, "a": 1}]


def test_a_pipeline_is_copied(db: Database) -> None:
    filled(db, [{"_id": 1}, {"_id": 2}])
    filter = {"_id": 1}
    cursor = db["c"].aggregate([{"$match": filter}])
    filter["_id"] = 2
    assert cursor.to_list() == [{"_id": 1}]


def test_a_string_of_the_let_never_becomes_a_path(db: Database) -> None:
    filled(db, [{"_id": 1, "a": "secret"}])
    let = {"x": {"$literal": "$a"}, "y": "$a"}
    assert run(db, {"$project": {"x": "$$x", "y": "$$y"}}, let=let) == [{"_id": 1, "x": "$a"}]


def test_options_under_both_spellings(db: Database) -> None:
    filled(db, [{"_id": 1}])
    options: dict[str, Any] = {"allowDiskUse": True, "batchSize": 2, "maxTimeMS": 10_000}
    assert run(db, comment="x", **options) == [{"_id": 1}]
    assert run(db, allow_disk_use=False, batch_size=0, max_time_ms=None) == [{"_id": 1}]
    with pytest.raises(InvalidArgument, match="'allow'"):
        run(db, allow=True)
    with pytest.raises(InvalidArgument, match="batch_size"):
        run(db, batchSize=-1)


def test_hint(db: Database) -> None:
    filled(db, [{"_id": at, "a": -at} for at in range(4)])
    db["c"].create_index("a")
    found = run(db, {"$match": {"_id": {"$gt": 0}}}, hint="a_1")
    assert [each["_id"] for each in found] == [3, 2, 1]
    with pytest.raises(NotFound):
        run(db, hint="b_1")


def test_the_cursor(db: Database) -> None:
    filled(db, [{"_id": at} for at in range(500)])
    with db["c"].aggregate([]) as cursor:
        assert next(cursor) == {"_id": 0}
        assert cursor.next() == {"_id": 1}
        assert cursor.to_list(2) == [{"_id": 2}, {"_id": 3}]
        assert cursor.alive
        assert cursor.try_next() == {"_id": 4}
        assert len(list(cursor)) == 495
        assert not cursor.alive
        assert cursor.try_next() is None
    cursor = db["c"].aggregate([])
    next(cursor)
    cursor.close()
    assert list(cursor) == []


def test_the_cursor_reads_one_snapshot(db: Database) -> None:
    filled(db, [{"_id": at} for at in range(300)])
    cursor = db["c"].aggregate([{"$match": {}}])
    db["c"].delete_many({})
    assert len(cursor.to_list()) == 300
    assert run(db) == []


def test_a_cursor_of_a_transaction_sees_its_writes_and_ends_with_it(db: Database) -> None:
    with db.transaction():
        filled(db, [{"_id": 1}])
        assert run(db, {"$count": "n"}) == [{"n": 1}]
        cursor = db["c"].aggregate([])
    with pytest.raises(TransactionError):
        next(cursor)


def test_a_cursor_of_a_closed_database(tmp_path: Path) -> None:
    with rango.open(tmp_path / "other") as other:
        other["c"].insert_one({"_id": 1})
        cursor = other["c"].aggregate([])
    with pytest.raises(DatabaseClosed):
        next(cursor)


def test_max_time(db: Database) -> None:
    filled(db, [{"_id": at, "a": at} for at in range(2000)])
    slow = [{"$unwind": "$x"}, {"$sort": {"x": 1}}]
    stage = {"$set": {"x": {"$literal": list(range(3000))}}}
    with pytest.raises(Timeout) as raised:
        run(db, stage, *slow, max_time_ms=1)
    assert raised.value.code == 50


@pytest.mark.parametrize(
    "stage",
    [
        {"$sort": {"b": 1}},
        {"$group": {"_id": "$_id"}},
        {"$group": {"_id": None, "x": {"$push": "$pad"}}},
        {"$group": {"_id": None, "x": {"$addToSet": {"$concatArrays": [["$_id"]]}}}},
        {"$bucketAuto": {"groupBy": "$_id", "buckets": 2}},
        {"$sample": {"size": 900}},
        {"$facet": {"a": []}},
        {"$lookup": {"from": "c", "pipeline": [{"$sort": {"b": 1}}], "as": "x"}},
    ],
)
def test_blocking_stages_are_bounded(db: Database, stage: dict[str, Any]) -> None:
    if "$addToSet" in str(stage):
        stage = {"$group": {"_id": None, "x": {"$addToSet": "$_id"}}}
    filled(db, [{"_id": at, "b": -at, "pad": "x" * 100} for at in range(1000)])
    assert run(db, stage)
    with pytest.raises(LimitExceeded, match="memory_bytes_max") as raised:
        run(db, {"$skip": 1}, stage, memory_bytes_max=20_000)
    assert raised.value.limit == "AGGREGATE_MEMORY_BYTES_MAX"


ONE_VALUE_EACH: list[dict[str, Any]] = [
    {"$min": "$pad"},
    {"$max": "$pad"},
    {"$first": "$pad"},
    {"$last": "$pad"},
    {"$firstN": {"n": 1, "input": "$pad"}},
    {"$lastN": {"n": 1, "input": "$pad"}},
    {"$minN": {"n": 1, "input": "$pad"}},
    {"$maxN": {"n": 1, "input": "$pad"}},
    {"$top": {"sortBy": {"b": 1}, "output": "$pad"}},
    {"$bottom": {"sortBy": {"b": 1}, "output": "$pad"}},
    {"$topN": {"n": 1, "sortBy": {"b": 1}, "output": "$pad"}},
    {"$mergeObjects": {"pad": "$pad"}},
]


@pytest.mark.parametrize("accumulator", ONE_VALUE_EACH, ids=lambda spec: next(iter(spec)))
def test_groups_that_keep_one_long_value_each_are_bounded(
    db: Database, accumulator: dict[str, Any]
) -> None:
    # $max, $last and $top kept a gigabyte and more without a word
    filled(db, [{"_id": at, "b": -at, "pad": "x" * 2000} for at in range(100)])
    stage = {"$group": {"_id": "$_id", "x": accumulator}}
    assert len(run(db, stage, memory_bytes_max=300_000)) == 100
    with pytest.raises(LimitExceeded, match=r"\$group would keep"):
        run(db, stage, memory_bytes_max=100_000)


@pytest.mark.parametrize("accumulator", ONE_VALUE_EACH, ids=lambda spec: next(iter(spec)))
@pytest.mark.parametrize("way", [1, -1])
def test_a_value_that_another_replaces_is_not_counted_on(
    db: Database, accumulator: dict[str, Any], way: int
) -> None:
    # $mergeObjects of the same field did, and was refused
    filled(
        db,
        [{"_id": at, "b": way * at, "pad": f"{5 + way * at % 1000:05}" * 400} for at in range(100)],
    )
    assert len(run(db, {"$group": {"_id": None, "x": accumulator}}, memory_bytes_max=10_000)) == 1


def test_streaming_stages_are_not_bounded(db: Database) -> None:
    filled(db, [{"_id": at, "b": -at, "pad": "x" * 100} for at in range(1000)])
    stages = [
        {"$match": {"b": {"$lt": 0}}},
        {"$set": {"c": "$b"}},
        {"$sort": {"c": 1}},
        {"$limit": 3},
    ]
    assert len(run(db, *stages, memory_bytes_max=2_000)) == 3
    assert len(run(db, {"$unwind": "$b"}, memory_bytes_max=1)) == 1000


def test_a_run_that_fails_for_memory_may_be_repeated_with_more(db: Database) -> None:
    filled(db, [{"_id": at} for at in range(1000)])
    with pytest.raises(LimitExceeded):
        run(db, {"$group": {"_id": "$_id"}}, memory_bytes_max=1000)
    assert len(run(db, {"$group": {"_id": "$_id"}}, memory_bytes_max=1_000_000)) == 1000


def test_sizes_are_near_those_of_bson() -> None:
    document = {"a": 1, "b": [1.5, None, True, "text"], "c": {"d": b"bytes", "e": "x" * 100}}
    from rango._ext.record import encode

    assert abs(size_of(document) - len(encode(document))) < 40


def shown(db: Database, *stages: dict[str, Any]) -> list[dict[str, Any]]:
    """The stages after optimisation, plans aside."""
    explained = db["c"].aggregate(list(stages)).explain()["stages"]
    for each in explained:
        if "$cursor" in each:
            each["$cursor"].pop("plan", None)
    return explained


def test_leading_stages_become_the_query(db: Database) -> None:
    filled(db, [{"_id": 1}])
    assert shown(
        db, {"$match": {"a": 1}}, {"$match": {"b": 2}}, {"$sort": {"a": 1}}, {"$limit": 3}
    ) == [{"$cursor": {"filter": {"$and": [{"a": 1}, {"b": 2}]}, "sort": {"a": 1}, "limit": 3}}]
    assert shown(db, {"$skip": 2}, {"$skip": 1}, {"$limit": 5}, {"$limit": 9}) == [
        {"$cursor": {"filter": {}, "skip": 3, "limit": 5}}
    ]
    assert shown(db, {"$limit": 5}, {"$skip": 2}) == [
        {"$cursor": {"filter": {}, "skip": 2, "limit": 3}}
    ]


def test_filters_move_to_the_front_where_they_may(db: Database) -> None:
    filled(db, [{"_id": 1}])
    stages = [
        {"$addFields": {"x": "$a"}},
        {"$unwind": "$t"},
        {"$sort": {"a": 1}},
        {"$match": {"a": 1, "x": 2, "t": 3}},
    ]
    assert shown(db, *stages) == [
        {"$cursor": {"filter": {"a": 1}}},
        {"$addFields": {"x": "$a"}},
        {"$match": {"x": 2}},
        {"$unwind": {"path": "$t"}},
        {"$match": {"t": 3}},
        {"$sort": {"a": 1}},
    ]
    assert shown(db, {"$project": {"a": 1}}, {"$match": {"a": 1, "b": 2}}) == [
        {"$cursor": {"filter": {"a": 1}, "fields": ["_id", "a"]}},
        {"$project": {"a": 1}},
        {"$match": {"b": 2}},
    ]
    assert shown(db, {"$limit": 3}, {"$match": {"a": 1}}) == [
        {"$cursor": {"filter": {}, "limit": 3}},
        {"$match": {"a": 1}},
    ]


def test_limits_move_before_what_makes_one_document_of_one(db: Database) -> None:
    filled(db, [{"_id": 1}])
    assert shown(db, {"$sort": {"a": 1}}, {"$set": {"x": 1}}, {"$skip": 2}, {"$limit": 3}) == [
        {"$cursor": {"filter": {}, "sort": {"a": 1}, "skip": 2, "limit": 3}},
        {"$set": {"x": 1}},
    ]
    assert shown(db, {"$unwind": "$a"}, {"$sort": {"a": 1}}, {"$skip": 2}, {"$limit": 3}) == [
        {"$cursor": {"filter": {}}},
        {"$unwind": {"path": "$a"}},
        {"$sort": {"sortKey": {"a": 1}, "limit": 5}},
        {"$skip": 2},
    ]


def test_only_the_fields_that_are_needed_are_decoded(db: Database) -> None:
    filled(db, [{"_id": 1, "a": 2, "b": 3, "c": 4}])
    stage = {"$group": {"_id": "$a", "n": {"$sum": {"$add": ["$b.x", 1]}}}}
    assert shown(db, stage)[0] == {"$cursor": {"filter": {}, "fields": ["a", "b"]}}
    assert "fields" not in shown(db, {"$group": {"_id": "$$ROOT"}})[0]["$cursor"]
    assert "fields" not in shown(db, {"$set": {"x": 1}})[0]["$cursor"]


def test_an_index_serves_the_leading_match(db: Database) -> None:
    filled(db, [{"_id": at, "a": at % 10} for at in range(100)])
    db["c"].create_index("a")
    pipeline = [{"$set": {"x": 1}}, {"$match": {"a": 3}}, {"$group": {"_id": "$a"}}]
    explained = db["c"].aggregate(pipeline).explain()
    assert explained["stages"][0]["$cursor"]["plan"]["index"] == "a_1"
    assert db["c"].aggregate(pipeline).to_list() == [{"_id": 3}]


def test_explain_does_not_move_the_cursor(db: Database) -> None:
    filled(db, [{"_id": 1}])
    cursor = db["c"].aggregate([{"$facet": {"a": [{"$limit": 2}]}}])
    assert cursor.explain()["stages"][1] == {"$facet": {"a": [{"$limit": 2}]}}
    assert cursor.to_list() == [{"a": [{"_id": 1}]}]
    with pytest.raises(InvalidArgument):
        cursor.explain()


def test_fields_of_the_header_are_for_the_first_match_only(db: Database) -> None:
    filled(db, [{"_id": 1, "a": 1}])
    revision = db["c"].find_one({"_id": 1}, meta=True)
    assert revision is not None
    assert run(db, {"$match": {"_rev": revision["_rev"]}}) == [{"_id": 1, "a": 1}]


def test_now_is_one_time_for_the_whole_run(db: Database) -> None:
    documents = [{"n": at} for at in range(600)]
    found = over(db, documents, {"$set": {"t": "$$NOW"}}, {"$group": {"_id": "$t"}})
    assert len(found) == 1


COLLATION = {"locale": "en", "strength": 2}


def test_a_collation_reaches_every_stage(db: Database) -> None:
    filled(db, [{"_id": at, "a": each} for at, each in enumerate(["b", "A", "a", "B", "c"])])
    filled(db, [{"_id": 1, "k": "a"}], "f")
    db["c"].create_index("a")
    match = run(db, {"$match": {"a": "a"}}, collation=COLLATION)
    assert [each["_id"] for each in match] == [1, 2]
    ordered = run(db, {"$sort": {"a": 1, "_id": 1}}, collation=COLLATION)
    assert [each["_id"] for each in ordered] == [1, 2, 0, 3, 4]
    grouped = {"$group": {"_id": "$a", "n": {"$sum": 1}, "max": {"$max": "$a"}}}
    assert run(db, {"$sort": {"_id": 1}}, grouped, collation=COLLATION) == [
        {"_id": "b", "n": 2, "max": "b"},
        {"_id": "A", "n": 2, "max": "A"},
        {"_id": "c", "n": 1, "max": "c"},
    ]
    lookup = {"$lookup": {"from": "f", "localField": "a", "foreignField": "k", "as": "j"}}
    joined = run(db, lookup, {"$match": {"j.k": "A"}}, collation=COLLATION)
    assert [each["_id"] for each in joined] == [1, 2]
    assert run(db, {"$match": {"a": "a"}}, collation={"locale": "simple"}) == [{"_id": 2, "a": "a"}]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"$eq": ["$a", "x"]}, True),
        ({"$eq": ["x", "$a"]}, True),
        ({"$eq": ["X", "x"]}, True),
        ({"$ne": ["$a", "x"]}, False),
        ({"$cmp": ["$a", "x"]}, 0),
        ({"$gt": ["$a", "a"]}, True),
        ({"$lt": ["$l", ["x", "z"]]}, True),
        ({"$in": ["x", "$l"]}, True),
        ({"$indexOfArray": ["$l", "y"]}, 1),
        ({"$setUnion": [["x"], "$l"]}, ["x", "Y"]),
        ({"$setIntersection": ["$l", ["y"]]}, ["Y"]),
        ({"$setDifference": ["$l", ["y"]]}, ["X"]),
        ({"$setEquals": ["$l", ["x", "y"]]}, True),
        ({"$setIsSubset": [["x"], "$l"]}, True),
        ({"$min": ["$a", "a"]}, "a"),
        ({"$max": ["$a", "a"]}, "X"),
        ({"$minN": {"n": 1, "input": ["$a", "a"]}}, ["a"]),
        ({"$sortArray": {"input": ["b", "A", "a", "B"], "sortBy": 1}}, ["A", "a", "b", "B"]),
        ({"$map": {"input": "$l", "in": {"$eq": ["$$this", "x"]}}}, [True, False]),
        ({"$switch": {"branches": [{"case": {"$eq": ["$a", "x"]}, "then": 1}], "default": 2}}, 1),
        ({"$eq": [{"k": "$a"}, {"k": "x"}]}, True),
        # what works on the text itself does not follow it
        ({"$indexOfCP": ["$a", "x"]}, -1),
        ({"$split": ["$a", "x"]}, ["X"]),
        ({"$regexMatch": {"input": "$a", "regex": "x"}}, False),
        ({"$replaceAll": {"input": "$a", "find": "x", "replacement": "-"}}, "X"),
    ],
)
def test_expressions_follow_the_collation(db: Database, expression: Any, expected: Any) -> None:
    document = {"_id": 1, "a": "X", "l": ["X", "Y"]}
    filled(db, [document])
    (found,) = run(db, {"$set": {"r": expression}}, collation=COLLATION)
    assert found["r"] == expected
    things = db["c"]
    (found,) = things.find({}, {"r": expression}, collation=COLLATION)
    assert found["r"] == expected
    things.update_one({}, [{"$set": {"r": expression}}], collation=COLLATION)
    assert things.find_one(1) == {**document, "r": expected}
    same = {"$expr": {"$eq": [expression, {"$literal": expected}]}}
    assert things.count_documents(same, collation=COLLATION) == 1


def test_variables_and_constants_follow_the_collation(db: Database) -> None:
    filled(db, [{"_id": 1, "a": True}])
    equal = {"$eq": ["x", "X"]}
    assert run(db, {"$match": {"$expr": {"$eq": ["$a", equal]}}}, collation=COLLATION)
    assert run(db, {"$match": {"$expr": "$$v"}}, collation=COLLATION, let={"v": equal})
    assert db["c"].find_one({"$expr": "$$v"}, let={"v": equal}, collation=COLLATION)
    assert not run(db, {"$match": {"$expr": {"$eq": ["$a", equal]}}})


def test_expressions_in_filters_see_the_variables(db: Database) -> None:
    filled(db, [{"_id": at, "a": at, "b": at % 2} for at in range(6)])
    stage = {"$match": {"$expr": {"$gt": ["$a", "$$low"]}, "b": 1}}
    assert [each["_id"] for each in run(db, stage, let={"low": 2})] == [3, 5]
    assert [each["_id"] for each in run(db, {"$skip": 4}, stage, let={"low": 2})] == [5]
    correlated = {
        "$lookup": {
            "from": "c",
            "let": {"x": "$a"},
            "pipeline": [{"$match": {"$expr": {"$eq": ["$b", "$$x"]}}}, {"$count": "n"}],
            "as": "j",
        }
    }
    for _ in range(2):
        found = run(db, {"$match": {"_id": {"$lt": 3}}}, correlated)
        assert [each["j"] for each in found] == [[{"n": 3}], [{"n": 3}], []]
        db["c"].create_index("b")


def test_an_equality_of_an_expression_uses_an_index(db: Database) -> None:
    filled(db, [{"_id": at, "a": at % 9} for at in range(90)])
    db["c"].create_index("a")
    cursor = db["c"].aggregate([{"$match": {"$expr": {"$eq": ["$a", 4]}}}])
    assert cursor.explain()["stages"][0]["$cursor"]["plan"]["index"] == "a_1"
    assert len(cursor.to_list()) == 10


@pytest.mark.parametrize(
    ("stage", "fetched"),
    [
        ({"$project": {"pad": 1}}, 20),
        ({"$project": {"_id": 0, "a": 1}}, 0),
        ({"$group": {"_id": "$c", "n": {"$sum": 1}}}, 20),
        ({"$group": {"_id": "$b", "n": {"$sum": "$a"}}}, 0),
        ({"$count": "n"}, 0),
        ({"$sort": {"c": 1}}, 20),
        ({"$project": {"x": "$$ROOT"}}, 20),
    ],
)
def test_a_pipeline_asks_entries_before_it_fetches_documents(
    db: Database, stage: dict[str, Any], fetched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(db, [{"_id": n, "a": n % 10, "b": n % 100, "c": n % 3, "pad": "x"} for n in range(2000)])
    match = {"$match": {"a": {"$gte": 3}, "b": 13}}
    expected = run(
        db, {"$match": {"$expr": {"$and": [{"$gte": ["$a", 3]}, {"$eq": ["$b", 13]}]}}}, stage
    )
    db["c"].create_index([("a", 1), ("b", 1)])
    queries: list[Query] = []

    def opened(program: Program) -> Query:
        queries.append(open_query(program))
        return queries[-1]

    monkeypatch.setattr(source, "open_query", opened)
    found = run(db, match, stage)
    assert sorted(found, key=str) == sorted(expected, key=str)
    scans = [scan for query in queries for scan in query.scans]
    assert sum(scan.records_examined for scan in scans) == fetched
    assert sum(scan.keys_examined for scan in scans) >= 1400


def test_a_pipeline_with_an_index_sees_no_headers(db: Database) -> None:
    filled(db, [{"_id": n, "a": n, "b": n} for n in range(10)])
    db["c"].create_index([("a", 1), ("b", 1)])
    stage = {"$project": {"_id": 1, "revision": "$_rev", "name": {"$getField": "a"}}}
    assert run(db, {"$match": {"a": {"$gte": 0}, "b": 3}}, stage) == [{"_id": 3, "name": 3}]
