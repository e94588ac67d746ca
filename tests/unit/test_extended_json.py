"""Extended JSON: what is read, what is written, what is refused and where the error says it is."""

from __future__ import annotations

import enum
import io
import re
import uuid
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

import rango
from rango.errors import InvalidArgument, InvalidDocument, InvalidJson, LimitExceeded
from rango.extended_json import dump_array, dump_lines, dumps, load_array, load_lines, loads

OID = "56e1fc72e0c917e9c4714161"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.0", 1.0),
        ("-0", 0),
        ("9223372036854775807", 9223372036854775807),
        ("9223372036854775808", 9223372036854775808.0),
        ("1" + "0" * 5000, float("inf")),
        (f'{{"$oid": "{OID}"}}', ObjectId(OID)),
        ('{"$numberLong": "5"}', Int64(5)),
        ('{"$numberLong": "5000000000"}', 5000000000),
        ('{"$numberInt": "-5"}', -5),
        ('{"$numberDouble": "-Infinity"}', float("-inf")),
        ('{"$numberDecimal": "1E+2"}', Decimal128("1E+2")),
        ('{"$date": "1969-12-31T23:59:59.5Z"}', datetime(1969, 12, 31, 23, 59, 59, 500000, UTC)),
        ('{"$date": "2020-02-29t10:00:00.1239z"}', datetime(2020, 2, 29, 10, 0, 0, 123000, UTC)),
        ('{"$date": "2020-01-01T00:30:00+01:00"}', datetime(2019, 12, 31, 23, 30, tzinfo=UTC)),
        ('{"$date": "2020-01-01T00:30:00-0130"}', datetime(2020, 1, 1, 2, tzinfo=UTC)),
        ('{"$date": {"$numberLong": "-62135596800000"}}', datetime(1, 1, 1, tzinfo=UTC)),
        ('{"$date": {"$numberLong": "-62135596800001"}}', DatetimeMS(-62135596800001)),
        ('{"$date": {"$numberLong": "253402300800000"}}', DatetimeMS(253402300800000)),
        ('{"$binary": {"base64": "AQ==", "subType": "0"}}', b"\x01"),
        ('{"$binary": {"subType": "80", "base64": ""}}', Binary(b"", 0x80)),
        ('{"$uuid": "73ffd26444b34c6990e8e7d1dfc035d4"}', uuid.UUID(
            "73ffd264-44b3-4c69-90e8-e7d1dfc035d4")),
        ('{"$timestamp": {"i": 2, "t": 4294967295}}', Timestamp(4294967295, 2)),
        ('{"$scope": {"$oid": 1}, "$code": "f"}', Code("f", {"$oid": 1})),
        ('{"$symbol": "s"}', "s"),
        ('{"$undefined": true}', None),
        ('{"$ref": "c", "$id": 1, "x": 2}', DBRef("c", 1, None, {"x": 2})),
        ('{"$ref": "c", "$id": 1, "$db": "d"}', DBRef("c", 1, "d")),
        ('{"$id": 1, "$ref": "c"}', {"$id": 1, "$ref": "c"}),
        ('{"$ref": "c"}', {"$ref": "c"}),
        ('{"$ref": 1, "$id": 1}', {"$ref": 1, "$id": 1}),
        ('{"$regex": "a", "$options": "i"}', {"$regex": "a", "$options": "i"}),
        ('{"$type": 2}', {"$type": 2}),
        (f'{{"$other": {{"$oid": "{OID}"}}}}', {"$other": ObjectId(OID)}),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('"\\u00e9\\ud83d\\ude00"', "é😀"),
    ],
)  # fmt: skip
def test_text_is_read_as(text: str, value: Any) -> None:
    for given in (text, text.encode(), bytearray(b"\xef\xbb\xbf" + text.encode())):
        found = loads(given)
        assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("", "line 1 column 1", "Expecting value"),
        ('{"a": 1,\n "b" 2}', "line 2 column 6", "delimiter"),
        ("{'a': 1}", "line 1 column 2", "property name"),
        ('{"NaN": [1, NaN]}', "line 1 column 13", "numberDouble"),
        ('["Infinity",\n-Infinity]', "line 2 column 1", "-Infinity is not JSON"),
        ('{"a": [0, {"b": {"$oid": "x"}}]}', "at a.1.b", "24 hexadecimal"),
        ('{"a": {"$date": 42}}', "at a", "numberLong"),
        ('{"a": {"$date": "2020-02-30T00:00:00Z"}}', "at a", "no date"),
        ('{"a": {"$date": "0001-01-01T00:00:00+01:00"}}', "at a", "no date"),
        ('{"a": {"$date": "2020-01-01"}}', "at a", "needs a date"),
        ('{"a": {"$numberInt": "2147483648"}}', "at a", "32 bits"),
        ('{"a": {"$numberLong": "9223372036854775808"}}', "at a", "64 bits"),
        ('{"a": {"$numberInt": "1_0"}}', "at a", "integer in a string"),
        ('{"a": {"$numberInt": "\\u0661"}}', "at a", "integer in a string"),
        ('{"a": {"$numberDouble": "0x1"}}', "at a", "needs a number"),
        ('{"a": {"$numberDecimal": "%s"}}' % ("1" * 35), "at a", "34 digits"),
        ('{"a": {"$numberDecimal": "1E99999"}}', "at a", "34 digits"),
        ('{"a": {"$numberLong": "1", "$oid": "x"}}', "at a", "too much"),
        ('{"a": {"$binary": {"base64": "AQ", "subType": "00"}}}', "at a", "padded base64"),
        ('{"a": {"$binary": {"base64": "", "subType": "100"}}}', "at a", "hexadecimal"),
        ('{"a": {"$binary": "AQ==", "$type": "00"}}', "at a", "$type"),
        ('{"a": {"$scope": {}}}', "at a", "$code is missing"),
        ('{"a": {"$timestamp": {"t": 4294967296, "i": 0}}}', "at a", "4294967295"),
        ('{"a": {"$timestamp": {"t": true, "i": 0}}}', "at a", "4294967295"),
        ('{"a": {"$minKey": 1.0}}', "at a", "the number 1"),
        ('{"a": {"$undefined": false}}', "at a", "needs true"),
        ('{"a": {"$symbol": 1}}', "at a", "needs a string"),
        ('{"a": {"$regularExpression": {"pattern": "", "options": "g"}}}', "at a", "'g' is none"),
        ('{"a": [{"b\\u0000": 1}]}', "at a.0.b\0", "NUL"),
        ('{"a": ["\\udc00"]}', "at a.0", "surrogate"),
        ('{"\\ud800": 1}', "at \\ud800", "surrogate"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(text: str, place: str, what: str) -> None:
    with pytest.raises(InvalidJson, match=re.escape(what)) as caught:
        loads(text)
    assert caught.value.place == place


def test_text_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidJson, match="UTF-8"):
        loads(b'{"a": "\xff"}')
    with pytest.raises(InvalidJson, match="surrogate"):
        loads('"\ud800"')
    with pytest.raises(InvalidJson, match="not int"):
        loads(1)  # type: ignore[arg-type]
    with pytest.raises(InvalidJson, match="a document is an object"):
        loads("[]", document=True)


