"""Giving history up beside processes that write and one that reads (tests/race/worker.py).

Then: nothing that was acknowledged is lost, no process ever saw anything but a prefix (the workers
judge that), the check finds nothing, and the log alone holds the same.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import rango
from rango._ext.vfs import RANGE_LOCKS
from tests.race.test_processes import Crowd, judge
from tests.race.worker import KEY

SECONDS = 3.0
READER = 3
"""Which number of a worker only reads."""
HISTORIAN = 7
"""Which one reads the past, and verifies, all the time."""

pytestmark = pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")


def compact_all_the_time(crowd: Crowd, chance: random.Random, seconds: float) -> int:
    """Compact to changing points while the others work; how often history went."""
    end = time.monotonic() + seconds
    done = count = 0
    with rango.open(crowd.database, key=KEY) as db:
        # on a slow machine until every writer has written
        while time.monotonic() < end or not all(map(crowd.has_written, crowd.processes)):
            for process in crowd.processes.values():
                assert process.poll() is None, crowd.errors()
            count += 1
            keep = chance.choice(["now", -20, f"s{count}", "all"])
            if keep == f"s{count}":
                db.create_snapshot(keep)
            done += db.compact(keep)["is_done"]
            time.sleep(chance.random() * 0.1)
    return done


def rebuilt(crowd: Crowd) -> None:
    """The log alone gives the same database."""
    with rango.open(crowd.database, key=KEY) as db:
        expected = db.digest()
    (crowd.database / "data.rango").unlink()
    with rango.open(crowd.database, key=KEY) as db:
        assert db.digest() == expected
        assert list(db.check()) == []


def test_nothing_is_lost_beside_one_that_gives_history_up(
    tmp_path: Path, seed: int, minutes: float, count_cases: Callable[[str, int], None]
) -> None:
    crowd = Crowd(tmp_path, seed)
    rango.open(crowd.database, key=KEY).close()
    chance, seconds = random.Random(seed), max(SECONDS, minutes * 60)
    done = crowd.during((0, 1, READER), lambda: compact_all_the_time(crowd, chance, seconds))
    writes = judge(crowd)
    rebuilt(crowd)
    assert writes > 0 and done > 0
    count_cases("histories given up beside processes", done)
    count_cases("acknowledged writes beside them", writes)


def pack_all_the_time(crowd: Crowd, seconds: float) -> int:
    """Pack again and again while the others work, and kill the historian now and then; how many
    segments were packed.
    """
    end = time.monotonic() + seconds
    done = 0
    with rango.open(crowd.database, key=KEY) as db:
        while time.monotonic() < end or not all(map(crowd.has_written, crowd.processes)):
            for process in crowd.processes.values():
                assert process.poll() is None, crowd.errors()
            done += db.compact("all")["packed"]
            if crowd.random.random() < 0.1:
                crowd.processes[HISTORIAN].kill()
                crowd.processes[HISTORIAN].wait()
                crowd.start(HISTORIAN)
            time.sleep(crowd.random.random() * 0.1)
    return done


def test_the_past_is_what_it_was_while_it_is_packed(
    tmp_path: Path, seed: int, minutes: float, count_cases: Callable[[str, int], None]
) -> None:
    crowd = Crowd(tmp_path, seed)
    crowd.roles[HISTORIAN] = "historian"
    rango.open(crowd.database, key=KEY).close()
    seconds = max(2 * SECONDS, minutes * 60)
    done = crowd.during((0, 1, HISTORIAN), lambda: pack_all_the_time(crowd, seconds))
    with rango.open(crowd.database, key=KEY) as db:
        # whoever reads the past keeps pages: now nobody does, and the data file gets small
        db.checkpoint()
        db.compact("all")
    writes = judge(crowd)
    assert rango.verify(crowd.database).ok
    rebuilt(crowd)
    assert writes > 0 and done > 3
    count_cases("segments packed beside processes", done)
