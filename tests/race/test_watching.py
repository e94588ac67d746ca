"""Watchers beside writers, both killed at random: no gap, no repeat, no reorder.

The writers are those of test_processes.py. What the watchers have written down must be, event by
event, what the log has in the end.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import rango
from rango._ext.vfs import RANGE_LOCKS
from rango.extended_json import dumps
from tests.race.test_processes import ROOT, Crowd
from tests.race.worker import KEY

SECONDS = 5.0
WATCHERS = 2

pytestmark = pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")


class Watchers:
    """Processes that follow, each with a file; who is killed is followed by another one."""

    def __init__(self, crowd: Crowd, seed: int) -> None:
        self.crowd = crowd
        self.random = random.Random(seed)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.kills = 0

    def file(self, number: int) -> Path:
        return self.crowd.folder / f"events.{number}"

    def start(self, number: int) -> None:
        error = self.crowd.folder / f"error.watcher.{number}.{self.kills}"
        with open(error, "wb") as target:
            self.processes[number] = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.race.watcher"),
                    *(str(self.crowd.database), str(self.file(number))),
                ],
                cwd=ROOT,
                stderr=target,
            )

    def kill(self, number: int) -> None:
        process = self.processes.pop(number)
        assert process.poll() is None, self.crowd.errors()
        process.kill()
        process.wait()
        self.kills += 1

    def lines(self, number: int) -> list[bytes]:
        file = self.file(number)
        return file.read_bytes().split(b"\n")[:-1] if file.exists() else []


def test_watchers_and_writers_that_are_killed_leave_no_gap_and_no_repeat(
    tmp_path: Path, minutes: float, seed: int
) -> None:
    seconds = max(SECONDS, minutes * 60)
    crowd = Crowd(tmp_path, seed)
    rango.open(crowd.database, key=KEY).close()
    watchers = Watchers(crowd, seed)
    for number in range(3):
        crowd.start(number)
    for number in range(WATCHERS):
        watchers.start(number)
    try:
        end = time.monotonic() + seconds
        # on a slow machine until something was written
        while time.monotonic() < end or len(crowd.acknowledged()) < 20:
            crowd.disturb(watchers.random.random() * 1.5)
            number = watchers.random.randrange(WATCHERS)
            watchers.kill(number)
            watchers.start(number)
        crowd.stop()
        with rango.open(crowd.database, key=KEY) as db:
            options: dict[str, Any] = {
                "full_document": "required",
                "full_document_before_change": "required",
                "show_expanded_events": True,
            }
            db.flush()
            with db.watch(start_at=1, **options) as stream:
                expected = [
                    dumps(event, mode="canonical").encode() for event in iter(stream.try_next, None)
                ]
            assert expected
            for number in range(WATCHERS):
                while len(found := watchers.lines(number)) < len(expected):
                    assert found == expected[: len(found)]
                    assert watchers.processes[number].poll() is None, crowd.errors()
                    time.sleep(0.01)
                assert found == expected
    finally:
        crowd.stop()
        for process in watchers.processes.values():
            process.kill()
            process.wait()
    assert watchers.kills
