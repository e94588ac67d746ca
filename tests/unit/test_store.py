"""Commits, visibility and replay of one store, below the engine."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rango._ext import layout
from rango._ext.collection_info import MARKS_ALL
from rango.errors import FormatTooNew, LogCorrupted
from tests.unit.store_case import DOCUMENTS, INDEX, Change, StoreCase, commit_body, record_of


@pytest.fixture
def case(tmp_path: Path) -> StoreCase:
    """A store with one collection and one index."""
    made = StoreCase(tmp_path, page_size=512)
    made.define(DOCUMENTS, b"documents")
    made.define(INDEX, b"index")
    return made


def test_applying_a_commit_twice_is_applying_it_once(case: StoreCase) -> None:
    """I-7: entries, that is; counts are those of the log, which has each commit once."""
    seen = []
    for _ in range(2):
        case.ordinal = 2
        case.commit([case.put(b"%d" % n, b"x", (b"v%d" % n,)) for n in range(20)])
        view = case.store.head
        seen.append([view.scan(tree, None, None, False, None).next_entries(99) for tree in (1, 2)])
    assert seen[0] == seen[1]


def test_what_came_after_the_checkpoint_stays_in_the_overlay(case: StoreCase) -> None:
    case.commit([case.put(b"a", b"1"), case.put(b"b", b"1")])
    view = case.store.head
    old_root = case.ordinal
    generation = case.store.build(view, dict(case.definitions), 1, old_root)
    for n in range(50):
        case.commit([case.put(b"b", b"%d" % n), case.put(b"n%d" % n, b"x"), case.drop(b"a")][:2])
    case.commit([case.drop(b"a")])
    case.store.adopt(generation, True)
    assert case.store.head.generation_ordinal == old_root
    assert case.store.overlay_count == 52
    case.check_reads(random.Random(2))
    case.number = 1
    case.checkpoint()
    assert case.store.overlay_count == 0
    case.check_reads(random.Random(2))


def test_multikey_indexes_are_found_in_the_log(case: StoreCase) -> None:
    assert case.store.marks == {}
    case.commit([case.put(b"a", b"x", (b"one",))])
    case.commit([case.put(b"a", b"x", (b"other",))])
    assert case.store.marks == {}
    case.commit([case.put(b"a", b"x", (b"one", b"other"))])
    assert case.store.marks == {INDEX: MARKS_ALL}
    case.checkpoint()
    case.reopen()
    assert case.store.marks == {INDEX: MARKS_ALL}


def good_body() -> bytes:
    entries = ((layout.INDEX_ADD, INDEX, b"keyid", 3),)
    return commit_body(
        [
            Change(layout.MUTATION_INSERT, DOCUMENTS, b"id", record_of(b"body"), entries),
            Change(layout.MUTATION_INSERT, 0, (9).to_bytes(4, "big"), b"definition"),
        ]
    )


def test_a_malformed_body_is_refused_wherever_it_is_cut_or_changed(
    case: StoreCase, seed: int
) -> None:
    """The tag was right, so only a faulty program writes this: still no byte beyond it is read."""
    body = good_body()
    for size in range(len(body)):
        with pytest.raises(LogCorrupted):
            case.store.apply(body[:size], 9, 9)
    choice = random.Random(seed)
    refused = 0
    for _ in range(3000):
        broken = bytearray(body)
        place = choice.randrange(len(broken))
        # tree ids are not bounded by anything in a body
        if layout.COMMIT_HEADER_SIZE + 6 <= place < layout.COMMIT_HEADER_SIZE + 9:
            continue
        broken[place] = choice.randrange(256)
        try:
            case.store.apply(bytes(broken), 9, 9)
        except (FormatTooNew, LogCorrupted):
            refused += 1
        except MemoryError:
            pass
    assert refused > 300


def test_revisions_of_the_log_are_a_floor(case: StoreCase) -> None:
    case.store.floor(50, 3)
    assert case.store.revision_floor == (50, 3)
    case.store.floor(50, 2)
    case.store.floor(49, 9)
    assert case.store.revision_floor == (50, 3)
    case.commit([case.put(b"a", b"x")])
    assert case.store.revision_floor == (50, 3)
    case.store.floor(51, 0)
    assert case.store.revision_floor == (51, 0)
