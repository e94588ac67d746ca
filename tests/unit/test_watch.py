"""Change streams: what is told, in which order, from which token on, and how one waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango.errors import (
    ExpressionFailed,
    InvalidArgument,
    InvalidPipeline,
    ReadOnly,
    TokenRejected,
    TransactionError,
)
from tests.unit.api_case import engine_database, ticking
from tests.unit.watch_case import ALL, kinds, rest


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with rango.open(tmp_path / "db", node_id="node-a", clock=ticking()) as opened:
        yield opened


# --- what is told


def test_every_kind_of_event(db: rango.Database) -> None:
    notes = db["notes"]
    stream = db.watch(**ALL)
    notes.insert_one({"_id": 1, "a": {"x": 1, "y": 2}, "b": 1})
    revision = notes.find_one({"_id": 1}, meta=True)
    notes.update_one({"_id": 1}, {"$set": {"a.x": 5}, "$unset": {"b": 1}})
    notes.delete_one({"_id": 1})
    notes.create_index("a")
    notes.modify_index("a_1", hidden=True)
    notes.drop_index("a_1")
    notes.rename("texts")
    db["texts"].drop()
    events = rest(stream)
    create, insert, update, delete, built, modified, dropped, rename, drop = events
    assert [each["operationType"] for each in (create, rename, drop)] == [
        *("create", "rename", "drop"),
    ]
    assert insert["operationType"] == "insert" and insert["documentKey"] == {"_id": 1}
    assert insert["fullDocument"] == {"_id": 1, "a": {"x": 1, "y": 2}, "b": 1}
    assert insert["ns"] == {"db": "db", "coll": "notes"} and insert["node"] == "node-a"
    assert revision is not None and insert["revision"] == revision["_rev"]
    assert insert["wallTime"] == revision["_updated_at"]
    assert insert["ordinal"] == create["ordinal"]
    assert update["operationType"] == "update" and update["documentKey"] == {"_id": 1}
    assert update["updateDescription"] == {
        "updatedFields": {"a.x": 5},
        "removedFields": ["b"],
        "truncatedArrays": [],
    }
    assert update["fullDocument"] == {"_id": 1, "a": {"x": 5, "y": 2}}
    assert update["fullDocumentBeforeChange"] == insert["fullDocument"]
    assert delete["operationType"] == "delete" and "fullDocument" not in delete
    assert delete["fullDocumentBeforeChange"] == update["fullDocument"]
    assert built["operationType"] == "createIndexes"
    assert built["operationDescription"]["indexes"][0]["key"] == {"a": 1}
    assert modified["operationType"] == "modify"
    assert modified["operationDescription"]["hidden"] is True
    assert dropped["operationType"] == "dropIndexes"
    assert (rename["ns"]["coll"], rename["to"]["coll"]) == ("notes", "texts")
    assert drop["ns"]["coll"] == "texts"
    assert stream.alive and stream.try_next() is None


def test_images_are_given_only_where_they_are_asked_for(db: rango.Database) -> None:
    stream = db["notes"].watch()
    db["notes"].insert_one({"_id": 1, "a": 1})
    db["notes"].update_one({"_id": 1}, {"$set": {"a": 2}})
    db["notes"].delete_one({"_id": 1})
    insert, update, delete = rest(stream)
    assert insert["fullDocument"] == {"_id": 1, "a": 1}
    assert "fullDocument" not in update and "fullDocumentBeforeChange" not in update
    assert update["updateDescription"]["updatedFields"] == {"a": 2}
    assert delete["documentKey"] == {"_id": 1} and "fullDocumentBeforeChange" not in delete


def test_images_are_those_of_the_commit_and_not_of_today(db: rango.Database) -> None:
    notes = db["notes"]
    stream = notes.watch(full_document="updateLookup")
    notes.insert_one({"_id": 1, "n": 0})
    for n in range(1, 5):
        notes.update_one({"_id": 1}, {"$set": {"n": n}})
    notes.delete_one({"_id": 1})
    assert [each["fullDocument"]["n"] for each in rest(stream)[:-1]] == list(range(5))


def test_a_transaction_is_told_mutation_by_mutation_with_images_inside_of_it(
    db: rango.Database,
) -> None:
    stream = db.watch(full_document_before_change="required")
    with db.transaction():
        db["a"].insert_one({"_id": 1, "n": 0})
        db["b"].insert_one({"_id": 1})
        db["a"].update_one({"_id": 1}, {"$inc": {"n": 1}})
        db["a"].update_one({"_id": 1}, {"$inc": {"n": 1}})
        db["a"].delete_one({"_id": 1})
        db["a"].insert_one({"_id": 1, "again": True})
    events = rest(stream)
    assert [(each["operationType"], each["ns"]["coll"]) for each in events] == [
        *(("insert", "a"), ("insert", "b"), ("update", "a"), ("update", "a")),
        *(("delete", "a"), ("insert", "a")),
    ]
    assert len({each["ordinal"] for each in events}) == 1
    assert [each["fullDocumentBeforeChange"]["n"] for each in events[2:5]] == [0, 1, 2]


def test_a_stream_of_a_collection_ends_with_what_it_watches(db: rango.Database) -> None:
    db["notes"].insert_one({"_id": 1})
    stream = db["notes"].watch()
    db["other"].insert_one({"_id": 1})
    db["notes"].rename("texts")
    db["notes"].insert_one({"_id": 2})
    events = list(stream)
    assert [each["operationType"] for each in events] == ["rename", "invalidate"]
    assert not stream.alive and stream.try_next() is None
    with pytest.raises(StopIteration):
        stream.next()
    # the end is told again to whoever had not seen it, and passed over by start_after
    assert kinds(db["notes"].watch(resume_after=events[0]["_id"])) == ["invalidate"]
    with pytest.raises(TokenRejected, match="start_after"):
        db["notes"].watch(resume_after=stream.resume_token)
    again = db["notes"].watch(start_after=stream.resume_token)
    assert [each["documentKey"] for each in rest(again)] == [{"_id": 2}]


def test_a_stream_of_a_name_sees_whatever_has_it(db: rango.Database) -> None:
    stream = db["notes"].watch()
    db["texts"].insert_one({"_id": 1})
    db["texts"].rename("notes")
    db["notes"].insert_one({"_id": 2})
    db["notes"].drop()
    assert kinds(stream) == ["rename", "insert", "drop", "invalidate"]


def test_purged_mutations_stay_events_that_do_not_tell_more(db: rango.Database) -> None:
    notes = db["notes"]
    notes.insert_many([{"_id": n, "secret": "x"} for n in range(3)])
    before = rest(db.watch(start_at=1))
    notes.update_one({"_id": 1}, {"$set": {"secret": "y"}})
    live = db.watch()
    notes.purge({"_id": 1})
    assert kinds(live) == ["purged"]
    after = rest(db.watch(start_at=1))
    assert [each["operationType"] for each in after] == [
        *("insert", "purged", "insert", "purged", "purged"),
    ]
    assert "documentKey" not in after[1] and "secret" not in str(after[1])
    assert [each["_id"] for each in after[:3]] == [each["_id"] for each in before]
    for at, event in enumerate(after):
        assert rest(db.watch(resume_after=event["_id"])) == after[at + 1 :]


def test_a_deletion_that_is_not_purged_yet_names_its_document(tmp_path: Path) -> None:
    from rango.engine import purge

    with engine_database(tmp_path / "db") as db:
        for value in ("a", 7, True, b"b"):
            db["notes"].insert_one({"_id": value})
        stream = db.watch()
        core = db._handle.core
        from rango.engine.query import Query

        assert purge.forget_batch(core, "notes", Query({})) == 4
        db.flush()
        assert [each["documentKey"]["_id"] for each in rest(stream)] == [7, "a", b"b", True]
        purge.finish(core)


def test_what_rango_keeps_itself_is_not_told(db: rango.Database) -> None:
    stream = db.watch(**ALL)
    db.set_limits(document_size_bytes_max=1000)
    db["notes"].insert_one({"_id": 1})
    db["notes"].purge({"_id": 1})
    assert {each["ns"]["coll"] for each in rest(stream)} == {"notes"}


# --- pipelines


def test_a_pipeline_filters_and_shapes_events(db: rango.Database) -> None:
    stream = db.watch(
        [
            {"$match": {"operationType": "update", "documentKey._id": {"$gt": 0}}},
            {"$set": {"was": "$fullDocumentBeforeChange.a.b"}},
            {"$project": {"was": 1, "documentKey": 1}},
        ],
        full_document_before_change="required",
    )
    for n in range(3):
        db["notes"].insert_one({"_id": n, "a": {"b": n}})
    db["notes"].update_many({}, {"$set": {"a.b": 3}})
    assert [{**each, "_id": 0} for each in rest(stream)] == [
        {"_id": 0, "documentKey": {"_id": n}, "was": n} for n in (1, 2)
    ]


def test_the_token_moves_on_with_what_a_pipeline_passes_over(db: rango.Database) -> None:
    stream = db.watch([{"$match": {"operationType": "delete"}}])
    first = stream.resume_token
    db["notes"].insert_many([{"_id": n} for n in range(10)])
    assert stream.try_next() is None
    assert stream.resume_token != first
    assert rest(db.watch(resume_after=stream.resume_token)) == []
    assert len(rest(db.watch(resume_after=first))) == 10


@pytest.mark.parametrize(
    "stage", [{"$group": {"_id": 1}}, {"$out": "x"}, {"$limit": 1}, {"$lookup": {}}]
)
def test_other_stages_are_refused(db: rango.Database, stage: dict[str, Any]) -> None:
    with pytest.raises(InvalidPipeline, match="not allowed in a change stream"):
        db.watch([{"$match": {}}, stage])


def test_a_pipeline_must_leave_the_token(db: rango.Database) -> None:
    stream = db.watch([{"$project": {"_id": 0}}])
    db["notes"].insert_one({"_id": 1})
    with pytest.raises(InvalidPipeline, match="_id"):
        stream.next()
    assert not stream.alive


def test_an_expression_that_fails_ends_the_stream_in_front_of_the_event(
    db: rango.Database,
) -> None:
    stream = db.watch([{"$set": {"half": {"$divide": [1, "$fullDocument.n"]}}}])
    for n in (2, 0):
        db["notes"].insert_one({"_id": n, "n": n})
    assert stream.next()["half"] == 0.5
    with pytest.raises(ExpressionFailed):
        stream.next()
    assert not stream.alive


@pytest.mark.parametrize(
    "options",
    [
        {"full_document": "yes"},
        {"full_document_before_change": True},
        {"start_at": "1"},
        {"start_at": 0},
        {"start_at": 99},
        {"max_await_time_ms": "1"},
        {"resume_after": {"_data": "00"}, "start_at": 1},
        {"from": 1},
    ],
)
def test_arguments_are_checked(db: rango.Database, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        db.watch(**options)


def test_a_stream_is_neither_of_a_snapshot_nor_of_a_transaction(db: rango.Database) -> None:
    with db.snapshot() as past, pytest.raises(ReadOnly):
        past["notes"].watch()
    with db.transaction(), pytest.raises(TransactionError):
        db.watch()
