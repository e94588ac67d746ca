"""Generations that other processes read: their pages stay, and nothing else (I-2, ADR-0038)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rango._ext.layout import UNIT_SIZE
from rango._ext.pins import pinned_by_others
from rango._ext.vfs import RANGE_LOCKS
from rango._ext.view import View
from rango.engine import compact, kept, shrink
from rango.engine.core import Core
from rango.errors import SnapshotTooOld
from rango.storage.superblock import roots_of, roots_pack
from tests.unit.engine_case import documents_of, insert, options_of, replace

pytestmark = pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")

Opener = Callable[..., Core]
ROWS = 200


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Opens cores on one directory, as processes do, and closes them at the end."""
    cores: list[Core] = []

    def opened(**changes: object) -> Core:
        changes = {"durability": "memory", "cache_size": 1 << 14, **changes}
        cores.append(core := Core(options_of(tmp_path / "db", **changes)))
        core.start()
        return core

    yield opened
    for core in cores:
        if not core.is_closed:
            core.release()


def rewrite(core: Core, turn: int) -> None:
    """Every row anew, and a checkpoint."""
    for number in range(ROWS):
        replace(core, "a", {"_id": number, "turn": turn, "text": os.urandom(600)})
    core.checkpoint()


def filled(core: Core) -> None:
    insert(core, "a", [{"_id": n, "turn": -1, "text": os.urandom(600)} for n in range(ROWS)])
    core.checkpoint()


def turns_in(core: Core, view: View) -> set[int]:
    """Which turns the rows of a view are of, all of them read from its pages."""
    core.store.pager.forget_cache()
    scan = view.scan(view.catalog.collections["a"].tree_id, None, None, False, None)
    found = []
    while documents := scan.next_documents(50):
        found += documents
    scan.close()
    assert [each["_id"] for each in found] == list(range(ROWS))
    return {each["turn"] for each in found}


def units(core: Core) -> int:
    return core.vfs.size(core.data_fd) // UNIT_SIZE


def test_a_reader_elsewhere_does_not_make_the_file_grow(opened: Opener) -> None:
    writer, reader = opened(), opened()
    filled(writer)
    view = reader.view()
    sizes = []
    for turn in range(30):
        rewrite(writer, turn)
        assert turns_in(reader, view) == {-1}
        sizes.append(units(writer))
    # its generation, and the two or three that every build needs
    assert max(sizes[10:]) <= sizes[4] * 1.2, sizes
    del view
    for turn in range(30, 34):
        rewrite(writer, turn)
    assert roots_of(writer.store.pager, writer.slot) == []
    assert units(writer) <= sizes[4]
    for core in (writer, reader):
        assert list(core.check()) == []


