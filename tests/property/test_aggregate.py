"""Pipelines: what the optimiser, the query and an index make of them is what the stages say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rango
from rango.database import Database
from rango.engine.values import order_key
from rango.errors import InvalidFilter

FIELDS = ("a", "b", "c")
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, Int64(2), Decimal128("1"), "x", "y", ""]),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.fixed_dictionaries({}, optional={"d": SCALARS, "e": st.lists(SCALARS, max_size=2)}),
    st.lists(st.fixed_dictionaries({}, optional={"d": SCALARS}), max_size=2),
)
DOCUMENTS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, VALUES)), max_size=12)
PATHS = st.sampled_from(["a", "b", "c", "a.d", "b.d", "a.e", "_id"])
CONDITIONS = st.one_of(
    st.builds(lambda path, value: {path: value}, PATHS, SCALARS),
    st.builds(
        lambda path, operator, value: {path: {operator: value}},
        PATHS,
        st.sampled_from(["$gt", "$lte", "$ne", "$eq"]),
        SCALARS,
    ),
    st.builds(lambda path, exists: {path: {"$exists": exists}}, PATHS, st.booleans()),
)
FILTERS = st.one_of(
    CONDITIONS,
    st.builds(lambda one, other: {"$and": [one, other]}, CONDITIONS, CONDITIONS),
    st.builds(lambda one, other: {"$or": [one, other]}, CONDITIONS, CONDITIONS),
)
COUNTS = st.integers(0, 6)
SORTS = st.dictionaries(PATHS, st.sampled_from([1, -1]), min_size=1, max_size=2)
PROJECTIONS = st.one_of(
    st.dictionaries(st.sampled_from(FIELDS), st.just(1), min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(FIELDS), st.just(0), min_size=1, max_size=2),
    st.sampled_from([{"a.d": 1}, {"a.d": 0}, {"_id": 0, "b": 1}, {"a": "$b", "c": 1}]),
)
STAGES = st.one_of(
    st.builds(lambda spec: {"$match": spec}, FILTERS),
    st.builds(lambda spec: {"$sort": spec}, SORTS),
    st.builds(lambda count: {"$skip": count}, COUNTS),
    st.builds(lambda count: {"$limit": count + 1}, COUNTS),
    st.builds(lambda spec: {"$project": spec}, PROJECTIONS),
    st.builds(lambda path, other: {"$set": {path: f"${other}"}}, st.sampled_from(FIELDS), PATHS),
    st.builds(
        lambda path, keeps: {"$unwind": {"path": f"${path}", "preserveNullAndEmptyArrays": keeps}},
        PATHS,
        st.booleans(),
    ),
)
PIPELINES = st.lists(STAGES, max_size=6)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for all examples."""
    path: Path = tmp_path_factory.mktemp("aggregate") / "db"
    with rango.open(path, durability="memory") as database:
        yield database


def stepwise(db: Database, documents: list[Any], pipeline: list[Any]) -> list[Any]:
    """Each stage on its own, so that no stage meets another."""
    for stage in pipeline:
        source = {"$documents": {"$literal": documents}}
        documents = db.aggregate([source, stage]).to_list()
    return documents


def stored(db: Database, documents: list[Any]) -> list[Any]:
    """The documents, stored with an `_id` each."""
    with_ids = [{"_id": at, **document} for at, document in enumerate(documents)]
    db["c"].delete_many({})
    if with_ids:
        db["c"].insert_many(with_ids)
    return with_ids


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(DOCUMENTS, PIPELINES)
def test_the_optimiser_changes_no_answer(
    db: Database, documents: list[Any], pipeline: list[Any]
) -> None:
    kept = stored(db, documents)
    try:
        expected = stepwise(db, kept, pipeline)
    except InvalidFilter as error:
        # a $match that is moved before the $sort may leave nothing to be refused
        assert "parallel" in str(error)
        return
    found = db["c"].aggregate(pipeline).to_list()
    assert repr(found) == repr(expected)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(DOCUMENTS, PIPELINES)
def test_an_index_changes_no_answer(
    db: Database, documents: list[Any], pipeline: list[Any]
) -> None:
    # which documents a limit keeps depends on the order, which an index may change
    unlimited = [each for each in pipeline if not {"$skip", "$limit"} & set(each)]
    stored(db, documents)
    try:
        plain = db["c"].aggregate(unlimited).to_list()
    except InvalidFilter as error:
        assert "parallel" in str(error)
        return
    db["c"].create_index("a")
    db["c"].create_index("b")
    try:
        indexed = db["c"].aggregate(unlimited).to_list()
    finally:
        db["c"].drop_index("a_1")
        db["c"].drop_index("b_1")
    assert sorted(map(order_key, indexed)) == sorted(map(order_key, plain))