def test_the_top_level_of_a_document_is_no_wrapper() -> None:
    text = f'{{"$oid": {{"$oid": "{OID}"}}}}'
    assert loads(text, document=True) == {"$oid": ObjectId(OID)}
    with pytest.raises(InvalidJson):
        loads(text)


def test_nesting_is_bounded() -> None:
    assert loads("[" * 250 + "]" * 250)
    for text in ("[" * 251 + "]" * 251, "[" * 100_000, '{"a":' * 251 + "1" + "}" * 251):
        with pytest.raises(LimitExceeded) as caught:
            loads(text)
        assert caught.value.limit == "JSON_DEPTH_MAX"
    deep: Any = 1
    for _ in range(101):
        deep = [deep]
    with pytest.raises(LimitExceeded):
        dumps(deep)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"$date": 0}', datetime(1970, 1, 1, tzinfo=UTC)),
        ('{"$date": "1970-01-01T00:00:00.000+0000"}', datetime(1970, 1, 1, tzinfo=UTC)),
        ('{"$binary": "AQ==", "$type": "80"}', Binary(b"\x01", 0x80)),
        ('{"$binary": "AQ==", "$type": 0}', b"\x01"),
        ('{"$binary": "AQ==", "$type": "ffffff80"}', Binary(b"\x01", 0x80)),
        ('{"$binary": {"base64": "AQ==", "subType": "00"}}', b"\x01"),
        ('{"$regex": "a", "$options": "i"}', Regex("a", "i")),
        (f'{{"$regex": {{"$oid": "{OID}"}}}}', {"$regex": ObjectId(OID)}),
        ('{"$numberLong": 7}', Int64(7)),
        ('{"$type": 2}', {"$type": 2}),
    ],
)
def test_legacy_forms_are_read_if_asked_for(text: str, value: Any) -> None:
    found = loads(text, legacy=True)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("value", "relaxed", "canonical", "legacy"),
    [
        (1, "1", '{"$numberInt": "1"}', "1"),
        (Int64(1), "1", '{"$numberLong": "1"}', '{"$numberLong": "1"}'),
        (1 << 40, "1099511627776", '{"$numberLong": "1099511627776"}', None),
        (1.5, "1.5", '{"$numberDouble": "1.5"}', "1.5"),
        (1e100, "1e+100", '{"$numberDouble": "1E+100"}', "1e+100"),
        (float("nan"), '{"$numberDouble": "NaN"}', None, None),
        (True, "true", "true", "true"),
        (b"\x01", '{"$binary": {"base64": "AQ==", "subType": "00"}}', None,
         '{"$binary": "AQ==", "$type": "00"}'),
        (datetime(2020, 1, 1), '{"$date": "2020-01-01T00:00:00Z"}',
         '{"$date": {"$numberLong": "1577836800000"}}', '{"$date": "2020-01-01T00:00:00Z"}'),
        (datetime(2020, 1, 1, 1, 0, 0, 1999, timezone(timedelta(hours=1))),
         '{"$date": "2020-01-01T00:00:00.001Z"}', None, None),
        (datetime(1969, 12, 31, tzinfo=UTC), '{"$date": {"$numberLong": "-86400000"}}', None, None),
        (DatetimeMS(1 << 60), '{"$date": {"$numberLong": "1152921504606846976"}}', None, None),
        (re.compile("a", re.I | re.X), '{"$regularExpression": {"pattern": "a", "options": "iux"}}',
         None, '{"$regex": "a", "$options": "iux"}'),
        (re.compile(b"a"), '{"$regularExpression": {"pattern": "a", "options": ""}}', None, None),
        (Code("f"), '{"$code": "f"}', None, None),
        (Code("f", {"a": 1}), '{"$code": "f", "$scope": {"a": 1}}', None, None),
        (DBRef("c", 1, "d", x=2), '{"$ref": "c", "$id": 1, "$db": "d", "x": 2}', None, None),
        ((1, [2]), "[1, [2]]", None, None),
        (OrderedDict(b=1, a="ä"), '{"b": 1, "a": "ä"}', None, None),
    ],
)  # fmt: skip
def test_values_are_written_as(
    value: Any, relaxed: str, canonical: str | None, legacy: str | None
) -> None:
    assert dumps(value) == relaxed
    if canonical is not None:
        assert dumps(value, mode="canonical") == canonical
    if legacy is not None:
        assert dumps(value, mode="legacy") == legacy


