"""Keys: memcmp order is the twin's comparison; index paths fan out as MongoDB's indexes do."""

from __future__ import annotations

import functools
import itertools
import struct
import uuid
from typing import Any

import pytest
from bson import Decimal128, Int64, MaxKey, MinKey, ObjectId
from hypothesis import example, given
from hypothesis import strategies as st

from rango import limits
from rango._ext import key, record
from rango.errors import InvalidDocument, InvalidName, LimitExceeded
from tests.reference import key as order
from tests.reference import record as twin
from tests.reference.record import Element

CHARACTERS = st.characters(codec="utf-8")
TEXT = st.text(CHARACTERS, max_size=6) | st.text("ab\0\xe9", max_size=4)
CSTRING = TEXT.map(lambda text: text.replace("\0", "x"))
DECIMALS = st.binary(min_size=16, max_size=16).map(Decimal128.from_bid) | st.builds(
    lambda coefficient, exponent, minus: Decimal128(f"{'-' * minus}{coefficient}E{exponent}"),
    st.integers(0, 10**34 - 1) | st.integers(0, 2**60) | st.integers(0, 20),
    st.integers(-6176, 6111) | st.integers(-360, 320) | st.integers(-30, 30),
    st.booleans(),
)
INTEGERS = (
    st.integers(-(2**63), 2**63 - 1)
    | st.integers(-3, 3)
    | st.builds(
        lambda power, step: min(2**power + step, 2**63 - 1), st.integers(50, 63), st.integers(-3, 3)
    )
)
NUMBERS = (
    st.integers(-(2**31), 2**31 - 1).map(lambda value: (0x10, "", value))
    | INTEGERS.map(lambda value: (0x12, "", value))
    | INTEGERS.map(lambda value: (0x01, "", float(value)))
    | st.floats().map(lambda value: (0x01, "", value))
    | st.floats(allow_nan=False, allow_infinity=False).map(
        lambda value: (0x13, "", near_decimal(value))
    )
    | DECIMALS.map(lambda value: (0x13, "", value.bid))
)
SCALARS = (
    NUMBERS
    | st.sampled_from([0x06, 0x0A, 0x7F, 0xFF]).map(lambda kind: (kind, "", None))
    | st.tuples(st.sampled_from([0x02, 0x0D, 0x0E]), st.just(""), TEXT)
    | st.tuples(
        st.just(0x05),
        st.just(""),
        st.tuples(st.sampled_from([0, 1, 4, 128]), st.binary(max_size=4)),
    )
    | st.tuples(st.just(0x07), st.just(""), st.binary(min_size=12, max_size=12))
    | st.tuples(st.just(0x08), st.just(""), st.booleans())
    | st.tuples(st.just(0x09), st.just(""), INTEGERS)
    | st.tuples(st.just(0x11), st.just(""), st.integers(0, 2**64 - 1))
    | st.tuples(st.just(0x0B), st.just(""), st.tuples(CSTRING, st.sampled_from(["", "i", "im"])))
    | st.tuples(st.just(0x0C), st.just(""), st.tuples(TEXT, st.binary(min_size=12, max_size=12)))
)


def near_decimal(value: float) -> bytes:
    """A decimal128 close to a double: the pairs that are hard to order."""
    return Decimal128(format(value, ".33e")).bid


def array(elements: list[Element]) -> Element:
    return (0x04, "", [(kind, str(at), value) for at, (kind, _, value) in enumerate(elements)])


def document(fields: list[tuple[str, Element]]) -> Element:
    return (0x03, "", [(kind, name, value) for name, (kind, _, value) in fields])


def fields_of(inner: st.SearchStrategy[Element]) -> st.SearchStrategy[list[tuple[str, Element]]]:
    return st.lists(st.tuples(st.sampled_from(["a", "b", "ab", "0", "1", ""]), inner), max_size=3)


ELEMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(array)
        | fields_of(inner).map(document)
        | st.builds(
            lambda code, scope: (0x0F, "", (code, scope[2])), TEXT, fields_of(inner).map(document)
        )
    ),
    max_leaves=6,
)


def key_of_element(element: Element) -> bytes:
    """The key of any BSON value, by way of a document that holds it where nothing fans out."""
    kind, _, value = element
    if kind == 0x04:
        data = twin.build([(0x04, "v", [(kind, "0", value)])])
    else:
        data = twin.build([(kind, "v", value)])
    (found,), multikey = key.index_keys(data, "v")
    assert multikey is (kind == 0x04)
    return found


def sign(left: bytes, right: bytes) -> int:
    return (left > right) - (left < right)


