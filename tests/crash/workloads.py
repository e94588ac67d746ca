"""Mixed workloads for the simulator: each uses other parts of the engine, and all are small.

Terms       scribe: see scribe.py. Small bounds (EngineSubject) make segments roll and checkpoints
            come within some thirty commits.
Invariants  a workload draws from its session's generator only, so that a seed repeats it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from rango.engine import checkpoint, shrink
from tests.crash.engine import DATA_FILE, KEYS, EngineSubject, ManyKeys, NewRoots
from tests.crash.neighbours import Neighbours, neighbours, neighbours_in_memory
from tests.crash.packings import packings
from tests.crash.pasts import Pasts, pasts
from tests.crash.rollbacks import rollbacks
from tests.crash.scribe import Scribe
from tests.crash.simulator import Session, Workload
from tests.crash.statements import bulks, expiries, index_builds, merges, outputs
from tests.crash.watching import Watched, watching

WORDS = ("alpha", "beta", "gamma", "delta", "épsilon", "")


def document(rng: Random, key: Any, size: int = 60) -> dict[str, Any]:
    """A document of about this many bytes."""
    return {
        "_id": key,
        "kind": rng.choice(WORDS),
        "n": rng.randrange(1000),
        "tags": [rng.choice(WORDS) for _ in range(rng.randrange(4))],
        "body": {"text": "".join(rng.choices("abcdefghij", k=size)), "ok": rng.random() < 0.5},
    }


def inserts(session: Session) -> None:
    """One document after the other, through segment rolls and checkpoints, and a close."""
    scribe, rng = Scribe(session), session.rng
    for n in range(70):
        scribe.insert("a", document(rng, n, rng.randrange(400)))
    scribe.reopen()
    scribe.verify()
    for n in range(70, 80):
        scribe.insert("a", document(rng, n))
    scribe.verify()


def changes(session: Session) -> None:
    """Inserts, updates, replacements and deletes on few documents, so that pages change often."""
    scribe, rng = Scribe(session), session.rng
    for n in range(20):
        scribe.insert("a", document(rng, n, 200))
    for n in range(60):
        keys = scribe.ids("a")
        action = rng.randrange(5)
        if action == 0 or len(keys) < 5:
            scribe.insert("a", document(rng, 100 + n, rng.randrange(600)))
        elif action == 1:
            scribe.delete("a", rng.sample(keys, rng.randrange(1, 4)))
        elif action == 2:
            scribe.replace("a", document(rng, rng.choice(keys), rng.randrange(600)))
        else:
            scribe.update("a", rng.choice(keys), {"n": n, "kind": rng.choice(WORDS)})
    scribe.verify()


def transactions(session: Session) -> None:
    """Commits of several documents in several collections; some are rolled back."""
    scribe, rng = Scribe(session), session.rng
    for n in range(30):
        wanted: dict[Any, Any] = {}
        for _ in range(rng.randrange(1, 7)):
            collection = rng.choice("abc")
            keys = scribe.ids(collection)
            if keys and rng.random() < 0.4:
                key = rng.choice(keys)
                gone = rng.random() < 0.4
                wanted[collection, key] = None if gone else document(rng, key, 100)
            else:
                key = n * 100 + rng.randrange(100)
                wanted[collection, key] = document(rng, key, rng.randrange(300))
        scribe.transaction(wanted)
        if n % 6 == 5:
            roll_back(scribe, rng)
    scribe.verify()


def roll_back(scribe: Scribe, rng: Random) -> None:
    """A transaction that ends in an exception leaves nothing."""
    try:
        with scribe.database.transaction():
            scribe.database["a"].insert_one(document(rng, -1))
            scribe.database["b"].delete_many({})
            raise LookupError("on purpose")
    except LookupError:
        scribe.verify()


def indexes(session: Session) -> None:
    """Indexes made and dropped over data that changes meanwhile."""
    scribe, rng = Scribe(session), session.rng
    for n in range(15):
        scribe.insert("a", document(rng, n))
    scribe.create_index("a", "n")
    scribe.create_index("a", "tags")
    scribe.create_index("a", "_id2", unique=False)
    for n in range(15, 35):
        scribe.insert("a", document(rng, n))
        scribe.update("a", rng.choice(scribe.ids("a")), {"n": n, "tags": [str(n)]})
        if n == 25:
            scribe.drop_index("a", "n_1")
            scribe.create_index("a", "kind")
    scribe.delete("a", range(10))
    scribe.create_index("fresh", "n", unique=True)
    scribe.insert("fresh", {"_id": 1, "n": 1})
    scribe.drop_index("a", "tags_1")
    scribe.verify()


def many_fields(session: Session) -> None:
    """Compound, sparse, partial and TTL indexes over data that changes and ends meanwhile."""
    scribe, rng = Scribe(session), session.rng
    start = datetime(2024, 1, 1, tzinfo=UTC)

    def aged(key: int) -> dict[str, Any]:
        at = start + timedelta(minutes=rng.randrange(40))
        return {**document(rng, key), "at": at}

    for n in range(12):
        scribe.insert("a", aged(n))
    scribe.create_index("a", [("n", 1), ("kind", -1)])
    scribe.create_index("a", [("tags", -1), ("rare", 1)], sparse=True, name="sparse")
    scribe.create_index("a", "kind", partial_filter={"n": {"$lt": 500}}, name="partial")
    for n in range(12, 28):
        scribe.insert("a", aged(n))
        fields = {"n": rng.randrange(1000), "tags": ["x", str(n)], "rare": n}
        scribe.update("a", rng.choice(scribe.ids("a")), fields)
        if n == 20:
            scribe.create_index("a", "at", expire_after_s=60)
        if n > 20:
            scribe.expire("a", "at", 60, start + timedelta(minutes=n - 18))
    scribe.drop_index("a", "n_1_kind_-1")
    scribe.replace("a", aged(scribe.ids("a")[0]))
    scribe.verify()


def purges(session: Session) -> None:
    """Documents that go with their history: from several segments, of an index, in parts."""
    scribe, rng = Scribe(session), session.rng
    for n in range(12):
        scribe.insert("a", document(rng, n, rng.choice((50, 300, 20_000))))
    scribe.create_index("a", "n")
    for n in range(8):
        scribe.update("a", rng.choice(scribe.ids("a")), {"n": n, "kind": "changed"})
    scribe.delete("a", [3])
    scribe.purge("a", [1, 2])
    scribe.transaction({("a", n): document(rng, n, 100) for n in (1, 20, 21)})
    scribe.verify()
    scribe.purge("a", [20, 5])
    scribe.reopen()
    scribe.insert("a", document(rng, 30))
    scribe.verify()


def compactions(session: Session) -> None:
    """History is given up, now and at earlier places, among writes, checkpoints and reopenings."""
    scribe, rng = Scribe(session), session.rng
    for n in range(16):
        scribe.insert("a", document(rng, n, rng.choice((50, 400, 9_000))))
    scribe.create_index("a", "n")
    scribe.delete("a", [3, 4])
    assert scribe.compact("now")["is_done"]
    scribe.verify()
    for n in range(16, 30):
        scribe.insert("a", document(rng, n, rng.choice((100, 3_000))))
        scribe.update("a", rng.choice(scribe.ids("a")), {"n": n})
    middle = scribe.database.stats()["ordinal"]
    scribe.delete("a", [5])
    scribe.insert_many("b", [document(rng, n, 300) for n in range(10)])
    scribe.checkpoint()
    scribe.update("b", 1, {"n": -1})
    scribe.compact(middle)
    scribe.verify()
    scribe.drop("b")
    scribe.purge("a", [6])
    scribe.reopen()
    scribe.insert("a", document(rng, 40))
    assert scribe.compact("now")["is_done"]
    scribe.delete("a", [7])
    scribe.verify()


def shrinkings(session: Session) -> None:
    """Much is deleted, and what is left at the end of the data file moves, in several steps."""
    scribe, rng = Scribe(session), session.rng
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "SHRINK_UNITS_MIN", 8)
        patch.setattr(shrink, "STEP_UNITS", 20)
        patch.setattr(shrink, "SPARE_UNITS", 8)
        patch.setattr(shrink, "LOOSE_UNITS", 16)
        for turn in range(2):
            for n in range(24):
                size = rng.choice((100, 3_000, 30_000))
                text = bytes(rng.randrange(256) for _ in range(size)).hex()
                scribe.insert("a", {"_id": 100 * turn + n, "n": n, "text": text})
            scribe.checkpoint()
            keys = scribe.ids("a")
            scribe.delete("a", rng.sample(keys, len(keys) - 6))
            scribe.compact("now" if turn else 0)
            scribe.verify()
            scribe.update("a", rng.choice(scribe.ids("a")), {"n": -1})
            # close() gives back what deletions have left
            scribe.insert_many("b", [document(rng, 1_000 + n, 3_000) for n in range(30)])
            scribe.checkpoint()
            scribe.delete("b", scribe.ids("b"))
            scribe.reopen()
        scribe.insert("a", document(rng, 1_000))
        scribe.verify()


def rotations(session: Session) -> None:
    """Secrets come, change and go, and new key epochs begin, between commits and checkpoints."""
    scribe, rng = Scribe(session), session.rng
    first, second, third = KEYS
    for turn in range(3):
        for n in range(6):
            scribe.insert("a", document(rng, 10 * turn + n, 300))
        scribe.rotate()
        scribe.update("a", rng.choice(scribe.ids("a")), {"n": turn, "text": "u" * 700})
    scribe.database.keys.add(key=second)
    scribe.rotate()
    scribe.rotate()
    scribe.insert("b", document(rng, 1))
    scribe.database.keys.change(first, key=third)
    scribe.reopen()
    scribe.database.keys.remove(1)
    scribe.rotate()
    scribe.reopen()
    scribe.insert_many("b", [document(rng, n, 150) for n in range(2, 8)])
    scribe.checkpoint()
    scribe.rotate()
    scribe.database.keys.change(0, key=first)
    scribe.delete("a", [1, 2])
    scribe.verify()


def rekeys(session: Session) -> None:
    """From plain to sealed, twice to another root key, and back; old files are kept or go."""
    scribe, rng = Scribe(session), session.rng
    first, second, _third = KEYS
    for n in range(14):
        scribe.insert("a", document(rng, n, rng.choice((50, 400, 3_000))))
    scribe.create_index("a", "n")
    scribe.purge("a", [3])
    scribe.rekey(first, removes=True)
    scribe.insert("a", document(rng, 20))
    scribe.rotate()
    scribe.update("a", rng.choice(scribe.ids("a")), {"n": 1})
    scribe.rekey(second, removes=False)
    scribe.verify()
    scribe.insert("b", document(rng, 1, 2_000))
    scribe.rekey(None, removes=True)
    scribe.verify()
    scribe.delete("a", [1, 2])
    scribe.rekey(second, removes=False)
    scribe.insert("b", document(rng, 2))
    scribe.verify()


def collections(session: Session) -> None:
    """Collections made, filled, renamed and dropped."""
    scribe, rng = Scribe(session), session.rng
    for turn in range(4):
        name = f"c{turn}"
        scribe.insert_many(name, [document(rng, n, 150) for n in range(12)])
        scribe.create_index(name, "n")
        scribe.insert("keep", document(rng, turn))
        if turn == 1:
            scribe.rename("c1", "renamed")
        elif turn == 2:
            scribe.checkpoint()
            scribe.drop("c0")
        scribe.insert_many("keep", [document(rng, 100 * turn + n) for n in range(10, 18)])
    scribe.drop("renamed")
    scribe.drop("c3")
    scribe.insert("c3", document(rng, 5))
    scribe.checkpoint()
    scribe.verify()


def large_documents(session: Session) -> None:
    """Documents that span frames and overflow pages, among small ones."""
    scribe, rng = Scribe(session), session.rng
    for n in range(12):
        size = rng.choice((20, 3_000, 9_000, 40_000, 90_000))
        scribe.insert("a", {"_id": n, "text": chr(97 + n) * size, "n": n})
        if n % 3 == 2:
            key = rng.choice(scribe.ids("a"))
            scribe.replace("a", {"_id": key, "text": "z" * rng.choice((5, 20_000)), "n": n})
        if n % 5 == 4:
            scribe.checkpoint()
    scribe.transaction({("a", n): {"_id": n, "text": "t" * 15_000} for n in (0, 50, 51)})
    scribe.delete("a", [50, 1])
    scribe.checkpoint()
    scribe.verify()


def checkpoints(session: Session) -> None:
    """Checkpoint after checkpoint, so that units are freed and used again (I-2)."""
    scribe, rng = Scribe(session), session.rng
    scribe.insert_many("a", [document(rng, n, 200) for n in range(40)])
    for n in range(14):
        scribe.update("a", rng.choice(scribe.ids("a")), {"n": n})
        if n % 4 == 1:
            scribe.delete("a", rng.sample(scribe.ids("a"), 2))
        scribe.insert("b", document(rng, n, 500))
        scribe.checkpoint()
    scribe.verify()


def reopenings(session: Session) -> None:
    """Opened and closed after every few commits, as hooks and command lines do."""
    scribe, rng = Scribe(session), session.rng
    for n in range(24):
        scribe.insert("a", document(rng, n))
        if n % 3 == 0:
            scribe.reopen()
        if n % 9 == 8:
            scribe.checkpoint()
            scribe.reopen()
    scribe.verify()


def turnovers(session: Session) -> None:
    """A checkpoint in every session, so that what an opening knows of free units counts (I-2)."""
    scribe, rng = Scribe(session), session.rng
    scribe.insert_many("a", [document(rng, n, 300) for n in range(30)])
    for n in range(10):
        for key in rng.sample(scribe.ids("a"), 4):
            scribe.update("a", key, {"n": n, "text": "v" * rng.randrange(900)})
        scribe.checkpoint()
        scribe.reopen()
    scribe.verify()


def rebuilds(session: Session) -> None:
    """The data file is removed between two sessions and comes back from the oplog."""
    scribe, rng = Scribe(session), session.rng
    for turn in range(3):
        for n in range(15):
            scribe.insert("a", document(rng, 100 * turn + n, 150))
        scribe.create_index("a", ("n", "kind", "tags")[turn])
        if turn:
            scribe.checkpoint()
        scribe.session.close()
        scribe.ledger.acknowledge()
        remove_data_file(session, turn)
        scribe.database = scribe.session.open()
        scribe.verify()


def remove_data_file(session: Session, turn: int) -> None:
    """Somebody else does that: no fault is tried on it."""
    plan, session.disk.plan = session.disk.plan, None
    session.disk.remove(DATA_FILE)
    if turn != 1:
        session.disk.flush_directory("/simulated")
    session.disk.plan = plan


def in_memory(session: Session) -> None:
    """Durability "memory": only flush, checkpoint and close promise anything."""
    scribe, rng = Scribe(session, is_durable=False), session.rng
    for n in range(60):
        scribe.insert("a", document(rng, n, rng.randrange(300)))
        if n % 11 == 10:
            scribe.flush()
        if n % 25 == 24:
            scribe.checkpoint()
    scribe.delete("a", range(5))
    scribe.reopen()
    scribe.insert("a", document(rng, 100))
    scribe.verify()


def in_groups(session: Session) -> None:
    """Durability "group": the flusher's thread makes commits durable, sooner or later."""
    scribe, rng = Scribe(session, is_durable=False), session.rng
    for n in range(40):
        scribe.insert("a", document(rng, n))
        if n % 10 == 9:
            scribe.flush()
    scribe.update("a", 3, {"n": -1})
    scribe.reopen()
    scribe.insert("a", document(rng, 100))
    scribe.verify()


