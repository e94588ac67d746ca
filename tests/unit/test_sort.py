"""Sorts: their forms, what they refuse, and the order against the filter's twin."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from bson.son import SON
from hypothesis import given, settings
from hypothesis import strategies as st

import rango
from rango._ext.record import decode, encode, record_build, record_parts
from rango.engine.sort import Sort, sort_of, sort_records
from rango.errors import InvalidFilter
from tests.reference import filter as twin
from tests.unit.test_filter import DOCUMENTS, record_of


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


@settings(max_examples=100, deadline=None)
@given(
    st.lists(DOCUMENTS, max_size=8),
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([1, -1])),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 5),
)
def test_sort_equals_its_twin(
    documents: list[dict[str, Any]], spec: list[tuple[str, int]], limit: int
) -> None:
    sort = sort_of(spec)
    records = [record_of(document) for document in documents]

    def end(document: dict[str, Any], path: str, direction: int) -> Any:
        value = document.get(path)
        if not isinstance(value, list):
            return value
        # an empty array is less than null; MinKey is the only value that is below both
        ordered = sorted(value, key=functools.cmp_to_key(twin.compare))
        return ordered[0 if direction > 0 else -1] if ordered else twin.MISSING

    def compare_ends(left: Any, right: Any) -> int:
        ranks = [1.5 if end is twin.MISSING else 2 * twin.class_of(end) for end in (left, right)]
        if twin.MISSING in (left, right):
            return twin.sign(*ranks)
        return twin.compare(left, right)

    def compare(left: bytes, right: bytes) -> int:
        a, b = (decode(record_parts(record)[6]) for record in (left, right))
        for path, direction in sort:
            order = compare_ends(end(a, path, direction), end(b, path, direction))
            if order:
                return order * direction
        return 0

    expected = sorted(records, key=functools.cmp_to_key(compare))
    assert list(sort_records(records, sort, limit)) == expected[: limit or None]


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