@given(ELEMENTS, ELEMENTS)
@example((0x12, "", 2**53 + 1), (0x01, "", float(2**53)))
@example((0x13, "", Decimal128("0.1").bid), (0x01, "", 0.1))
@example((0x13, "", Decimal128("0.5").bid), (0x01, "", 0.5))
@example((0x13, "", Decimal128("1E-6176").bid), (0x01, "", 5e-324))
@example((0x13, "", Decimal128("-1E-6176").bid), (0x01, "", -5e-324))
@example((0x13, "", Decimal128("9E6110").bid), (0x01, "", float("inf")))
@example((0x13, "", Decimal128("-9E6110").bid), (0x01, "", float("-inf")))
@example((0x13, "", Decimal128("NaN").bid), (0x01, "", float("nan")))
@example((0x13, "", Decimal128("-0E10").bid), (0x10, "", 0))
def test_memcmp_of_keys_is_the_comparison_of_values(left: Element, right: Element) -> None:
    left_key, right_key = key_of_element(left), key_of_element(right)
    assert sign(left_key, right_key) == order.compare(left, right)
    if left_key != right_key:
        assert not left_key.startswith(right_key)
        assert not right_key.startswith(left_key)


@given(NUMBERS, NUMBERS)
def test_numbers_of_every_type_are_compared_exactly(left: Element, right: Element) -> None:
    assert sign(key_of_element(left), key_of_element(right)) == order.compare(left, right)


@given(st.integers(0, 2**64 - 1), st.integers(-2, 2))
def test_a_double_and_the_decimals_around_it(bits: int, step: int) -> None:
    (value,) = struct.unpack("<d", struct.pack("<Q", bits))
    double: Element = (0x01, "", value)
    near = (
        Decimal128(format(value, ".33e")) if abs(value) < float("inf") else Decimal128(str(value))
    )
    high, low = struct.unpack("<QQ", near.bid)
    shifted: Element = (
        0x13,
        "",
        struct.pack("<QQ", high + step if 2 < high < 2**64 - 3 else high, low),
    )
    assert sign(key_of_element(double), key_of_element(shifted)) == order.compare(double, shifted)


HARD_NUMBERS: list[Any] = [
    float("nan"),
    Decimal128("NaN"),
    float("-inf"),
    Decimal128("-Infinity"),
    Decimal128("-9.999999E6144"),
    Decimal128("-1.8E308"),
    -1.7976931348623157e308,
    Decimal128("-1.7976931348623157E308"),
    -(2**63),
    -float(2**63),
    -(2**63) + 1,
    -(2**53) - 1,
    -float(2**53),
    -(2**53) + 1,
    -1.5,
    Decimal128("-1.5"),
    -1,
    -0.1,
    Decimal128("-0.1"),
    -5e-324,
    Decimal128("-4.9E-324"),
    Decimal128("-5E-324"),
    Decimal128("-1E-6176"),
    -0.0,
    0,
    Decimal128("0E-6176"),
    Decimal128("-0"),
    Decimal128("1E-6176"),
    Decimal128("4.9E-324"),
    5e-324,
    Decimal128("5E-324"),
    2.2250738585072014e-308,
    0.1,
    Decimal128("0.1"),
    Decimal128("0.1000000000000000055511151231257827"),
    Decimal128("0.1000000000000000055511151231257828"),
    0.5,
    Decimal128("0.5"),
    1,
    1.0,
    Int64(1),
    Decimal128("1.0000000000000000000000000000000000E0"[:34]),
    2**31,
    2**53 - 1,
    2**53,
    float(2**53),
    2**53 + 1,
    Decimal128("9007199254740993"),
    Decimal128("9007199254740992.5"),
    float(2**53 + 2),
    2**62 + 1,
    2**63 - 513,
    2**63 - 512,
    2**63 - 1,
    float(2**63),
    Decimal128("9223372036854775807"),
    Decimal128("9223372036854775808"),
    1e22,
    Decimal128("1E22"),
    1e23,
    Decimal128("1E23"),
    1.7976931348623157e308,
    Decimal128("1.7976931348623157E308"),
    Decimal128("1.797693134862315708145274237317043E308"),
    Decimal128("1.8E308"),
    Decimal128("9.999999E6144"),
    float("inf"),
    Decimal128("Infinity"),
]


def element_of(value: Any) -> Element:
    return twin.parse(record.encode({"v": value}))[0]


def test_hard_numbers_pair_by_pair() -> None:
    pairs = list(itertools.product(HARD_NUMBERS, repeat=2))
    keys = {id(value): key.key_of(value) for value in HARD_NUMBERS}
    elements = {id(value): element_of(value) for value in HARD_NUMBERS}
    for left, right in pairs:
        expected = order.compare(elements[id(left)], elements[id(right)])
        assert sign(keys[id(left)], keys[id(right)]) == expected, (left, right)


