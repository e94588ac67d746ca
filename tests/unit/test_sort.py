"""Sorts: their forms, what they refuse, and the order against the filter's twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bson.son import SON
from hypothesis import example, given, settings
from hypothesis import strategies as st

import rango
from rango._ext.order import Sorter, SortField
from rango._ext.record import decode, encode, record_build, record_parts
from rango.database import Database
from rango.engine.aggregate.keys import sort_key
from rango.engine.collation import Collation
from rango.engine.sort import Sort, sort_of, sort_records, sorter_of
from rango.errors import InvalidFilter, LimitExceeded, RangoError
from tests.reference import order as twin
from tests.unit.aggregate_case import db
from tests.unit.test_filter import DOCUMENTS, record_of

__all__ = ["db"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((None,), ()),
        (([],), ()),
        (({},), ()),
        (("a",), (("a", 1),)),
        (("a.b", -1), (("a.b", -1),)),
        (([("a", 1), ("b", -1)],), (("a", 1), ("b", -1))),
        ((["a", ("b", -1)],), (("a", 1), ("b", -1))),
        (({"a": -1.0},), (("a", -1),)),
        ((SON([("b", 1), ("a", -1)]),), (("b", 1), ("a", -1))),
    ],
)
def test_forms(arguments: tuple[Any, ...], expected: Sort) -> None:
    assert sort_of(*arguments) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        (5,),
        ("",),
        ("$a",),
        ("a..b",),
        ("a", 0),
        ("a", True),
        ("a", "asc"),
        ([("a", 1)], 1),
        ([("a",)],),
        ([("a", 2)],),
        ([(1, 1)],),
        ({"a": {"$meta": "x"}},),
        ([5],),
        ("a\x00",),
        ([(f"f{i}", 1) for i in range(33)],),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidFilter):
        sort_of(*arguments)


def names(records: list[dict[str, Any]], sort: Sort, limit: int = 0) -> list[Any]:
    found = sort_records([record_of(record) for record in records], sort, limit)
    return [decode(record_parts(record)[6])["n"] for record in found]


def test_a_sort_that_is_known_says_nothing_about_one_that_only_compares_as_equal() -> None:
    for direction in (True, 1.0, "1"):
        assert sort_of([("known", 1)]) == (("known", 1),)
        if direction == 1.0 and not isinstance(direction, bool):
            assert sort_of([("known", direction)]) == (("known", 1),)
        else:
            with pytest.raises(InvalidFilter):
                sort_of([("known", direction)])
    assert sort_of([("$natural", -1)]) == sort_of([("$natural", -1)]) == (("_id", -1),)
    for _ in range(2):
        with pytest.raises(InvalidFilter):
            sort_of([("$other", 1)])


def test_missing_is_null_and_arrays_count_by_their_ends() -> None:
    documents: list[dict[str, Any]] = [
        {"n": 0, "a": 5},
        {"n": 1},
        {"n": 2, "a": [1, 9]},
        {"n": 3, "a": None},
        {"n": 4, "a": "x"},
        {"n": 5, "a": []},
    ]
    assert names(documents, (("a", 1),)) == [5, 1, 3, 2, 0, 4]
    assert names(documents, (("a", -1),)) == [4, 2, 0, 1, 3, 5]
    assert names(documents, (("a", -1),), 2) == [4, 2]
    assert names(documents, ()) == [0, 1, 2, 3, 4, 5]
    assert names(documents, (), 3) == [0, 1, 2]


def test_compound() -> None:
    documents = [{"n": i, "a": i % 2, "b": -i} for i in range(6)]
    assert names(documents, (("a", 1), ("b", 1))) == [4, 2, 0, 5, 3, 1]
    assert names(documents, (("a", -1), ("n", 1))) == [1, 3, 5, 0, 2, 4]


def test_header_fields() -> None:
    stamps = [(5, 1, 9, b"b"), (5, 0, 7, b"a"), (4, 9, 8, b"ab")]
    records = [
        record_build(encode({"n": i}), 0, ms, counter, updated_at, 0, node)
        for i, (ms, counter, updated_at, node) in enumerate(stamps)
    ]

    def order(name: str, direction: int) -> list[int]:
        found = sort_records(records, ((name, direction),))
        return [decode(record_parts(record)[6])["n"] for record in found]

    assert order("_rev", 1) == [2, 1, 0]
    assert order("_updated_at", -1) == [0, 2, 1]
    assert order("_source_node", 1) == [1, 2, 0]
    assert order("_source_node", -1) == [0, 2, 1]


PATHS = st.sampled_from(["a", "b", "c", "a.b", "a.c", "b.a"])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(DOCUMENTS, max_size=8),
    st.lists(st.tuples(PATHS, st.sampled_from([1, -1])), min_size=1, max_size=3),
    st.integers(0, 5),
    st.booleans(),
)
def test_sort_equals_its_twin(
    documents: list[dict[str, Any]], spec: list[tuple[str, int]], limit: int, is_slow: bool
) -> None:
    sort = sort_of(spec)
    records = [record_of(document) for document in documents]
    collation = Binary() if is_slow else None
    decoded = [decode(encode(document)) for document in documents]
    try:
        expected = twin.ordered(decoded, sort)
    except twin.ParallelArrays:
        with pytest.raises(InvalidFilter, match="parallel") as caught:
            sort_records(records, sort, limit, collation)
        assert caught.value.code == 2
        return
    found = sort_records(records, sort, limit, collation)
    assert list(found) == [records[at] for at in expected[: limit or None]]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(DOCUMENTS, max_size=8),
    st.lists(st.tuples(PATHS, st.sampled_from([1, -1])), min_size=1, max_size=3),
)
@example([{"b": {"a": None}}, {"b": {"a": []}}], [("b", 1), ("b.a", 1)])
def test_a_stage_sorts_as_find_does(
    documents: list[dict[str, Any]], spec: list[tuple[str, int]]
) -> None:
    # it took each field by itself: other elements of one array, and no null for a missing field
    sort = sort_of(spec)
    key = sort_key(sort)
    decoded = [decode(encode(document)) for document in documents]
    try:
        expected = twin.ordered(decoded, sort)
    except twin.ParallelArrays:
        with pytest.raises(InvalidFilter, match="parallel"):
            sorted(decoded, key=key)
        return
    assert sorted(range(len(decoded)), key=lambda at: key(decoded[at])) == expected


def test_a_sort_of_a_pipeline_refuses_two_arrays_wherever_it_stands(db: Database) -> None:
    db["c"].insert_many([{"_id": 1, "a": [1, 2], "b": [3]}, {"_id": 2}])
    sort = {"$sort": {"a": 1, "b": 1}}
    for stages in ([sort], [sort, {"$limit": 1}], [{"$set": {"x": 1}}, sort]):
        with pytest.raises(InvalidFilter, match="parallel") as caught:
            db["c"].aggregate(stages).to_list()
        assert caught.value.code == 2
    elements = {"$sort": {"a.x": 1, "a.y": 1}}
    db["d"].insert_many(
        [{"_id": 1, "a": [{"x": 1, "y": 9}, {"x": 2, "y": 0}]}, {"_id": 2, "a": {"x": 1, "y": 5}}]
    )
    for stages in ([elements], [{"$set": {"z": 1}}, elements]):
        assert [each["_id"] for each in db["d"].aggregate(stages)] == [2, 1]
    assert [each["_id"] for each in db["d"].find().sort([("a.x", 1), ("a.y", 1)])] == [2, 1]


class Binary(Collation):
    """A collation that changes nothing: all goes the slow way."""

    def fold_value(self, value: Any) -> Any:
        return value


def test_a_collation_decides_how_strings_are_ordered() -> None:
    documents: list[dict[str, Any]] = [
        {"n": 0, "a": "b"},
        {"n": 1, "a": "A"},
        {"n": 2, "a": ["C", "a"]},
        {"n": 3, "a": {"x": "B"}},
    ]
    records = [record_of(document) for document in documents]
    found = sort_records(records, (("a", 1),), 0, Collation("en", 2))
    assert [decode(record_parts(each)[6])["n"] for each in found] == [1, 2, 0, 3]
    assert names(documents, (("a", 1),)) == [1, 2, 0, 3]
    found = sort_records(
        [*records[:2], record_of({"n": 9, "a": "a"})], (("a", -1),), 0, Collation("en", 2)
    )
    assert [decode(record_parts(each)[6])["n"] for each in found] == [0, 1, 9]


def test_fields_of_one_array_are_compared_element_by_element() -> None:
    documents: list[dict[str, Any]] = [
        {"n": 0, "a": [{"b": 1, "c": 5}, {"b": 2, "c": 9}]},
        {"n": 1, "a": [{"b": 1, "c": 7}]},
    ]
    # the least b of the first goes with c = 5, whatever the other elements hold
    assert names(documents, (("a.b", 1), ("a.c", -1))) == [1, 0]
    assert names(documents, (("a.b", -1), ("a.c", 1))) == [0, 1]
    positions = [{"n": 0, "a": [3, 1]}, {"n": 1, "a": [2, 9]}]
    assert names(positions, (("a.0", 1), ("n", 1))) == [1, 0]
    assert names(positions, (("a.1", 1), ("a.0", 1))) == [0, 1]


def test_natural_order_is_that_of_the_id() -> None:
    assert sort_of([("$natural", -1)]) == (("_id", -1),)
    with pytest.raises(InvalidFilter, match="natural"):
        sort_of([("$natural", 1), ("a", 1)])


def test_what_a_sort_holds_is_bounded() -> None:
    records = [record_of({"n": i, "pad": "x" * 1000}) for i in range(50)]
    first = SortField("n", True)
    sorter = Sorter(first, bytes, 0, 20_000)
    with pytest.raises(LimitExceeded, match="an index") as caught:
        sorter.add_records(records)
    assert caught.value.limit == "SORT_SIZE_BYTES_MAX"
    few = Sorter(first, bytes, 3, 20_000)
    few.add_records(records)
    assert len(few) == 3
    assert few.held < 4000
    assert few.records(0, 10) == [records[49], records[48], records[47]]
    assert few.records(1, 1) == [records[48]]
    with pytest.raises(RangoError, match="takes no more"):
        few.add_records(records)


def test_a_scan_is_sorted_without_its_records_passing_through_python(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        db["c"].insert_many([{"_id": n, "a": (n * 7919) % 1000} for n in range(1000)])
        view = db._handle.view()[0]
        info = view.catalog.collections["c"]
        for limit in (0, 10):
            scan = view.scan(info.tree_id, None, None, False, None)
            sorter = sorter_of((("a", -1),), limit)
            sorter.add_scan(scan)
            found = [decode(record_parts(each)[6])["a"] for each in sorter.records(0, 1000)]
            assert found == list(range(999, -1, -1))[: limit or None]
            assert scan.next_records(1) == []


def test_values_that_share_a_thousand_bytes_are_sorted_by_what_comes_after(tmp_path: Path) -> None:
    """Their keys are shortened to a prefix and a hash, which once decided the order."""
    with rango.open(tmp_path / "db") as db:
        long = db["long"]
        long.insert_many([{"_id": n, "s": "a" * 1100 + x} for n, x in enumerate("dbca")])
        for _ in range(2):
            assert [each["s"][-1] for each in long.find({}, sort=[("s", 1)])] == list("abcd")
            assert [each["s"][-1] for each in long.find({}, sort=[("s", -1)], limit=2)] == [
                "d",
                "c",
            ]
            long.create_index("s")
        nested = db["nested"]
        nested.insert_many([{"a": [{"b": "x" * 1100 + x}, {"b": "y"}]} for x in "cab"])
        found = nested.find({}, sort=[("a.b", 1)]).to_list()
        assert [each["a"][0]["b"][-1] for each in found] == list("abc")
