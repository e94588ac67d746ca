"""Building through the public API: beside writers, interrupted, opened again and rebuilt."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import errors
from rango.collection import Collection
from rango.database import Database
from rango.engine import index as index_module
from tests.unit.api_case import engine_database
from tests.unit.engine_case import threads

MODELS = [
    rango.IndexModel([("a", 1), ("b", -1)]),
    rango.IndexModel("t"),
    rango.IndexModel("s", sparse=True),
    rango.IndexModel("p", unique=True, partial_filter={"p": {"$gt": 0}}),
    rango.IndexModel("at", expire_after_s=60, hidden=True),
    rango.IndexModel("long"),
]


def document(number: int) -> dict[str, Any]:
    return {
        "_id": number,
        "a": number % 7,
        "b": [number, -number] if number % 11 == 0 else number,
        "t": [number % 3, number % 5],
        "p": number - 50 if number > 50 else 0,
        "long": "x" * (2000 if number == 77 else 20) + str(number),
        **({"s": number} if number % 2 else {}),
    }


def answers(things: Collection) -> list[Any]:
    """What queries through each index say, plans and all."""
    asked: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"a": 3}, {"sort": [("b", -1)]}),
        ({"a": {"$gt": 4}}, {"sort": [("a", 1), ("b", -1)]}),
        ({"t": 2}, {"sort": [("t", 1)]}),
        ({"s": {"$gte": 31}}, {"sort": [("s", 1)]}),
        ({"p": {"$gt": 10}}, {"sort": [("p", 1)]}),
        ({"long": {"$gt": "xx"}}, {"sort": [("long", 1)]}),
    ]
    found: list[Any] = []
    for filter, options in asked:
        plan = things.find(filter, **options).explain()
        kept = {name: plan.get(name) for name in ("plan", "index", "class", "sort", "bounds")}
        found.append((kept, [each["_id"] for each in things.find(filter, **options)]))
    return found


def marks(database: Database) -> dict[str, tuple[frozenset[str], bool]]:
    """What the indexes know of arrays and shortened keys."""
    info = database._handle.core.collections()["a"]
    return {each.name: (each.multikey_paths, each.shortened) for each in info.ready}


def test_indexes_are_the_same_after_a_reopen_and_a_rebuild(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with engine_database(path, ttl_interval_s=0) as database:
        things = database["a"]
        things.create_indexes(MODELS[:3])
        things.insert_many([document(number) for number in range(100)])
        things.create_indexes(MODELS[3:])
        things.modify_index("at_1", expire_after_s=90)
        things.create_index("dropped")
        things.drop_index("dropped_1")
        listed, known, said = things.list_indexes(), marks(database), answers(things)
    assert known["a_1_b_-1"] == (frozenset({"b"}), False)
    assert known["t_1"][0] == {"t"}
    assert known["long_1"][1]
    for what in ("reopen", "rebuild", "rebuild of a checkpoint"):
        if what != "reopen":
            (path / "data.rango").unlink()
        with engine_database(path, ttl_interval_s=0) as database:
            things = database["a"]
            assert things.list_indexes() == listed, what
            assert marks(database) == known, what
            assert answers(things) == said, what
            assert list(database.check()) == []
            with pytest.raises(errors.DuplicateKey):
                things.insert_one({"p": 1})
            database.checkpoint()


def test_progress_says_how_far_a_build_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "FILL_RECORDS", 20)
    monkeypatch.setattr(index_module, "FILL_STEP", 10)
    with engine_database(tmp_path / "db") as database:
        things = database["a"]
        things.insert_many([{"_id": n, "a": n} for n in range(50)])
        things.delete_one({"_id": 7})
        seen: list[tuple[int, int]] = []
        things.create_index("a", progress=lambda done, total: seen.append((done, total)))
        assert [total for _done, total in seen] == [49] * len(seen)
        counts = [done for done, _total in seen]
        assert counts == sorted(counts)
        assert counts[-1] == 49
        assert len(counts) == 3
        seen.clear()
        things.create_index("a", progress=lambda done, total: seen.append((done, total)))
        assert seen == []
        database["empty"].create_index("a", progress=lambda *each: seen.append(each))
        assert seen == [(0, 0)]


def test_what_progress_raises_ends_the_build(tmp_path: Path) -> None:
    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with engine_database(tmp_path / "db") as database:
        things = database["a"]
        things.insert_one({"a": 1})
        with pytest.raises(KeyboardInterrupt):
            things.create_index("a", progress=stop)
        assert [each["name"] for each in things.list_indexes()] == ["_id_"]
        assert things.create_index("a") == "a_1"
        assert things.count_documents({"a": 1}) == 1
        assert list(database.check()) == []


@pytest.mark.parametrize("what", ["collection", "all indexes"])
def test_dropping_while_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(index_module, "FILL_RECORDS", 10)
    monkeypatch.setattr(index_module, "FILL_STEP", 10)
    with engine_database(tmp_path / "db") as database:
        things = database["a"]
        things.create_index("other")
        things.insert_many([{"a": n} for n in range(35)])
        names: list[list[str]] = []

        def drop(done: int, _total: int) -> None:
            if done == 10:
                with threads(things.drop if what == "collection" else things.drop_indexes):
                    pass
            # what is being built is not shown, nor used
            names.append([each["name"] for each in things.list_indexes()])
            assert things.find({"a": 1}).explain()["plan"] == "scan"

        if what == "collection":
            with pytest.raises(errors.NotFound, match="dropped"):
                things.create_index("a", progress=drop)
            assert things.list_indexes() == []
        else:
            things.create_index("a", progress=drop)
            assert [each["name"] for each in things.list_indexes()] == ["_id_", "a_1"]
            assert names == [["_id_"]] * 4
        assert list(database.check()) == []


def test_a_second_build_of_the_same_index_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does nothing, or waits: but the index is whole when both are over."""
    monkeypatch.setattr(index_module, "FILL_RECORDS", 10)
    monkeypatch.setattr(index_module, "FILL_STEP", 10)
    with engine_database(tmp_path / "db") as database:
        things = database["a"]
        things.insert_many([{"a": n} for n in range(35)])

        def again(done: int, _total: int) -> None:
            if done == 10:
                with threads(lambda: things.create_index("a")):
                    pass

        things.create_index("a", progress=again)
        assert things.find({"a": 3}).explain()["index"] == "a_1"
        assert len(things.find_many({"a": {"$gte": 0}}, hint="a_1")) == 35
        assert list(database.check()) == []