def test_classes_come_in_mongodbs_order() -> None:
    ascending: list[Element] = [
        (0xFF, "", None),
        (0x06, "", None),
        (0x0A, "", None),
        (0x01, "", float("nan")),
        (0x10, "", 5),
        (0x02, "", ""),
        (0x0E, "", "z"),
        (0x03, "", []),
        (0x04, "", []),
        (0x05, "", (0, b"")),
        (0x07, "", bytes(12)),
        (0x08, "", False),
        (0x08, "", True),
        (0x09, "", -1),
        (0x09, "", 1),
        (0x11, "", 0),
        (0x0B, "", ("a", "")),
        (0x0C, "", ("a", bytes(12))),
        (0x0D, "", "a"),
        (0x0F, "", ("a", [])),
        (0x7F, "", None),
    ]
    keys = [key_of_element(element) for element in ascending]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert sorted(ascending, key=functools.cmp_to_key(order.compare)) == ascending


def test_the_door_takes_python_values() -> None:
    assert (
        key.key_of(MinKey())
        < key.key_of(None)
        < key.key_of(0)
        < key.key_of("")
        < key.key_of({})
        < key.key_of([])
    )
    assert (
        key.key_of([])
        < key.key_of(b"")
        < key.key_of(ObjectId())
        < key.key_of(True)
        < key.key_of(MaxKey())
    )
    assert key.key_of(uuid.UUID(int=1)) < key.key_of(uuid.UUID(int=2))
    assert key.key_of(1) == key.key_of(1.0) == key.key_of(Int64(1)) == key.key_of(Decimal128("1.0"))
    assert key.key_of("\xe9\0x") == key.key_of("\xe9\0x")
    with pytest.raises(InvalidDocument):
        key.key_of(object())
    with pytest.raises(InvalidDocument):
        key.key_of(2**63)
    with pytest.raises(InvalidDocument, match="surrogate"):
        key.key_of("\ud800")


def test_long_keys_are_cut_and_stay_distinct() -> None:
    assert limits.KEY_SIZE_BYTES_MAX == 1024
    longest = "x" * (1024 - 3)
    assert len(key.key_of(longest)) == 1024
    assert key.key_of(longest) == b"\x1e" + longest.encode() + b"\0\0"
    cut = [key.key_of("x" * 5000 + tail) for tail in ("", "a", "b")]
    assert {len(shortened) for shortened in cut} == {1024}
    assert len(set(cut)) == 3
    assert len({shortened[:1008] for shortened in cut}) == 1
    assert key.key_of("x" * 5000) == cut[0]
    keys, _ = key.index_keys(record.encode({"a": ["x" * 5000, "y", "x" * 5000, "x" * 5001]}), "a")
    assert [len(found) for found in keys].count(1024) == 2
    assert len(keys) == 3


MULTIKEY_CASES: list[tuple[str, dict[str, Any], list[Any], bool]] = [
    # path, document, values that the keys are of, multikey
    ("a", {"a": 5}, [5], False),
    ("a", {}, [None], False),
    ("a", {"a": None}, [None], False),
    ("a", {"a": [1, 2, 2, 1.0]}, [1, 2], True),
    ("a", {"a": [[1, 2], 3]}, [[1, 2], 3], True),
    ("a", {"a": [{"b": 1}]}, [{"b": 1}], True),
    ("a.b", {"a": {"b": 4}}, [4], False),
    ("a.b", {"a": 4}, [None], False),
    ("a.b", {"a": {"c": 4}}, [None], False),
    ("a.b", {"a": [{"b": 1}, {"b": 2}]}, [1, 2], True),
    ("a.b", {"a": [1, {"b": 2}]}, [None, 2], True),
    ("a.b", {"a": [{"b": [1, 2]}, {"b": 3}]}, [1, 2, 3], True),
    ("a.b", {"a": []}, [None], True),
    ("a.b", {"a": [[1, 2, 5]]}, [None], True),
    ("a.b", {"a": [[{"b": 1}]]}, [None], True),
    ("a.b", {"a": {"b": [1, 2]}}, [1, 2], True),
    ("a.b.c", {"a": [{"b": [{"c": 1}, {"c": 2}]}, {"b": {"c": 3}}]}, [1, 2, 3], True),
    # a position in an array: what stands there is not expanded further
    ("a.0", {"a": [5, 6]}, [5], True),
    ("a.2", {"a": [[1, 2, 5]]}, [None], True),
    ("a.2", {"a": [[1, 2, 5], [3, 4, 6], [0, 1, 2]]}, [[0, 1, 2]], True),
    ("a.2", {"a": [{"0": 1, "1": 2, "2": 5}]}, [5], True),
    ("a.2", {"a": [{"2": 5}]}, [5], True),
    ("a.2", {"a": [[1, 2, 5], {"2": 6}]}, [None, 6], True),
    ("a.b.2", {"a": [{"b": [[1, 2, 5]]}]}, [None], True),
    ("a.b.1", {"a": [{"b": [1, 2]}]}, [2], True),
    ("a.0.b", {"a": [[{"b": 1}]]}, [1], True),
    ("a.0.b", {"a": [{"b": [1, 2]}, {"b": 3}]}, [1, 2], True),
    ("a.0.0.b", {"a": [[{"b": 1}]]}, [1], True),
    ("a.0.0.b", {"a": [[{"b": [1, 2, 3]}]]}, [1, 2, 3], True),
    ("a.0.0.b", {"a": [[[{"b": 1}, {"b": 2}]]]}, [1, 2], True),
    ("a.0.0.b", {"a": [[[[{"b": 1}]]]]}, [None], True),
    ("a.00", {"a": [5, 6]}, [None], True),
    ("a.9", {"a": {"9": 1}}, [1], False),
    ("a..c", {"a": {"": [{"c": 1}, {"c": 2}]}}, [1, 2], True),
    (".a", {"": [{"a": [1, 2, 3]}]}, [1, 2, 3], True),
]


