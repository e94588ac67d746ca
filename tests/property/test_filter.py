"""The filter program equals its readable twin: random filters, each on a hundred random documents.

Nightly, `RANGO_PROFILE=nightly pytest tests/property/test_filter.py --minutes 4 -s` makes more than
10^6 pairs and prints how many.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rango._ext.record import decode, encode, record_build
from rango.engine.collation import Collation
from rango.engine.filters import program_of
from rango.errors import InvalidFilter
from tests.property.filter_cases import random_document, random_filter
from tests.reference import filter as twin

FILTERS = 10
DOCUMENTS = 100
COUNTED = {"pairs": 0, "matches": 0, "refused": 0}


@pytest.fixture(scope="module", autouse=True)
def counts() -> Any:
    """Say how many pairs were compared."""
    yield
    print(
        f"\nfilter: {COUNTED['pairs']:,} pairs (document, filter) compared, "
        f"{COUNTED['matches']:,} of them match; {COUNTED['refused']:,} filters refused"
    )


@given(st.integers(0, 2**64))
def test_filters_equal_their_twin(seed: int) -> None:
    rng = random.Random(seed)
    encoded = [encode(random_document(rng)) for _ in range(DOCUMENTS)]
    documents = [decode(data) for data in encoded]
    records = [record_build(data, 0, 1, 1, 1, 0, b"node") for data in encoded]
    for _ in range(FILTERS):
        filter = random_filter(rng)
        try:
            program = program_of(filter)
        except InvalidFilter:
            COUNTED["refused"] += 1
            continue
        expected = [
            place for place, document in enumerate(documents) if twin.matches(document, filter)
        ]
        found = program.run_many(records)
        assert found == expected, (filter, documents[min(set(found) ^ set(expected))])
        COUNTED["pairs"] += DOCUMENTS
        COUNTED["matches"] += len(expected)


@given(st.integers(0, 2**64), st.sampled_from([1, 2, 3]))
def test_a_collation_compares_what_it_folds(seed: int, strength: int) -> None:
    # the filter and the documents folded beforehand, compared by bytes
    rng = random.Random(seed)
    collation = Collation("en", strength)
    encoded = [encode(random_document(rng)) for _ in range(DOCUMENTS)]
    folded = [collation.fold_bson(data) for data in encoded]
    for operator in ("$eq", "$gt", "$gte", "$lt", "$lte"):
        operand = rng.choice(["a", "B", "ä", "a\nb", ["B"], {"a": "AB"}, 5, None])
        path = rng.choice(["a", "b", "a.b", "0"])
        program = program_of({path: {operator: operand}}, collation=collation)
        plain = program_of({path: {operator: collation.fold_value(operand)}})
        for data, other in zip(encoded, folded, strict=True):
            assert program.matches_bson(data) is plain.matches_bson(other), (path, operator, data)
