"""The codec: equal to PyMongo's bson, strict about foreign bytes, errors that name the path."""

from __future__ import annotations

import datetime
import decimal
import enum
import re
import struct
import subprocess
import sys
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import bson
import pytest
from bson import (
    Binary,
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from bson.son import SON
from hypothesis import given
from hypothesis import strategies as st

from rango import limits
from rango._ext import record
from rango.errors import InvalidDocument, LimitExceeded
from tests.reference import record as twin

UTC = datetime.UTC
OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    uuid_representation=bson.binary.UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)

# every character that UTF-8 can hold
CHARACTERS = st.characters(codec="utf-8")
names = st.text(CHARACTERS.filter(lambda one: one != "\0"), max_size=12).filter(
    # `_id` moves to the front in PyMongo, and `$ref` makes a DBRef: both have tests of their own
    lambda name: name not in ("_id", "$ref")
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(-(2**31), 2**31 - 1).map(Int64)
    | st.floats(allow_nan=False)
    | st.text(CHARACTERS, max_size=30)
    | st.binary(max_size=30)
    | st.datetimes(timezones=st.just(UTC)).map(
        lambda when: when.replace(microsecond=when.microsecond // 1000 * 1000)
    )
    | st.integers(-(2**63), 2**63 - 1)
    .filter(lambda ms: not -62135596800000 <= ms <= 253402300799999)
    .map(DatetimeMS)
    | st.uuids()
    | st.binary(min_size=12, max_size=12).map(ObjectId)
    | st.builds(Binary, st.binary(max_size=20), st.sampled_from([1, 2, 3, 5, 6, 7, 8, 9, 128, 255]))
    | st.binary(min_size=16, max_size=16).map(Decimal128.from_bid)
    | st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
    | st.builds(Regex, names, st.sampled_from(["", "i", "imsx", "lu"]))
    | st.builds(Code, st.text("ab\0\xe9", max_size=5))
    | st.sampled_from([MinKey(), MaxKey()])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(names, inner, max_size=5)
        | st.builds(Code, st.just("f()"), st.dictionaries(names, inner, max_size=2))
        | st.builds(DBRef, names, inner, st.none() | names)
    ),
    max_leaves=12,
)
documents = st.dictionaries(names, values, max_size=8)


@given(documents)
def test_encode_gives_the_bytes_that_pymongo_gives(document: dict[str, Any]) -> None:
    expected = bson.encode(document, codec_options=OPTIONS)
    assert record.encode(document) == expected
    record.validate(expected)


@given(documents)
def test_decode_gives_what_pymongo_gives_and_round_trips(document: dict[str, Any]) -> None:
    data = bson.encode(document, codec_options=OPTIONS)
    decoded = record.decode(data)
    assert decoded == bson.decode(data, codec_options=OPTIONS)
    assert list(decoded) == list(document)
    assert record.encode(decoded) == data
    assert record.decode_trusted(data) == decoded


def test_types_of_decoded_values() -> None:
    data = bson.encode(
        {
            "small": 1,
            "wide": 2**40,
            "kept": Int64(7),
            "date": datetime.datetime(2024, 2, 29, 1, 2, 3, 4999, tzinfo=UTC),
            "bytes": b"x",
            "uuid": Binary(bytes(range(16)), 4),
            "short": Binary(b"abc", 4),
            "far": DatetimeMS(2**60),
        }
    )
    got = record.decode(data)
    assert type(got["small"]) is int
    assert type(got["wide"]) is int
    assert type(got["kept"]) is Int64
    assert got["date"] == datetime.datetime(2024, 2, 29, 1, 2, 3, 4000, tzinfo=UTC)
    assert got["date"].tzinfo is UTC
    assert type(got["bytes"]) is bytes
    assert got["uuid"] == uuid.UUID(bytes=bytes(range(16)))
    assert got["uuid"].is_safe is uuid.SafeUUID.unknown
    assert got["short"] == Binary(b"abc", 4)
    assert got["far"] == DatetimeMS(2**60)
    assert record.encode(got) == data