def test_subclasses_are_written_as_what_they_are() -> None:
    class Level(enum.IntEnum):
        HIGH = 3

    class Name(str):
        pass

    class Kept(dict[str, Any]):
        pass

    assert dumps(Kept(a=Level.HIGH, b=Name("n"), c=type("L", (list,), {})([1]))) == (
        '{"a": 3, "b": "n", "c": [1]}'
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [0, object()]}, "a.1: BSON has no type for object"),
        ({"a": {1: 2}}, "a.1: a field name is a str"),
        ({"a\0": 1}, "NUL"),
        ({"a": 1 << 63}, "a: an integer must fit into 64 bits"),
        ({"a": "\ud800"}, "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        ({"a": re.compile(b"\xff")}, "UTF-8"),
        ({"a": Regex("a\0b")}, "NUL"),
    ],
)
def test_what_bson_does_not_have_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InvalidDocument, match=re.escape(message)):
        dumps(value)


def test_output_can_be_formatted() -> None:
    assert dumps({"b": [1], "a": 2}, indent=1, sort_keys=True) == (
        '{\n "a": 2,\n "b": [\n  1\n ]\n}'
    )
    assert dumps("é😀", ensure_ascii=True) == '"\\u00e9\\ud83d\\ude00"'
    with pytest.raises(InvalidArgument, match="mode"):
        dumps(1, mode="strict")  # type: ignore[arg-type]


