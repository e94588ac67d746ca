"""Database.diff over random histories: what it says turns the one state into the other.

Small pages and small overlays, so that a few hundred documents reach every kind of page.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from rango.arguments import options_of
from rango.database import Database
from rango.difference import Change
from rango.engine.core import Core
from rango.engine.diff import diff_of, pairs
from rango.snapshot import Snapshot
from rango.transaction import Handle
from tests.engine_case import TINY
from tests.reference.diff import differences

State = dict[str, tuple[dict[Any, Any], dict[str, Any]]]
"""Collection name -> (documents by `_id`, indexes by name)."""

NAMES = ("alpha", "beta", "gamma")


def open_small(path: Path) -> Database:
    """With pages that take a few documents."""
    made = options_of(path, (None, None, None), durability="memory")
    made = made._replace(**TINY, page_size=1024)
    return Database(Handle(Core.open(made), made.path, made.ids))


def state_of(past: Snapshot) -> State:
    return {
        name: (
            {document["_id"]: document for document in past[name].find({})},
            {
                index: info["key"]
                for index, info in past[name].index_information().items()
                if index != "_id_"
            },
        )
        for name in past.list_collection_names()
    }


def applied(state: State, changes: list[Change]) -> State:
    """The state after the changes, which must fit it."""
    out = {name: (dict(documents), dict(indexes)) for name, (documents, indexes) in state.items()}
    kept: dict[str, dict[Any, Any]] = {}
    for change in changes:
        name = change.collection
        if change.kind == "collection_dropped":
            # its documents follow, deleted, or are compared with those of its successor
            kept[name] = out.pop(name)[0]
        elif change.kind == "collection_renamed":
            assert change.old_name is not None
            out[name] = out.pop(change.old_name)
        elif change.kind == "collection_created":
            assert name not in out
            out[name] = (kept.pop(name, {}), {})
        elif change.kind == "index_dropped":
            assert change.index is not None
            if name in out:
                out[name][1].pop(change.index["name"], None)
        elif change.kind == "index_created":
            assert change.index is not None
            out[name][1][change.index["name"]] = list(change.index["keys"].items())
        else:
            documents = out[name][0] if name in out else kept[name]
            assert documents.get(change.id) == change.before
            documents.pop(change.id, None)
            if change.after is not None:
                documents[change.id] = change.after
    assert not any(kept.values()), "a dropped collection has documents that were not said to go"
    return out


def one_step(db: Database, dice: random.Random) -> None:
    """Something that changes a database."""
    name = dice.choice(NAMES)
    notes = db[name]
    kind = dice.choices(range(9), (8, 8, 5, 1, 1, 1, 1, 3, 1))[0]
    some = dice.randrange(400)
    if kind == 0:
        notes.delete_many({"_id": {"$gte": some, "$lt": some + 30}})
        notes.insert_many(
            [
                {"_id": some + n, "n": dice.randrange(50), "text": "x" * dice.choice((0, 30, 3000))}
                for n in range(30)
            ]
        )
    elif kind == 1:
        notes.update_many({"_id": {"$gte": some, "$lt": some + 9}}, {"$set": {"n": some % 7}})
    elif kind == 2:
        notes.delete_many({"_id": {"$gte": some, "$lt": some + 20}})
    elif kind == 3:
        notes.drop()
    elif kind == 4:
        other = dice.choice(NAMES)
        if name in db.list_collection_names() and other not in db.list_collection_names():
            notes.rename(other)
    elif kind == 5:
        notes.create_index(dice.choice(("n", "text")))
    elif kind == 6:
        if name in db.list_collection_names():
            notes.drop_indexes()
    elif kind == 7:
        db.checkpoint()
    else:
        notes.update_one({"_id": some}, {"$set": {"big": "y" * 40_000}}, upsert=True)


@pytest.mark.parametrize("seed", range(12))
def test_diff_turns_one_state_into_the_other(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    with open_small(tmp_path / "db") as db:
        moments: list[Snapshot] = []
        for step in range(60):
            one_step(db, dice)
            if step % 12 == 0:
                moments.append(db.snapshot())
        moments.append(db.snapshot())
        states = [state_of(past) for past in moments]
        for _ in range(8):
            a, b = dice.randrange(len(moments)), dice.randrange(len(moments))
            assert applied(states[a], list(db.diff(moments[a], moments[b]))) == states[b]
            compare(moments[a], moments[b])
        for past in moments:
            past.close()
        assert list(db.check()) == []


def compare(a: Snapshot, b: Snapshot) -> None:
    """The kernel says what its twin says."""
    left, right = a._handle.core.view(), b._handle.core.view()
    for pair in pairs(left, right):
        walk = diff_of(left, right, pair, None)
        found = []
        while batch := walk.next_records(7):
            found += batch
        old = 0 if pair.before is None else pair.before.tree_id
        new = 0 if pair.after is None else pair.after.tree_id
        assert found == differences(left, old, right, new)
