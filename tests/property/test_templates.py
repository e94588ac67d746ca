"""Documents that are copied from templates: they are what decoding gives, and whatever a caller
does to what it got, the next one does not see it.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rango
from rango._ext import record
from rango.collection import Collection

NAMES = st.sampled_from(["a", "b", "c", "é", "a longer name", "$ref", "$id"])
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9),
    st.binary(max_size=9),
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(
        lambda each: each.replace(microsecond=each.microsecond // 1000 * 1000, tzinfo=UTC)
    ),
    st.sampled_from([Int64(5), ObjectId("65000000000000000000000a"), uuid.UUID(int=7)]),
    st.just(Decimal128("1.50")),
)
OTHERS = st.sampled_from(
    [
        Regex("a", "i"), Code("f()"), Code("f()", {"a": [1]}), Timestamp(1, 2), MaxKey(),
        Binary(b"a", 5), DBRef("things", 5), DatetimeMS(-(2**55)),
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(PLAIN, PLAIN, PLAIN, OTHERS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)
DOCUMENTS = st.lists(
    st.dictionaries(NAMES.filter(lambda name: not name.startswith("$")), VALUES, max_size=12),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module")
def things() -> Iterator[Collection]:
    with (
        tempfile.TemporaryDirectory() as folder,
        rango.open(Path(folder, "db"), durability="memory") as db,
    ):
        db["things"].create_index("n")
        yield db["things"]


def spoil(value: Any) -> None:
    """Change everything that can be changed."""
    if type(value) is dict:
        for each in list(value.values()):
            spoil(each)
        value["spoilt"] = value
        value.pop("a", None)
    elif type(value) is list:
        for each in value:
            spoil(each)
        value[:1] = [value, "spoilt"]
    elif isinstance(value, Code) and value.scope is not None:
        spoil(value.scope)
    elif isinstance(value, Regex):
        value.pattern = "spoilt"


def text(value: Any) -> str:
    """What tells documents apart: values, their types, and the order of fields."""
    if type(value) is dict:
        return "{" + ", ".join(f"{name!r}: {text(each)}" for name, each in value.items()) + "}"
    if type(value) is list:
        return "[" + ", ".join(map(text, value)) + "]"
    return f"{type(value).__name__} {value!r}"


@given(DOCUMENTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_reads_are_what_decoding_gives(things: Collection, documents: list[dict[str, Any]]) -> None:
    things.delete_many({})
    whole = [{"_id": at, "n": -at, **each} for at, each in enumerate(documents)]
    things.insert_many(whole)
    things._handle.core.checkpoint()
    expected = [text(record.decode(record.encode(each))) for each in whole]
    for _ in range(4):
        by_id = [things.find_one({"_id": at}) for at in range(len(whole))]
        ways = {
            "by _id": by_id,
            "scan": things.find_many({}),
            "filter": things.find_many({"n": {"$lte": 0}, "_id": {"$gte": 0}}),
            "index": things.find_many({}, sort=[("n", -1)]),
            "in memory": things.find_many({}, sort=[("_id", 1), ("n", 1)]),
        }
        for way, found in ways.items():
            assert [text(each) for each in found] == expected, way
        for found in ways.values():
            for each in found:
                spoil(each)