@pytest.mark.parametrize(("path", "fields", "expected", "multikey"), MULTIKEY_CASES)
def test_paths_fan_out_as_in_mongodb(
    path: str, fields: dict[str, Any], expected: list[Any], multikey: bool
) -> None:
    keys, was_multikey = key.index_keys(record.encode(fields), path)
    assert keys == sorted(key.key_of(value) for value in expected)
    assert was_multikey is multikey


def test_an_empty_array_is_undefined_just_before_null() -> None:
    (undefined,), multikey = key.index_keys(record.encode({"a": []}), "a")
    assert multikey
    assert key.key_of(MinKey()) < undefined < key.key_of(None)
    nested, _ = key.index_keys(record.encode({"a": [[]]}), "a")
    assert nested == [key.key_of([])]


def test_repeated_names_take_the_first() -> None:
    data = twin.build([(0x10, "a", 2), (0x10, "a", 3)])
    assert key.index_keys(data, "a") == ([key.key_of(2)], False)


@given(
    fields_of(ELEMENTS).map(document),
    st.lists(st.sampled_from(["a", "b", "0", "1", ""]), min_size=1, max_size=4),
)
def test_index_keys_are_those_of_the_twin(whole: Element, parts: list[str]) -> None:
    keys, _ = key.index_keys(twin.build(whole[2]), ".".join(parts))
    expected = {key_of_element(element) for element in order.indexed(whole, parts)}
    assert keys == sorted(expected)


def test_a_path_may_be_split_once() -> None:
    path = key.IndexPath("a.b")
    assert path.path == "a.b"
    data = record.encode({"a": {"b": 1}})
    assert key.index_keys(data, path) == key.index_keys(data, "a.b")
    for bad in ("a\0b", "\ud800", "x" * 70_000):
        with pytest.raises(InvalidName):
            key.IndexPath(bad)
    with pytest.raises(LimitExceeded):
        key.IndexPath(".".join("a" * 101))


def test_many_elements_are_sorted_and_distinct() -> None:
    keys, multikey = key.index_keys(
        record.encode({"a": [number % 1000 for number in range(20_000)]}), "a"
    )
    assert multikey
    assert keys == sorted(key.key_of(number) for number in range(1000))


def test_malformed_documents_end_in_a_typed_error() -> None:
    whole = record.encode({"a": [{"b": "text", "c": [1, 2]}, 3], "d": {"e": 1.5}})
    for at in range(len(whole)):
        for change in (0, 1, 0x7F, 0xFF):
            damaged = whole[:at] + bytes([change]) + whole[at + 1 :]
            for path in ("a", "a.b", "a.c", "a.0.c", "d", "d.e"):
                try:
                    key.index_keys(damaged, path)
                except InvalidDocument:
                    continue
    deep = b"\x05\0\0\0\0"
    for _ in range(5000):
        deep = struct.pack("<iB", len(deep) + 8, 3) + b"a\0" + deep + b"\0"
    with pytest.raises(LimitExceeded):
        key.index_keys(deep, "a")