@pytest.mark.parametrize(
    ("when", "ms"),
    [
        (datetime.datetime(1970, 1, 1), 0),
        (datetime.datetime(1969, 12, 31, 23, 59, 59, 999999), -1),
        (datetime.datetime(1969, 12, 31, 23, 59, 59, 998999), -2),
        (datetime.datetime(1, 1, 1), -62135596800000),
        (datetime.datetime(9999, 12, 31, 23, 59, 59, 999999), 253402300799999),
        (
            datetime.datetime(
                2000, 3, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=30))
            ),
            951849000000,
        ),
        (
            datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
            -62135600400000,
        ),
        (
            datetime.datetime(
                1970, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(microseconds=1))
            ),
            -1,
        ),
    ],
)
def test_dates_are_utc_milliseconds_cut_toward_the_past(when: datetime.datetime, ms: int) -> None:
    assert record.encode({"d": when}) == b"\x10\0\0\0\x09d\0" + struct.pack("<q", ms) + b"\0"


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_date_survives(when: datetime.datetime) -> None:
    kept = when.replace(microsecond=when.microsecond // 1000 * 1000)
    assert record.decode(record.encode({"d": when})) == {"d": kept}


def test_nan_payloads_and_minus_zero_survive() -> None:
    for bits in (0x7FF8000000000012, 0xFFF8000000000000, 0x8000000000000000, 0x7FF0000000000000):
        data = b"\x10\0\0\0\x01d\0" + struct.pack("<Q", bits) + b"\0"
        assert record.encode(record.decode(data)) == data


class Plain(Mapping[str, Any]):
    """A mapping that is not a dict."""

    def __init__(self, items: dict[str, Any]) -> None:
        self.items_kept = items

    def __getitem__(self, name: str) -> Any:
        return self.items_kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.items_kept)

    def __len__(self) -> int:
        return len(self.items_kept)


class Level(enum.IntEnum):
    HIGH = 3


class Colour(enum.StrEnum):
    RED = "red"


class Tagged(tuple[int, ...]):
    """A subclass of a built-in."""


def test_subclasses_and_other_mappings_are_accepted() -> None:
    moved = OrderedDict([("b", 1), ("a", 2)])
    moved.move_to_end("b")
    assert record.encode({"m": moved}) == bson.encode({"m": {"a": 2, "b": 1}})
    assert record.encode(Plain({"x": Plain({"y": 1})})) == bson.encode({"x": {"y": 1}})
    assert record.encode(SON([("z", 1), ("a", MappingProxyType({"b": 2}))])) == bson.encode(
        {"z": 1, "a": {"b": 2}}
    )
    assert record.encode({"l": Level.HIGH, "c": Colour.RED, "t": Tagged((1, 2))}) == bson.encode(
        {"l": 3, "c": "red", "t": [1, 2]}
    )
    pattern = re.compile("a.b", re.IGNORECASE | re.MULTILINE)
    assert record.encode({"r": pattern, "b": re.compile(b"x")}) == bson.encode(
        {"r": pattern, "b": re.compile(b"x")}
    )


def test_raw_documents_are_checked_and_copied() -> None:
    inner = twin.build([(0x10, "a", 1), (0x10, "_id", 5), (0x10, "a", 2)])
    raw = RawBSONDocument(inner)
    assert record.encode(raw) == inner
    assert record.encode({"r": raw}) == twin.build([(0x03, "r", twin.parse(inner))])
    assert record.encode(raw, id_value=7) == twin.build(
        [(0x10, "_id", 7), (0x10, "a", 1), (0x10, "a", 2)]
    )
    with pytest.raises(InvalidDocument, match=r"'x\.y'.*malformed at offset 4"):
        record.encode({"x": {"y": RawBSONDocument(b"\x09\0\0\0\x08a\0\x07\0")}})


def test_id_is_written_first_when_it_is_given() -> None:
    assert list(record.decode(record.encode({"a": 1}, "x")).items()) == [("_id", "x"), ("a", 1)]
    assert list(record.decode(record.encode({"a": 1, "_id": 2}, 3)).items()) == [
        ("_id", 3),
        ("a", 1),
    ]
    assert list(record.decode(record.encode({"a": 1, "_id": 2})).items()) == [("a", 1), ("_id", 2)]
    assert record.encode(Plain({"a": 1, "_id": 2}), 3) == bson.encode({"_id": 3, "a": 1})


