"""Expressions cannot make values that no document could hold: forty doublings end in an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rango
from rango.errors import LimitExceeded

DOUBLED: dict[str, dict[str, Any]] = {
    "$concat": {"$concat": ["$z", "$z"]},
    "$replaceAll": {"$replaceAll": {"input": "$z", "find": "x", "replacement": "xx"}},
}


@pytest.mark.parametrize("operator", DOUBLED)
def test_a_text_that_doubles_ends_in_a_typed_error(tmp_path: Path, operator: str) -> None:
    with rango.open(tmp_path / "db") as db:
        db["a"].insert_one({"_id": 1, "z": "x" * 16})
        stages = [{"$set": {"z": DOUBLED[operator]}} for _ in range(40)]
        with pytest.raises(LimitExceeded, match="at least"):
            db["a"].aggregate(stages).to_list()
        with pytest.raises(LimitExceeded):
            db["a"].update_one({"_id": 1}, stages)
        assert db["a"].find_one(1) == {"_id": 1, "z": "x" * 16}


def test_an_array_that_doubles_ends_in_a_typed_error(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        db["a"].insert_one({"_id": 1, "z": [1]})
        doubled = {"$concatArrays": ["$$value", "$$value"]}
        grown = {"$reduce": {"input": {"$range": [0, 60]}, "initialValue": "$z", "in": doubled}}
        with pytest.raises(LimitExceeded, match="at least"):
            db["a"].aggregate([{"$project": {"z": grown}}]).to_list()
