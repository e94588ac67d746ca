"""Transactions: all or nothing, one task each."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rango import errors
from rango.database import Database
from rango.transaction import active_transactions
from tests.unit.api_case import db, engine_database  # noqa: F401 - the fixture

Work = Callable[[], Any]


def in_thread(work: Work) -> Any:
    """The result of `work`, or its exception, from a thread of its own."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except errors.RangoError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return found[0]


def test_commit(db: Database) -> None:  # noqa: F811
    with db.transaction():
        db["a"].insert_one({"_id": 1})
        db["b"].insert_many([{"_id": i} for i in range(5)])
        db["b"].update_one({"_id": 1}, {"$set": {"x": 1}})
        db["b"].delete_one({"_id": 2})
        assert db["b"].find_one(1) == {"_id": 1, "x": 1}
        assert db["b"].count_documents({}) == 4
        assert [each["_id"] for each in db["b"].find()] == [0, 1, 3, 4]
        assert db.list_collection_names() == ["a", "b"]
    assert db["a"].find_many() == [{"_id": 1}]
    assert db["b"].count_documents({"x": 1}) == 1
    assert active_transactions.get() == ()


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_any_exception_aborts(db: Database, error: type[BaseException]) -> None:  # noqa: F811
    db["a"].insert_one({"_id": 1, "x": 1})
    with pytest.raises(error), db.transaction():
        db["a"].insert_one({"_id": 2})
        db["a"].update_one({"_id": 1}, {"$inc": {"x": 1}})
        db["b"].insert_one({"_id": 1})
        raise error
    assert db["a"].find_many() == [{"_id": 1, "x": 1}]
    assert db.list_collection_names() == ["a"]
    assert db.stats()["operations"]["transactions_aborted"] == 1
    db["a"].insert_one({"_id": 3})  # the lock is free again


def test_an_empty_transaction(db: Database) -> None:  # noqa: F811
    with db.transaction():
        pass
    with db.transaction():
        assert db["a"].find_one(1) is None


def test_no_nesting(db: Database) -> None:  # noqa: F811
    with db.transaction():
        with pytest.raises(errors.TransactionError, match="nest"), db.transaction():
            pass
        db["a"].insert_one({"_id": 1})
    assert db["a"].find_one(1) == {"_id": 1}


def test_two_databases_at_once(tmp_path: Path) -> None:
    with engine_database(tmp_path / "one") as one, engine_database(tmp_path / "two") as two:
        with one.transaction(), pytest.raises(ZeroDivisionError), two.transaction():
            one["a"].insert_one({"_id": 1})
            two["a"].insert_one({"_id": 1})
            raise ZeroDivisionError
        assert one["a"].find_one(1) == {"_id": 1}
        assert two["a"].find_one(1) is None


def test_a_transaction_is_used_once(db: Database) -> None:  # noqa: F811
    transaction = db.transaction()
    with pytest.raises(errors.TransactionError, match="with"):
        transaction.check()
    with transaction:
        assert not transaction.is_over
    assert transaction.is_over
    with pytest.raises(errors.TransactionError, match="once"), transaction:
        pass


def test_a_refused_document_leaves_the_transaction_open(db: Database) -> None:  # noqa: F811
    db["a"].insert_one({"_id": 1})
    with db.transaction():
        db["a"].insert_one({"_id": 2})
        with pytest.raises(errors.DuplicateKey):
            db["a"].insert_one({"_id": 1})
        with pytest.raises(errors.InvalidDocument):
            db["a"].insert_one({"x": object()})
        with pytest.raises(errors.BulkWriteError):
            db["a"].insert_many([{"_id": 3}, {"_id": 1}, {"_id": 4}])
    assert [each["_id"] for each in db["a"].find()] == [1, 2, 3]


def test_a_statement_that_stops_half_way_dooms_the_transaction(db: Database) -> None:  # noqa: F811
    db["a"].insert_many([{"_id": 1, "x": 1}, {"_id": 2, "x": "text"}])
    with pytest.raises(errors.TransactionError, match="half-way"), db.transaction():
        db["b"].insert_one({"_id": 1})
        with pytest.raises(errors.InvalidUpdate):
            db["a"].update_many({}, {"$inc": {"x": 1}})
        with pytest.raises(errors.TransactionError, match="half-way"):
            db["b"].insert_one({"_id": 2})
    assert db["a"].find_one(1) == {"_id": 1, "x": 1}
    assert db["b"].find_one(1) is None


