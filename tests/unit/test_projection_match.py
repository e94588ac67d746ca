"""`$elemMatch` in projections: the first element that matches, behind the other fields."""

from __future__ import annotations

from typing import Any

import pytest

from rango.engine.projection import projection_of
from rango.errors import InvalidFilter
from tests.unit.test_projection import GRADES


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"g": {"$elemMatch": {"s": {"$gt": 5}}}}, {"_id": 1, "g": [GRADES["g"][1]]}),
        (
            {"g": {"$elemMatch": {"t": "c", "s": 9}}, "n": 1},
            {"_id": 1, "n": 5, "g": [GRADES["g"][2]]},
        ),
        ({"g": {"$elemMatch": {"s": 5}}, "n": 1}, {"_id": 1, "n": 5}),
        ({"n": {"$elemMatch": {"$gt": 1}}}, {"_id": 1}),
        ({"many": {"$elemMatch": {"$eq": 7}}, "_id": 0}, {"many": [7]}),
        (
            {"g": {"$elemMatch": {"s": 9}}, "n": 0, "deep": 0, "many": 0},
            {"_id": 1, "g": [GRADES["g"][2]]},
        ),
    ],
)
def test_the_first_element_that_matches(spec: Any, expected: dict[str, Any]) -> None:
    found = projection_of(spec).apply(GRADES)
    assert found == expected
    assert list(found) == list(expected)


def test_it_does_not_go_with_a_positional_field() -> None:
    with pytest.raises(InvalidFilter) as caught:
        projection_of({"a.$": 1, "b": {"$elemMatch": {"x": 1}}})
    assert caught.value.code == 31256
