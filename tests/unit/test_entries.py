"""Index entries: which ones a document has, in which order, and values from their keys."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from functools import cmp_to_key
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, MinKey, ObjectId, Regex, Timestamp
from hypothesis import assume, example, given
from hypothesis import strategies as st

from rango._ext import key
from rango._ext.collection_info import IndexInfo
from rango._ext.key_decode import key_decode
from rango._ext.record import encode
from rango.errors import Corrupted, InvalidDocument, LimitExceeded
from tests.reference import entries as model
from tests.reference import record as twin
from tests.reference.key import field
from tests.reference.record import Element
from tests.unit.engine_case import asked
from tests.unit.test_key import ELEMENTS, array, document, fields_of, key_of_element

NAMES = ("a", "b", "c")
PARTS = st.lists(st.sampled_from(["a", "b", "c", "0", "1"]), min_size=1, max_size=3)
PATHS = st.lists(PARTS.map(".".join), min_size=1, max_size=4, unique=True)
SMALL = st.recursive(
    st.one_of(
        st.integers(-2, 2).map(lambda n: (0x10, "", n)),
        st.sampled_from([(0x0A, "", None), (0x01, "", 1.0), (0x02, "", "x"), (0x01, "", -0.0)]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(array),
        st.lists(st.tuples(st.sampled_from(NAMES), inner), max_size=3).map(document),
    ),
    max_leaves=12,
)
DOCUMENTS = st.one_of(
    st.lists(st.tuples(st.sampled_from(NAMES), SMALL), max_size=3).map(document),
    fields_of(ELEMENTS).map(document),
)


def inverted(data: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in data)


def joined(values: list[model.Value], directions: list[int]) -> bytes:
    """The key of an entry; the order of a hash does not matter, so keys are short here."""
    keys = [key_of_element((0x0A, "", None) if each is None else each) for each, _ in values]
    return b"".join(
        each if way == directions[0] else inverted(each)
        for each, way in zip(keys, directions, strict=True)
    )


def index_of(paths: list[str], directions: list[int], **options: Any) -> IndexInfo:
    return IndexInfo("i", 0, tuple(zip(paths, directions, strict=True)), **options)


@given(DOCUMENTS, PATHS, st.lists(st.sampled_from([1, -1]), min_size=4, max_size=4), st.booleans())
@example(document([]), ["a", "b"], [1, -1, 1, 1], True)
def test_entries_are_those_of_the_twin(
    whole: Element, paths: list[str], ways: list[int], sparse: bool
) -> None:
    directions = ways[: len(paths)]
    index = index_of(paths, directions, sparse=sparse)
    data = twin.build(whole[2])
    try:
        expected = model.entries(whole[2], paths, sparse=sparse)
    except model.Parallel:
        with pytest.raises(InvalidDocument) as caught:
            index.entries(data)
        assert caught.value.code == 171
        return
    keys = {joined(each, directions): each for each in expected}
    assume(all(len(each) < 1024 for each in keys))
    assert index.entries(data) == [
        (each, bytes(model.type_byte(value, shortened=False) for value in keys[each]))
        for each in sorted(keys)
    ]


@given(DOCUMENTS, PATHS, st.lists(st.sampled_from([1, -1]), min_size=4, max_size=4))
def test_what_a_type_byte_names_comes_back_from_the_key(
    whole: Element, paths: list[str], ways: list[int]
) -> None:
    data = twin.build(whole[2])
    index = index_of(paths, ways[: len(paths)])
    try:
        made = index.entries(data)
    except InvalidDocument:
        return
    for each, types in made:
        values = key_decode(each, types)
        assert len(values) == len(paths)
        for path, kind, value in zip(paths, types, values, strict=True):
            if kind in model.EXACT:
                at = whole
                for part in path.split("."):
                    found = field(at[2], part)
                    assert found is not None
                    at = found
                assert encode({"v": value}) == twin.build([(at[0], "v", at[2])])
            else:
                assert value is None


VALUES: list[Any] = [
    *[
        None,
        True,
        False,
        "",
        "x\0y",
        "\xe9",
        ObjectId("0123456789abcdef01234567"),
        datetime(2024, 5, 1, 12, tzinfo=UTC),
    ],
    *[uuid.UUID(int=7), b"abc", Binary(b"abc", 128), Binary(b"", 2), Timestamp(7, 9)],
    *[0, 1, -1, 2**31 - 1, -(2**31), Int64(5), Int64(2**53 + 1), Int64(-(2**53) - 1)],
    *[Int64(2**63 - 1), Int64(-(2**63)), Int64(2**62 + 3), Int64(10**18 + 1)],
    *[1.5, -1e300, 5e-324, float("inf"), float("-inf"), 1e15, 0.1],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("way", [1, -1])
def test_values_come_back_bit_for_bit(value: Any, way: int) -> None:
    index = asked("a", 1, ("b", way), ("c", -way))
    data = encode({"a": value, "b": value, "c": value})
    ((found, types),) = index.entries(data)
    back = dict(zip("abc", key_decode(found, types), strict=True))
    assert encode(back) == data


@pytest.mark.parametrize(
    "value",
    [-0.0, float("nan"), Decimal128("1.5"), {"x": [1, {"y": "z"}]}, Regex("a", "i"), MinKey()],
    ids=repr,
)
def test_other_values_are_to_be_looked_up(value: Any) -> None:
    ((found, types),) = asked("a", 1, ("b", -1)).entries(encode({"a": value, "b": value}))
    assert types == b"\xff\xff"
    assert key_decode(found, types) == [None, None]


def test_a_key_that_does_not_hold_the_fields_is_refused() -> None:
    ((found, types),) = asked("a").entries(encode({"a": "text"}))
    for cut in range(len(found)):
        with pytest.raises(Corrupted):
            key_decode(found[:cut], types)
    with pytest.raises(Corrupted):
        key_decode(found + b"\0", types)
    with pytest.raises(Corrupted):
        key_decode(found, b"\x10")


PAIRS = [({"a": a, "b": b}) for a in (1, 2.0, "x", None) for b in (1, 2, "y", [])]


@pytest.mark.parametrize("ways", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_keys_ascend_as_the_index_says(ways: tuple[int, int]) -> None:
    """Forwards the index gives its own order up to the first direction, backwards the opposite."""
    index = asked("a", ways[0], ("b", ways[1]))

    def compare(left: dict[str, Any], right: dict[str, Any]) -> int:
        for path, way in zip("ab", ways, strict=True):
            keys = [key.index_keys(encode(each), path)[0][0] for each in (left, right)]
            if keys[0] != keys[1]:
                return way if keys[0] > keys[1] else -way
        return 0

    wanted = sorted(PAIRS, key=cmp_to_key(compare))
    found = sorted(PAIRS, key=lambda each: index.entries(encode(each))[0][0])
    assert found == (wanted if ways[0] == 1 else wanted[::-1])


def test_fields_of_one_array_are_taken_from_one_element() -> None:
    index = asked("a.b", 1, ("a.c", 1), ("d", 1))
    data = encode({"a": [{"b": 1, "c": 2}, {"b": 3}, {"c": 4}, 5], "d": 9})
    wanted = [(1, 2), (3, None), (None, 4), (None, None)]
    nine = key.key_of(9)
    keys = sorted(key.key_of(b) + key.key_of(c) + nine for b, c in wanted)
    assert index.entries(data) == [(each, b"\xfe\xfe\x10") for each in keys]


def test_arrays_side_by_side_are_refused_by_name() -> None:
    index = asked("a", 1, ("b.c", -1))
    for fine in ({"a": [1, 2], "b": {"c": 1}}, {"a": 1, "b": [{"c": 1}]}, {}):
        assert index.entries(encode(fine))
    with pytest.raises(InvalidDocument, match=r"parallel arrays: 'a' and 'b\.c'"):
        index.entries(encode({"a": [1], "b": [{"c": 1}]}))
    with pytest.raises(InvalidDocument):
        asked("a.b", 1, ("a.c", 1)).entries(encode({"a": [{"b": [1], "c": [1]}]}))


def test_a_sparse_index_leaves_out_what_has_no_field() -> None:
    one, two = asked("a", sparse=True), asked("a", 1, ("b", 1), sparse=True)
    for fields, counts in (
        ({}, (0, 0)),
        ({"a": None}, (1, 1)),
        ({"b": 1}, (0, 1)),
        ({"a": []}, (1, 1)),
    ):
        data = encode(fields)
        assert (len(one.entries(data)), len(two.entries(data))) == counts
    assert len(asked("a.b", sparse=True).entries(encode({"a": [{}, {"b": 1}, 5]}))) == 1


def test_a_partial_index_holds_what_matches() -> None:
    index = asked("a", partial={"b": {"$gt": 5}, "c": {"$exists": True}})
    assert index.entries(encode({"a": 1, "b": 6, "c": None}))
    for other in ({"a": 1, "b": 5, "c": 1}, {"a": 1, "b": 6}, {"a": 1, "b": "6", "c": 1}):
        assert index.entries(encode(other)) == []


def test_long_keys_are_shortened_as_a_whole() -> None:
    index = asked("a", 1, ("b", -1), ("c", 1))
    made = [
        index.entries(encode({"a": "x" * 2000, "b": b, "c": [c]}))
        for b, c in ((1, 1), (2, 1), (1, 2), (1, 1))
    ]
    assert all(len(each) == 1 and len(each[0][0]) == 1024 for each in made)
    assert len({each[0][0] for each in made}) == 3 and made[0] == made[3]
    assert made[0][0][1] == b"\xff\xff\xfe"
    assert key_decode(*made[0][0]) == [None, None, None]


def test_an_index_has_a_bounded_number_of_fields() -> None:
    most = asked("f0", 1, *((f"f{number}", -1) for number in range(1, 32)))
    assert len(most.entries(encode({}))[0][1]) == 32
    with pytest.raises(LimitExceeded):
        asked("f0", 1, *((f"f{number}", -1) for number in range(1, 33)))


def test_a_position_is_one_value() -> None:
    index = asked("a.1", 1, ("a.0.b", 1))
    ((found, types),) = index.entries(encode({"a": [{"b": 3}, 4]}))
    assert found == key.key_of(4) + key.key_of(3) and types == b"\xfe\xfe"