def test_what_cannot_be_part_of_one(db: Database) -> None:  # noqa: F811
    db["a"].insert_one({"_id": 1})
    with db.transaction():
        for call in (
            lambda: db["a"].create_index("x"),
            lambda: db["a"].drop_index("x_1"),
            db["a"].drop,
            lambda: db["a"].rename("b"),
            db.checkpoint,
            db.close,
        ):
            with pytest.raises(errors.TransactionError):
                call()
        db["a"].insert_one({"_id": 2})
    assert db["a"].count_documents({}) == 2


def test_cursors_read_the_transaction_and_end_with_it(db: Database) -> None:  # noqa: F811
    db["a"].insert_many([{"_id": i} for i in range(10)])
    with db.transaction():
        db["a"].insert_one({"_id": 10})
        cursor = db["a"].find().batch_size(3)
        assert next(cursor) == {"_id": 0}
        db["a"].delete_many({})
        assert [each["_id"] for each in cursor.clone()] == []
        assert next(cursor) == {"_id": 1}
    next(cursor)
    with pytest.raises(errors.TransactionError, match="rewind"):
        cursor.to_list()
    assert cursor.rewind().to_list() == []


def test_a_conflict_is_raised_at_the_first_write(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db") as database:
        database["a"].insert_one({"_id": 1, "x": 0})
        with pytest.raises(errors.Conflict), database.transaction():
            read = database["a"].find_one(1) or {}
            in_thread(lambda: database["a"].update_one({"_id": 1}, {"$inc": {"x": 5}}))
            database["a"].update_one({"_id": 1}, {"$set": {"x": read["x"] + 1}})
        assert database["a"].find_one(1) == {"_id": 1, "x": 5}
        assert database.stats()["operations"]["conflicts"] == 1
        with pytest.raises(errors.TransactionError, match="Conflict"), database.transaction():
            database["a"].find_one(1)
            in_thread(lambda: database["a"].insert_one({"_id": 2}))
            with pytest.raises(errors.Conflict):
                database["a"].insert_one({"_id": 3})
        assert database["a"].count_documents({}) == 2


def test_statements_read_under_the_lock(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db") as database:
        database["a"].insert_one({"_id": 1, "x": 0})
        with database.transaction():
            in_thread(lambda: database["a"].update_one({"_id": 1}, {"$inc": {"x": 5}}))
            database["a"].update_one({"x": 5}, {"$inc": {"x": 1}})
            assert database["a"].find_one(1) == {"_id": 1, "x": 6}
        assert database["a"].find_one(1) == {"_id": 1, "x": 6}


def test_blind_inserts_do_not_conflict(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db") as database:
        database["a"].insert_one({"_id": 0})
        with database.transaction():
            in_thread(lambda: database["a"].insert_one({"_id": 1}))
            database["a"].insert_one({"_id": 2})
        assert database["a"].count_documents({}) == 3


def test_another_thread_is_independent(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db") as database:
        database["a"].insert_one({"_id": 1, "x": 1})
        with database.transaction():
            database["a"].update_one({"_id": 1}, {"$set": {"x": 2}})
            seen = in_thread(lambda: database["a"].find_one(1))
            assert seen == {"_id": 1, "x": 1}
        assert in_thread(lambda: database["a"].find_one(1)) == {"_id": 1, "x": 2}


def test_an_inherited_context_is_refused(db: Database) -> None:  # noqa: F811
    with db.transaction():
        db["a"].insert_one({"_id": 1})
        context = contextvars.copy_context()
        answer = in_thread(lambda: context.run(db["a"].find_one, 1))
        assert isinstance(answer, errors.TransactionError)
        assert "thread or task" in str(answer)
    assert in_thread(lambda: context.run(lambda: 5)) == 5


def test_tasks_have_transactions_of_their_own(db: Database) -> None:  # noqa: F811
    async def child() -> None:
        db["a"].find_one(1)

    async def main() -> None:
        with db.transaction():
            db["a"].insert_one({"_id": 1})
            with pytest.raises(errors.TransactionError, match="thread or task"):
                await asyncio.create_task(child())
            db["a"].insert_one({"_id": 2})
        await asyncio.create_task(child())

    asyncio.run(main())
    assert db["a"].count_documents({}) == 2


def test_leaving_in_another_context_works(db: Database) -> None:  # noqa: F811
    transaction = db.transaction()
    contextvars.copy_context().run(transaction.__enter__)
    transaction.__exit__(None, None, None)
    assert transaction.is_over
    db["a"].insert_one({"_id": 1})


def test_closing_under_a_transaction_writes_nothing(tmp_path: Path) -> None:
    database = engine_database(tmp_path / "db")
    with pytest.raises(errors.DatabaseClosed), database.transaction():
        database["a"].insert_one({"_id": 1})
        in_thread(database.close)
    with engine_database(tmp_path / "db") as database:
        assert database["a"].find_one(1) is None
