"""Trees: thousands of random changes over many generations, and the merge's edge cases."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.unit.store_case import DOCUMENTS, INDEX, Change, StoreCase

KEY_SIZES = [1, 2, 3, 8, 16, 40, 300, 1023, 1024]
BODY_SIZES = [0, 1, 30, 200, 900, 4067, 4068, 4069, 5000, 9000]
LARGE_SIZES = [61440 - 28, 61441, 70_000, 130_000, 1 << 20]


def key_of(choice: random.Random, sizes: list[int]) -> bytes:
    """Any key; short alphabets make long common prefixes."""
    size = choice.choice(sizes)
    if choice.random() < 0.3:
        return (choice.choice([b"a", b"ab", b"\0", b"\xff"]) * size)[: size - 1] + bytes(
            [choice.randrange(256)]
        )
    return bytes(choice.randrange(4) for _ in range(size))


def body_of(choice: random.Random, sizes: list[int]) -> bytes:
    size = choice.choice(sizes)
    return choice.randbytes(size) if choice.random() < 0.5 else b"text " * (size // 5)


@pytest.mark.parametrize(
    ("page_size", "secret"),
    [(0, None), (0, b"s" * 32), (256, None), (600, b"s" * 32), (2048, None)],
)
def test_a_store_equals_a_dictionary_over_many_generations(
    tmp_path: Path, seed: int, page_size: int, secret: bytes | None
) -> None:
    choice = random.Random(f"{seed} {page_size} {secret!r}")
    case = StoreCase(tmp_path, page_size=page_size, secret=secret, cache=1 << 16)
    case.define(DOCUMENTS, b"documents")
    case.define(INDEX, b"index")
    sizes = choice.choice([KEY_SIZES, KEY_SIZES[:5], KEY_SIZES[-2:]])
    views = []
    for generation in range(7):
        for _ in range(choice.choice([1, 3, 40, 400 // len(sizes) * 3])):
            changes = []
            for _ in range(choice.choice([1, 1, 5])):
                known = case.model.trees.get(DOCUMENTS, {})
                key = key_of(choice, sizes)
                if known and choice.random() < 0.4:
                    key = choice.choice(list(known))
                live = known.get(key, (b"", True))[1] is False
                if any(change.key == key for change in changes):
                    continue
                if live and choice.random() < 0.4:
                    changes.append(case.drop(key))
                else:
                    bodies = LARGE_SIZES if choice.random() < 0.01 else BODY_SIZES
                    values = tuple(
                        {key_of(choice, sizes) for _ in range(choice.choice([0, 1, 1, 3]))}
                    )
                    changes.append(case.put(key, body_of(choice, bodies), values))
            case.commit(changes)
        if generation % 3 == 0:
            case.check_reads(choice)
        if choice.random() < 0.4:
            view = case.store.head
            views.append(
                (view, view.scan(DOCUMENTS, None, None, False, None).next_entries(1 << 30))
            )
        case.checkpoint()
        case.check_reads(choice)
        case.check_pages()
        for view, entries in views[-3:]:
            # I-2: a snapshot keeps its pages, whatever checkpoints write
            case.pager.forget_cache()
            found = view.scan(DOCUMENTS, None, None, False, None).next_entries(1 << 30)
            assert found == entries
        del views[:-2]
        if choice.random() < 0.2:
            views.clear()
            case.reopen()
            case.check_reads(choice)
    case.check_file(DOCUMENTS)
    case.check_file(INDEX)
    case.close()


def filled(folder: Path, count: int, *, page_size: int = 512, size: int = 60) -> StoreCase:
    """A store of one high tree."""
    case = StoreCase(folder, page_size=page_size)
    case.define(DOCUMENTS, b"documents")
    case.commit([case.put(b"%08d" % number, b"v" * size) for number in range(count)])
    case.checkpoint()
    return case


def settle(case: StoreCase) -> None:
    """Checkpoint and look at everything."""
    case.checkpoint()
    case.check_reads(random.Random(1))
    case.check_pages()
    case.check_file(DOCUMENTS)


def test_a_tree_of_nothing_but_tombstones_stays_readable(tmp_path: Path) -> None:
    case = filled(tmp_path, 700)
    case.commit([case.drop(b"%08d" % number) for number in range(700)])
    settle(case)
    assert case.store.head.count(DOCUMENTS) == 0


def test_an_index_tree_can_lose_every_entry(tmp_path: Path) -> None:
    case = StoreCase(tmp_path, page_size=512)
    case.define(DOCUMENTS, b"documents")
    case.define(INDEX, b"index")
    for number in range(300):
        case.commit([case.put(b"%08d" % number, b"x", (b"k%05d" % number, b"z"))])
    case.checkpoint()
    for number in range(300):
        case.commit([case.drop(b"%08d" % number)])
    settle(case)
    assert case.check_file(INDEX).pages == 0
    case.commit([case.put(b"again", b"x", (b"k",))])
    settle(case)
    assert case.check_file(INDEX).pages == 1


@pytest.mark.parametrize("numbers", [range(1), range(5), range(300, 305), range(0, 700, 97)])
def test_emptied_leaves_leave_the_others_as_they_are(tmp_path: Path, numbers: range) -> None:
    case = StoreCase(tmp_path, page_size=512)
    case.define(DOCUMENTS, b"documents")
    case.define(INDEX, b"index")
    for number in range(700):
        case.commit([case.put(b"%08d" % number, b"x", (b"k%05d" % number,))])
    case.checkpoint()
    gone = {each + near for each in numbers for near in range(25)}
    case.commit([case.drop(b"%08d" % number) for number in sorted(gone) if number < 700])
    settle(case)
    case.check_file(INDEX)


def test_appending_writes_only_the_right_edge_and_fills_its_pages(tmp_path: Path) -> None:
    case = filled(tmp_path, 2000)
    pages = case.check_file(DOCUMENTS).pages
    for turn in range(10):
        before = case.pager.seals
        case.commit([case.put(b"%08d" % (2000 + turn), b"v" * 60)])
        settle(case)
        # the path to the right edge, the catalog and the bitmap
        assert case.pager.seals - before <= 10
    assert case.check_file(DOCUMENTS).pages <= pages + 3


def test_a_change_to_the_first_leaf_writes_one_path(tmp_path: Path) -> None:
    case = filled(tmp_path, 2000)
    before = case.pager.seals
    case.commit([case.put(b"%08d" % 0, b"w" * 61)])
    settle(case)
    assert case.pager.seals - before <= 10


def test_small_neighbours_are_joined(tmp_path: Path) -> None:
    case = StoreCase(tmp_path, page_size=1024)
    case.define(DOCUMENTS, b"documents")
    case.define(INDEX, b"index")
    for number in range(1000):
        case.commit([case.put(b"%08d" % number, b"x", (b"k%05d" % number,))])
    case.checkpoint()
    full = case.check_file(INDEX).pages
    for number in range(1000):
        if number % 20:
            case.commit([case.drop(b"%08d" % number)])
    settle(case)
    assert case.check_file(INDEX).pages <= full // 4


def test_a_dropped_tree_gives_its_units_back_overflow_pages_too(tmp_path: Path) -> None:
    case = StoreCase(tmp_path)
    case.define(DOCUMENTS, b"documents")
    case.define(INDEX, b"index")
    choice = random.Random(5)
    for number in range(30):
        case.commit([case.put(b"%08d" % number, choice.randbytes(200_000), (b"v",))])
    case.checkpoint()
    used = case.pager.stats()["used_units"]
    case.define(INDEX, None)
    case.define(DOCUMENTS, None)
    case.checkpoint()
    case.check_pages()
    assert used > 30 * 48
    # the slots, the catalog's root (or nothing) and one bitmap page
    assert case.pager.stats()["used_units"] <= 4
    size = case.slots[-1].file_units
    # ids are never used again
    case.define(9, b"documents")
    for number in range(25):
        change = case.put(b"%08d" % number, choice.randbytes(200_000))
        case.commit([change._replace(tree=9)])
        if number == 12:
            case.checkpoint()
    case.checkpoint()
    case.check_pages()
    # the other slot's generation was empty by then, so its units are taken again
    assert case.slots[-1].file_units <= size * 2


def test_trees_grow_beside_each_other(tmp_path: Path) -> None:
    case = StoreCase(tmp_path, page_size=512)
    trees = {DOCUMENTS: b"documents", 7: b"seven", 300: b"far away"}
    for tree, definition in trees.items():
        case.define(tree, definition)
    for turn in range(5):
        for tree in trees:
            case.commit(
                [
                    Change(1, tree, b"%d %05d" % (turn, number), case.put(b"", b"b" * 40).record)
                    for number in range(200)
                ]
            )
        case.checkpoint()
        case.check_pages()
        for tree in trees:
            live = case.model.live(tree)
            assert case.store.head.count(tree) == len(live) == 200 * (turn + 1)
            scan = case.store.head.scan(tree, None, None, True, None)
            assert scan.next_records(1 << 20) == case.model.scan(tree, None, None, True)


def test_one_huge_record_between_small_ones(tmp_path: Path) -> None:
    case = filled(tmp_path, 50)
    huge = random.Random(7).randbytes(16 * 1024 * 1024 + 500)
    case.commit([case.put(b"%08d" % 25, huge)])
    settle(case)
    used = case.pager.stats()["used_units"]
    case.commit([case.put(b"%08d" % 25, b"small again")])
    settle(case)
    assert case.pager.stats()["used_units"] < used - 4000


@pytest.mark.parametrize("page_size", [0, 256])
def test_the_longest_keys_and_cells(tmp_path: Path, page_size: int) -> None:
    case = StoreCase(tmp_path, page_size=page_size)
    case.define(DOCUMENTS, b"documents")
    case.define(INDEX, b"index")
    for number in range(120):
        key = b"k" * 1020 + b"%04d" % number
        case.commit([case.put(key, b"b" * (4096 - 28), (b"v" * 1020 + b"%04d" % (number % 7),))])
        if number % 40 == 0:
            case.checkpoint()
    settle(case)
    shape = case.check_file(INDEX)
    assert shape.pages > 10


def test_a_build_that_fails_leaves_the_generation_before_it(tmp_path: Path) -> None:
    case = filled(tmp_path, 300)
    case.commit([case.put(b"%08d" % number, b"w" * 60) for number in range(300)])
    broken = dict(case.definitions)
    data = bytearray(Path(case.path).read_bytes())
    case.pager.forget_cache()
    Path(case.path).write_bytes(bytes(len(data)))
    from rango.errors import PageCorrupted

    with pytest.raises(PageCorrupted):
        case.store.build(case.store.head, broken, 9, case.ordinal)
    Path(case.path).write_bytes(data)
    settle(case)
