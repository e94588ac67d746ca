"""Giving history up, and the snapshots that have a name: what it begins with, and what ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rango
from rango import errors
from tests.unit.compact_case import SECRETS, files, fill, segments_small


@pytest.fixture(params=SECRETS, ids=["plain", "sealed"])
def secret(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = request.param
    return chosen


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    segments_small(monkeypatch)


def test_a_snapshot_is_a_keep_point(tmp_path: Path, secret: dict[str, Any]) -> None:
    with rango.open(tmp_path / "db", **secret) as db:
        fill(db, 60)
        early = db.create_snapshot("early")["ordinal"]
        for n in range(60):
            db["notes"].update_one({"_id": n % 40}, {"$set": {"last": "x" * 5_000}})
        state = db["notes"].find_many({}, sort=[("_id", 1)])
        spring = db.create_snapshot("spring")["ordinal"]
        db["notes"].delete_many({})
        for name, ordinal in (("early", early), ("spring", spring)):
            said = db.compact(name, dry_run=True)
            assert said == db.compact(ordinal, dry_run=True)
            done = db.compact(name)
            assert done["is_done"] and done["ordinal"] == said["ordinal"] <= ordinal
        with db.at("spring") as past:
            assert past["notes"].find_many({}, sort=[("_id", 1)]) == state
        assert list(db.check()) == []
        with pytest.raises(errors.HistoryGone) as gone:
            db.compact("early")
        assert gone.value.ordinal == done["ordinal"] and "'early'" in str(gone.value)


def test_a_snapshot_that_nobody_named_is_not_found_and_now_is_the_present(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        fill(db, 30)
        before = files(tmp_path / "db")
        for is_dry in (True, False):
            with pytest.raises(errors.NotFound, match="no snapshot 'spring'"):
                db.compact("spring", dry_run=is_dry)
        assert files(tmp_path / "db") == before
        db.create_snapshot("now")
        db["notes"].insert_one({"_id": "later"})
        assert db.compact("now")["ordinal"] == db.stats()["ordinal"]
