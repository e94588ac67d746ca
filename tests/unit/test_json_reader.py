"""JSON Lines read by the compiled reader: what it reads, the slow way reads as the same bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rango import extended_json
from rango._ext.json_reader import lines_read
from rango._ext.record import encode
from rango.errors import RangoError
from rango.names import document_check
from rango.transfer.sources import read_text
from tests.conformance.test_bson_corpus import corpus_cases
from tests.corpus import corpus_path, report_cases
from tests.property.test_extended_json import DOCUMENTS
from tests.reference.json_reader import line_bson

SIZE_MAX = 1 << 24


def ready(line: bytes) -> bytes | None:
    """The BSON of one line; None if it is not ready."""
    datas: list[bytes] = []
    ends: list[int] = []
    end = lines_read(line, 0, 1, SIZE_MAX, SIZE_MAX, datas, ends, [])
    assert (end, ends) == ((len(line), [len(line)]) if datas else (0, []))
    return datas[0] if datas else None


def slow(line: bytes) -> bytes | None:
    """The same, as the import reads a line that is not ready; None if it is refused."""
    try:
        document = read_text(line.decode())
        document_check(document)
        return encode(document, document.get("_id")) if "_id" in document else encode(document)
    except (RangoError, UnicodeDecodeError):
        return None


def is_same(line: bytes) -> bool:
    """True if the line is ready, and everybody agrees about it."""
    found = ready(line)
    if found is None:
        return False
    assert found == slow(line), line
    assert found == line_bson(line), line
    return True


READY = [
    "{}",
    ' {\t"a" : 1 , "b":[ ] }\r',
    '{"a": 0, "b": -0, "c": 2147483647, "d": 2147483648, "e": -2147483648, "f": -2147483649}',
    '{"a": 9223372036854775807, "b": -9223372036854775807}',
    '{"a": 0.1, "b": 1e5, "c": -0.0, "d": 1E+2, "e": 5e-324, "f": 1.7976931348623157e308}',
    '{"a": 9007199254740993.0, "b": 123456789012345678901234567890.5, "c": 1e400, "d": 0e999}',
    '{"a": 0.30000000000000004, "b": 2.2250738585072011e-308, "c": 1e23, "d": 8.5e22}',
    '{"a": [1, [2, {"b": [true, false, null]}], "x", 5, 6, 7, 8, 9, 10, 11, 12]}',
    r'{"a": "\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude00\u0000"}',
    '{"ä€😀": "ä€😀", "": ""}',
    '{"b": 1, "_id": {"$oid": "65000000aabbccddeeff0011"}, "c": {"_id": 5}}',
    '{"a": 1, "_id": "x"}',
    '{"_id": {"a": 1}, "_rev2": 1, "x": {"_rev": 1}}',
    '{"a": {"$date": "2024-02-29T23:59:59Z"}, "b": {"$date": "1969-12-31T23:59:59.999Z"}}',
    '{"a": {"$date": "0001-01-01T00:00:00.1Z"}, "b": {"$date": "9999-12-31T23:59:59.123456789Z"}}',
    '{"a": {"$date": {"$numberLong": "-62135596800001"}}, "b": {"$date": "2000-02-29T00:00:00Z"}}',
    '{"a": {"$numberInt": "-5"}, "b": {"$numberLong": "5"}, "c": {"$numberDouble": "-0"}}',
    '{"a": {"$numberDouble": "NaN"}, "b": {"$numberDouble": "-Infinity"}}',
    '{"a": {"$binary": {"base64": "", "subType": "00"}}, "b": {"$uuid": '
    '"73ffd264-44b3-4c69-90e8-e7d1dfc035d4"}}',
    '{"a": {"$binary": {"base64": "//8=", "subType": "80"}}, "b": {"$binary": {"base64": "+w==", '
    '"subType": "5"}}, "c": {"$binary": {"base64": "AAECAwQFBgcICQoLDA0ODw==", "subType": "04"}}}',
    '{"a": {"$timestamp": {"t": 4294967295, "i": 0}}}',
    '{"a":' + '{"a":' * 98 + "[]" + "}" * 99,
    "{" + ", ".join(f'"{n}": {n}' for n in range(256)) + "}",
]


@pytest.mark.parametrize("line", READY)
def test_usual_lines_are_ready(line: str) -> None:
    assert is_same(line.encode())
    assert is_same(line.encode() + b"\n")


UNUSUAL = [
    b"", b"\n", b" \n", b"[1]\n", b"1\n", b'{"a": 1} x\n', b'{"a": 1}}\n', b'{"a"}\n', b'{"a": }\n',
    b'{"a": 1,}\n', b'{"a": 01}\n', b'{"a": 1.}\n', b'{"a": .5}\n', b'{"a": +1}\n', b'{"a": 1e}\n',
    b'{"a": -}\n', b'{"a": NaN}\n', b'{"a": tru}\n', b'{"a": "\x01"}\n', b'{"a": "\xff"}\n',
    b'{"a": "\xed\xa0\x80"}\n', rb'{"a": "\ud800"}', rb'{"a": "\udc00\ud800"}', rb'{"a": "\x"}',
    rb'{"a": "\u00g0"}', rb'{"a": "\u00', rb'{"\u0000": 1}', b'{"a": 1, "a": 2}\n', b"{'a': 1}\n",
    rb'{"a": 1, "\u0061": 2}', b'{"a": 9223372036854775808}\n', b'{"a": 99999999999999999999}\n',
    b'{"_rev": 1}\n', b'{"_id": [1]}\n', b'{"$oid": "65000000aabbccddeeff0011"}\n',
    b"\xef\xbb\xbf{}",
    b'{"a": {"$oid": "65000000aabbccddeeff001"}}\n', b'{"a": {"$oid": "6500", "b": 1}}\n',
    rb'{"a": {"\u0024oid": "65000000aabbccddeeff0011"}}', b'{"a": {"b": 1, "$oid": "x"}}\n',
    b'{"a": {"$date": 5}}\n', b'{"a": {"$date": "2023-02-29T00:00:00Z"}}\n',
    b'{"a": {"$date": "1900-02-29T00:00:00Z"}}\n', b'{"a": {"$date": "0000-01-01T00:00:00Z"}}\n',
    b'{"a": {"$date": "2023-13-01T00:00:00Z"}}\n', b'{"a": {"$date": "2023-01-01T24:00:00Z"}}\n',
    b'{"a": {"$date": "2023-01-01T00:00:00+01:00"}}\n',
    b'{"a": {"$date": "2023-01-01T00:00:00.Z"}}',
    b'{"a": {"$numberInt": "2147483648"}}\n', b'{"a": {"$numberLong": "1.5"}}\n',
    b'{"a": {"$numberDouble": "1_0"}}\n', b'{"a": {"$numberDecimal": "1"}}\n',
    b'{"a": {"$binary": {"base64": "AA=", "subType": "0"}}}\n', b'{"a": {"$ref": "a", "$id": 1}}\n',
    b'{"a": {"$binary": {"base64": "AB==", "subType": "0"}}}\n',
    b'{"a": {"$binary": {"base64": "A===", "subType": "0"}}}\n',
    b'{"a": {"$binary": {"base64": "=AAA", "subType": "0"}}}\n',
    b'{"a": {"$binary": {"base64": "AAAA", "subType": "2"}}}\n',
    b'{"a": {"$timestamp": {"t": 4294967296, "i": 0}}}\n', b'{"a": {"$regex": "a"}}\n',
    b'{"a": {"$timestamp": {"t": -1, "i": 0}}}\n', b'{"a": {"$minKey": 1}}\n',
    b'{"a":' + b'{"a":' * 99 + b"[]" + b"}" * 100, b'{"a":' + b"[" * 5000,
    b"{" + b", ".join(b'"%d": 1' % n for n in range(257)) + b"}",
]  # fmt: skip


@pytest.mark.parametrize("line", UNUSUAL)
def test_unusual_and_wrong_lines_are_left_to_the_slow_way(line: bytes) -> None:
    assert ready(line) is None


def test_it_stops_before_a_line_that_is_not_ready_and_at_its_bounds() -> None:
    text = b'{"_id": 1}\n{"a": 1}\n\n{"_id": 3}'
    datas: list[bytes] = []
    ends: list[int] = []
    without_id: list[int] = []
    assert lines_read(text, 0, 9, SIZE_MAX, SIZE_MAX, datas, ends, without_id) == 20
    assert (datas, ends) == ([encode({"_id": 1}), encode({"a": 1})], [11, 20])
    assert without_id == [1]
    assert lines_read(text, 0, 1, SIZE_MAX, SIZE_MAX, [], [], []) == 11
    assert lines_read(text, 0, 9, 5, SIZE_MAX, [], [], []) == 11
    assert lines_read(text, 0, 9, SIZE_MAX, 13, [], [], []) == 0
    assert lines_read(text, 21, 9, SIZE_MAX, SIZE_MAX, datas, ends, []) == len(text)


@given(DOCUMENTS, st.sampled_from(["relaxed", "canonical", "legacy"]), st.booleans(), st.data())
def test_lines_and_damaged_lines_are_read_as_the_slow_way_reads_them(
    document: dict[str, Any], mode: Any, ascii: bool, data: st.DataObject
) -> None:
    line = extended_json.dumps(document, mode=mode, ensure_ascii=ascii).encode()
    is_same(line)
    at = data.draw(st.integers(0, len(line)))
    cut = data.draw(st.integers(0, 3))
    put = data.draw(
        st.sampled_from([b"", b"0", b'"', b"\\", b"{", b"}", b"$", b",", b"\xc3", b"e"])
    )
    is_same(line[:at] + put + line[at + cut :])


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_read_as_python_reads_it(value: float) -> None:
    assert is_same(json.dumps({"a": value, "b": [f"{value}"]}).encode())


@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
)
def test_every_number_is_read_as_python_reads_it(digits: str) -> None:
    is_same(b'{"a": %s}' % digits.encode())


def test_the_bson_corpus_is_read_as_the_slow_way_reads_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = []
    for kind, keys in (
        ("valid", ("canonical_extjson", "relaxed_extjson", "degenerate_extjson")),
        ("parseErrors", ("string",)),
    ):
        lines += [
            case[key].encode() for _, case in corpus_cases(kind) for key in keys if key in case
        ]
    count = sum(is_same(line.replace(b"\n", b" ")) for line in lines)
    assert count > 50
    report_cases(capsys, "bson-corpus, ready", count)


def test_hostile_json_is_read_as_the_slow_way_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted(corpus_path("json-test-suite").glob("*.json"))
    texts = [path.read_bytes() for path in paths]
    wanted = [b'{"a": ' + text + b"}" for text in texts] + texts
    # a line has no newline within it
    count = sum(is_same(text) for text in wanted if b"\n" not in text.strip())
    assert count > 60
    strings = json.loads(corpus_path("naughty-strings", "blns.json").read_text(encoding="utf-8"))
    for text in strings:
        assert is_same(extended_json.dumps({"a": text, "n": {f"_{text}": [text]}}).encode()) or (
            "\0" in text
        )
    report_cases(capsys, "JSONTestSuite and naughty strings, ready", count + len(strings))