def test_duplicate_names_are_read_and_the_last_one_wins_in_a_dict() -> None:
    data = twin.build([(0x10, "a", 1), (0x10, "b", 2), (0x10, "a", 3)])
    record.validate(data)
    assert record.decode(data) == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    ("fields", "is_reference"),
    [
        ({"$ref": "c", "$id": 1}, True),
        ({"$ref": "c", "$id": 1, "$db": "d"}, True),
        ({"$ref": "c", "$id": 1, "$db": "d", "foo": 1, "a.b": 2}, True),
        ({"$ref": "c", "$id": 1, "$c": 1}, True),
        ({"$ref": "c"}, False),
        ({"$ref": True, "$id": 1}, False),
        ({"$ref": "c", "$id": 1, "$db": True}, False),
        ({"$ref": "c", "$id": 1, "$db": None}, False),
        ({"$ref": "c", "$banana": "peel"}, False),
        ({"$id": 1, "$ref": "c"}, False),
        ({"$ref": "c", "$id": 1, "x": 1, "$db": "d"}, False),
    ],
)
def test_a_reference_is_made_only_where_nothing_is_lost(
    fields: dict[str, Any], is_reference: bool
) -> None:
    data = record.encode({"r": fields, "list": [fields]})
    got = record.decode(data)
    assert isinstance(got["r"], DBRef) is is_reference
    assert isinstance(got["list"][0], DBRef) is is_reference
    assert record.encode(got) == data
    assert isinstance(record.decode(record.encode(fields)), dict)


