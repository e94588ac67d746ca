"""Who acted: said at open, for a transaction or a command, kept wherever the version is kept."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import rango
from rango import aio
from rango._ext import layout, record
from rango._ext.filter import compile_filter
from rango._ext.near import follow_commit
from rango._ext.record import encode
from rango._ext.vfs import RANGE_LOCKS
from rango.cli import root
from rango.engine import mutation
from rango.engine.check import digest as digest_of
from rango.engine.core import Core
from rango.errors import Corrupted, FormatTooNew, InvalidArgument, InvalidDocument, LogCorrupted
from rango.storage import superblock
from rango.storage.superblock import slot_newest, slots_read
from tests.reference import record_header as twin
from tests.unit.api_case import engine_database, ticking
from tests.unit.engine_case import insert, options_of

AGENT = "claude-code"


@pytest.fixture(params=[{}, {"key": b"k" * 32}], ids=["plain", "sealed"])
def secret(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = request.param
    return chosen


def actors(db: rango.Database, id_value: Any, name: str = "notes") -> list[Any]:
    return [version["actor"] for version in db[name].history(id_value)]


def filled(db: rango.Database) -> None:
    """Versions by two actors, and a deletion by the second."""
    notes = db["notes"]
    notes.create_index("k")
    notes.insert_many([{"_id": n, "k": n % 3, "text": "x" * 30 * n} for n in range(40)])
    with db.transaction(actor="alice"):
        notes.update_one({"_id": 1}, {"$set": {"k": 9}})
        notes.delete_one({"_id": 2})


def digest(db: rango.Database) -> str:
    return db._handle.core.digest()


# --- who is named


def test_every_write_says_who_acted(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db", actor=AGENT) as db:
        assert db.actor == AGENT
        notes = db["notes"]
        notes.insert_one({"_id": 1})
        notes.insert_one({"_id": 2})
        notes.insert_many([{"_id": 3}, {"_id": 4}])
        notes.replace_one({"_id": 1}, {"a": 1})
        notes.update_many({}, {"$set": {"b": 1}})
        notes.find_one_and_update({"_id": 2}, {"$set": {"c": 1}})
        notes.bulk_write([rango.UpdateOne({"_id": 9}, {"$set": {"d": 1}}, upsert=True)])
        notes.delete_one({"_id": 3})
        notes.aggregate([{"$match": {"_id": 4}}, {"$out": "copies"}])
        for id_value, count in ((1, 3), (2, 3), (3, 3), (4, 2), (9, 1)):
            assert actors(db, id_value) == [AGENT] * count
        assert actors(db, 4, "copies") == [AGENT]


def test_a_transaction_may_have_another_one_and_a_handle_its_own(tmp_path: Path) -> None:
    with (
        engine_database(tmp_path / "db", actor=AGENT) as db,
        engine_database(tmp_path / "db", actor="bob") as other,
        engine_database(tmp_path / "db") as nobody,
    ):
        db["notes"].insert_one({"_id": 1})
        other["notes"].update_one({"_id": 1}, {"$set": {"a": 1}})
        nobody["notes"].update_one({"_id": 1}, {"$set": {"a": 2}})
        with db.transaction(actor="alice"):
            db["notes"].update_one({"_id": 1}, {"$set": {"a": 3}})
        with db.transaction():
            db["notes"].update_one({"_id": 1}, {"$set": {"a": 4}})
        assert actors(nobody, 1) == [AGENT, "alice", None, "bob", AGENT]
        assert nobody.actor is None


def test_asyncio_says_it_as_well(tmp_path: Path) -> None:
    async def run() -> list[Any]:
        async with await aio.open(tmp_path / "db", actor=AGENT) as db:
            await db["notes"].insert_one({"_id": 1})
            async with db.transaction(actor="alice"):
                await db["notes"].update_one({"_id": 1}, {"$set": {"a": 1}})
            with pytest.raises(InvalidArgument):
                db.transaction(actor="")
            assert db.actor == AGENT
            return [version["actor"] async for version in db["notes"].history(1)]

    assert asyncio.run(run()) == ["alice", AGENT]


def test_log_and_streams_name_it(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", actor=AGENT) as db, db.watch() as stream:
        db["notes"].insert_one({"_id": 1})
        with db.transaction(actor="alice"):
            db["notes"].delete_one({"_id": 1})
        assert [next(stream)["actor"] for _ in range(2)] == [AGENT, "alice"]
        shown = [change for commit in rango.read_log(db.path) for change in commit["changes"]]
    assert [each["actor"] for each in shown if "_rev" in each] == [AGENT, "alice"]
    # a definition is nobody's, as it is of no node
    assert all("actor" not in each for each in shown if "_rev" not in each)


def test_nobody_is_named_where_nobody_was(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db, db.watch() as stream:
        db["notes"].insert_one({"_id": 1})
        assert "actor" not in next(stream) and actors(db, 1) == [None]
        changes = [change for commit in rango.read_log(db.path) for change in commit["changes"]]
    assert all("actor" not in change for change in changes)


def test_the_command_line_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "db")

    def run(*words: str) -> str:
        answer = CliRunner().invoke(root, [*words, "-P", path], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        return answer.output

    rango.open(path).close()
    run("insert", "notes", '{"_id": 1}', "--actor", "alice")
    monkeypatch.setenv("RANGO_ACTOR", AGENT)
    run("update", "notes", '{"_id": 1}', '{"$set": {"a": 1}}')
    run("delete", "notes", '{"_id": 1}', "--actor", "bob")
    found = [
        json.loads(line)["actor"] for line in run("history", "notes", "1", "--json").split("\n")[:3]
    ]
    assert found == ["bob", AGENT, "alice"]
    assert "delete by bob" in run("history", "notes", "1")
    assert f"notes 1 by {AGENT}" in run("log")
    assert "by alice" in run("watch", "--start-at", "1", "--no-wait")


@pytest.mark.parametrize(
    "bad", ["", "a\nb", "a\x1b[1m", "a\x00", "\x7f", "\x85", "é" * 128, "\ud800", 7, b"a"]
)
def test_what_is_no_actor_is_refused(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="actor"):
        rango.open(tmp_path / "db", actor=bad)
    with engine_database(tmp_path / "db") as db, pytest.raises(InvalidArgument, match="actor"):
        db.transaction(actor=bad)


def test_the_longest_one_is_kept(tmp_path: Path) -> None:
    longest = "é" * 127 + "x"
    with engine_database(tmp_path / "db", actor=longest) as db:
        db["notes"].insert_one({"_id": 1, "text": "y" * 100_000})
        db["notes"].delete_one({"_id": 1})
        assert actors(db, 1) == [longest] * 2


# --- what it survives


def lost_data_file(path: Path, secret: dict[str, Any], folder: Path) -> Path:
    (path / "data.rango").unlink()
    del secret, folder
    return path


def given_new_keys(path: Path, secret: dict[str, Any], folder: Path) -> Path:
    old = {"key": secret["key"]} if secret else {}
    rango.rekey(path, **old, new_key=bytes(32), remove_old=True)
    secret["key"] = bytes(32)
    del folder
    return path


def restored(path: Path, secret: dict[str, Any], folder: Path) -> Path:
    with rango.open(path, **secret) as db:
        db.backup(folder / "backup")
    shutil.rmtree(path)
    rango.restore(folder / "backup", to=path, **secret)
    return path


def opened_again(path: Path, secret: dict[str, Any], folder: Path) -> Path:
    del folder
    with rango.open(path, **secret) as db:
        db.checkpoint()
    return path


@pytest.mark.parametrize("step", [lost_data_file, given_new_keys, restored, opened_again])
def test_it_survives(tmp_path: Path, secret: dict[str, Any], step: Callable[..., Path]) -> None:
    secret = dict(secret)
    with rango.open(tmp_path / "db", actor=AGENT, **secret) as db:
        filled(db)
        expected = digest(db)
    path = step(tmp_path / "db", secret, tmp_path)
    with rango.open(path, **secret) as db:
        assert (actors(db, 1), actors(db, 2)) == (["alice", AGENT], ["alice", AGENT])
        assert digest(db) == expected and list(db.check()) == []


def test_what_compact_keeps_says_it(tmp_path: Path, secret: dict[str, Any]) -> None:
    with rango.open(tmp_path / "db", actor=AGENT, **secret) as db:
        filled(db)
        db["notes"].update_one({"_id": 3}, {"$set": {"k": 5}})
        expected = digest(db)
        db.compact("now")
    os.remove(tmp_path / "db" / "data.rango")
    with rango.open(tmp_path / "db", **secret) as db:
        assert digest(db) == expected and list(db.check()) == []
        assert [(each["kind"], each["actor"]) for each in db["notes"].history(1)] == [
            ("kept", "alice")
        ]
        # the tombstone, too
        assert [(each["kind"], each["actor"]) for each in db["notes"].history(2)] == [
            ("kept", "alice")
        ]
        assert actors(db, 3) == [AGENT]


def test_the_past_and_a_replay_have_it(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", actor=AGENT) as db:
        filled(db)
        expected, ordinal = digest(db), db.stats()["ordinal"]
        with db.transaction(actor="carol"):
            db["notes"].update_many({}, {"$set": {"k": 1}})
        with db.at(ordinal) as past:
            assert [each["actor"] for each in past["notes"].history(1)] == ["alice", AGENT]
            assert digest_of(past._handle.core.view()) == expected
    rango.replay(tmp_path / "db", to=tmp_path / "again", until=ordinal)
    with rango.open(tmp_path / "again") as db:
        assert digest(db) == expected and actors(db, 2) == ["alice", AGENT]


def test_a_digest_tells_actors_apart(tmp_path: Path) -> None:
    found = set()
    for number, actor in enumerate((AGENT, "alice", None)):
        path = tmp_path / str(number)
        with engine_database(path, clock=ticking(), random=bytes, actor=actor) as db:
            db["notes"].insert_one({"_id": 1})
            found.add(digest(db))
    assert len(found) == 3


def test_a_rollback_is_by_whom_rolled_back(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", actor=AGENT) as db:
        filled(db)
        before = db.stats()["ordinal"]
        with db.transaction(actor="alice"):
            db["notes"].update_one({"_id": 5}, {"$set": {"k": 100}})
            db["notes"].delete_one({"_id": 6})
            db["notes"].insert_one({"_id": 100})
    with rango.open(tmp_path / "db", actor="judge") as db:
        db.rollback(before)
        assert actors(db, 5) == ["judge", "alice", AGENT]
        assert actors(db, 6) == ["judge", "alice", AGENT]
        assert actors(db, 100) == ["judge", "alice"]
        # the same document by somebody else is no difference
        assert db.rollback(before).documents == 0


def test_it_goes_with_what_is_purged(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path, actor=AGENT) as db:
        filled(db)
        with db.transaction(actor="mallory-the-secret"):
            db["notes"].insert_one({"_id": "s", "k": 1})
        db["notes"].update_one({"_id": "s"}, {"$set": {"k": 2}})
        db.checkpoint()
        db["notes"].purge({"_id": "s"})
        assert actors(db, "s") == [] and actors(db, 1) == ["alice", AGENT]
        assert [each["actor"] for each in db.purges()] == [AGENT]
        everything = b"".join(each.read_bytes() for each in path.rglob("*") if each.is_file())
        assert b"mallory" not in everything and b"alice" in everything
        assert list(db.check()) == []


def test_reads_do_not_see_a_difference(tmp_path: Path) -> None:
    answers = []
    for actor in (None, AGENT):
        with engine_database(tmp_path / str(actor), clock=ticking(), actor=actor) as db:
            filled(db)
            notes = db["notes"]
            notes.create_index([("text", 1), ("k", -1)])
            answers.append(read_all(notes))
            db.checkpoint()
            answers.append(read_all(notes))
    assert answers[0] == answers[1] == answers[2] == answers[3]


def read_all(notes: Any) -> list[Any]:
    """The same questions by every way to a document."""
    group = [{"$group": {"_id": "$k", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
    return [
        notes.find_one({"_id": 7}),
        notes.find_one({"_id": 2}),
        notes.find_many({"text": {"$exists": True}}, sort=[("text", -1)]),
        notes.find_many({"k": 1}, {"text": 0}),
        notes.find_many({"_source_node": "node-a", "k": 2}, meta=True),
        notes.find_many({"k": {"$gt": 0}}, {"_id": 0, "k": 1}),
        notes.distinct("k"),
        notes.count_documents({"text": {"$gt": "xx"}}),
        notes.aggregate(group).to_list(),
    ]


# --- older readers


def slot_of(path: Path, secret: dict[str, Any]) -> Any:
    with rango.open(path, read_only=True, **secret) as db:
        core = db._handle.core
        slot, _other = slot_newest(slots_read(core.vfs, core.data_fd, str(path), core.keyring))
        return slot


def test_an_older_rango_refuses_a_file_with_actors_and_only_that(
    tmp_path: Path, secret: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db"
    older = layout.SLOT_FEATURE_MARKS | layout.SLOT_FEATURE_ROOTS
    with rango.open(path, **secret) as db:
        db["notes"].insert_one({"_id": 1})
        db.checkpoint()
    assert not slot_of(path, secret).has_actors
    with rango.open(path, actor=AGENT, **secret) as db:
        # creating a collection writes no record
        db["empty"].create_index("a")
        db.checkpoint()
    assert not slot_of(path, secret).has_actors
    with monkeypatch.context() as patch:
        patch.setattr(superblock, "FEATURES_KNOWN", older)
        with rango.open(path, **secret) as db:
            assert db["notes"].count_documents({}) == 1
    with rango.open(path, actor=AGENT, **secret) as db:
        db["notes"].insert_one({"_id": 2})
        db.checkpoint()
    # later checkpoints, and a file that is built anew, say so as well
    for turn in range(3):
        assert slot_of(path, secret).has_actors
        with monkeypatch.context() as patch:
            patch.setattr(superblock, "FEATURES_KNOWN", older)
            with pytest.raises(FormatTooNew):
                rango.open(path, **secret)
        if turn == 1:
            (path / "data.rango").unlink()
        with rango.open(path, **secret) as db:
            db["notes"].insert_one({"_id": 10 + turn})
            db.checkpoint()


def versions(path: Path) -> list[int]:
    with rango.open(path) as db:
        log = db._handle.core.log
        return [
            body[layout.COMMIT_VERSION]
            for batch in log.replay(*log.start())
            for _ordinal, _lsn, body, _first in batch
        ]


def test_only_commits_with_actors_have_the_newer_version(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({"_id": 1})
        with db.transaction(actor="alice"):
            db["notes"].delete_one({"_id": 1})
        db["notes"].insert_one({"_id": 2})
    assert versions(tmp_path / "db") == [2, 2, 3, 2]


def test_a_commit_of_a_later_version_is_refused_wherever_it_is_read() -> None:
    body = bytes([4]) + bytes(layout.COMMIT_HEADER_SIZE - 1)
    with pytest.raises(FormatTooNew, match="version 4"):
        list(mutation.mutations(body))
    assert list(mutation.mutations(bytes([3]) + body[1:])) == []


@pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")
def test_a_process_that_saw_no_commit_with_an_actor_says_so_in_its_slot(tmp_path: Path) -> None:
    one, other = (Core(options_of(tmp_path / "db")) for _ in range(2))
    try:
        txn = one.begin(b"alice")
        txn.insert(txn.create_collection("notes"), encode({"_id": 1}))
        txn.commit()
        one.checkpoint()
        # it goes on from the generation, without that commit
        assert other.view().count(other.collections()["notes"].tree_id) == 1
        insert(other, "notes", [{"_id": 2}])
        other.checkpoint()
        assert other.slot is not None and other.slot.has_actors
    finally:
        one.release()
        other.release()


# --- bytes


def parts(
    flags: int = 0, node: bytes = b"node", actor: bytes = b"", bson: bytes = b""
) -> twin.Parts:
    return twin.Parts(flags, 5, 6, 7, 8, node, actor, bson)


def seen(data: bytes) -> twin.Parts | None:
    try:
        flags, ms, counter, updated_at, ordinal, node, bson = record.record_parts(data)
        actor = record.record_actor(data)
    except InvalidDocument:
        return None
    return twin.Parts(flags, ms, counter, updated_at, ordinal, node, actor, bson)


@given(
    st.sampled_from([0, 1]),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**16 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(max_size=200),
    st.binary(max_size=255),
)
def test_a_record_comes_back_as_its_twin_says(
    flags: int, ms: int, counter: int, updated_at: int, node: bytes, actor: bytes
) -> None:
    bson = b"" if flags else encode({"a": 1})
    given_parts = twin.Parts(flags, ms, counter, updated_at, ms, node, actor, bson)
    built = record.record_build(bson, flags, ms, counter, updated_at, ms, node, actor)
    assert built == twin.build(given_parts)
    again = seen(built)
    assert again == twin.parse(built) and again is not None
    assert again._replace(flags=flags) == given_parts
    if not flags:
        assert record.record_bson(built) == bson and record.record_fields(built) == {"a": 1}


@given(st.binary(max_size=60), st.sampled_from([0, 1, 2, 3]), st.binary(max_size=12))
def test_hostile_bytes_are_read_as_the_twin_does(data: bytes, flags: int, tail: bytes) -> None:
    hostile = bytes([flags, len(tail)]) + data + tail
    assert seen(hostile) == twin.parse(hostile)


def test_an_actor_beyond_the_record_is_damage() -> None:
    bson = encode({"_id": 1, "a": 1})
    whole = record.record_build(bson, 0, 1, 2, 3, 4, b"node", b"someone")
    program = compile_filter({"a": 1})
    assert program.matches(whole)
    at = layout.RECORD_HEADER_SIZE + len(b"node")
    for size in (0, 6, 8, 100, 255):
        hostile = whole[:at] + bytes([size]) + whole[at + 1 :]
        with pytest.raises(Corrupted):
            program.matches(hostile)
    for cut in (at, at + 1, at + 5):
        with pytest.raises(Corrupted):
            program.matches(whole[:cut])
        with pytest.raises(InvalidDocument, match="shorter"):
            record.record_parts(whole[:cut])
    with pytest.raises(InvalidDocument, match="shorter"):
        record.record_actor(record.record_build(b"", 1, 0, 0, 0, 0, b"n", b"a") + b"more")


def test_a_log_with_such_a_record_is_damaged(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", actor=AGENT) as db:
        db["notes"].insert_one({"_id": 1})
        core = db._handle.core
        body = core.log.commit_of(core.store.head.ordinal)[1]
        at = body.index(AGENT.encode()) - 1
        hostile = body[:at] + b"\xff" + body[at + 1 :]
        with pytest.raises(LogCorrupted, match="malformed"):
            follow_commit(core.store, hostile, 100, 100)
        assert actors(db, 1) == [AGENT]