def everything(session: Session) -> None:
    """Anything in any order."""
    scribe, rng = Scribe(session), session.rng
    actions = weighted_actions(scribe, rng)
    for n in range(60):
        rng.choice(actions)(n)
    scribe.verify()


def weighted_actions(scribe: Scribe, rng: Random) -> list[Callable[[int], None]]:
    def insert(n: int) -> None:
        scribe.insert(rng.choice("ab"), document(rng, n, rng.choice((10, 300, 5_000))))

    def change(n: int) -> None:
        keys = scribe.ids("a")
        if keys:
            scribe.update("a", rng.choice(keys), {"n": n, "text": "u" * rng.randrange(800)})

    def several(n: int) -> None:
        keys = scribe.ids("b")
        wanted: dict[Any, Any] = {("b", key): None for key in keys[:1]}
        wanted["a", 1000 + n] = document(rng, 1000 + n)
        wanted["c", n] = document(rng, n, 2_000)
        scribe.transaction(wanted)

    def index(n: int) -> None:
        if ("#index", "a", "n_1") in scribe.ledger.now:
            scribe.drop_index("a", "n_1")
        else:
            scribe.create_index("a", "n")

    def drop(n: int) -> None:
        if ("#collection", "c") in scribe.ledger.now:
            scribe.drop("c")

    def checkpoint(n: int) -> None:
        scribe.checkpoint()

    def reopen(n: int) -> None:
        scribe.reopen()

    weights = {insert: 8, change: 6, several: 4, index: 2, drop: 1, checkpoint: 1, reopen: 1}
    return [action for action, weight in weights.items() for _ in range(weight)]


