"""Building an index: over what is there, beside other writers, and when it is stopped half-way."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import rango
from ci.environment import ROOT
from rango._ext.vfs import RANGE_LOCKS
from rango.engine import index as index_module
from rango.engine.core import Core
from rango.errors import DuplicateKey, IndexConflict, LimitExceeded, NotFound
from tests.unit.engine_case import (
    asked,
    by_index,
    delete,
    documents_of,
    insert,
    opened,
    replace,
    threads,
)


def test_an_index_holds_what_was_there_and_what_comes(tmp_path: Path) -> None:
    core = opened(tmp_path / "db")
    insert(core, "a", [{"_id": n, "v": n * 7 % 100} for n in range(100)])
    core.create_index("a", asked("v"))
    insert(core, "a", [{"_id": n, "v": -n} for n in range(100, 130)])
    found = documents_of(core, "a")
    assert by_index(core, "a", "v_1") == sorted(found, key=lambda n: found[n]["v"])
    assert list(core.check()) == []
    core.release()


def test_an_array_of_many_values_survives_a_crash(tmp_path: Path) -> None:
    """More entries than 16 bits count, replayed from the log."""
    core = opened(tmp_path / "db")
    core.create_index("a", asked("v"))
    insert(core, "a", [{"_id": 1, "v": list(range(66_000))}])
    shutil.copytree(tmp_path / "db", tmp_path / "copy")
    core.release()
    core = opened(tmp_path / "copy")
    assert list(core.check()) == []
    core.release()


@pytest.mark.parametrize("count", [2, 2_500])
def test_a_duplicate_ends_the_build_and_leaves_nothing(tmp_path: Path, count: int) -> None:
    core = opened(tmp_path / "db", durability="memory")
    insert(core, "a", [{"_id": n, "v": min(n, count - 2)} for n in range(count)])
    with pytest.raises(DuplicateKey) as caught:
        core.create_index("a", asked("v", unique=True))
    assert "v_1" in str(caught.value)
    assert core.collections()["a"].maintained == ()
    replace(core, "a", {"_id": count - 1, "v": -1})
    core.create_index("a", asked("v", unique=True))
    with pytest.raises(DuplicateKey):
        insert(core, "a", [{"_id": "new", "v": -1}])
    assert list(core.check()) == []
    core.release()


def test_an_interrupted_build_is_dropped_by_the_next_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = opened(tmp_path / "db", durability="memory")
    insert(core, "a", [{"_id": n, "v": n} for n in range(60)])

    def crash(*_arguments: object) -> None:
        core.flush()
        shutil.copytree(tmp_path / "db", tmp_path / "copy")
        raise KeyboardInterrupt

    monkeypatch.setattr(index_module, "next_piece", crash)
    with pytest.raises(KeyboardInterrupt):
        core.create_index("a", asked("v", unique=True))
    monkeypatch.undo()
    assert core.collections()["a"].maintained == ()
    core.release()
    core = opened(tmp_path / "copy")
    assert core.collections()["a"].maintained == ()
    assert core.store.head.catalog.building() == []
    insert(core, "a", [{"_id": "again", "v": 1}])
    assert list(core.check()) == []
    core.release()


DIES = """
import os, sys, rango
from rango.engine import index
index.next_piece = lambda *_: os.kill(os.getpid(), 9)
rango.open(sys.argv[1])["a"].create_index("v")
"""


def left_behind(core: Core, path: Path) -> None:
    """Another process is killed while it builds an index, which this one has to maintain."""
    done = subprocess.run([sys.executable, "-c", DIES, str(path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [each.name for each in core.collections()["a"].maintained] == ["v_1"]


@pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")
@pytest.mark.parametrize("way", ["checkpoint that is due", "build", "build of the same"])
def test_what_a_builder_that_was_killed_left_goes_without_an_open(tmp_path: Path, way: str) -> None:
    core = opened(tmp_path / "db", overlay_entries_max=40)
    insert(core, "a", [{"_id": n, "v": n} for n in range(10)])
    left_behind(core, tmp_path / "db")
    if way == "checkpoint that is due":
        for n in range(10, 60):
            insert(core, "a", [{"_id": n, "v": n}])
    elif way == "build":
        core.create_index("a", asked("w"))
    else:
        core.create_index("a", asked("v"))
    assert core.view().catalog.building() == []
    ready = {each.name for each in core.collections()["a"].ready}
    assert ready == {"build": {"w_1"}, "build of the same": {"v_1"}}.get(way, set())
    core.create_index("a", asked("v"))
    found = documents_of(core, "a")
    assert by_index(core, "a", "v_1") == sorted(found, key=lambda n: found[n]["v"])
    assert list(core.check()) == []
    core.release()


@pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")
def test_a_checkpoint_that_is_asked_for_drops_it_and_leaves_what_somebody_builds(
    tmp_path: Path,
) -> None:
    with rango.open(tmp_path / "db") as db:
        db["a"].insert_many([{"_id": n, "v": n} for n in range(10)])
        core = db._handle.core
        left_behind(core, tmp_path / "db")
        with core.build_lock:
            db.checkpoint()
            assert len(core.view().catalog.building()) == 1
        db.checkpoint()
        assert core.view().catalog.building() == [] and list(db.check()) == []

        def look(_done: int, _total: int) -> None:
            db.checkpoint()
            assert len(core.view().catalog.building()) == 1

        db["a"].create_index("v", progress=look)
        assert "v_1" in {each["name"] for each in db["a"].list_indexes()}


def test_an_index_that_is_dropped_while_it_is_built_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = opened(tmp_path / "db")
    insert(core, "a", [{"_id": n, "v": n} for n in range(10)])
    fill = index_module.fill

    def fill_then_drop(core: Core, name: str, index: object, _progress: object) -> None:
        fill(core, name, index)  # type: ignore[arg-type]
        core.drop_index("a", "v_1")
        insert(core, "a", [{"_id": "unseen", "v": 1}])

    monkeypatch.setattr(index_module, "fill", fill_then_drop)
    with pytest.raises(NotFound):
        core.create_index("a", asked("v"))
    assert core.collections()["a"].maintained == ()
    assert list(core.check()) == []
    monkeypatch.setattr(index_module, "fill", lambda core, name, *_: core.drop_collection(name))
    with pytest.raises(NotFound):
        core.create_index("a", asked("v"))
    assert "a" not in core.collections()
    core.release()


def test_the_same_index_twice_is_once_and_a_contradiction_is_refused(tmp_path: Path) -> None:
    core = opened(tmp_path / "db")
    core.create_index("a", asked("v"))
    core.create_index("a", asked("v"))
    for wanted, code in (
        (asked("v", unique=True), 86),
        (asked("w", name="v_1"), 86),
        (asked("v", name="other"), 85),
        (asked("v", hidden=True), 85),
    ):
        with pytest.raises(IndexConflict) as caught:
            core.create_index("a", wanted)
        assert caught.value.code == code
    core.create_index("a", asked("v", unique=True, name="unique"))
    for number in range(61):
        core.create_index("a", asked(f"p{number}"))
    with pytest.raises(LimitExceeded):
        core.create_index("a", asked("last"))
    with pytest.raises(NotFound):
        core.drop_index("a", "last")
    core.release()


def test_writers_go_on_while_an_index_is_built(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "FILL_RECORDS", 20)
    monkeypatch.setattr(index_module, "FILL_STEP", 10)
    core = opened(tmp_path / "db", durability="memory", overlay_entries_max=400, page_size=512)
    insert(core, "a", [{"_id": n, "v": [n, n + 1]} for n in range(400)])
    stop = threading.Event()

    def write(start: int) -> None:
        choice = random.Random(seed + start)
        for n in range(start, 400, 2):
            if stop.is_set():
                return
            if choice.random() < 0.3:
                delete(core, "a", n)
            else:
                replace(core, "a", {"_id": n, "v": choice.choice([n, [n, -n], None, "x"])})
            insert(core, "a", [{"_id": 1000 + n, "v": n}])

    with threads(lambda: write(0), lambda: write(1)):
        try:
            for turn in range(3):
                core.create_index("a", asked("v"))
                if turn < 2:
                    core.drop_index("a", "v_1")
        finally:
            stop.set()
    assert list(core.check()) == []
    core.release()
