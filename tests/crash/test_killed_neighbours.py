"""The real `rango`, killed before its N-th change of a file beside a process that has the database
open: that one goes on, misses nothing that it had and finds nothing wrong.

Method      killer.py; the neighbour is this process. Nothing is opened anew between the kills, so
            what a dead process left must be mended by one that lives.
Invariants  I-16, I-17.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import rango
from rango._ext.vfs import RANGE_LOCKS
from tests.crash.killer import POINTS, Killer, compiled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks"),
]
ROWS = 12_000
KEY = bytes(range(32))


@pytest.mark.parametrize("work", ["import", "rotate"])
def test_a_neighbour_goes_on_wherever_a_process_is_killed(
    tmp_path: Path, seed: int, minutes: float, count_cases: Callable[[str, int], None], work: str
) -> None:
    killer = Killer(compiled(tmp_path), tmp_path, sys.maxsize if minutes else POINTS)
    source, file, place = tmp_path / "in.jsonl", tmp_path / "key", tmp_path / "db"
    file.write_text(KEY.hex())
    source.write_text("\n".join(json.dumps({"n": n}) for n in range(ROWS)))
    words: tuple[object, ...] = ("key", "rotate", "-P", place, "--keyfile", file)
    if work == "import":
        words = ("import", source, "-c", "a", "-P", place, "--keyfile", file)
    with rango.open(place, key=KEY) as db:
        rows, own = db["a"], db["own"]
        rows.create_index("n")
        for turn, at in enumerate(killer.points(*words, seed=seed)):
            rows.delete_many({})
            killer.kill(*words, at=at)
            own.insert_one({"_id": turn})
            assert own.count_documents({}) == turn + 1
            found = sorted(row["n"] for row in rows.find({}))
            assert found == list(range(len(found)))
            assert rows.count_documents({"n": {"$gte": 0}}) == len(found)
            db.checkpoint()
            assert list(db.check()) == []
            count_cases("crash: killed neighbours", 1)
        db.keys.rotate()
    with rango.open(place, key=KEY) as db:
        assert db["own"].count_documents({}) == turn + 1
        assert list(db.check()) == []
