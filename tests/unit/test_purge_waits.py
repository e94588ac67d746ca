"""A purge that was cut short and cannot go on yet: the database opens, says so, ends it later."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import errors
from rango._ext.vfs import RANGE_LOCKS
from rango.database import Database
from rango.engine import purge as purging
from rango.engine.core import Core
from rango.transaction import Handle
from tests.unit.engine_case import documents_of, insert, options_of
from tests.unit.test_purge import CANARY, filled, places_of

NEEDLE = f"{CANARY} again"
"""What a version of the document 100 had, and nothing else has."""

pytestmark = pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")


class Stopped(Exception):
    """Stands for a crash."""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Core]:
    """Another process, so to speak, whose view is older than a purge that was cut short."""
    with rango.open(tmp_path / "db") as db:
        filled(db)
        db.checkpoint()
    core = Core(options_of(tmp_path / "db"))
    core.start()
    yield core
    core.release()


def cut_short(path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A purge by a process that dies at a step of it."""

    def stop(*_: object, **__: object) -> None:
        raise Stopped

    core = Core(options_of(path))
    core.start()
    database = Database(Handle(core, str(path), core.options.ids))
    with monkeypatch.context() as patch:
        patch.setattr(purging, step, stop)
        with pytest.raises((Stopped, errors.DatabaseBusy)):
            database["notes"].purge({"_id": 100})
        database.close()


def told(records: list[logging.LogRecord]) -> list[str]:
    return [vars(record)["event"] for record in records if "event" in vars(record)]


@pytest.mark.parametrize("step", ["finish", "rewrite", "complete"])
def test_an_open_beside_an_older_view_does_not_fail_and_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reader: Core,
    step: str,
) -> None:
    path = tmp_path / "db"
    view: Any = reader.view()
    cut_short(path, monkeypatch, step)
    with caplog.at_level(logging.INFO, logger="rango"):
        ordinals = []
        for _ in range(3):
            with rango.open(path) as db:
                ordinals.append(db.stats()["ordinal"])
                assert db["notes"].find_one(100) is None and db["notes"].count_documents({}) > 50
                assert len(db.stats()["findings"]) == 1
                assert "a purge is not complete" in db.stats()["findings"][0]
                assert [each["is_complete"] for each in db.purges()] == [False]
                # what it says of itself is asked for, and told
                with pytest.raises(errors.DatabaseBusy):
                    db["notes"].purge({"_id": "nothing"})
                db["notes"].insert_one({})
        assert "purge_waits" in told(caplog.records)
        assert CANARY not in caplog.text
    # the older view reads what it saw
    assert view.find_named("notes", 100) is not None
    del view
    assert len(documents_of(reader, "notes")) > 50
    with rango.open(path) as db:
        assert db.stats()["findings"] == []
        assert [each["is_complete"] for each in db.purges()] == [True]
        assert list(db.check()) == []
    assert places_of(path, NEEDLE) == []


def test_an_open_that_cannot_go_on_writes_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Core
) -> None:
    """Every command opens the database: it must not write checkpoints each time."""
    path = tmp_path / "db"
    view: Any = reader.view()
    cut_short(path, monkeypatch, "rewrite")
    with rango.open(path) as db:
        generation, ordinal = db.stats()["generation"], db.stats()["ordinal"]
    for _ in range(3):
        with rango.open(path) as db:
            assert (db.stats()["generation"], db.stats()["ordinal"]) == (generation, ordinal)
    del view


def waiting(path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> rango.Database:
    cut_short(path, monkeypatch, "rewrite")
    db = rango.open(path, **options)
    assert purging.is_purging(db._handle.core) and db.stats()["findings"] != []
    return db


def ended(db: rango.Database) -> bool:
    return not purging.is_purging(db._handle.core) and db.stats()["findings"] == []


def test_a_checkpoint_that_is_asked_for_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Core
) -> None:
    view: Any = reader.view()
    with waiting(tmp_path / "db", monkeypatch) as db:
        db.checkpoint()
        assert not ended(db)
        del view
        db.checkpoint()
        assert ended(db) and places_of(tmp_path / "db", NEEDLE) == []
        assert list(db.check()) == []


def test_it_is_tried_again_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Core
) -> None:
    view: Any = reader.view()
    with waiting(tmp_path / "db", monkeypatch, ttl_interval_s=0.02) as db:
        wait_until(lambda: db.stats()["expiry"]["rounds"] > 2)
        assert not ended(db)
        del view
        wait_until(lambda: ended(db))
        assert places_of(tmp_path / "db", NEEDLE) == []
        assert list(db.check()) == []


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_compaction_ends_it_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Core
) -> None:
    view: Any = reader.view()
    with waiting(tmp_path / "db", monkeypatch) as db:
        with pytest.raises(errors.DatabaseBusy):
            db.compact("now")
        del view
        assert db.compact("now")["is_done"] and ended(db)
        assert places_of(tmp_path / "db", NEEDLE) == []
        assert list(db.check()) == []


def test_somebody_else_who_works_on_the_history_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Core
) -> None:
    cut_short(tmp_path / "db", monkeypatch, "finish")
    with reader.history_lock:
        started = time.monotonic()
        with rango.open(tmp_path / "db") as db:
            assert time.monotonic() - started < 5 and not ended(db)
    with rango.open(tmp_path / "db") as db:
        assert ended(db)


def test_a_purge_that_returned_left_nothing_though_one_before_it_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Core
) -> None:
    path = tmp_path / "db"
    view: Any = reader.view()
    cut_short(path, monkeypatch, "finish")
    with rango.open(path) as db:
        db["notes"].insert_one({"_id": "other", "text": "another secret 91c7"})
        with pytest.raises(errors.DatabaseBusy):
            db["notes"].purge({"_id": "other"})
        del view
        assert db["notes"].purge({"_id": "nothing"}).purged_count == 0
        assert all(each["is_complete"] for each in db.purges())
    for needle in (NEEDLE, "another secret 91c7"):
        assert places_of(path, needle) == []


def test_a_failing_disk_still_ends_the_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Core
) -> None:
    cut_short(tmp_path / "db", monkeypatch, "finish")

    def fail(*_: object, **__: object) -> None:
        raise errors.IoFailed("no disk")

    with monkeypatch.context() as patch:
        patch.setattr(purging, "finish", fail)
        with pytest.raises(errors.IoFailed):
            rango.open(tmp_path / "db")
    insert(reader, "notes", [{"_id": "still"}])


def test_close_ends_a_purge_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Core
) -> None:
    """Nothing goes on in the files once they may be another process's."""
    path = tmp_path / "db"
    view: Any = reader.view()
    db = waiting(path, monkeypatch, ttl_interval_s=0.05)
    core = db._handle.core
    begun, go_on = threading.Event(), threading.Event()
    rewritten = purging.segment_purge
    count = 0

    def slow(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        begun.set()
        assert go_on.wait(30)
        return rewritten(*arguments)

    for number in range(3):
        db["notes"].insert_one({"_id": f"later {number}"})
        try:
            core.append_lock_take()
            core.store.appender.roll_over()
        finally:
            core.append_lock.drop()
    monkeypatch.setattr(purging, "segment_purge", slow)
    del view
    assert begun.wait(30)
    stopping = core.expirer._stopping
    closing = threading.Thread(target=db.close)
    closing.start()
    assert stopping.wait(30)
    go_on.set()
    closing.join(30)
    assert not closing.is_alive() and count == 1
    with rango.open(path) as again:
        assert ended(again)
    assert places_of(path, NEEDLE) == []
