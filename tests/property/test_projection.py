"""Projections through the public API against their twin."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rango
from rango.collection import Collection
from rango.errors import InvalidFilter
from tests.reference.projection import project

NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.one_of(st.integers(-3, 3), st.none(), st.sampled_from(["", "x"])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=9,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=3)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
SLICES = st.one_of(
    st.integers(-4, 4), st.tuples(st.integers(-4, 4), st.integers(1, 4)).map(list)
).map(lambda operand: {"$slice": operand})
FLAGS = st.dictionaries(PATHS, st.one_of(st.just(1), st.just(1), SLICES), min_size=1, max_size=4)
IDS = st.sampled_from([{}, {"_id": 0}, {"_id": 1}])


@pytest.fixture(scope="module")
def things() -> Iterator[Collection]:
    with tempfile.TemporaryDirectory() as folder, rango.open(f"{folder}/db") as db:
        yield db["things"]


def collides(paths: list[str]) -> bool:
    return any(
        one != other and f"{other}.".startswith(f"{one}.") for one in paths for other in paths
    )


@given(DOCUMENTS, FLAGS, IDS, st.booleans())
def test_a_projection_equals_its_twin(
    things: Collection,
    document: dict[str, Any],
    flags: dict[str, Any],
    id_flag: dict[str, int],
    is_exclusion: bool,
) -> None:
    if is_exclusion:
        flags = {path: 0 if each == 1 else each for path, each in flags.items()}
    spec = {**flags, **id_flag}
    things.delete_many({})
    things.insert_one({"_id": 5, **document})
    if collides(list(flags)):
        with pytest.raises(InvalidFilter):
            things.find_one({"a": {"$gt": 0}}, spec)
        return
    found = things.find_one({}, spec)
    expected = project({"_id": 5, **document}, spec)
    assert found == expected
    assert repr(found) == repr(expected)  # the order of fields