def test_many_documents_are_indexed_beside_a_writer(tmp_path: Path) -> None:
    count = 20_000
    with engine_database(tmp_path / "db") as database:
        things = database["a"]
        things.insert_many([{"_id": n, "a": n % 97, "b": n} for n in range(count)])
        under_way, done = threading.Event(), threading.Event()
        written = 0

        def write() -> None:
            nonlocal written
            assert under_way.wait(30)
            while not done.is_set() and written < count // 2:
                at = written * 2
                things.update_one({"_id": at}, {"$set": {"a": -1}})
                things.delete_one({"_id": at + 1})
                things.insert_one({"_id": count + written, "a": -2, "b": written})
                written += 1

        with threads(write):
            try:
                things.create_index([("a", 1), ("b", 1)], progress=lambda *_: under_way.set())
            finally:
                under_way.set()
                done.set()
        assert things.count_documents({"a": -1}, hint="a_1_b_1") == written
        assert things.count_documents({"a": -2}, hint="a_1_b_1") == written
        assert things.count_documents({"a": {"$exists": True}}, hint="a_1_b_1") == count
        assert list(database.check()) == []


def test_a_duplicate_that_comes_while_a_unique_index_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second is refused: the writer, or the build; never neither."""
    monkeypatch.setattr(index_module, "FILL_RECORDS", 10)
    monkeypatch.setattr(index_module, "FILL_STEP", 10)
    with engine_database(tmp_path / "db") as database:
        things = database["a"]
        things.insert_many([{"_id": n, "a": n} for n in range(35)])
        refused: list[int] = []

        def write(done: int, _total: int) -> None:
            # 5 is indexed already, 30 is not yet
            if done == 10:
                for value in (5, 30):
                    try:
                        things.insert_one({"_id": f"again {value}", "a": value})
                    except errors.DuplicateKey:
                        refused.append(value)

        with pytest.raises(errors.DuplicateKey) as caught:
            things.create_index("a", unique=True, progress=write)
        assert refused == [5]
        assert caught.value.details["keyValue"] == {"a": 30}
        assert len(things.list_indexes()) == 1
        things.delete_one({"_id": "again 30"})
        things.create_index("a", unique=True)
        assert list(database.check()) == []
