"""Any value that can be stored comes back from its Extended JSON, byte for byte as BSON."""

from __future__ import annotations

import io
from datetime import UTC
from typing import Any

from bson import json_util
from bson.binary import Binary
from bson.code import Code
from bson.codec_options import DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from rango import extended_json
from rango._ext.record import decode, encode

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0$"), max_size=5)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    INT64,
    INT64.map(Int64),
    st.integers(-9, 9).map(Int64),
    st.floats(allow_nan=False),
    TEXT,
    st.binary(max_size=9),
    st.uuids(),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.datetimes(timezones=st.just(UTC)).map(
        lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
    ),
    st.integers(253402300800000, (1 << 63) - 1).map(DatetimeMS),
    st.integers(-(1 << 63), -62135596800001).map(DatetimeMS),
    st.builds(Binary, st.binary(max_size=9), st.sampled_from([1, 2, 5, 7, 128, 255])),
    st.builds(Timestamp, st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1)),
    st.builds(Regex, TEXT.filter(lambda text: "\0" not in text), st.sampled_from(["", "i", "msx"])),
    st.builds(Code, TEXT, st.one_of(st.none(), st.dictionaries(NAMES, INT64, max_size=2))),
    st.decimals(allow_nan=False, places=3, min_value=-(10**20), max_value=10**20).map(Decimal128),
    st.sampled_from([MinKey(), MaxKey(), Decimal128("NaN"), Decimal128("-Infinity")]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)


@given(DOCUMENTS, st.booleans())
def test_canonical_text_comes_back_byte_for_byte(document: dict[str, Any], ascii: bool) -> None:
    text = extended_json.dumps(document, mode="canonical", ensure_ascii=ascii)
    found = extended_json.loads(text, document=True)
    assert encode(found) == encode(document)
    # one representation in Python, too: that of the codec
    assert repr(found) == repr(decode(encode(document)))


@given(DOCUMENTS)
def test_relaxed_text_is_stable(document: dict[str, Any]) -> None:
    text = extended_json.dumps(document)
    assert extended_json.dumps(extended_json.loads(text, document=True)) == text


@given(DOCUMENTS)
def test_legacy_text_comes_back_byte_for_byte(document: dict[str, Any]) -> None:
    text = extended_json.dumps(document, mode="legacy")
    assert encode(extended_json.loads(text, legacy=True, document=True)) == encode(document)


@given(DOCUMENTS)
def test_pymongo_reads_what_is_written(document: dict[str, Any]) -> None:
    text = extended_json.dumps(document, mode="canonical")
    options = json_util.CANONICAL_JSON_OPTIONS.with_options(
        tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO, uuid_representation=4
    )
    assert encode(json_util.loads(text, json_options=options)) == encode(document)


@given(st.lists(DOCUMENTS, max_size=4))
def test_files_come_back(documents: list[dict[str, Any]]) -> None:
    lines, array = io.StringIO(), io.StringIO()
    extended_json.dump_lines(documents, lines, mode="canonical")
    extended_json.dump_array(documents, array, mode="canonical")
    for found in (
        extended_json.load_lines(io.BytesIO(lines.getvalue().encode())),
        extended_json.load_array(io.BytesIO(array.getvalue().encode())),
    ):
        assert [encode(each) for each in found] == [encode(each) for each in documents]
