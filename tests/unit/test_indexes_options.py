"""Indexes through the public API: their options, what is refused, and what uniqueness means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from bson import SON, Int64, Regex

import rango
from rango import errors
from rango.collection import Collection
from rango.limits import INDEX_FIELDS_MAX, INDEXES_PER_COLLECTION_MAX
from tests.unit.api_case import engine_database

MODELS = [rango.IndexModel, pymongo.IndexModel]


@pytest.fixture
def things(tmp_path: Path) -> Iterator[Collection]:
    with engine_database(tmp_path / "db") as database:
        yield database["things"]
        assert list(database.check()) == []


def names(things: Collection) -> list[str]:
    return [each["name"] for each in things.list_indexes()]


# --- asking for one


@pytest.mark.parametrize("model", MODELS, ids=["rango", "pymongo"])
def test_models_say_all_options(things: Collection, model: Any) -> None:
    partial = {"n": {"$gt": 5}}
    made = things.create_indexes(
        [
            model([("a", 1), ("b", -1)], unique=True),
            model("at", expireAfterSeconds=3600, partialFilterExpression=partial, name="ends"),
            model([("s", -1)], sparse=True, hidden=True),
            model("_id"),
        ]
    )
    assert made == ["a_1_b_-1", "ends", "s_-1", "_id_"]
    assert things.index_information() == {
        "_id_": {"v": 2, "key": [("_id", 1)]},
        "a_1_b_-1": {"v": 2, "key": [("a", 1), ("b", -1)], "unique": True},
        "ends": {
            "v": 2,
            "key": [("at", 1)],
            "expireAfterSeconds": 3600,
            "partialFilterExpression": partial,
        },
        "s_-1": {"v": 2, "key": [("s", -1)], "sparse": True, "hidden": True},
    }


def test_a_model_shows_what_it_asks_for() -> None:
    asked = rango.IndexModel(["a", ("b", -1)], unique=True, partial_filter={"a": 1})
    assert asked.document == {
        "v": 2,
        "key": {"a": 1, "b": -1},
        "name": "a_1_b_-1",
        "unique": True,
        "partialFilterExpression": {"a": 1},
    }


@pytest.mark.parametrize("model", MODELS, ids=["rango", "pymongo"])
def test_an_index_on_id_makes_the_collection(things: Collection, model: Any) -> None:
    assert things.create_indexes([model("_id")]) == ["_id_"]
    assert names(things) == ["_id_"]


@pytest.mark.parametrize("models", [[], ["a"], [("a", 1)], [{"key": {"a": 1}}], [None]])
def test_what_is_no_model_is_refused(things: Collection, models: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="IndexModel"):
        things.create_indexes(models)
    assert names(things) == []


def test_indexes_before_the_one_that_failed_are_there(things: Collection) -> None:
    things.insert_many([{"a": 1, "b": 1}, {"a": 2, "b": 1}])
    models = [rango.IndexModel(path, unique=True) for path in "abc"]
    with pytest.raises(errors.DuplicateKey):
        things.create_indexes(models)
    assert names(things) == ["_id_", "a_1"]


@pytest.mark.parametrize(
    "keys",
    [
        "a.b",
        ["a.b"],
        [("a.b", 1)],
        (("a.b", 1),),
        {"a.b": 1},
        SON([("a.b", 1)]),
        [("a.b", 1.0)],
        {"a.b": Int64(1)},
    ],
)
def test_keys_may_be_written_as_in_pymongo(things: Collection, keys: Any) -> None:
    assert things.create_index(keys) == "a.b_1"
    assert things.index_information()["a.b_1"]["key"] == [("a.b", 1)]


@pytest.mark.parametrize("model", MODELS, ids=["rango", "pymongo"])
@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ([("a", "text")], "text"),
        ([("a", "2d")], "2d"),
        ([("a", "2dsphere"), ("b", 1)], "2dsphere"),
        ([("a", "hashed")], "hashed"),
        ([("a", "geoHaystack")], "geoHaystack"),
        ([("$**", 1)], "wildcard"),
        ([("a.$**", 1)], "wildcard"),
        ([("a", 0)], "direction"),
        ([("a", 2)], "direction"),
    ],
)
def test_kinds_that_there_are_not_are_refused(
    things: Collection, model: Any, keys: Any, word: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=word) as caught:
        things.create_indexes([model(keys)])
    assert caught.value.code == 67
    assert names(things) == []


@pytest.mark.parametrize(
    ("options", "word", "code"),
    [
        ({"collation": {"locale": "de"}}, "collation", 67),
        ({"weights": {"a": 1}}, "weights", 67),
        ({"storageEngine": {}}, "storageEngine", 67),
        ({"unique": "no"}, "unique", 67),
        ({"sparse": 1}, "sparse", 67),
        ({"hidden": "x"}, "hidden", 67),
        ({"sparse": True, "partial_filter": {"a": 1}}, "not both", 67),
        ({"partial_filter": {"a": 1}, "partialFilterExpression": {"a": 1}}, "same option", None),
        ({"partial_filter": 5}, "filter", 67),
        ({"partial_filter": {"a": {"$ne": 1}}}, "ne", 67),
        ({"partial_filter": {"a": {"$exists": False}}}, "exists", 67),
        ({"partial_filter": {"a": Regex("^a")}}, "'a'", 67),
        ({"partial_filter": {"$nor": [{"a": 1}]}}, "nor", 67),
        ({"partial_filter": {"$or": [{"a": 1}, {"$expr": True}]}}, "expr", 67),
        ({"partial_filter": {"_rev": "1"}}, "_rev", 67),
        ({"expire_after_s": -1}, "expireAfterSeconds", 67),
        ({"expire_after_s": 2**31}, "expireAfterSeconds", 67),
        ({"expire_after_s": "60"}, "expireAfterSeconds", 67),
        ({"expire_after_s": True}, "expireAfterSeconds", 67),
        ({"expire_after_s": float("nan")}, "expireAfterSeconds", 67),
        ({"name": ""}, "name", None),
        ({"name": "x" * 256}, "name", None),
        ({"name": 5}, "name", None),
        ({"progress": 5}, "progress", None),
    ],
)
def test_options_are_checked_before_anything_is_made(
    things: Collection, options: dict[str, Any], word: str, code: int | None
) -> None:
    with pytest.raises(errors.RangoError, match=word) as caught:
        things.create_index("a", **options)
    if code is not None:
        assert caught.value.code == code
    assert names(things) == []


@pytest.mark.parametrize(
    "options",
    [
        {"sparse": True},
        {"hidden": True},
        {"expire_after_s": 5},
        {"partial_filter": {"a": 1}},
    ],
)
def test_the_index_on_id_takes_no_options(things: Collection, options: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidArgument, match="_id") as caught:
        things.create_index("_id", **options)
    assert caught.value.code == 197


@pytest.mark.parametrize(
    ("keys", "options"),
    [([("_id", -1)], {}), ("a", {"name": "_id_"}), ([("_id", -1)], {"name": "x"})],
)
def test_no_other_index_takes_the_place_of_that_on_id(
    things: Collection, keys: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidArgument, match="_id") as caught:
        things.create_index(keys, **options)
    assert caught.value.code == 2
    assert things.create_index([("_id", 1)], name="any") == "_id_"


def test_only_one_field_can_end_documents(things: Collection) -> None:
    with pytest.raises(errors.InvalidArgument, match="one field") as caught:
        things.create_index([("a", 1), ("b", 1)], expireAfterSeconds=5)
    assert caught.value.code == 67


def test_options_of_a_server_mean_nothing(things: Collection) -> None:
    simple = {"locale": "simple"}
    things.create_index("a", background=True, comment="x", maxTimeMS=5, v=2, collation=simple)
    assert things.index_information()["a_1"] == {"v": 2, "key": [("a", 1)]}


# --- beside others


@pytest.mark.parametrize(
    ("keys", "options", "code"),
    [
        ("a", {"name": "other"}, 85),
        ("a", {"expireAfterSeconds": 5}, 85),
        ("a", {"hidden": True}, 85),
        ("a", {"unique": True}, 86),
        ("a", {"sparse": True}, 86),
        ("a", {"partial_filter": {"a": 1}}, 86),
        ([("a", -1)], {"name": "a_1"}, 86),
        ("b", {"name": "a_1"}, 86),
    ],
)
def test_conflicts_have_the_codes_of_mongodb(
    things: Collection, keys: Any, options: dict[str, Any], code: int
) -> None:
    things.create_index("a")
    with pytest.raises(errors.IndexConflict, match="a_1") as caught:
        things.create_index(keys, **options)
    assert caught.value.code == code
    assert names(things) == ["_id_", "a_1"]


def test_indexes_on_the_same_fields_may_differ_in_what_they_hold(things: Collection) -> None:
    things.create_index("a")
    things.create_index("a", unique=True, name="unique")
    things.create_index("a", sparse=True, name="sparse")
    things.create_index("a", partial_filter={"a": {"$gt": 1}}, name="high")
    things.create_index("a", partial_filter={"a": {"$lte": 1}}, name="low")
    assert len(names(things)) == 6
    with pytest.raises(errors.InvalidArgument, match="several") as caught:
        things.drop_index([("a", 1)])
    assert caught.value.code == 72
    things.drop_index("low")
    things.drop_index("*")
    assert names(things) == ["_id_"]


def test_there_are_so_many_indexes_and_fields(things: Collection) -> None:
    fields = [(f"f{number}", 1) for number in range(INDEX_FIELDS_MAX)]
    things.create_index(fields, name="widest")
    with pytest.raises(errors.LimitExceeded) as caught:
        things.create_index([*fields, ("more", 1)], name="wider")
    assert (caught.value.limit, caught.value.code) == ("INDEX_FIELDS_MAX", 67)
    # that of _id counts, as in MongoDB
    for number in range(INDEXES_PER_COLLECTION_MAX - len(names(things))):
        things.create_index(f"p{number}")
    assert len(names(things)) == INDEXES_PER_COLLECTION_MAX
    with pytest.raises(errors.LimitExceeded) as caught:
        things.create_index("last")
    assert (caught.value.limit, caught.value.code) == ("INDEXES_PER_COLLECTION_MAX", 67)
    things.insert_one({"_id": 1, "f31": 5, "p0": 1})
    assert things.find_many({"p0": 1}) == [{"_id": 1, "f31": 5, "p0": 1}]


# --- changing one


def test_a_hidden_index_is_kept_but_not_used(things: Collection) -> None:
    things.insert_many([{"_id": n, "a": n} for n in range(5)])
    things.create_index("a", unique=True, hidden=True)
    assert things.find({"a": 3}).explain()["plan"] == "scan"
    things.insert_one({"_id": 5, "a": 5})
    with pytest.raises(errors.DuplicateKey):
        things.insert_one({"a": 5})
    with pytest.raises(errors.RangoError, match="a_1"):
        things.find_many({"a": 3}, hint="a_1")
    things.modify_index("a_1", hidden=False)
    assert "hidden" not in things.index_information()["a_1"]
    assert things.find({"a": 5}).explain()["index"] == "a_1"
    assert things.find_many({"a": 5}) == [{"_id": 5, "a": 5}]
    things.modify_index({"a": 1}, hidden=True)
    assert things.index_information()["a_1"]["hidden"] is True
    assert things.find({"a": 5}).explain()["plan"] == "scan"


@pytest.mark.parametrize(
    ("index", "changes", "error", "code"),
    [
        ("a_1", {}, errors.InvalidArgument, None),
        ("a_1", {"hidden": "yes"}, errors.InvalidArgument, 67),
        ("a_1", {"expire_after_s": -1}, errors.InvalidArgument, 67),
        ("a_1", {"expire_after_s": float("inf")}, errors.InvalidArgument, 67),
        ("both", {"expire_after_s": 5}, errors.InvalidArgument, 67),
        ("_id_", {"hidden": True}, errors.InvalidArgument, 72),
        ("nothing", {"hidden": True}, errors.NotFound, 27),
        ([("b", 1)], {"hidden": True}, errors.NotFound, 27),
    ],
)
def test_changes_are_checked(
    things: Collection,
    index: Any,
    changes: dict[str, Any],
    error: type[errors.RangoError],
    code: int | None,
) -> None:
    things.create_index("a")
    things.create_index([("a", 1), ("b", 1)], name="both")
    before = things.list_indexes()
    with pytest.raises(error) as caught:
        things.modify_index(index, **changes)
    if code is not None:
        assert caught.value.code == code
    assert things.list_indexes() == before


def test_no_index_is_touched_inside_a_transaction(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db") as database:
        things = database["a"]
        things.create_index("a")
        for call in (
            lambda: things.create_index("b"),
            lambda: things.create_indexes([rango.IndexModel("b")]),
            lambda: things.modify_index("a_1", hidden=True),
            lambda: things.drop_index("a_1"),
            things.drop_indexes,
        ):
            with database.transaction(), pytest.raises(errors.TransactionError):
                call()
        assert names(things) == ["_id_", "a_1"]
