"""Resume tokens: after each of them exactly the rest, and which ones are refused."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import database
from rango.engine.change_events import Images
from rango.errors import (
    HistoryLost,
    ResumeFailed,
    TokenDiverged,
    TokenRejected,
)
from rango.storage.oplog import Oplog
from tests.unit.api_case import engine_database, ticking
from tests.unit.watch_case import ALL, PAST, rest


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with rango.open(tmp_path / "db", node_id="node-a", clock=ticking()) as opened:
        yield opened


@pytest.fixture
def tiny_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    made = database.options_of

    def options(*args: Any, **more: Any) -> Any:
        return made(*args, **more)._replace(segment_size_max=65536)

    monkeypatch.setattr(database, "options_of", options)


def mixed_history(path: Path, seed: int) -> tuple[list[dict[str, Any]], list[Any]]:
    """A database with some of everything; what a stream told meanwhile, and what is there."""
    rng = random.Random(seed)
    told: list[dict[str, Any]] = []
    token = None
    names = ["a", "b", "c"]
    for _opening in range(4):
        with engine_database(path) as db:
            stream = db.watch(resume_after=token, **ALL) if token else db.watch(**ALL)
            for _step in range(30):
                step(db, rng, names)
                if rng.random() < 0.3:
                    db.flush()
                    told += [event for event in iter(stream.try_next, None)]
            db.flush()
            told += rest(stream)
            token = stream.resume_token
            found = [sorted(db[name].find_many({}), key=repr) for name in sorted(names)]
    return told, found


def step(db: rango.Database, rng: random.Random, names: list[str]) -> None:
    """Some commit or other."""
    name = rng.choice(names)
    target = db[name]
    kind = rng.randrange(14)
    if kind < 3:
        target.update_one({"_id": rng.randrange(9)}, {"$inc": {"n": 1}}, upsert=True)
    elif kind < 5:
        target.insert_many([{"text": "x" * rng.randrange(900)} for _ in range(rng.randrange(1, 4))])
    elif kind == 5:
        target.delete_many({"_id": {"$in": [rng.randrange(9), rng.randrange(9)]}})
    elif kind == 6:
        with db.transaction():
            for _ in range(rng.randrange(1, 4)):
                step_of_transaction(db, rng, names)
    elif kind == 7:
        # a commit of several frames
        target.insert_many([{"text": rng.randbytes(8000).hex()} for _ in range(6)])
        target.delete_many({"text": {"$gt": ""}})
    elif kind == 8 and name in db.list_collection_names():
        target.drop()
    elif kind == 9 and name in db.list_collection_names():
        target.rename(f"{name}x")
        db["d"].insert_one({"n": 1})
        db[f"{name}x"].rename(name)
    elif kind == 10:
        target.create_index([(rng.choice("nt"), 1)])
    elif kind == 11 and name in db.list_collection_names():
        target.drop_indexes()
    elif kind == 12:
        db.checkpoint()
    else:
        target.replace_one({"_id": rng.randrange(9)}, {"n": rng.random()}, upsert=True)


def step_of_transaction(db: rango.Database, rng: random.Random, names: list[str]) -> None:
    target = db[rng.choice(names)]
    target.update_one({"_id": rng.randrange(3)}, {"$inc": {"n": 1}}, upsert=True)
    target.delete_one({"_id": rng.randrange(9)})
    if rng.random() < 0.2:
        db[f"new{rng.randrange(9)}"].insert_one({})


def applied(events: list[dict[str, Any]], names: list[str]) -> list[Any]:
    """What is there if these events are all that ever happened."""
    state: dict[str, dict[Any, Any]] = {}
    for event in events:
        kind, name = event["operationType"], event["ns"]["coll"]
        documents = state.setdefault(name, {})
        if kind in ("insert", "update"):
            key = event["documentKey"]["_id"]
            assert kind == "insert" or documents[key] == event["fullDocumentBeforeChange"]
            assert (kind == "insert") == (key not in documents)
            documents[key] = event["fullDocument"]
        elif kind == "delete":
            assert documents.pop(event["documentKey"]["_id"]) == event["fullDocumentBeforeChange"]
        elif kind == "rename":
            state[event["to"]["coll"]] = state.pop(name)
        elif kind == "drop":
            del state[name]
    return [sorted(state.get(name, {}).values(), key=repr) for name in sorted(names)]


@pytest.mark.usefixtures("tiny_segments")
@pytest.mark.parametrize("seed", [1])
def test_a_stream_is_resumed_behind_every_event(tmp_path: Path, seed: int) -> None:
    told, found = mixed_history(tmp_path / "db", seed)
    assert applied(told, ["a", "b", "c"]) == found
    with engine_database(tmp_path / "db") as db:
        assert len(Oplog.open(db._handle.core.vfs, db.path, db._handle.core.keyring).segments) > 2
        # the stream of the first process began behind the commit that made the database
        whole = rest(db.watch(**PAST))
        assert whole == told
        for at, event in enumerate(whole):
            assert rest(db.watch(resume_after=event["_id"], **ALL)) == whole[at + 1 :]
        for name in ("a", "b"):
            alone = [each for each in whole if name in (each["ns"]["coll"], coll_to(each))]
            for at in range(0, len(alone), 7):
                stream = db[name].watch(start_after=alone[at]["_id"], **ALL)
                expected = alone[at + 1 :]
                events = [each for each in rest(stream) if each["operationType"] != "invalidate"]
                assert events == expected[: len(events)]
                assert len(events) == len(expected) or not stream.alive


def coll_to(event: dict[str, Any]) -> str:
    return str(event.get("to", {}).get("coll", ""))


@pytest.mark.usefixtures("tiny_segments")
def test_every_ordinal_can_be_begun_at(tmp_path: Path) -> None:
    told, _found = mixed_history(tmp_path / "db", 3)
    with engine_database(tmp_path / "db") as db:
        last = told[-1]["ordinal"]
        for ordinal in range(1, last + 2):
            expected = [each for each in told if each["ordinal"] >= ordinal][:5]
            stream = db.watch(**{**PAST, "start_at": ordinal})
            assert list(itertools.islice(iter(stream.try_next, None), 5)) == expected


@pytest.mark.usefixtures("tiny_segments")
def test_what_compaction_gave_up_is_said_and_what_it_kept_goes_on(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db") as db:
        db["notes"].insert_many([{"_id": n, "text": "x" * 400} for n in range(300)])
        db["gone"].insert_one({"_id": 1})
        db.flush()
        early = db.watch(start_at=1).next()["_id"]
        db.compact(keep="now")
        kept = db.watch().resume_token
        db["notes"].update_one({"_id": 1}, {"$set": {"text": "y"}})
        db["notes"].delete_one({"_id": 2})
        db["gone"].rename("went")
        db["went"].drop()
        db.flush()
        for start in ({"resume_after": early}, {"start_at": 1}):
            with pytest.raises(HistoryLost, match="given up"):
                db.watch(**start)
        # what came before these changes is in the base only, and the names with it
        replace, delete, rename, drop = rest(db.watch(resume_after=kept))
        assert replace["operationType"] == "replace" and replace["fullDocument"]["text"] == "y"
        assert delete["documentKey"] == {"_id": 2} and rename["ns"]["coll"] == "gone"
        assert drop["ns"]["coll"] == "went"
        with pytest.raises(HistoryLost, match="whenAvailable"):
            rest(db.watch(resume_after=kept, full_document_before_change="required"))


@pytest.mark.parametrize("given", [{"_data": "00"}, "zz", 5, {}, {"_data": 3}, ""])
def test_what_is_no_token_is_rejected(db: rango.Database, given: object) -> None:
    with pytest.raises(TokenRejected):
        db.watch(resume_after=given)


def test_a_token_of_another_database_is_rejected(db: rango.Database, tmp_path: Path) -> None:
    with engine_database(tmp_path / "other") as other:
        other["notes"].insert_one({})
        other.flush()
        token = other.watch().resume_token
    with pytest.raises(TokenRejected, match="another database"):
        db.watch(resume_after=token)


def test_a_token_whose_commit_came_back_as_another_one_is_refused(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({"_id": 1})
        db.backup(tmp_path / "backup")
        early = db.watch().resume_token
        db["notes"].insert_many([{"_id": n} for n in range(2, 5)])
        within, late = rest(db.watch(resume_after=early))[1:]
        end = db.watch().resume_token
    rango.restore(tmp_path / "backup", to=tmp_path / "restored")
    with rango.open(tmp_path / "restored") as db:
        # the restored one is a node of its own from its first commit on
        assert rest(db.watch(resume_after=early)) == []
        while (written := db.stats()["ordinal"]) < late["ordinal"] - 1:
            db["notes"].insert_one({})
        for token in (within["_id"], late["_id"], end):
            with pytest.raises(TokenDiverged, match="backup"):
                db.watch(resume_after=token)
        db["notes"].insert_many([{} for _ in range(3)])
        assert db.stats()["ordinal"] > written
        for token in (within["_id"], late["_id"], end):
            with pytest.raises(TokenDiverged, match="another one"):
                db.watch(resume_after=token)


def test_a_token_from_before_a_rekey_is_refused(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({"_id": 1})
        token = db.watch().resume_token
    rango.rekey(tmp_path / "db", new_key=b"k" * 32)
    with rango.open(tmp_path / "db", key=b"k" * 32) as db, pytest.raises(ResumeFailed):
        db.watch(resume_after=token)


def test_an_image_that_is_required_and_was_given_up_ends_the_stream(
    db: rango.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = db["notes"]
    notes.insert_one({"_id": 1})
    notes.update_one({"_id": 1}, {"$set": {"a": 1}})
    update = rest(db.watch(start_at=1))[-1]
    monkeypatch.setattr(Images, "of", lambda *_: None)
    images = db.watch(start_at=1, full_document_before_change="required")
    assert images.next()["operationType"] == "insert"
    with pytest.raises(HistoryLost, match="whenAvailable"):
        images.next()
    softer = db.watch(start_at=1, full_document_before_change="whenAvailable")
    _insert, replace = rest(softer)
    assert replace["operationType"] == "replace" and replace["fullDocumentBeforeChange"] is None
    assert replace["fullDocument"] == {"_id": 1, "a": 1}
    assert replace["_id"] == update["_id"] and "updateDescription" not in replace
