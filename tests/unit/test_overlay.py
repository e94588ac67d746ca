"""The overlay against its twin: contents, snapshots, cursors, threads, leaks, and no memory."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rango._ext.bloom import Bloom
from rango._ext.overlay import Overlay
from rango._ext.overlay_node import (
    overlay_allocations_fail_after,
    overlay_cells_live,
    overlay_nodes_live,
)
from tests.reference.overlay import SortedOverlay

TREES = (b"\0\0\0\1", b"\0\0\0\2", b"\0\0\1\0")
# short alphabets make long common beginnings, equal heads and keys that begin other keys
TAILS = st.one_of(
    st.text("ab\0", max_size=14).map(str.encode),
    st.text("a", min_size=20, max_size=45).map(str.encode),
    st.integers(0, 3000).map(lambda n: b"agent-%05d" % n),
    st.binary(max_size=12),
)
KEYS = st.builds(bytes.__add__, st.sampled_from(TREES), TAILS)


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """Every test gives back every node and cell that it made."""
    gc.collect()
    before = overlay_nodes_live(), overlay_cells_live()
    yield
    gc.collect()
    assert (overlay_nodes_live(), overlay_cells_live()) == before


def filled(count: int, seed: int = 1) -> tuple[Overlay, SortedOverlay, list[bytes]]:
    """An overlay and its twin with the same `count` keys of the usual shapes, and these keys."""
    chance = random.Random(seed)
    overlay, twin = Overlay(), SortedOverlay()
    keys = []
    for i in range(count):
        agent = b"agent-%05d\0" % chance.randrange(max(1, count // 50))
        identity = b"%08x" % (0x65000000 + i // 10) + chance.randbytes(4)
        key = TREES[0] + identity if i % 2 else TREES[1] + agent + identity
        keys.append(key)
        overlay.put(key, b"%d" % i, i % 7 == 0)
        twin.put(key, b"%d" % i, i % 7 == 0)
    return overlay, twin, keys


class AgainstTwin(RuleBasedStateMachine):
    """Any puts, with snapshots kept and written to themselves, equal the same on sorted lists."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs = [(Overlay(), SortedOverlay())]

    def pair(self, which: int) -> tuple[Overlay, SortedOverlay]:
        return self.pairs[which % len(self.pairs)]

    @rule(which=st.integers(0, 31), key=KEYS, value=st.binary(max_size=9), dead=st.booleans())
    def put(self, which: int, key: bytes, value: bytes, dead: bool) -> None:
        for side in self.pair(which):
            side.put(key, value, dead)

    @rule(which=st.integers(0, 31), seed=st.integers(0, 99), tail=TAILS, way=st.sampled_from("+-?"))
    def put_run(self, which: int, seed: int, tail: bytes, way: str) -> None:
        order = list(range(150))
        if way == "?":
            random.Random(seed).shuffle(order)
        for number in reversed(order) if way == "-" else order:
            for side in self.pair(which):
                side.put(TREES[seed % 3] + tail + b"%03d" % number, b"%d" % seed, False)

    @rule(which=st.integers(0, 31))
    def snapshot(self, which: int) -> None:
        overlay, twin = self.pair(which)
        self.pairs.append((overlay.snapshot(), twin.snapshot()))

    @rule(which=st.integers(0, 31))
    def borrower(self, which: int) -> None:
        overlay, twin = self.pair(which)
        self.pairs.append((overlay.borrower(), twin.snapshot()))

    @rule(which=st.integers(0, 31))
    def repay(self, which: int) -> None:
        self.pair(which)[0].repay()

    @rule(which=st.integers(0, 31), keys=st.lists(KEYS, max_size=6), is_kept=st.booleans())
    def commit(self, which: int, keys: list[bytes], is_kept: bool) -> None:
        overlay, twin = self.pair(which)
        after, twin_after = overlay.borrower(), twin.snapshot()
        for number, key in enumerate(keys):
            after.put(key, b"%d" % number)
            twin_after.put(key, b"%d" % number)
        if is_kept:
            self.pairs.append((overlay, twin))
        self.pairs[which % len(self.pairs)] = (after, twin_after)
        del overlay
        after.repay()

    @rule(which=st.integers(0, 31))
    def drop(self, which: int) -> None:
        if len(self.pairs) > 1:
            del self.pairs[which % len(self.pairs)]

    @rule(which=st.integers(0, 31), key=KEYS, reverse=st.booleans())
    def seek(self, which: int, key: bytes, reverse: bool) -> None:
        overlay, twin = self.pair(which)
        assert overlay.get(key) == twin.get(key)
        assert overlay.items(reverse, key, 40) == twin.items(reverse, key, 40)

    @invariant()
    def all_equal(self) -> None:
        for overlay, twin in self.pairs:
            assert overlay.check()
            assert len(overlay) == len(twin)
            assert overlay.size() == twin.size()
            assert overlay.items() == twin.items()

    def teardown(self) -> None:
        for overlay, twin in self.pairs:
            assert overlay.items(reverse=True) == twin.items(reverse=True)
        self.pairs.clear()


TestAgainstTwin = AgainstTwin.TestCase
TestAgainstTwin.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_empty() -> None:
    overlay = Overlay()
    assert (len(overlay), overlay.size(), overlay.depth()) == (0, 0, 0)
    assert overlay.get(b"x") is None
    assert overlay.items() == overlay.items(reverse=True) == overlay.items(start=b"x") == []
    assert overlay.check()


