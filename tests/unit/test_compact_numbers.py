"""Numbers of commits around the cut of a compact(): those of the same state stay of use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import rango
from rango._ext.record import encode
from rango.engine import compact
from rango.engine.check import digest as digest_of
from rango.engine.named import NAMES
from rango.errors import HistoryGone, NotFound
from tests.unit.api_case import START_MS
from tests.unit.compact_case import digest, fill, segments_small


@pytest.fixture(params=[{}, {"key": b"k" * 32}], ids=["plain", "sealed"])
def secret(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = request.param
    return chosen


def at_is(db: rango.Database, number: int, expected: str) -> bool:
    with db.at(number) as past:
        core: Any = past._handle.core
        return digest_of(core.view()) == expected


def reopened(path: Path, secret: dict[str, Any], times: int, *, checkpoints: bool) -> None:
    """Sessions that change nothing: each leaves the frame of its close."""
    for _ in range(times):
        with rango.open(path, **secret) as db:
            if checkpoints:
                db._handle.core.commits += 1  # as if it had: so that the close is logged
                db.checkpoint()


@pytest.mark.parametrize(("times", "checkpoints"), [(0, False), (1, False), (3, True)])
def test_the_number_of_the_present_state_stays_of_use(
    tmp_path: Path, secret: dict[str, Any], times: int, checkpoints: bool
) -> None:
    path = tmp_path / "db"
    with rango.open(path, **secret) as db:
        db["notes"].insert_many([{"_id": n} for n in range(50)])
        db["notes"].delete_one({"_id": 3})
        first, before = db.stats()["ordinal"], digest(db)
    reopened(path, secret, times, checkpoints=checkpoints)
    with rango.open(path, **secret) as db:
        number = db.stats()["ordinal"]
        with db.snapshot() as past:
            assert past.ordinal == number
        foreseen = db.compact("now", dry_run=True)
        done = db.compact("now")
        assert foreseen["snapshots"] == done["snapshots"] == []
        again = db.stats()["ordinal"]
        # all of them mean this state, now and when more has been written
        numbers = {first, number, again, done["ordinal"]}
        assert all(at_is(db, each, before) for each in numbers)
        db["notes"].insert_one({"_id": "later"})
        for each in numbers:
            assert at_is(db, each, before)
            assert [change.kind for change in db.diff(each)] == ["inserted"]
        with pytest.raises(HistoryGone):
            db.at(first - 1)
    (path / "data.rango").unlink()
    with rango.open(path, **secret) as db:
        assert all(at_is(db, each, before) for each in numbers)
        with pytest.raises(HistoryGone):
            db.at(first - 1)
        assert db.rollback(first).documents == 1 and db["notes"].count_documents({}) == 49


def test_a_snapshot_of_the_same_state_does_not_end(tmp_path: Path, secret: dict[str, Any]) -> None:
    path = tmp_path / "db"
    with rango.open(path, **secret) as db:
        db["notes"].insert_one({"_id": 1})
        db.create_snapshot("early")
        db["notes"].insert_one({"_id": 2})
        number, state = db.stats()["ordinal"], digest(db)
    with rango.open(path, **secret) as db:
        done = db.compact("now")
        assert done["snapshots"] == ["early"] and done["ordinal"] > number
        db["notes"].insert_one({"_id": 3})
        assert at_is(db, number, state)
        # a name for a number that lies before the cut, of a state that is there
        core = db._handle.core
        txn = core.begin()
        txn.insert(
            txn.create_collection(NAMES),
            encode(
                {
                    "_id": "same",
                    "ordinal": number,
                    "at": datetime.now(UTC),
                    "node": "n",
                    "note": None,
                }
            ),
        )
        txn.commit()
        with db.at("same") as past:
            assert past["notes"].count_documents({}) == 2
        assert db.compact("same")["segments"] == 0
        assert db.compact("now", dry_run=True)["snapshots"] == ["same"]
        assert db.compact("now")["snapshots"] == ["same"]
        with pytest.raises(HistoryGone):
            db.at("same")


def test_times_and_revisions_of_the_same_state_stay_of_use(
    tmp_path: Path, secret: dict[str, Any]
) -> None:
    now = START_MS
    with rango.open(tmp_path / "db", clock=lambda: now, **secret) as db:
        notes = db["notes"]
        revisions = []
        for n in range(3):
            now += 10_000
            notes.insert_one({"_id": n})
            found = notes.find_one({"_id": n}, meta=True)
            assert found is not None
            revisions.append(found["_rev"])
        state = digest(db)
        db.compact("now")
        now += 10_000
        # before anything is written behind the cut, and after
        for _ in range(2):
            times = [datetime.fromtimestamp((now - back) / 1000, UTC) for back in (5_000, 10_000)]
            for moment in (*times, revisions[2]):
                with db.at(moment) as past:
                    core: Any = past._handle.core
                    assert digest_of(core.view()) == state
            for moment in (times[1] - timedelta(milliseconds=1), revisions[1]):
                with pytest.raises(HistoryGone):
                    db.at(moment)
            with pytest.raises(NotFound, match="later than every commit"):
                db.at("9999999999999-0-0000")
            if notes.count_documents({}) == 3:
                notes.insert_one({"_id": "later"})


def test_a_second_compaction_with_nothing_between_keeps_the_number(
    tmp_path: Path, secret: dict[str, Any]
) -> None:
    path = tmp_path / "db"
    with rango.open(path, **secret) as db:
        db["notes"].insert_one({"_id": 1})
        number, state = db.stats()["ordinal"], digest(db)
    for _ in range(3):
        with rango.open(path, **secret) as db:
            db.compact("now")
    with rango.open(path, **secret) as db:
        db["notes"].insert_one({"_id": 2})
        assert at_is(db, number, state)


def test_a_cut_in_the_past_keeps_the_number_of_its_state(
    tmp_path: Path, secret: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    segments_small(monkeypatch)
    with rango.open(tmp_path / "db", **secret) as db:
        fill(db)
        middle = db.stats()["ordinal"] // 2
        done = db.compact(middle)
        assert done["segments"] and done["ordinal"] <= middle
        with db.at(done["ordinal"]) as past:
            assert past.ordinal == done["ordinal"]
        with pytest.raises(HistoryGone):
            db.at(done["ordinal"] - 1)


def test_a_base_without_the_field_is_read_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = compact.statement

    def older(*args: Any) -> dict[str, Any]:
        return {name: value for name, value in made(*args).items() if name != "commit"}

    monkeypatch.setattr(compact, "statement", older)
    path = tmp_path / "db"
    with rango.open(path) as db:
        db["notes"].insert_one({"_id": 1})
        number = db.stats()["ordinal"]
    with rango.open(path) as db:
        done = db.compact("now")
        db["notes"].insert_one({"_id": 2})
        with pytest.raises(HistoryGone):
            db.at(number)
        with db.at(done["ordinal"]) as past:
            assert past["notes"].count_documents({}) == 1
