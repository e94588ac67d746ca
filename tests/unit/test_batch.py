"""Commits in the making: refused whole, logged as they are applied, with their index entries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rango._ext.batch import Batch
from rango._ext.collection_info import CollectionInfo
from rango._ext.key import key_of
from rango._ext.record import encode, record_parts
from rango.engine.core import Core
from rango.errors import DuplicateKey, LimitExceeded
from tests.unit.engine_case import asked, opened


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    """A database with a unique and an ordinary index, whole at the end."""
    core = opened(tmp_path / "db")
    core.create_index("a", asked("u", unique=True))
    core.create_index("a", asked("t"))
    yield core
    assert list(core.check()) == []
    core.release()


def begun(core: Core) -> tuple[Batch, CollectionInfo]:
    batch = core.store.begin()
    return batch, batch.catalog.collections["a"]


def entries(batch: Batch, info: CollectionInfo, index: str) -> list[bytes]:
    tree = next(each.tree_id for each in info.indexes if each.name == index)
    scan = batch.snapshot().scan(tree, None, None, False, None)
    return [key for key, _value in scan.next_entries(1000)]


def test_a_batch_is_seen_by_its_snapshots_only(core: Core) -> None:
    batch, info = begun(core)
    batch.insert(info, encode({"_id": 1, "u": 1, "t": [3, 1, 3]}), 10)
    first = batch.snapshot()
    batch.insert(info, encode({"_id": 2, "u": 2, "t": None}), 10)
    assert first.find_id(info.tree_id, 2) is None and first.count(info.tree_id) == 1
    assert batch.snapshot().count(info.tree_id) == 2
    assert core.view().count(info.tree_id) == 0
    assert len(entries(batch, info, "t_1")) == 3
    ordinal = core.store.commit(batch)
    core.settle(ordinal)
    assert core.view().count(info.tree_id) == 2


@pytest.mark.parametrize(
    "document", [{"_id": 1, "u": 9}, {"_id": 9, "u": 1}, {"_id": 9, "u": [8, 1]}]
)
def test_a_duplicate_leaves_the_batch_as_it_was(core: Core, document: dict[str, object]) -> None:
    batch, info = begun(core)
    batch.insert(info, encode({"_id": 1, "u": 1}), 10)
    before = (batch.size_bytes, batch.count, entries(batch, info, "u_1"))
    with pytest.raises(DuplicateKey):
        batch.insert(info, encode(document), 10)
    assert (batch.size_bytes, batch.count, entries(batch, info, "u_1")) == before
    assert not batch.is_broken
    core.settle(core.store.commit(batch))


def test_a_unique_key_can_be_taken_over_within_one_batch(core: Core) -> None:
    batch, info = begun(core)
    batch.insert(info, encode({"_id": 1, "u": 1}), 10)
    view = batch.snapshot()
    old = view.get(info.tree_id, key_of(1))
    assert old is not None
    batch.replace(info, old, encode({"_id": 1, "u": 2}), 11)
    batch.insert(info, encode({"_id": 2, "u": 1}), 12)
    old = batch.snapshot().get(info.tree_id, key_of(1))
    assert old is not None
    batch.delete(info, old, 13)
    batch.insert(info, encode({"_id": 3, "u": 2}), 14)
    batch.insert(info, encode({"_id": 1, "u": 3}), 14)
    assert batch.snapshot().count(info.tree_id) == 3
    assert len(entries(batch, info, "u_1")) == 3
    core.settle(core.store.commit(batch))


def test_an_insert_after_a_delete_knows_the_version_before(core: Core) -> None:
    batch, info = begun(core)
    batch.insert(info, encode({"_id": 1}), 10)
    core.settle(core.store.commit(batch))
    first = core.store.head.ordinal
    batch, info = begun(core)
    old = batch.snapshot().get(info.tree_id, key_of(1))
    assert old is not None and record_parts(old)[4] == first
    batch.delete(info, old, 10)
    core.settle(core.store.commit(batch))
    batch, info = begun(core)
    batch.insert(info, encode({"_id": 1}), 10)
    core.settle(core.store.commit(batch))
    record = core.view().get(info.tree_id, key_of(1))
    assert record is not None and record_parts(record)[4] == core.store.head.ordinal


def test_revisions_rise_within_a_batch_even_if_the_clock_does_not(core: Core) -> None:
    batch, info = begun(core)
    revisions = []
    for number in range(70_000 // 1000):
        batch.insert(info, encode({"_id": number, "u": number}), 10)
        record = batch.snapshot().get(info.tree_id, key_of(number))
        assert record is not None
        revisions.append(record_parts(record)[1:3])
    assert revisions == sorted(set(revisions))
    core.settle(core.store.commit(batch))


def test_a_batch_has_a_limit(core: Core) -> None:
    batch, info = begun(core)
    large = "x" * 15_000_000
    for number in range(17):
        batch.insert(info, encode({"_id": number, "u": number, "text": large}), 10)
    size = batch.size_bytes
    with pytest.raises(LimitExceeded):
        batch.insert(info, encode({"_id": 99, "u": 99, "text": large}), 10)
    assert batch.size_bytes == size and not batch.is_broken
    assert batch.snapshot().find_id(info.tree_id, 99) is None


def test_an_empty_batch_commits_to_nothing(core: Core) -> None:
    batch, _info = begun(core)
    before = core.store.head.ordinal
    assert core.store.commit(batch) == before