def test_many_keys_and_every_bound() -> None:
    overlay, twin, keys = filled(6000)
    assert overlay.check()
    assert overlay.depth() >= 3
    assert overlay.items() == twin.items()
    assert overlay.items(reverse=True) == twin.items(reverse=True)
    chance = random.Random(2)
    for key in chance.sample(keys, 400):
        near = key[: chance.randrange(len(key) + 1)] + chance.choice([b"", b"\0", b"\xff"])
        for probe in (key, near):
            assert overlay.get(probe) == twin.get(probe)
            for reverse in (False, True):
                assert overlay.items(reverse, probe, 3) == twin.items(reverse, probe, 3)


def test_ascending_keys_fill_their_leaves() -> None:
    before = overlay_nodes_live()
    overlay = Overlay()
    for number in range(32 * 32):
        overlay.put(b"%08d" % number, b"")
    # 32 full leaves and a branch over them
    assert overlay_nodes_live() - before == 33
    assert overlay.check()


def test_snapshot_shares_what_did_not_change() -> None:
    overlay, _, keys = filled(4000)
    before = overlay_nodes_live()
    kept = overlay.snapshot()
    overlay.put(keys[5], b"new")
    assert overlay_nodes_live() - before == overlay.depth()
    overlay.put(keys[5], b"newer")
    assert overlay_nodes_live() - before == overlay.depth()
    assert kept.get(keys[5]) == (b"5", False)
    assert overlay.get(keys[5]) == (b"newer", False)


def test_only_reference_is_changed_in_place_whatever_its_owner() -> None:
    overlay, _, keys = filled(4000)
    overlay.snapshot()
    before = overlay_nodes_live()
    overlay.put(keys[5], b"new")
    assert overlay_nodes_live() == before


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_borrower_keeps_what_it_needs_and_nothing_else(is_kept: bool) -> None:
    overlay, twin, keys = filled(4000)
    chance = random.Random(3)
    for number in range(300):
        before = overlay_nodes_live()
        kept = overlay if is_kept else None
        depth = overlay.depth()
        after = overlay.borrower()
        for key in chance.sample(keys, 3):
            after.put(key, b"new %d" % number)
            after.put(key, b"newer %d" % number)
            twin.put(key, b"newer %d" % number)
        assert depth < overlay_nodes_live() - before <= 3 * depth
        overlay = after
        del after
        overlay.repay()
        if not is_kept:
            assert overlay_nodes_live() == before
        del kept
        assert overlay.check()
    assert overlay.items() == twin.items()


def test_a_borrower_that_is_dropped_leaves_all_as_it_was() -> None:
    overlay, twin, keys = filled(2000)
    nodes, cells = overlay_nodes_live(), overlay_cells_live()
    for count in (1, 2, 40, 900):
        other = overlay.borrower()
        for number in range(count):
            other.put(keys[number], b"other")
            other.put(b"%d" % number, b"more")
        del other
        assert (overlay_nodes_live(), overlay_cells_live()) == (nodes, cells)
    assert overlay.items() == twin.items()


@given(st.integers(0, 40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_memory_leaves_all_as_it_was(after: int, is_shared: bool) -> None:
    overlay, twin, _ = filled(1100)
    kept = overlay.snapshot() if is_shared else None
    chance = random.Random(after)
    failures = 0
    overlay_allocations_fail_after(after)
    try:
        for number in range(80):
            key = TREES[2] + b"%03d" % chance.randrange(50)
            try:
                overlay.put(key, b"%d" % number)
                twin.put(key, b"%d" % number)
            except MemoryError:
                failures += 1
                assert overlay.check()
                overlay_allocations_fail_after(chance.randrange(6))
    finally:
        overlay_allocations_fail_after(-1)
    assert failures
    assert overlay.items() == twin.items()
    overlay.put(b"after", b"all")
    assert overlay.get(b"after") == (b"all", False)
    assert kept is None or len(kept) == 1100


def test_readers_without_the_gil_while_one_writes() -> None:
    overlay, _, keys = filled(3000)
    shared: list[Overlay] = [overlay.snapshot()]
    is_over = threading.Event()
    wrong: list[str] = []

    def read() -> None:
        rounds = 0
        while not is_over.is_set() or rounds == 0:
            kept = shared[0]
            first = kept.retained_twice()
            if not kept.check() or kept.retained_twice() != first:
                wrong.append("a snapshot changed")
            rounds += 1

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    chance = random.Random(4)
    for number in range(4000):
        overlay.put(chance.choice(keys), b"x" * (number % 17))
        if number % 10 == 0:
            shared[0] = overlay.snapshot()
    is_over.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert overlay.check()
    shared.clear()


def test_bloom_never_denies_and_rarely_guesses() -> None:
    overlay, _, keys = filled(5000)
    bloom = overlay.bloom()
    assert (bloom.capacity, bloom.added) == (5000, 5000)
    assert all(bloom.may_contain_key(key) for key in keys)
    guesses = sum(bloom.may_contain_key(b"%d" % number) for number in range(20000))
    # 1 % in theory for 10 bits a key, a little more because all bits share a line
    assert guesses < 20000 * 0.02
    bloom.clear_all()
    assert not any(bloom.may_contain_key(key) for key in keys)


@given(st.lists(st.binary(max_size=40), max_size=200), st.integers(0, 50))
@settings(max_examples=50, deadline=None)
def test_bloom_has_no_false_negative_even_when_full(keys: list[bytes], capacity: int) -> None:
    bloom = Bloom(capacity)
    for key in keys:
        bloom.add_key(key)
    assert all(bloom.may_contain_key(key) for key in keys)


def test_bloom_refuses_absurd_sizes() -> None:
    with pytest.raises(MemoryError):
        Bloom(2**50)
