"""TTL indexes: what is over and what never is, and the thread that looks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rango import errors
from rango.database import Database
from rango.engine import expiry
from tests.unit.api_case import START_MS, engine_database

START = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
SOON_S = 0.001
LONG_S = 30.0
ENDS_AT_ONCE = {"expireAfterSeconds": 0}


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms

    def forward(self, seconds: float) -> None:
        """So much later."""
        self.now_ms += round(seconds * 1000)


class Rounds:
    """Looks of the background thread, counted; a test waits for the next one to end."""

    def __init__(self, patch: pytest.MonkeyPatch, failure: Exception | None = None) -> None:
        self.done = threading.Semaphore(0)
        original = expiry.expire

        def expire(*arguments: Any) -> int:
            try:
                if failure is not None:
                    raise failure
                return original(*arguments)
            finally:
                self.done.release()

        patch.setattr(expiry, "expire", expire)

    def forget(self) -> None:
        """Wait for rounds from now on only: several may have ended since the last wait."""
        while self.done.acquire(blocking=False):
            pass

    def wait(self, count: int = 1) -> None:
        """Return after so many rounds."""
        for _ in range(count):
            assert self.done.acquire(timeout=LONG_S)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def db(tmp_path: Path, clock: Clock) -> Iterator[Database]:
    """Nothing but expire() looks here."""
    with engine_database(tmp_path / "db", clock=clock, ttl_interval_s=0) as database:
        yield database


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def ids(database: Database, name: str = "a") -> list[Any]:
    return [each["_id"] for each in database[name].find()]


def expirers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "rango-expirer"]


def test_a_document_is_over_when_its_time_has_passed_to_the_millisecond(
    db: Database, clock: Clock
) -> None:
    db["a"].create_index("at", expireAfterSeconds=60)
    db["a"].insert_many([{"_id": n, "at": after(n)} for n in range(3)])
    clock.forward(59.999)
    assert db.expire() == 0
    clock.forward(0.001)
    assert db.expire() == 1
    assert ids(db) == [1, 2]
    assert db.expire(after(62)) == 2
    assert ids(db) == []
    assert list(db.check()) == []


def test_zero_seconds_means_the_date_itself(db: Database) -> None:
    db["a"].create_index([("at", -1)], expire_after_s=0)
    db["a"].insert_many([{"_id": n, "at": after(n)} for n in range(3)])
    assert db.expire(after(1)) == 2
    assert ids(db) == [2]


def test_of_several_dates_the_earliest_counts(db: Database) -> None:
    db["a"].create_index("v.at", expireAfterSeconds=0)
    db["a"].insert_many(
        [
            {"_id": "one is over", "v": {"at": [after(900), "text", after(1)]}},
            {"_id": "all are over", "v": [{"at": after(2)}, {"at": after(3)}, {"at": after(4)}]},
            {"_id": "none is over", "v": {"at": [after(900), after(901), 5]}},
        ]
    )
    assert db.expire(after(5)) == 2
    assert ids(db) == ["none is over"]


def test_what_is_no_date_never_ends(db: Database) -> None:
    values = [None, 0, -1, True, "2001-01-01", {"at": after(-5)}, [], [[after(-5)]], START_MS]
    db["a"].create_index("at", expireAfterSeconds=0)
    db["a"].insert_many([{"_id": n, "at": value} for n, value in enumerate(values)])
    db["a"].insert_one({"_id": "missing"})
    assert db.expire(after(10**9)) == 0
    assert len(ids(db)) == len(values) + 1


def test_dates_before_1970_are_over(db: Database) -> None:
    db["a"].create_index("at", expireAfterSeconds=2**31 - 1)
    db["a"].insert_many(
        [{"_id": 1, "at": datetime(1900, 1, 1, tzinfo=UTC)}, {"_id": 2, "at": datetime.min}]
    )
    assert db.expire(datetime(1970, 1, 2)) == 2


def test_a_partial_index_ends_only_what_matches(db: Database) -> None:
    db["a"].create_index("at", expireAfterSeconds=0, partialFilterExpression={"draft": True})
    db["a"].insert_many(
        [{"_id": 1, "at": START, "draft": True}, {"_id": 2, "at": START, "draft": False}]
    )
    assert db.expire(after(1)) == 1
    assert ids(db) == [2]
    db["a"].update_one({"_id": 2}, {"$set": {"draft": True}})
    assert db.expire(after(1)) == 1


def test_a_hidden_index_goes_on_ending_documents(db: Database) -> None:
    db["a"].create_index("at", expireAfterSeconds=0, hidden=True)
    db["a"].insert_one({"at": START})
    assert db.expire(after(1)) == 1


def test_all_collections_and_indexes_are_looked_at(db: Database) -> None:
    for name in ("a", "b"):
        db[name].create_index("x", expireAfterSeconds=0)
        db[name].create_index("y", expireAfterSeconds=10)
        db[name].insert_many([{"x": START}, {"y": START}, {"x": after(99)}])
    assert db.expire(after(1)) == 2
    assert db.expire(after(10)) == 2


def test_more_than_one_commit_holds(db: Database) -> None:
    count = 2 * expiry.EXPIRE_RECORDS + 1
    db["a"].create_index("at", expireAfterSeconds=0)
    db["a"].insert_many([{"_id": n, "at": [START, after(1)]} for n in range(count)])
    before = db.stats()["commits"]
    assert db.expire(after(1)) == count
    assert db.stats()["commits"] - before in (0, 3)
    assert list(db.check()) == []


def test_a_later_date_keeps_a_document(db: Database) -> None:
    db["a"].create_index("at", expireAfterSeconds=60)
    db["a"].insert_one({"_id": 1, "at": START})
    db["a"].update_one({"_id": 1}, {"$set": {"at": after(60)}})
    assert db.expire(after(61)) == 0
    assert db.expire(after(120)) == 1


def test_expire_is_not_for_transactions_nor_for_what_is_no_time(db: Database) -> None:
    with db.transaction(), pytest.raises(errors.TransactionError):
        db.expire()
    with pytest.raises(errors.InvalidArgument, match="datetime"):
        db.expire(5)  # type: ignore[arg-type]


def test_the_expiry_of_an_index_can_be_changed(db: Database) -> None:
    db["a"].create_index("at")
    db["a"].insert_one({"_id": 1, "at": START})
    assert db.expire(after(10**6)) == 0
    db["a"].modify_index("at_1", expire_after_s=60)
    assert db.expire(after(59)) == 0
    db["a"].modify_index([("at", 1)], expire_after_s=1.5)  # type: ignore[arg-type]
    assert db["a"].index_information()["at_1"]["expireAfterSeconds"] == 1
    assert db.expire(after(1)) == 1


# --- the thread


def test_the_thread_is_there_only_with_an_index_and_ends_with_the_database(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = Rounds(monkeypatch)
    before = set(expirers())
    with engine_database(tmp_path / "db", clock=clock, ttl_interval_s=SOON_S) as database:
        database["a"].create_index("x")
        database["a"].insert_one({"_id": 1, "at": START})
        assert set(expirers()) == before
        database["a"].create_index("at", expireAfterSeconds=60)
        assert len(set(expirers()) - before) == 1
        database["a"].create_index("other", expireAfterSeconds=60)
        assert len(set(expirers()) - before) == 1
        rounds.wait()
        assert ids(database) == [1]
        clock.forward(60)
        # the round under way may have read the clock before it was moved
        rounds.forget()
        rounds.wait(2)
        assert ids(database) == []
    assert set(expirers()) == before


def test_the_thread_starts_with_the_database_and_with_a_change(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = Rounds(monkeypatch)
    with engine_database(tmp_path / "db", clock=clock, ttl_interval_s=SOON_S) as database:
        database["a"].create_index("at")
        database["a"].insert_one({"at": START})
        assert expirers() == []
        database["a"].modify_index("at_1", expire_after_s=60)
        assert len(expirers()) == 1
    clock.forward(60)
    rounds = Rounds(monkeypatch)
    with engine_database(tmp_path / "db", clock=clock, ttl_interval_s=SOON_S) as database:
        rounds.wait(2)
        assert ids(database) == []


def test_nothing_ends_in_a_database_that_is_read_only_or_has_no_interval(
    tmp_path: Path, clock: Clock
) -> None:
    with engine_database(tmp_path / "db", clock=clock, ttl_interval_s=0) as database:
        database["a"].create_index("at", expireAfterSeconds=0)
        database["a"].insert_one({"_id": 1, "at": after(-5)})
        assert expirers() == []
    with engine_database(tmp_path / "db", read_only=True, ttl_interval_s=SOON_S) as database:
        assert expirers() == []
        with pytest.raises(errors.ReadOnly):
            database.expire()
        assert ids(database) == [1]


@pytest.mark.parametrize("interval", [-1, "60", True, None, float("nan"), float("inf")])
def test_intervals_are_checked(tmp_path: Path, interval: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="ttl_interval_s"):
        engine_database(tmp_path / "db", ttl_interval_s=interval)


def test_little_space_is_a_finding_and_the_next_round_tries_again(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine_database(tmp_path / "db", clock=clock, ttl_interval_s=SOON_S) as database:
        with monkeypatch.context() as patch:
            rounds = Rounds(patch, errors.LowDisk("the disk is full"))
            database["a"].create_index("at", expireAfterSeconds=0)
            database["a"].insert_one({"at": START})
            rounds.wait(3)
            findings = database.stats()["findings"]
            assert [each for each in findings if "the disk is full" in each] == findings
            assert len(findings) == 1
        Rounds(monkeypatch).wait(2)
        assert ids(database) == []


def test_a_failed_disk_is_raised_to_the_next_caller(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = Rounds(monkeypatch, errors.IoFailed("the disk is gone"))
    database = engine_database(tmp_path / "db", clock=clock, ttl_interval_s=SOON_S)
    database["a"].create_index("at", expireAfterSeconds=0)
    rounds.wait()
    for thread in expirers():
        thread.join(LONG_S)
    with pytest.raises(errors.IoFailed, match="the disk is gone"):
        database["a"].insert_one({"at": START})
    database.close()


def test_two_threads_that_make_the_first_ttl_index_start_one_expirer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_look = threading.Barrier(2)
    has_expiring = expiry.has_expiring

    def has(core: Any) -> bool:
        found = has_expiring(core)
        if found:
            both_look.wait(LONG_S)
        return found

    before = set(expirers())
    with engine_database(tmp_path / "db", ttl_interval_s=LONG_S) as database:
        monkeypatch.setattr(expiry, "has_expiring", has)
        makers = [
            threading.Thread(target=database[name].create_index, args=("at",), kwargs=ENDS_AT_ONCE)
            for name in ("a", "b")
        ]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join(LONG_S)
        assert len(set(expirers()) - before) == 1
    assert set(expirers()) == before


def test_an_index_made_while_the_database_closes_starts_no_expirer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_expiring = expiry.has_expiring
    before = set(expirers())
    database = engine_database(tmp_path / "db", ttl_interval_s=LONG_S)

    def has_then_closed(core: Any) -> bool:
        found = has_expiring(core)
        database.close()
        return found

    monkeypatch.setattr(expiry, "has_expiring", has_then_closed)
    database["a"].create_index("at", expireAfterSeconds=0)
    assert set(expirers()) == before


def test_a_round_that_fails_is_logged_shown_and_tried_again(
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with engine_database(tmp_path / "db", clock=clock, ttl_interval_s=SOON_S) as database:
        with monkeypatch.context() as patch:
            rounds = Rounds(patch, errors.InvalidDocument("nobody expects this"))
            database["a"].create_index("at", expireAfterSeconds=0)
            database["a"].insert_one({"at": START})
            rounds.wait(3)
            shown = database.stats()["expiry"]
            assert shown["running"]
            assert shown["failures"] >= 2
            assert shown["error"] == "InvalidDocument: nobody expects this"
            assert any("nobody expects this" in each for each in database.stats()["findings"])
            assert "nobody expects this" in caplog.text
        Rounds(monkeypatch).wait(2)
        assert ids(database) == []
        shown = database.stats()["expiry"]
        assert (shown["deleted"], shown["failures"], shown["error"]) == (1, 0, None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_expirer_that_a_bug_ended_has_a_successor(
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)
    with engine_database(tmp_path / "db", clock=clock, ttl_interval_s=SOON_S) as database:
        with monkeypatch.context() as patch:
            rounds = Rounds(patch, ZeroDivisionError("a bug"))
            database["a"].create_index("at", expireAfterSeconds=0)
            database["a"].insert_one({"at": START})
            rounds.wait(3)
            assert database.stats()["expiry"]["error"] == "ZeroDivisionError: a bug"
            assert "a bug" in caplog.text
        Rounds(monkeypatch).wait(2)
        assert ids(database) == []
        assert database.stats()["expiry"]["error"] is None
        assert len(expirers()) == 1
    assert [each.exc_type for each in ended[:2]] == [ZeroDivisionError] * 2


def test_failures_make_it_wait_longer_and_longer_but_never_for_ever(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db", ttl_interval_s=60) as database:
        expirer = database._handle.core.expirer
        waits = []
        for failures in (0, 1, 2, 3, 4, 10_000):
            expirer._failures = failures
            waits.append(expirer._wait_s())
        assert waits == [60, 120, 240, 480, expiry.RETRY_S_MAX, expiry.RETRY_S_MAX]


def test_stats_say_that_a_latched_database_expires_nothing(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = Rounds(monkeypatch, errors.IoFailed("the disk is gone"))
    database = engine_database(tmp_path / "db", clock=clock, ttl_interval_s=SOON_S)
    assert database.stats()["expiry"] == {
        "running": False,
        "rounds": 0,
        "deleted": 0,
        "failures": 0,
        "error": None,
    }
    database["a"].create_index("at", expireAfterSeconds=0)
    rounds.wait()
    for thread in expirers():
        thread.join(LONG_S)
    shown = database.stats()["expiry"]
    assert not shown["running"]
    assert shown["error"] == "IoFailed: the disk is gone"
    database.close()
