"""Change streams that wait: for what is durable, for other threads and processes, until an end."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango.errors import (
    DatabaseClosed,
    ForkedHandle,
    IoFailed,
    QueryCancelled,
)
from tests.unit.api_case import engine_database, ticking
from tests.unit.watch_case import rest


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with rango.open(tmp_path / "db", node_id="node-a", clock=ticking()) as opened:
        yield opened


def test_nothing_is_told_before_it_is_durable(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db", durability="memory") as db:
        db["notes"].insert_one({"_id": 0})
        stream = db.watch()
        assert stream.resume_token is None
        db["notes"].insert_one({"_id": 1})
        assert db["notes"].find_one({"_id": 1}) == {"_id": 1}
        assert stream.try_next() is None
        later = db["notes"].watch()
        db["notes"].insert_one({"_id": 2})
        db.flush()
        assert [each["documentKey"]["_id"] for each in rest(stream)] == [1, 2]
        assert [each["documentKey"]["_id"] for each in rest(later)] == [2]
        assert stream.resume_token == later.resume_token


def test_writers_signal_only_while_somebody_waits(db: rango.Database) -> None:
    shared = db._handle.core.lock.shared
    before = shared.watch_signal()
    db["notes"].insert_one({})
    assert shared.watch_signal() == before
    shared.watch_wait(before, shared.durable, 0)
    db["notes"].insert_one({})
    db["notes"].insert_one({})
    assert shared.watch_signal() == before + 1


def test_a_waiting_stream_is_woken_by_a_commit_of_another_thread(db: rango.Database) -> None:
    stream = db["notes"].watch()
    events: list[Any] = []
    watcher = threading.Thread(target=lambda: events.append(stream.next()), daemon=True)
    watcher.start()
    db["notes"].insert_one({"_id": 1})
    watcher.join(60)
    assert [each["documentKey"] for each in events] == [{"_id": 1}]


@pytest.mark.parametrize("end", ["close", "database"])
def test_a_waiting_stream_ends_when_it_or_its_database_is_closed(tmp_path: Path, end: str) -> None:
    db = engine_database(tmp_path / "db")
    stream = db.watch()
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            stream.next()
        except (StopIteration, DatabaseClosed) as error:
            raised.append(error)

    watcher = threading.Thread(target=wait, daemon=True)
    watcher.start()
    (stream if end == "close" else db).close()
    watcher.join(60)
    db.close()
    expected = StopIteration if end == "close" else DatabaseClosed
    assert [type(each) for each in raised] == [expected]
    assert end != "close" or not stream.alive


def test_a_scope_that_is_cancelled_ends_a_waiting_stream(db: rango.Database) -> None:
    with rango.cancel_scope() as scope:
        stream = db.watch()
        threading.Timer(0.01, scope.cancel).start()
        with pytest.raises(QueryCancelled):
            stream.next()


def test_ctrl_c_ends_a_waiting_stream(db: rango.Database) -> None:
    stream = db.watch()
    # what a shell starts in the background ignores it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()
            stream.next()
    finally:
        signal.signal(signal.SIGINT, before)
    db["notes"].insert_one({"_id": 1})
    assert stream.next()["documentKey"] == {"_id": 1}


def test_max_await_time_bounds_try_next(db: rango.Database) -> None:
    stream = db.watch(max_await_time_ms=1)
    assert stream.try_next() is None
    assert stream.alive


def test_a_latched_database_tells_its_streams(tmp_path: Path) -> None:
    db = engine_database(tmp_path / "db")
    stream = db.watch()
    db["notes"].insert_one({"_id": 1})
    db.flush()
    db._handle.core.lock.shared.fail(5)
    assert stream.next()["documentKey"] == {"_id": 1}
    with pytest.raises(IoFailed, match="nothing more will come"):
        stream.next()
    # nothing is left to flush, so it need not say so again
    with contextlib.suppress(IoFailed):
        db.close()


def test_a_stream_is_not_for_a_forked_child(db: rango.Database) -> None:
    stream = db.watch()
    db["notes"].insert_one({"_id": 1})
    assert stream.try_next() is not None
    child = os.fork()
    if not child:
        code = 1
        try:
            stream.try_next()
        except ForkedHandle:
            stream.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    db["notes"].insert_one({"_id": 2})
    assert stream.next()["documentKey"] == {"_id": 2}


def test_streams_hold_one_descriptor_at_most_and_give_it_back(db: rango.Database) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    db["notes"].insert_one({"_id": 1})
    before = descriptors()
    streams = [db.watch(start_at=1) for _ in range(5)]
    for stream in streams:
        assert len(rest(stream)) == 1
    assert descriptors() <= before + 5
    streams[0].close()
    del streams, stream
    gc.collect()
    assert descriptors() == before


WRITER = """
import sys
import rango
with rango.open(sys.argv[1]) as db:
    for n in range(int(sys.argv[2])):
        db["notes"].insert_one({"_id": n})
"""


@pytest.mark.parametrize("read_only", [False, True])
def test_commits_of_another_process_are_told(tmp_path: Path, read_only: bool) -> None:
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({"_id": "first"})
    with rango.open(tmp_path / "db", read_only=read_only) as db:
        stream = db["notes"].watch()
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "db"), "50"]):
            for n in range(50):
                assert stream.next()["documentKey"] == {"_id": n}