@pytest.mark.parametrize(
    ("document", "path", "why"),
    [
        ({"meta": {"tags": [1, 2, 3, {1, 2}]}}, "meta.tags[3]", "builtins|set"),
        ({"a": decimal.Decimal(1)}, "a", "Decimal128"),
        ({"a": [[object()]]}, "a[0][0]", "object"),
        ({"a": bytearray(b"x")}, "a", "bytearray"),
        ({"a": datetime.date(2020, 1, 1)}, "a", "datetime.date"),
        ({"a": {1: 2}}, "a.1", "must be a str, not int"),
        ({b"a": 1}, "b'a'", "must be a str, not bytes"),
        ({"x": {"a\0": 1}}, "x.a\\x00", "NUL"),
        ({"a": (1, "\ud800")}, "a[1]", "surrogate"),
        ({"\udfff": 1}, "\\udfff", "surrogate"),
        ({"a": {"n": 2**63}}, "a.n", "64 bits"),
        ({"n": -(2**63) - 1}, "n", "64 bits"),
        ({"c": Code("f", {"x": 1j})}, "c.x", "complex"),
        ({"d": DBRef("c", [object()])}, "d.$id[0]", "object"),
        ({"r": Regex("a\0")}, "r", "NUL"),
        ({"r": re.compile(b"\xff")}, "r", "UTF-8"),
        ({"t": type}, "t", "type"),
        ({"o": ObjectId}, "o", "type"),
    ],
)
def test_what_cannot_be_stored_is_named_by_its_path(document: Any, path: str, why: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        record.encode(document)
    assert repr(path)[1:-1] in str(caught.value) or path in str(caught.value)
    assert re.search(why, str(caught.value))


def test_classes_that_claim_a_marker_are_refused_not_trusted() -> None:
    for marker in (5, 7, 9, 11, 13, 17, 18, 19, 100, 101):
        fake = type("Fake", (), {"_type_marker": marker})()
        with pytest.raises(InvalidDocument, match="'f'"):
            record.encode({"f": fake})
    liar = type("Liar", (), {"_type_marker": 7, "binary": b"short"})()
    with pytest.raises(InvalidDocument):
        record.encode({"f": liar})


@pytest.mark.parametrize("document", [None, [], "x", 5, (("a", 1),)])
def test_a_document_must_be_a_mapping(document: Any) -> None:
    with pytest.raises((InvalidDocument, TypeError)):
        record.encode(document)


def nested(depth: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(depth - 1):
        document = {"a": document}
    return document


def test_depth_is_bounded_both_ways() -> None:
    deepest = record.encode(nested(limits.NESTING_DEPTH_MAX))
    assert record.decode(deepest) == nested(limits.NESTING_DEPTH_MAX)
    for too_deep in (
        nested(101),
        nested(5000),
        {"a": [nested(99)]},
        {"a": RawBSONDocument(deepest)},
    ):
        with pytest.raises(LimitExceeded, match="100"):
            record.encode(too_deep)
    cycle: dict[str, Any] = {}
    cycle["self"] = [cycle]
    with pytest.raises(LimitExceeded, match="cycle"):
        record.encode(cycle)


def test_size_is_bounded_to_the_byte() -> None:
    overhead = len(record.encode({"a": ""}))
    largest = record.encode({"a": "x" * (limits.DOCUMENT_SIZE_BYTES_MAX - overhead)})
    assert len(largest) == limits.DOCUMENT_SIZE_BYTES_MAX
    record.validate(largest)
    for document in (
        {"a": "x" * (limits.DOCUMENT_SIZE_BYTES_MAX - overhead + 1)},
        {"a": [b"y" * 2**20] * 17},
        {"a": {"b": [1.5] * 2_000_000}},
    ):
        with pytest.raises(LimitExceeded, match="larger than 16777216"):
            record.encode(document)
    with pytest.raises(LimitExceeded):
        record.validate(struct.pack("<i", 2**24 + 1) + bytes(2**24 - 3))


def test_many_names_that_fight_for_one_place_stay_right() -> None:
    documents = [{f"{prefix}-{number}": number for number in range(40)} for prefix in range(150)]
    for _ in range(2):
        for document in documents:
            assert record.decode(record.encode(document)) == document
    for size in (0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 300):
        document = {"n" * size: 1, "\xe9" * size + "x": 2}
        for _ in range(12):
            assert record.decode(record.encode(document)) == document


class Zone(datetime.tzinfo):
    """The parts of a time zone that the encoder never asks for."""

    def dst(self, _when: datetime.datetime | None) -> datetime.timedelta | None:
        return None

    def tzname(self, _when: datetime.datetime | None) -> str | None:
        return None


def test_a_dict_that_changes_while_it_is_encoded_is_survived() -> None:
    class Hostile(Zone):
        def utcoffset(self, _when: datetime.datetime | None) -> datetime.timedelta:
            document.clear()
            document.update({str(number): "x" * 100 for number in range(1000)})
            items.clear()
            return datetime.timedelta(0)

    when = datetime.datetime(2020, 1, 1, tzinfo=Hostile())
    items: list[Any] = [when, "y" * 50, when]
    document: dict[str, Any] = {"a": when, "l": items, "b": "z" * 50}
    record.validate(record.encode(document))


def test_errors_of_the_callers_code_pass_through() -> None:
    class Broken(Zone):
        def utcoffset(self, _when: datetime.datetime | None) -> datetime.timedelta:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        record.encode({"d": datetime.datetime(2020, 1, 1, tzinfo=Broken())})


def test_records_keep_their_header() -> None:
    document = record.encode({"a": 1})
    built = record.record_build(document, 0, 2**63 + 5, 65535, -1, 2**64 - 1, b"node-1")
    assert record.record_parts(built) == (0, 2**63 + 5, 65535, -1, 2**64 - 1, b"node-1", document)
    assert len(built) == 28 + 6 + len(document)
    assert record.record_parts(record.record_build(b"", 1, 0, 0, 0, 0, b""))[-2:] == (b"", b"")
    for size in range(28 + 6):
        with pytest.raises(InvalidDocument, match="shorter"):
            record.record_parts(built[:size])
    with pytest.raises(LimitExceeded):
        record.record_build(document, 0, 0, 0, 0, 0, b"n" * 201)


def test_pymongo_is_imported_only_when_a_value_needs_it() -> None:
    code = (
        "import sys, uuid, datetime\n"
        "from rango._ext import record\n"
        "d = {'a': 1, 'b': 2.5, 'c': 'x', 'd': [None, True], 'e': b'x', 'u': uuid.uuid4(),\n"
        "     't': datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc), 'w': 2**40}\n"
        "assert record.decode(record.encode(d)) == d\n"
        "assert 'bson' not in sys.modules, 'too early'\n"
        "record.decode(bytes.fromhex('1400000007610000000000000000000000000000'))\n"
        "assert 'bson' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
