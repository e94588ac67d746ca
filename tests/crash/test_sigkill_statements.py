"""Processes that are killed inside of $out, $merge, bulk_write, expiry and index builds.

Method      as test_sigkill: a child reports each turn that was acknowledged, the parent kills it at
            a random moment and looks at what is left.
Invariants  I-1, I-8: a statement is whole or absent, its index entries with it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.test_sigkill import killed
from tests.engine_case import KEY, open_tiny, python_start

KILLS = 15
COUNT = 60
WRITER = """
import random, sys
from datetime import UTC, datetime, timedelta
from unittest.mock import patch
from rango import InsertOne, UpdateOne
from rango.engine import index
from tests.engine_case import KEY, open_tiny
path, turn, seed, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
chance = random.Random(seed)
db = open_tiny(path, key=KEY, segment_size_max=chance.choice([16, 256]) * 1024,
               overlay_entries_max=chance.choice([30, 5000]), ttl_interval_s=0)
if db["source"].estimated_document_count() != count:
    db["source"].insert_many([{"_id": n, "pad": "x" * 300} for n in range(count)])
for name in ("out", "merged", "bulk"):
    db[name].create_index("turn")
db["ending"].create_index("at", expire_after_s=0)
now = datetime(2024, 1, 1, tzinfo=UTC)
print("ready", flush=True)
with patch.multiple(index, FILL_RECORDS=7, FILL_STEP=7):
    while True:
        turn += 1
        db["source"].aggregate([{"$set": {"turn": turn}}, {"$out": "out"}])
        db["source"].aggregate([{"$set": {"turn": turn}}, {"$merge": {"into": "merged"}}])
        db["bulk"].bulk_write(
            [UpdateOne({"_id": n}, {"$set": {"turn": turn}}, upsert=True) for n in range(20)]
        )
        db["ending"].insert_many([{"at": now, "turn": turn} for _ in range(20)])
        assert db.expire(now) >= 20
        db["source"].drop_indexes()
        db["source"].create_index("pad")
        print(turn, flush=True)
"""


@pytest.mark.slow
def test_a_kill_inside_of_a_statement_leaves_it_whole_or_absent(
    tmp_path: Path, seed: int, count_cases: Callable[[str, int], None]
) -> None:
    chance = random.Random(seed)
    path, last, whole, reach_s = tmp_path / "db", 0, 0, 0.15
    for number in range(KILLS):
        process = python_start(WRITER, path, last, f"{seed}-{number}", COUNT)
        acknowledged = killed(process, 0.02 + chance.random() * reach_s)
        if not acknowledged:
            # a slow machine: so that some turns come to their end
            reach_s = min(2 * reach_s, 5.0)
        last, whole = judged(path, max(acknowledged, default=whole))
    assert last > 0
    count_cases("crash: real kills", KILLS)


def judged(path: Path, acknowledged: int) -> tuple[int, int]:
    """Every statement came whole; the numbers of the last $out and of the last bulk_write.

    Turns that were killed half-way may follow each other, so the two may lie apart.
    """
    with open_tiny(path, key=KEY) as db:
        assert list(db.check()) == []
        turns: list[Any] = []
        for name, count in (("out", COUNT), ("merged", COUNT), ("bulk", 20)):
            found = db[name].distinct("turn")
            assert len(found) <= 1, f"{name}: {found}"
            documents = db[name].find().to_list()
            assert len(documents) in (0, count), name
            if found:
                assert db[name].count_documents({"turn": found[0]}) == count
            turns.append(found[0] if found else 0)
        assert db["ending"].estimated_document_count() in (0, 20)
        out, merged, bulk = turns
        assert out >= merged >= bulk >= acknowledged
        return int(out), int(bulk)
