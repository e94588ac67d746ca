"""The write methods of PyMongo's names: find_one_and_*, upserts, options, duplicate keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import ReturnDocument, errors

NOW_MS = 1_700_000_000_000


@pytest.fixture
def db(tmp_path: Path) -> Any:
    with rango.open(tmp_path / "db", durability="memory", clock=lambda: NOW_MS) as database:
        yield database


@pytest.fixture
def things(db: rango.Database) -> rango.Collection:
    collection = db["things"]
    collection.insert_many([{"_id": n, "x": n * 11} for n in (1, 2, 3)])
    return collection


def test_find_one_and_update_returns_the_document_before_or_after(
    things: rango.Collection,
) -> None:
    found = things.find_one_and_update({"_id": 1}, {"$inc": {"x": 1}})
    assert found == {"_id": 1, "x": 11}
    found = things.find_one_and_update(
        {"_id": 1}, {"$inc": {"x": 1}}, return_document=ReturnDocument.AFTER
    )
    assert found == {"_id": 1, "x": 13}
    assert things.find_one_and_update({"_id": 9}, {"$inc": {"x": 1}}) is None
    wrong: Any = "after"
    with pytest.raises(errors.InvalidArgument):
        things.find_one_and_update({}, {"$set": {"x": 1}}, return_document=wrong)


def test_find_one_and_update_sorts_and_projects(things: rango.Collection) -> None:
    found = things.find_one_and_update(
        {"_id": {"$gt": 1}}, {"$set": {"y": 1}}, {"_id": 0, "x": 1}, [("x", -1)]
    )
    assert found == {"x": 33}
    assert things.find_one(3) == {"_id": 3, "x": 33, "y": 1}


def test_find_one_and_update_upserts(things: rango.Collection) -> None:
    update = {"$setOnInsert": {"made": True}, "$set": {"x": 5}}
    assert things.find_one_and_update({"_id": 7, "k": "v"}, update, upsert=True) is None
    after = things.find_one_and_update(
        {"_id": 8}, update, upsert=True, return_document=ReturnDocument.AFTER
    )
    assert after == {"_id": 8, "made": True, "x": 5}
    assert things.find_one(7) == {"_id": 7, "k": "v", "made": True, "x": 5}
    assert things.find_one_and_update({"_id": 8}, update, upsert=True) == after


def test_find_one_and_replace(things: rango.Collection) -> None:
    assert things.find_one_and_replace({"_id": 1}, {"y": 1}) == {"_id": 1, "x": 11}
    after = things.find_one_and_replace(
        {"_id": 5}, {"y": 2}, upsert=True, return_document=ReturnDocument.AFTER
    )
    assert after == {"_id": 5, "y": 2}
    with pytest.raises(errors.InvalidUpdate):
        things.find_one_and_replace({"_id": 1}, {"$set": {"a": 1}})


def test_find_one_and_delete(things: rango.Collection) -> None:
    assert things.find_one_and_delete({}, sort=[("x", -1)]) == {"_id": 3, "x": 33}
    assert things.find_one_and_delete({"_id": 3}) is None
    assert things.count_documents({}) == 2


def test_the_first_of_several_is_that_of_the_sort(things: rango.Collection) -> None:
    result = things.update_one({"_id": {"$gt": 1}}, {"$inc": {"x": 1}}, sort={"_id": -1})
    assert (result.matched_count, result.modified_count) == (1, 1)
    things.replace_one({}, {"x": 0}, sort=[("x", -1)])
    assert [each["x"] for each in things.find()] == [11, 22, 0]


def test_updates_take_array_filters(things: rango.Collection) -> None:
    things.insert_one({"_id": 4, "y": [{"b": 3}, {"b": 1}]})
    update = {"$set": {"y.$[i].b": 2}}
    assert things.update_one({"_id": 4}, update, array_filters=[{"i.b": 3}]).modified_count == 1
    assert things.find_one(4) == {"_id": 4, "y": [{"b": 2}, {"b": 1}]}
    again = things.update_many({"_id": 4}, update, array_filters=[{"i.b": 3}])
    assert (again.matched_count, again.modified_count) == (1, 0)


def test_hints_name_an_index_that_is_there(things: rango.Collection) -> None:
    things.create_index("x")
    assert things.update_many({"x": 11}, {"$set": {"y": 1}}, hint="x_1").modified_count == 1
    assert things.delete_one({"x": 11}, hint=[("x", 1)]).deleted_count == 1
    with pytest.raises(errors.NotFound):
        things.update_one({}, {"$set": {"y": 1}}, hint="nothing_1")


def test_an_upsert_starts_from_the_equalities_of_its_filter(things: rango.Collection) -> None:
    result = things.update_one(
        {"a.b": 1, "$and": [{"c": {"$in": [2]}}], "d": {"$gt": 1}},
        {"$set": {"a.e": 3}},
        upsert=True,
    )
    assert result.did_upsert and result.matched_count == 0
    assert result.raw_result["upserted"] == result.upserted_id
    found = things.find_one(result.upserted_id)
    assert found == {"_id": result.upserted_id, "a": {"b": 1, "e": 3}, "c": 2}
    assert list(found) == ["_id", "a", "c"]


def test_an_upsert_may_set_the_id(things: rango.Collection) -> None:
    assert things.update_one({"a": 1}, {"$set": {"_id": 9}}, upsert=True).upserted_id == 9
    assert list(things.find_one(9) or {}) == ["_id", "a"]
    with pytest.raises(errors.InvalidUpdate) as caught:
        things.update_one({"_id": 10}, {"$set": {"_id": 11}}, upsert=True)
    assert caught.value.code == 66
    with pytest.raises(errors.InvalidUpdate):
        things.replace_one({"_id": 10}, {"_id": 11}, upsert=True)
    with pytest.raises(errors.InvalidDocument):
        things.update_one({"_id": {"$in": [[1]]}}, {"$set": {"a": 1}}, upsert=True)


def test_a_replacement_that_is_upserted_takes_the_id_of_the_filter(
    things: rango.Collection,
) -> None:
    assert things.replace_one({"_id": 5, "a": 1}, {"b": 2}, upsert=True).upserted_id == 5
    assert things.find_one(5) == {"_id": 5, "b": 2}


def test_the_id_stays_as_it_is_stored(things: rango.Collection) -> None:
    assert things.replace_one({"_id": 1}, {"y": 1, "_id": 1.0}).modified_count == 1
    found = things.find_one(1)
    assert found == {"_id": 1, "y": 1} and list(found) == ["_id", "y"]
    assert isinstance(found["_id"], int)
    with pytest.raises(errors.InvalidUpdate) as caught:
        things.replace_one({"_id": 1}, {"_id": 2})
    assert caught.value.code == 66


def test_modified_counts_documents_that_became_different(things: rango.Collection) -> None:
    result = things.update_many({}, {"$max": {"x": 22}})
    assert (result.matched_count, result.modified_count) == (3, 1)
    assert things.update_many({}, {"$set": {}}).modified_count == 0
    assert things.replace_one({"_id": 3}, {"x": 33}).modified_count == 0


def test_update_many_is_all_or_none(things: rango.Collection) -> None:
    things.update_one({"_id": 3}, {"$set": {"x": "text"}})
    with pytest.raises(errors.InvalidUpdate) as caught:
        things.update_many({}, {"$inc": {"x": 1}})
    assert caught.value.code == 14
    assert [each["x"] for each in things.find()] == [11, 22, "text"]


def test_the_current_date_comes_from_the_clock(things: rango.Collection) -> None:
    things.update_many({}, {"$currentDate": {"at": True}})
    assert {int(each["at"].timestamp() * 1000) for each in things.find()} == {NOW_MS}


def test_a_duplicate_key_says_index_pattern_and_value(things: rango.Collection) -> None:
    things.create_index([("x", -1)], unique=True, name="only")
    for write in (
        lambda: things.insert_one({"_id": 9, "x": 11}),
        lambda: things.update_one({"_id": 2}, {"$set": {"x": 11}}),
        lambda: things.update_one({"_id": 9}, {"$set": {"x": 11}}, upsert=True),
    ):
        with pytest.raises(errors.DuplicateKey) as caught:
            write()
        assert caught.value.code == 11000
        details = caught.value.details
        assert (details["index"], details["keyValue"]) == ("only", {"x": 11})
        assert details["keyPattern"] == {"x": -1}
    with pytest.raises(errors.DuplicateKey) as caught:
        things.insert_one({"_id": 1})
    assert caught.value.details["keyPattern"] == {"_id": 1}


def test_dots_and_dollars_in_names(things: rango.Collection) -> None:
    for document in (
        {"_id": 10, "$a": 1},
        {"_id": 11, "a.b": 1},
        {"_id": 12, "a": {"$b": 1, "c.d": 2}},
        {"_id": {"a.b": 1}},
        {"_id": 13, "a": {"$db": "foo"}},
    ):
        things.insert_one(document)
        assert things.find_one({"_id": document["_id"]}) == document
    with pytest.raises(errors.InvalidDocument) as caught:
        things.insert_one({"_id": {"$a": 1}})
    assert caught.value.code == 52
    with pytest.raises(errors.InvalidUpdate) as refused:
        things.replace_one({"_id": 1}, {"a": 1, "$b": 1})
    assert refused.value.code == 52
    things.replace_one({"_id": 1}, {"a.b": 1})
    assert things.find_one(1) == {"_id": 1, "a.b": 1}
    things.update_one({"_id": 2}, {"$set": {"y": {"$a": {"b.c": 1}}}})
    assert things.find_one(2) == {"_id": 2, "x": 22, "y": {"$a": {"b.c": 1}}}


PIPELINES: list[tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]] = [
    ({"a": 1, "b": 2}, [{"$set": {"c": {"$add": ["$a", "$b"]}}}], {"a": 1, "b": 2, "c": 3}),
    ({"a": 1}, [{"$addFields": {"x.y": "$a"}}, {"$unset": "a"}], {"x": {"y": 1}}),
    ({"a": 1, "b": 2}, [{"$project": {"a": 1}}], {"a": 1}),
    ({"a": 1, "b": 2}, [{"$unset": ["b", "_id"]}], {"a": 1}),
    ({"a": {"b": 1}}, [{"$replaceWith": "$a"}], {"b": 1}),
    ({"a": {"b": 1}}, [{"$replaceRoot": {"newRoot": {"c": "$a.b"}}}], {"c": 1}),
    ({"a": 1}, [{"$set": {"a": {"$cond": [{"$gt": ["$a", 0]}, "more", "less"]}}}], {"a": "more"}),
    ({"a": {"b": 1}}, [{"$replaceWith": {"$mergeObjects": ["$a", {"c": 2}]}}], {"b": 1, "c": 2}),
    ({}, [{"$set": {"at": "$$NOW"}}], {"at": datetime.fromtimestamp(NOW_MS / 1000, UTC)}),
    (
        {},
        [
            {
                "$replaceWith": {
                    "$setField": {"field": {"$literal": "$a"}, "value": 1, "input": "$$ROOT"}
                }
            }
        ],
        {"$a": 1},
    ),
    (
        {"foo": {}},
        [{"$set": {"foo": {"$setField": {"field": "a.b", "value": 1, "input": "$foo"}}}}],
        {"foo": {"a.b": 1}},
    ),
]


@pytest.mark.parametrize(("document", "pipeline", "expected"), PIPELINES, ids=repr)
def test_updates_by_a_pipeline(
    things: rango.Collection,
    document: dict[str, Any],
    pipeline: list[dict[str, Any]],
    expected: dict[str, Any],
) -> None:
    things.replace_one({"_id": 1}, document)
    things.update_one({"_id": 1}, pipeline)
    found = things.find_one(1)
    assert found == {"_id": 1, **expected}
    assert next(iter(found)) == "_id"


def test_a_pipeline_has_variables(things: rango.Collection) -> None:
    let = {"n": {"$add": [1, 1]}, "x": "foo"}
    things.update_many({"_id": 2}, [{"$set": {"x": "$$x", "n": "$$n"}}], let=let)
    assert things.find_one(2) == {"_id": 2, "x": "foo", "n": 2}


@pytest.mark.parametrize("upsert", [1, None, "yes", []])
def test_upsert_is_true_or_false(things: rango.Collection, upsert: Any) -> None:
    with pytest.raises(errors.InvalidArgument):
        things.update_one({"_id": 9}, {"$set": {"a": 1}}, upsert=upsert)
    with pytest.raises(errors.InvalidArgument):
        things.replace_one({"_id": 9}, {"a": 1}, upsert=upsert)


def test_a_pipeline_and_its_filter_have_variables(things: rango.Collection) -> None:
    result = things.update_one(
        {"$expr": {"$eq": ["$_id", "$$id"]}},
        [{"$set": {"x": "$$x"}}],
        let={"id": {"$add": [1, 1]}, "x": "foo"},
    )
    assert result.modified_count == 1
    assert things.find_one(2) == {"_id": 2, "x": "foo"}
    assert things.delete_one({"$expr": {"$eq": ["$_id", "$$id"]}}, let={"id": 3}).deleted_count == 1
    things.bulk_write(
        [rango.UpdateOne({"$expr": {"$eq": ["$_id", "$$id"]}}, [{"$set": {"x": "$$id"}}])],
        let={"id": 1},
    )
    assert things.find_many() == [{"_id": 1, "x": 1}, {"_id": 2, "x": "foo"}]


def test_an_upsert_by_a_pipeline(things: rango.Collection) -> None:
    things.update_one({"_id": 9, "d": 1}, [{"$set": {"b": {"$add": ["$d", 1]}}}], upsert=True)
    assert things.find_one(9) == {"_id": 9, "d": 1, "b": 2}


@pytest.mark.parametrize(
    ("pipeline", "code"),
    [
        ([{"$set": {"_id": 5}}], 66),
        ([{"$replaceWith": {"_id": 5}}], 66),
        ([{"$match": {"a": 1}}], 72),
        ([{"$set": {"a": 1}, "$unset": "b"}], 40323),
        ([{"$replaceWith": "$x"}], 40228),
        ([{"$replaceRoot": {}}], 40231),
        ([{"$set": {"_rev": 1}}], 2),
        ([5], 40323),
    ],
    ids=repr,
)
def test_pipelines_that_are_refused(
    things: rango.Collection, pipeline: list[Any], code: int
) -> None:
    with pytest.raises(errors.InvalidUpdate) as caught:
        things.update_one({"_id": 1}, pipeline)
    assert caught.value.code == code
    assert things.find_one(1) == {"_id": 1, "x": 11}


def test_a_pipeline_takes_no_array_filters(things: rango.Collection) -> None:
    with pytest.raises(errors.InvalidUpdate) as caught:
        things.update_one({}, [{"$set": {"a": 1}}], array_filters=[{"x": 1}])
    assert caught.value.code == 9


POSITIONS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"a": [1, 2, 3]}, {"a": 2}, {"a": [1, 0, 3]}),
    ({"a": [1, 2, 3]}, {"a": {"$gte": 2}}, {"a": [1, 0, 3]}),
    ({"a": [1, 2, 3]}, {"a": {"$in": [3, 9]}}, {"a": [1, 2, 0]}),
    ({"a": [1, 2], "b": [5, 6]}, {"b": 6}, {"a": [1, 0], "b": [5, 6]}),
    ({"a": [{"k": 1}, {"k": 2}]}, {"a.k": 2}, {"a": [{"k": 1}, 0]}),
    ({"a": [{"k": 1}, {"k": 2}]}, {"a": {"$elemMatch": {"k": 2}}}, {"a": [{"k": 1}, 0]}),
]


@pytest.mark.parametrize(("document", "filter", "expected"), POSITIONS, ids=repr)
def test_the_element_that_the_filter_matched(
    things: rango.Collection,
    document: dict[str, Any],
    filter: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    things.replace_one({"_id": 1}, document)
    assert things.update_one({"_id": 1, **filter}, {"$set": {"a.$": 0}}).modified_count == 1
    assert things.find_one(1) == {"_id": 1, **expected}


def test_a_filter_that_matched_no_element_gives_no_position(things: rango.Collection) -> None:
    things.replace_one({"_id": 1}, {"a": [1], "c": 8})
    for filter in ({"c": 8}, {"_id": 1}):
        with pytest.raises(errors.InvalidUpdate) as caught:
            things.update_one(filter, {"$set": {"a.$": 0}})
        assert caught.value.code == 2
    with pytest.raises(errors.InvalidUpdate):
        things.update_one({"a": [7]}, {"$set": {"a.$": 0}}, upsert=True)


def test_strings_compare_by_the_collation(things: rango.Collection) -> None:
    loose = {"locale": "en", "strength": 2}
    things.insert_one({"_id": "ping", "tags": ["A", "b"], "low": "b"})
    update = {
        "$addToSet": {"tags": {"$each": ["a", "c"]}},
        "$min": {"low": "A"},
    }
    assert things.update_one({"_id": "PING"}, update, collation=loose).modified_count == 1
    assert things.find_one("ping") == {"_id": "ping", "tags": ["A", "b", "c"], "low": "A"}
    things.update_one({"_id": "ping"}, {"$pull": {"tags": {"$in": ["B", "C"]}}}, collation=loose)
    things.update_one(
        {"_id": "ping"},
        {"$set": {"tags.$[t]": "x"}},
        array_filters=[{"t": "a"}],
        collation=loose,
    )
    assert things.find_one("ping") == {"_id": "ping", "tags": ["x"], "low": "A"}
    assert things.delete_one({"low": "a"}, collation=loose).deleted_count == 1


@pytest.mark.parametrize(
    "filter",
    [{"$expr": {"$eq": ["$x", 1]}}, {"$and": [{"_id": 1}, {"$or": [{"$expr": True}, {"x": 1}]}]}],
)
def test_an_upsert_takes_no_expression_in_its_filter(
    things: rango.Collection, filter: dict[str, Any]
) -> None:
    for work in (
        lambda: things.update_one(filter, {"$set": {"x": 1}}, upsert=True),
        lambda: things.replace_one(filter, {"x": 1}, upsert=True),
    ):
        with pytest.raises(errors.InvalidFilter, match="upsert") as refused:
            work()
        assert refused.value.code == 224
    assert things.count_documents({}) == 3
    things.update_one(filter, {"$set": {"x": 1}})
