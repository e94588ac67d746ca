"""Filters: MongoDB's semantics by example, the edges between classes, the twin on random input."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.son import SON
from hypothesis import given, settings
from hypothesis import strategies as st

from rango._ext.compare import compare_fields
from rango._ext.filter import NO_VALUE, Program, compile_filter, revision_tag
from rango._ext.record import decode, encode, record_build
from rango.errors import Corrupted, InvalidFilter, LimitExceeded
from tests.reference import filter as twin

NODE = b"node-1"
UTC = datetime.UTC
NAN = float("nan")


def record_of(document: dict[str, Any], ms: int = 1_700_000_000_000, counter: int = 3) -> bytes:
    return record_build(encode(document), 0, ms, counter, 1_700_000_000_001, 0, NODE)


def matches(filter: Any, document: dict[str, Any]) -> bool:
    return compile_filter(filter).matches(record_of(document))


CASES: list[tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]] = [
    ({}, [{}, {"a": 1}], []),
    (
        {"a": 1},
        [{"a": 1}, {"a": 1.0}, {"a": [0, 1]}, {"a": Decimal128("1.00")}],
        [{}, {"a": "1"}, {"a": [[1]]}],
    ),
    ({"a": None}, [{}, {"a": None}, {"a": [None]}], [{"a": []}, {"a": 0}]),
    (
        {"a.b": None},
        [{}, {"a": 5}, {"a": {}}, {"a": [{"b": 1}, {}]}],
        [{"a": []}, {"a": [1, 2]}, {"a": {"b": 1}}],
    ),
    ({"a": {"$ne": 1}}, [{}, {"a": 2}, {"a": []}], [{"a": 1}, {"a": [1, 2]}]),
    ({"a": {"$nin": [1, None]}}, [{"a": 2}], [{}, {"a": 1}, {"a": [3, 1]}]),
    ({"a": {"$in": [1, "x", None]}}, [{}, {"a": "x"}, {"a": [5, 1.0]}], [{"a": 2}, {"a": []}]),
    ({"a": {"$in": []}}, [], [{}, {"a": 1}, {"a": []}]),
    ({"a": {"$in": [[1, 2]]}}, [{"a": [1, 2]}, {"a": [[1, 2], 3]}], [{"a": [1]}, {"a": [2, 1]}]),
    (
        {"a": [1, 2]},
        [{"a": [1, 2]}, {"a": [[1, 2]]}, {"a": [1.0, Int64(2)]}],
        [{"a": [1, 2, 3]}, {"a": 1}],
    ),
    (
        {"a": {"x": 1, "y": 2}},
        [{"a": {"x": 1, "y": 2}}, {"a": [{"x": 1, "y": 2}]}],
        [{"a": {"y": 2, "x": 1}}],
    ),
    ({"a": {}}, [{"a": {}}], [{"a": {"b": 1}}, {}]),
    ({"a": {"$gt": 5, "$lt": 7}}, [{"a": 6}, {"a": [1, 9]}], [{"a": 5}, {"a": "6"}, {}]),
    ({"a": {"$gte": None}}, [{}, {"a": None}], [{"a": 1}]),
    ({"a": {"$gt": None}}, [], [{}, {"a": None}, {"a": 1}]),
    ({"a": {"$gt": "a"}}, [{"a": "b"}, {"a": "aa"}], [{"a": 5}, {"a": "a"}, {"a": {}}]),
    ({"a": {"$lt": True}}, [{"a": False}], [{"a": 0}, {"a": True}]),
    ({"a": {"$gt": MinKey()}}, [{}, {"a": 1}, {"a": MaxKey()}], [{"a": MinKey()}]),
    ({"a": {"$lte": MaxKey()}}, [{}, {"a": 1}, {"a": MaxKey()}], []),
    ({"a": {"$gte": MaxKey()}}, [{"a": MaxKey()}], [{}, {"a": 1}]),
    ({"a": {"$lt": MinKey()}}, [], [{}, {"a": 1}, {"a": MinKey()}]),
    ({"a": NAN}, [{"a": NAN}, {"a": Decimal128("NaN")}], [{"a": 1}, {}]),
    ({"a": {"$gte": NAN}}, [{"a": NAN}], [{"a": 1}, {"a": float("inf")}]),
    ({"a": {"$lt": 1}}, [{"a": float("-inf")}], [{"a": NAN}, {"a": Decimal128("NaN")}]),
    ({"a": {"$gt": NAN}}, [], [{"a": 1}, {"a": NAN}]),
    (
        {"a": {"$gt": 2**53}},
        [{"a": 2**53 + 1}, {"a": Decimal128("9007199254740992.5")}],
        [{"a": 2.0**53}],
    ),
    ({"a": 2**53 + 1}, [{"a": 2**53 + 1}, {"a": Decimal128("9007199254740993")}], [{"a": 2.0**53}]),
    ({"a": 2.0**53}, [{"a": 2**53}], [{"a": 2**53 + 1}]),
    ({"a": Decimal128("0.1")}, [{"a": Decimal128("0.10")}], [{"a": 0.1}]),
    ({"a": {"$lt": 0.1}}, [{"a": Decimal128("0.1")}], [{"a": 0.1}]),
    ({"a": 0}, [{"a": -0.0}, {"a": Decimal128("-0E+10")}], [{"a": False}]),
    (
        {"a": {"$gt": 1e308}},
        [{"a": Decimal128("1E+309")}, {"a": float("inf")}],
        [{"a": Decimal128("1E+300")}],
    ),
    (
        {"a": {"$gt": Decimal128("1E-400")}},
        [{"a": 5e-324}],
        [{"a": 0}, {"a": Decimal128("1E-401")}],
    ),
    ({"a": {"$exists": True}}, [{"a": None}, {"a": []}], [{}, {"b": 1}]),
    ({"a": {"$exists": 0}}, [{}], [{"a": None}]),
    ({"a.b": {"$exists": True}}, [{"a": [{}, {"b": 1}]}], [{"a": [{}]}, {"a": []}, {"a": 1}]),
    (
        {"a.1": 5},
        [{"a": [0, 5]}, {"a": {"1": 5}}, {"a": [{"1": 5}]}],
        [{"a": [5]}, {"a": [0, [5]]}],
    ),
    ({"a.1": [5]}, [{"a": [0, [5]]}], [{"a": [0, 5]}]),
    (
        {"a.0.b": 1},
        [{"a": [{"b": 1}]}, {"a": [[{"b": 1}]]}, {"a": {"0": {"b": [1]}}}],
        [{"a": [{}, {"b": 1}]}],
    ),
    ({"a.01": 5}, [{"a": {"01": 5}}], [{"a": [0, 5]}]),
    ({"a.b.c": 1}, [{"a": [{"b": [{"c": 1}]}]}], [{"a": [[{"b": {"c": 1}}]]}]),
    ({"": 1, "a.": 2}, [{"": 1, "a": {"": 2}}], [{"a": {"": 2}}]),
    ({"$or": [{"a": 1}, {"b": 2}]}, [{"a": 1}, {"b": 2}], [{"a": 2}, {}]),
    ({"$nor": [{"a": 1}, {"b": 2}]}, [{}, {"a": 2}], [{"a": 1}, {"b": 2}]),
    (
        {"$and": [{"a": 1}, {"$or": [{"b": 1}, {"b": 2}]}], "c": 3},
        [{"a": 1, "b": 2, "c": 3}],
        [{"a": 1, "b": 2}],
    ),
    ({"a": {"$not": {"$gt": 5, "$lt": 9}}}, [{}, {"a": 3}, {"a": "x"}], [{"a": 6}, {"a": [3, 20]}]),
    ({"$nor": [{}]}, [], [{}, {"a": 1}]),
    ({"$or": [{}, {"a": 1}]}, [{}, {"a": 2}], []),
    ({"$comment": "why", "a": 1}, [{"a": 1}], [{}]),
    ({"a": "$gt"}, [{"a": "$gt"}], [{}]),
    ({"a": {"$eq": {"$gt": 1}}}, [{"a": {"$gt": 1}}], [{"a": 2}]),
    ({"a": {"$eq": Regex("x")}}, [{"a": Regex("x")}], [{"a": "x"}]),
    ({"a": {"$ref": "c", "$id": 1}}, [{"a": {"$ref": "c", "$id": 1}}], [{}]),
    (
        {"a": {"$gt": {"x": 1}}},
        [{"a": {"x": 2}}, {"a": {"x": 1, "y": 0}}, {"a": {"y": 0}}],
        [{"a": {"x": 1}}],
    ),
    ({"a": {"$lt": [1, 2]}}, [{"a": [1]}, {"a": [[0]]}], [{"a": [1, 2]}, {"a": 0}]),
    ({"a": b"ab"}, [{"a": b"ab"}], [{"a": Binary(b"ab", 5)}, {"a": "ab"}]),
    ({"a": {"$gt": b"zz"}}, [{"a": b"aaa"}, {"a": Binary(b"aa", 5)}], [{"a": b"za"}, {"a": b"z"}]),
    ({"a": {"$lt": Timestamp(5, 1)}}, [{"a": Timestamp(4, 9)}], [{"a": Timestamp(5, 1)}, {"a": 1}]),
    ({"a": SON([("$gte", 1)])}, [{"a": 1}], [{"a": 0}]),
    (
        {f"f{i}": i for i in range(40)},
        [{f"f{i}": i for i in reversed(range(40))}],
        [{f"f{i}": i for i in range(39)}],
    ),
]


@pytest.mark.parametrize(("filter", "yes", "no"), CASES, ids=lambda value: str(value)[:60])
def test_filter_examples(
    filter: dict[str, Any], yes: list[dict[str, Any]], no: list[dict[str, Any]]
) -> None:
    program = compile_filter(filter)
    for document in yes:
        assert program.matches(record_of(document)), document
    for document in no:
        assert not program.matches(record_of(document)), document


REFUSED: list[Any] = [
    5,
    "a",
    [("a", 1)],
    None,
    {1: 2},
    {"$gt": 1},
    {"$where": "x"},
    {"$and": []},
    {"$or": {}},
    {"$nor": 1},
    {"$and": [1]},
    {"a": {"$foo": 1}},
    {"a": {"$gt": 1, "b": 2}},
    {"a": {"$in": 1}},
    {"a": {"$nin": "ab"}},
    {"a": {"$in": [{"$gt": 1}]}},
    {"a": {"$ne": re.compile("x")}},
    {"a": {"$gt": Regex("x")}},
    {"a": {"$not": 1}},
    {"a": {"$not": {}}},
    {"a": {"$not": {"b": 1}}},
    {"a": Ellipsis},
    {"a": 2**63},
    {"a\x00b": 1},
    {"a\ud800": 1},
    {"a": "\ud800"},
    {"_rev": "new"},
    {"_rev": {"$gt": "1-2-xyz"}},
    {"_rev": "1-99999-abcd"},
    {"$and": [{"$gt": 1}]},
    {"a": {"$exists": 1, "x": 1}},
]


@pytest.mark.parametrize("filter", REFUSED, ids=repr)
def test_filter_refused(filter: Any) -> None:
    with pytest.raises(InvalidFilter):
        compile_filter(filter)


def test_filter_depth_is_limited() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(99):
        deep = {"$and": [deep]}
    assert matches(deep, {"a": 1})
    with pytest.raises(LimitExceeded, match="100"):
        compile_filter({"$and": [deep]})
    nots: dict[str, Any] = {"$gt": 1}
    for _ in range(150):
        nots = {"$not": nots}
    with pytest.raises(LimitExceeded, match="100"):
        compile_filter({"a": nots})
    with pytest.raises(LimitExceeded, match="parts"):
        compile_filter({".".join("a" * 101): 1})


@pytest.mark.parametrize(
    ("node", "tag"),
    [
        ("hello", "e037"),
        ("node-a", "9239"),
        ("node-b", "95fe"),
        ("node-1", "1991"),
        ("cli-node", "f60f"),
        ("default-node", "d554"),
        ("python-node", "320b"),
        ("governance-runtime", "bfb8"),
        ("", "3040"),
    ],
)
def test_revision_tag_vectors(node: str, tag: str) -> None:
    assert revision_tag(node) == tag


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"_rev": "1700000000000-3-1991"}, True),
        ({"_rev": "1700000000000-3-1992"}, False),
        ({"_rev": {"$gt": "999999999999-9-ffff"}}, True),
        ({"_rev": {"$lt": "1700000000000-10-0000"}}, True),
        ({"_rev": {"$gt": "1700000000000-3-1990"}}, True),
        ({"_rev": {"$in": ["1-0-0000", "1700000000000-3-1991"]}}, True),
        ({"_rev": None}, False),
        ({"_rev": {"$exists": True}}, True),
        ({"_rev.x": {"$exists": True}}, False),
        ({"_rev": {"$ne": 5}}, True),
        ({"_source_node": "node-1"}, True),
        ({"_source_node": {"$gt": "node-2"}}, False),
        ({"_updated_at": {"$gte": datetime.datetime(2023, 11, 14, tzinfo=UTC)}}, True),
        ({"_updated_at": {"$lt": datetime.datetime(2023, 11, 14, tzinfo=UTC)}}, False),
        ({"a": 1, "_source_node": "node-1", "b": 2, "_rev": {"$gt": "1-0-0000"}}, True),
        ({"_source_node": "x", "a": 1}, False),
    ],
)
def test_header_fields(filter: dict[str, Any], expected: bool) -> None:
    assert matches(filter, {"a": 1, "b": 2}) is expected


def test_program_properties() -> None:
    assert compile_filter({}).is_always
    assert not compile_filter({"a": 1}).is_always
    only = compile_filter({"_id": 7})
    assert only.id_equals == 7
    assert only.is_id_only
    both = compile_filter({"a": 1, "$and": [{"_id": {"$eq": "x"}}]})
    assert both.id_equals == "x"
    assert not both.is_id_only
    for filter in ({}, {"_id": {"$gt": 1}}, {"$or": [{"_id": 1}, {"a": 1}]}, {"_id": {"$ne": 1}}):
        assert compile_filter(filter).id_equals is NO_VALUE


def test_normal_form() -> None:
    assert compile_filter({"a": 1, "$and": [{"b": {"$gt": 1, "$ne": 2}}]}).normal == (
        "$and",
        (("$eq", "a", 1), ("$gt", "b", 1), ("$not", ("$eq", "b", 2))),
    )


def test_tombstones_match_nothing_and_damage_is_named() -> None:
    program = compile_filter({})
    record = record_of({"a": 1})
    assert not program.matches(b"\x01" + record[1:])
    assert program.run_many([record, b"\x01" + record[1:], record]) == [0, 2]
    find = compile_filter({"z": 1, "y": {"$gt": "a"}})
    for size in range(len(record)):
        with pytest.raises(Corrupted):
            find.matches(record[:size])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_records_end_in_an_answer(data: st.DataObject) -> None:
    record = bytearray(
        record_of({"s": "text", "d": {"x": [1, {"y": 2.5}]}, "r": Regex("a", "i"), "n": 1})
    )
    for _ in range(data.draw(st.integers(1, 3))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    for program in DAMAGE_PROGRAMS:
        try:
            assert program.matches(bytes(record)) in (True, False)
        except Corrupted:
            continue


DAMAGE_PROGRAMS: list[Program] = [
    compile_filter({"n": 1}),
    compile_filter({"d.x.y": {"$gt": 2}, "s": {"$lt": "z"}}),
    compile_filter({"d": {"x": [1, {"y": 2.5}]}, "zz": None}),
    compile_filter({"$or": [{"r": {"$eq": Regex("a", "i")}}, {"q": {"$in": [1, "x"]}}]}),
]

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**53, 2**53 + 1, -(2**63), 2**63 - 1, Int64(1)]),
    st.sampled_from(
        [
            0.0,
            -0.0,
            0.1,
            1.0,
            2.5,
            2.0**53,
            2.0**63,
            1e300,
            5e-324,
            NAN,
            float("inf"),
            -float("inf"),
        ]
    ),
    st.floats(),
    st.sampled_from(
        [
            "0",
            "-0",
            "1",
            "1.0",
            "0.1",
            "9007199254740993",
            "1E+300",
            "1E-320",
            "NaN",
            "Infinity",
            "-Infinity",
            "1E+6111",
            "1E-6176",
            "-2.5",
            "9.999999999999999999999999999999999E+6144",
            "9223372036854775807",
        ]
    ).map(Decimal128),
    st.sampled_from(["", "a", "ab", "b", "ä", "a\x00b", "$gt"]),
    st.sampled_from([b"", b"a", b"ab", Binary(b"a", 5)]),
    st.sampled_from([ObjectId(b"0" * 12), ObjectId(b"1" * 12)]),
    st.sampled_from(
        [datetime.datetime(1960, 1, 1, tzinfo=UTC), datetime.datetime(2024, 1, 1, tzinfo=UTC)]
    ),
    st.sampled_from([Timestamp(1, 2), Timestamp(2, 1), MinKey(), MaxKey()]),
)
NAMES = st.sampled_from(["a", "b", "c", "0", "1", "longer_name", "longer_nane"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)


def operators(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    choices: dict[str, st.SearchStrategy[Any]] = {
        name: VALUES for name in ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")
    }
    choices |= {name: st.lists(VALUES, max_size=4) for name in ("$in", "$nin")}
    choices["$exists"] = st.booleans()
    if depth:
        choices["$not"] = operators(depth - 1)
    return st.lists(
        st.sampled_from(sorted(choices)).flatmap(
            lambda name: st.tuples(st.just(name), choices[name])
        ),
        min_size=1,
        max_size=2,
    ).map(dict)


def filters(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    fields = st.dictionaries(PATHS, st.one_of(operators(2), VALUES), min_size=1, max_size=3)
    if not depth:
        return fields
    logical = st.tuples(
        st.sampled_from(["$and", "$or", "$nor"]),
        st.lists(filters(depth - 1), min_size=1, max_size=3),
    ).map(lambda pair: {pair[0]: pair[1]})
    return st.one_of(
        fields, logical, st.tuples(fields, logical).map(lambda pair: pair[0] | pair[1])
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(DOCUMENTS, min_size=1, max_size=6), filters(2))
def test_filter_equals_its_twin(documents: list[dict[str, Any]], filter: dict[str, Any]) -> None:
    records = [record_of(document) for document in documents]
    decoded = [decode(encode(document)) for document in documents]
    expected = [i for i, document in enumerate(decoded) if twin.matches(document, filter)]
    program = compile_filter(filter)
    assert program.run_many(records) == expected
    assert [i for i, record in enumerate(records) if program.matches(record)] == expected


@settings(max_examples=100, deadline=None)
@given(VALUES, VALUES)
def test_compare_equals_its_twin(left: Any, right: Any) -> None:
    a, b = encode({"v": left}), encode({"v": right})
    assert compare_fields(a, b) == twin.compare(decode(a)["v"], decode(b)["v"])
    assert compare_fields(b, a) == -compare_fields(a, b)