WORKLOADS: dict[str, tuple[Workload, Callable[[], EngineSubject]]] = {
    "inserts": (inserts, EngineSubject),
    "inserts, plain": (inserts, lambda: EngineSubject(key=None, overlay_entries_max=30)),
    "changes": (changes, EngineSubject),
    "transactions": (transactions, EngineSubject),
    "indexes": (indexes, EngineSubject),
    "indexes of many fields": (many_fields, EngineSubject),
    "purges": (purges, lambda: EngineSubject(segment_size_max=32 * 1024)),
    "purges, plain": (purges, lambda: EngineSubject(key=None)),
    "compactions": (compactions, lambda: EngineSubject(overlay_entries_max=25)),
    "packings": (packings, lambda: EngineSubject(overlay_entries_max=25)),
    "packings, plain": (packings, lambda: EngineSubject(key=None)),
    "shrinkings": (shrinkings, lambda: EngineSubject(overlay_entries_max=1_000)),
    "rotations": (rotations, ManyKeys),
    "rekeys": (rekeys, NewRoots),
    "collections": (collections, EngineSubject),
    "large documents": (
        large_documents,
        lambda: EngineSubject(segment_size_max=64 * 1024, overlay_bytes_max=200_000),
    ),
    "checkpoints": (checkpoints, lambda: EngineSubject(segment_size_max=32 * 1024)),
    "reopenings": (reopenings, lambda: EngineSubject(node_id=None)),
    # no kept roots: they would keep what the older slot names, whatever else does
    "turnovers": (turnovers, lambda: EngineSubject(root_gap=1 << 40)),
    "rebuilds": (rebuilds, EngineSubject),
    "memory": (in_memory, lambda: EngineSubject(durability="memory")),
    "group": (in_groups, lambda: EngineSubject(durability="group")),
    "everything": (everything, EngineSubject),
    "$out": (outputs, EngineSubject),
    "$merge": (merges, EngineSubject),
    "bulk_write": (bulks, EngineSubject),
    "expiry": (expiries, EngineSubject),
    "index builds": (index_builds, EngineSubject),
    "named snapshots": (pasts, Pasts),
    "rollbacks": (rollbacks, EngineSubject),
    "watching": (watching, lambda: Watched(durability="memory")),
    "neighbours": (neighbours, Neighbours),
    "neighbours, memory": (
        neighbours_in_memory,
        lambda: Neighbours(durability="memory", overlay_entries_max=30),
    ),
}
"""Name -> workload and how its databases are opened."""
