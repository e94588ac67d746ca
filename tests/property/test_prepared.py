"""Finds whose plan is known give what a plan made anew gives, whatever happens in between."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from bson import Int64, ObjectId
from hypothesis import event, given
from hypothesis import strategies as st

import rango
from rango._ext.vfs import PythonVfs
from rango.errors import RangoError
from tests.unit.memory_disk import MemoryDisk

VALUES = st.one_of(
    st.integers(-2, 3),
    st.sampled_from(
        [
            1.0, -0.0, 0.5, float("nan"), float("inf"), "", "a", "b", "ü", "x" * 60, "x" * 61,
            True, False, None, Int64(1), 2**53 + 1, 2.0**53, ObjectId("0" * 24), UUID(int=1),
            b"b", datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 1), [1, "a"], [], {"b": 1},
        ]
    ),
)  # fmt: skip
BODIES = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3)
CONDITIONS = st.one_of(
    VALUES,
    VALUES,
    st.builds(lambda name, value: {name: value}, st.sampled_from(["$gt", "$lte", "$ne"]), VALUES),
    st.builds(lambda values: {"$in": values}, st.lists(VALUES, max_size=3)),
    st.sampled_from([{"$exists": False}, {"$nothing": 1}, {"$type": "string"}]),
)
FILTERS = st.dictionaries(st.sampled_from(["a", "b", "c", "a.b", "_id"]), CONDITIONS, max_size=2)
SORTS = st.sampled_from(
    [
        None, "a", [("a", 1)], [("a", -1)], [("b", -1)], [("a", 1), ("b", -1)], [("_id", -1)],
        [("c", 1)], [("a", True)], [],
    ]
)  # fmt: skip
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "sort": SORTS,
        "limit": st.sampled_from([0, 1, 2, 5, -1, True]),
        "projection": st.sampled_from(
            [None, {"a": 1}, {"a": 0}, {"a": 1, "_id": 0}, {"b": True, "a": 1}, ["a"], {"a": 1.0}]
        ),
    },
)
KEYS: list[Any] = ["a", "b", [("a", 1), ("b", -1)], [("c", -1)]]
STEPS = st.one_of(
    st.tuples(st.just("insert"), st.integers(0, 9), BODIES),
    st.tuples(st.just("delete"), st.integers(0, 9), st.none()),
    st.tuples(st.just("index"), st.sampled_from(range(len(KEYS))), st.booleans()),
    st.tuples(st.just("drop"), st.sampled_from(range(len(KEYS))), st.none()),
    st.tuples(st.just("checkpoint"), st.none(), st.none()),
)


def changed(rows: Any, db: Any, step: tuple[str, Any, Any]) -> None:
    operation, what, more = step
    try:
        if operation == "insert":
            rows.insert_one({"_id": what, **more})
        elif operation == "delete":
            rows.delete_one({"_id": what})
        elif operation == "index":
            partial = {"partial_filter": {"a": {"$gt": 0}}} if more else {}
            rows.create_index(KEYS[what], **partial)
        elif operation == "drop":
            rows.drop_index(KEYS[what])
        else:
            db.checkpoint()
    except RangoError:
        event("refused")


def found(rows: Any, filter: Any, options: Any) -> Any:
    try:
        many = rows.find_many(copy.deepcopy(filter), **options)
        assert repr(rows.find(copy.deepcopy(filter), **options).to_list()) == repr(many)
        return repr(many)
    except RangoError as error:
        return type(error), str(error)


@given(
    st.lists(BODIES, max_size=6),
    st.lists(
        st.tuples(st.lists(STEPS, max_size=2), st.lists(st.tuples(FILTERS, OPTIONS), max_size=4)),
        max_size=4,
    ),
)
def test_a_prepared_find_gives_what_a_new_plan_gives(bodies: Any, rounds: Any) -> None:
    with (
        rango.open("/db", vfs=PythonVfs(MemoryDisk()), durability="memory") as db,
        rango.open("/general", vfs=PythonVfs(MemoryDisk()), durability="memory") as general,
    ):
        general._handle.prepared_finds = None
        finds = db._handle.prepared_finds
        assert finds is not None
        pair = (db["rows"], db), (general["rows"], general)
        for rows, whole in pair:
            rows.create_index("a")
            rows.create_index([("c", -1)])
            for at, body in enumerate(bodies):
                changed(rows, whole, ("insert", at, body))
        asked: list[Any] = []
        for steps, questions in rounds:
            for rows, whole in pair:
                for step in steps:
                    changed(rows, whole, copy.deepcopy(step))
            asked += questions
            for filter, options in asked * 3:
                more = {name: each for name, each in options.items() if name != "projection"}
                short = finds.find("rows", copy.deepcopy(filter), options.get("projection"), more)
                event("short" if type(short) is list else "general")
                answers = [found(rows, filter, options) for rows, _ in pair]
                assert answers[0] == answers[1]
                if type(short) is list:
                    assert repr(short) == answers[0]