DOCUMENTS = [{"_id": ObjectId(OID), "text": "a\nb"}, {"$oid": "no wrapper here"}, {"n": [1, "é"]}]


def test_lines_come_back() -> None:
    stream = io.StringIO()
    assert dump_lines(DOCUMENTS, stream) == 3
    text = stream.getvalue()
    assert text.count("\n") == 3
    assert list(load_lines(io.StringIO("\n" + text + " \n"))) == DOCUMENTS
    assert list(load_lines(io.BytesIO(text.encode()))) == DOCUMENTS


def test_a_bad_line_is_named_and_those_before_it_are_read() -> None:
    found = load_lines(io.BytesIO(b'{"a": 1}\n\n{"a": {"$oid": 1}}\n'))
    assert next(found) == {"a": 1}
    with pytest.raises(InvalidJson, match="line 3, at a"):
        next(found)
    with pytest.raises(InvalidJson, match="line 1, column 7"):
        next(load_lines(io.StringIO('{"a": }')))
    with pytest.raises(InvalidJson, match="a document is an object"):
        next(load_lines(io.StringIO("1")))


class Trickle(io.RawIOBase):
    """A file that gives one byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(1)


def test_arrays_come_back_however_they_are_cut() -> None:
    stream = io.StringIO()
    assert dump_array(DOCUMENTS, stream) == 3
    text = stream.getvalue()
    assert text.count("\n") == 5
    assert list(load_array(io.StringIO(text))) == DOCUMENTS
    slow: Any = Trickle(b"\xef\xbb\xbf" + text.encode())
    assert list(load_array(slow)) == DOCUMENTS
    assert list(load_array(io.StringIO(" [ ] "))) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "the start"),
        ("", "the start"),
        ("[1]", "document 0, its start"),
        ('[{"a": 1},]', "document 1, its start"),
        ('[{"a": 1} {}]', "after document 0"),
        ('[{"a": 1}', "after document 0"),
        ('[{"a": 1}, {"b": {"$oid": 1}}]', "document 1, at b"),
        ('[{"a": 1', "document 0, character 7"),
        ('[{"a": NaN}]', "NaN is not JSON"),
        ("[{}] x", "behind the array"),
    ],
)
def test_a_bad_array_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidJson, match=message):
        list(load_array(io.StringIO(text)))
    with pytest.raises(InvalidJson, match=message):
        list(load_array(io.BytesIO(text.encode())))


def test_an_array_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(InvalidJson, match="UTF-8"):
        list(load_array(io.BytesIO(b'[{"a": "\xff"}]')))


def test_it_is_reached_from_the_package() -> None:
    assert rango.extended_json.loads is loads