def test_every_process_leaves_the_pages_of_all_readers_alone(opened: Opener) -> None:
    cores = [opened() for _ in range(3)]
    filled(cores[0])
    held: list[tuple[Core, View, int]] = []
    for turn in range(40):
        core = cores[turn % 3]
        held.append((core, core.view(), turn - 1))
        # whoever reads, another one writes, and each writes in its turn
        rewrite(cores[turn // 2 % 3], turn)
        # some are let go early, others are held long
        held = [each for at, each in enumerate(held) if (at * 7 + turn) % 5]
        for owner, view, expected in held:
            assert turns_in(owner, view) == {expected}
        assert list(core.check()) == []
    del owner, view
    held.clear()
    for turn in range(40, 44):
        rewrite(cores[turn % 3], turn)
    assert all(pinned_by_others(core.lock.shared) == (set(), None) for core in cores)
    assert roots_of(cores[1].store.pager, cores[1].slot) == []


def test_one_that_comes_later_knows_what_is_read(opened: Opener) -> None:
    first, second = opened(), opened()
    filled(first)
    view = second.view()
    for turn in range(3):
        rewrite(first, turn)
    first.release()
    third = opened()
    before = units(third)
    for turn in range(3, 12):
        rewrite(third, turn)
        assert turns_in(second, view) == {-1}
    assert units(third) <= before * 1.5


def test_a_pin_that_nobody_was_told_of_keeps_everything(opened: Opener) -> None:
    lone = opened()
    filled(lone)
    view = lone.view()
    for turn in range(3):
        rewrite(lone, turn)
    assert roots_of(lone.store.pager, lone.slot) == []
    other = opened()
    for turn in range(3, 8):
        rewrite(other, turn)
        assert turns_in(lone, view) == {-1}


def test_more_pins_than_a_place_has_words(opened: Opener) -> None:
    writer, reader = opened(), opened()
    filled(writer)
    views = []
    for turn in range(20):
        views.append(reader.view())
        rewrite(writer, turn)
    numbers, since = pinned_by_others(writer.lock.shared)
    assert len(numbers) == 12 and since is not None
    for turn, view in enumerate(views):
        assert turns_in(reader, view) == {turn - 1}
    # all from the oldest of those without a word on are kept, and no more than that
    sizes = []
    for turn in range(20, 40):
        del views[0]
        views.append(reader.view())
        rewrite(writer, turn)
        sizes.append(units(writer))
        assert turns_in(reader, views[0]) == {turn - 20}
    assert max(sizes[10:]) <= 1.3 * sizes[0], sizes
    # a word that is free again is given to one that has none
    del view, views[:10]
    numbers, since = pinned_by_others(writer.lock.shared)
    assert len(numbers) == 10 and since is None


def test_what_the_list_has_no_room_for_is_remembered(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "LIST_SIZE_MAX", 0)
    first, second = opened(), opened()
    filled(first)
    view = second.view()
    sizes = []
    for turn in range(12):
        rewrite(first, turn)
        sizes.append(units(first))
        assert turns_in(second, view) == {-1}
    assert roots_of(first.store.pager, first.slot) == []
    assert sizes[-1] <= sizes[4] * 1.2


def test_what_is_read_comes_before_roots_that_only_save_time(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = opened(root_gap=1 << 14), opened()
    filled(first)
    for turn in range(12):
        rewrite(first, turn)
    found = roots_of(first.store.pager, first.slot)
    assert len(found) > 2
    monkeypatch.setattr(kept, "LIST_SIZE_MAX", len(roots_pack(found[:2])))
    view = second.view()
    assert second.slot is not None
    number = second.slot.generation
    for turn in range(12, 20):
        rewrite(first, turn)
        assert turns_in(second, view) == {11}
        assert number in {each.generation for each in kept.slots_of(first)} | {
            each.generation for each in roots_of(first.store.pager, first.slot)
        }


def test_readers_of_very_many_states_are_told_that_they_are_too_old(opened: Opener) -> None:
    first, second = opened(), opened()
    first.store.builder.pinned_units_max = 0
    filled(first)
    views = []
    with pytest.raises(SnapshotTooOld, match="open it again"):
        for turn in range(20):
            views.append(second.view())
            rewrite(first, turn)
            for held, view in enumerate(views):
                assert turns_in(second, view) == {held - 1}
    assert len(views) > 3
    # the newer ones go on
    assert turns_in(second, views[-1]) == {len(views) - 2}
    views.clear()
    # another one is as good as new
    assert sorted(documents_of(second, "a")) == list(range(ROWS))
    first.checkpoint()
    for core in (first, second):
        assert list(core.check()) == []


def test_compacting_takes_nothing_from_a_reader(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that is to be made small is longer than what readers may make of it."""
    monkeypatch.setattr(shrink, "STEP_UNITS", 16)
    first, second = opened(), opened()
    first.store.builder.pinned_units_max = 64
    filled(first)
    insert(first, "b", [{"_id": n, "text": os.urandom(3_000)} for n in range(600)])
    first.checkpoint()
    rewrite(first, 0)
    old = second.view()
    rewrite(first, 1)
    first.drop_collection("b")
    rewrite(first, 2)
    views = [(old, 0), (second.view(), 2)]
    compact.compact(first, compact.Keep(is_now=True))
    views.append((second.view(), 2))
    for turn in range(3, 8):
        rewrite(first, turn)
        for view, expected in views:
            assert turns_in(second, view) == {expected}
    for core in (first, second):
        assert list(core.check()) == []


def test_a_reader_of_an_empty_database_keeps_nothing(opened: Opener) -> None:
    first, second = opened(), opened()
    insert(first, "a", [{"_id": 0}])
    view = second.view()
    assert view.generation_number == 0
    filled_later = [{"_id": n, "turn": -1, "text": os.urandom(600)} for n in range(1, ROWS)]
    insert(first, "a", filled_later)
    sizes = []
    for turn in range(12):
        rewrite(first, turn)
        sizes.append(units(first))
    assert sizes[-1] <= sizes[4] * 1.2
    assert view.find_named("a", 0) == {"_id": 0}
