"""Every order of short programs of two cores on one directory, stepped one call at a time.

Method      Each core has descriptors, a place in the table and an overlay of its own, as two
            processes have; one thread runs all steps, so an order of steps is the whole schedule.
            A model says what must be seen. A death leaves words and files as they are at a line
            that a test chooses, and another core goes on.
Invariants  I-2, I-16, I-17: every view is what was acknowledged, never older than the one before,
            whatever is done in between; the check finds nothing at the end.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from rango._ext import layout
from rango._ext.collection_info import IndexInfo
from rango._ext.record import decode, record_parts
from rango._ext.vfs import RANGE_LOCKS
from rango._ext.view import View
from rango.engine import attach, checkpoint, index, kept, purge
from rango.engine.core import Core
from rango.engine.query import Query
from rango.errors import RangoError
from tests.unit.engine_case import documents_of, insert, options_of

pytestmark = pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")

STEPS = (
    "commit",
    "memory",
    "slot",
    "checkpoint",
    "roll",
    "hold",
    "reopen",
    "purge",
    "index",
    "leave",
)
DEATHS = (
    "die",
    "die_owning",
    "die_writing",
    "die_rolling",
    "die_flushing",
    "die_building",
    "die_behind_slot",
    "die_indexing",
    "die_purging",
    "die_both",
)
APPENDED, APPENDING, FLUSHING, SEGMENT, POSITION, FLUSH_OWNER = 17, 23, 24, 28, 29, 56
"""Words of the lock file (docs/reference/format.md)."""


class Killed(Exception):
    """Stands for a SIGKILL in the line that raises it."""


def killed(*_arguments: object) -> None:
    raise Killed


class Pair:
    """Two cores, and what must be in the database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cores: list[Core] = []
        self.dead: list[Core] = []
        self.expected: set[int] = set()
        self.next = 0
        counter = itertools.count(1_000_000)
        self.ids = lambda: next(counter)
        self.held: list[tuple[View, Core, set[int]]] = []
        for _ in range(2):
            self.cores.append(self.opened())

    def opened(self) -> Core:
        core = Core(options_of(self.path, page_size=512, ids=self.ids))
        core.start()
        return core

    def step(self, who: int, name: str) -> None:
        """One step of one core."""
        getattr(self, name)(who)
        for core in self.cores:
            core.store.pager.forget_cache()
            assert set(documents_of(core, "a")) == self.expected

    def commit(self, who: int) -> None:
        insert(self.cores[who], "a", [{"_id": self.next, "n": self.next % 3, "pad": "x" * 200}])
        self.expected.add(self.next)
        self.next += 1

    def memory(self, who: int) -> None:
        core = self.cores[who]
        core.durability, core.store.visible_at_once = "memory", True
        self.commit(who)
        core.durability, core.store.visible_at_once = "commit", False

    def slot(self, who: int) -> None:
        self.commit(who)
        self.cores[who].checkpoint()

    def checkpoint(self, who: int) -> None:
        # three: the pages of what came before are free for use again
        for _ in range(3):
            self.slot(who)

    def roll(self, who: int) -> None:
        core = self.cores[who]
        try:
            core.append_lock_take()
            core.store.appender.roll_over()
        finally:
            core.append_lock.drop()

    def hold(self, who: int) -> None:
        core = self.cores[who]
        core.store.pager.forget_cache()
        self.held.append((core.view(), core, set(self.expected)))

    def reopen(self, who: int) -> None:
        self.let_go(who)
        self.cores[who].release()
        self.cores[who] = self.opened()

    def leave(self, who: int) -> None:
        """Both close, and the first one recovers alone."""
        for each in (who, 1 - who):
            self.let_go(each)
            self.cores[each].release()
        for each in (who, 1 - who):
            self.cores[each] = self.opened()

    def purge(self, who: int) -> None:
        self.let_go(0)
        self.let_go(1)
        gone = min(self.expected)
        purge.purge(self.cores[who], "a", Query({"_id": gone}))
        self.expected.discard(gone)

    def index(self, who: int) -> None:
        core = self.cores[who]
        if core.collections()["a"].ready:
            core.drop_index("a", "n_1")
        else:
            self._index(core)

    @staticmethod
    def _index(core: Core) -> None:
        core.create_index("a", IndexInfo("n_1", 0, (("n", 1),)))

    # --- deaths

    def die(self, who: int) -> None:
        """What SIGKILL does: descriptors and their locks go, words and files stay."""
        self.let_go(who)
        core = self.cores[who]
        # whoever is dead lets go of nothing, so nobody may collect it
        self.dead.append(core)
        core.is_closed = True
        core.store.appender.close()
        core.store.pager.close()
        core.vfs.close(core.lock._fd)
        core.lock._fd = -1
        self.cores[who] = self.opened()

    def die_owning(self, who: int) -> None:
        """With the append lock, between two lines."""
        self.cores[who].append_lock_take()
        self.die(who)

    def die_writing(self, who: int) -> None:
        """Behind the write of a frame, before anybody was told.

        A recovery takes the commit for one, and may: so it is one that changes nothing.
        """
        body = bytearray(3000)
        body[layout.COMMIT_VERSION] = 2
        self._die_untold(who, lambda core: core.store.appender.append_bytes(bytes(body)))

    def die_rolling(self, who: int) -> None:
        """Behind the name of a new segment, before its first frame."""
        self._die_untold(who, lambda core: core.store.appender.roll_over())

    def _die_untold(self, who: int, work: Callable[[Core], object]) -> None:
        core = self.cores[who]
        core.append_lock_take()
        before = {number: self.word(number) for number in (APPENDED, SEGMENT, POSITION)}
        work(core)
        for number, value in before.items():
            self.word(number, value)
        self.word(APPENDING, core.lock.shared.me)
        self.die(who)

    def die_flushing(self, who: int) -> None:
        """In a flush for everybody."""
        for number in (FLUSH_OWNER, FLUSHING):
            self.word(number, self.cores[who].lock.shared.me)
        self.die(who)

    def die_building(self, who: int) -> None:
        """In a checkpoint, behind its pages."""
        self._die_in(who, checkpoint, "write_slot", lambda core: core.checkpoint())

    def die_behind_slot(self, who: int) -> None:
        """In a checkpoint, behind its slot, before anybody was told."""
        self._die_in(who, checkpoint, "adopt", lambda core: core.checkpoint())

    def die_indexing(self, who: int) -> None:
        """In the building of an index."""
        if "n_1" not in {each.name for each in self.cores[who].collections()["a"].ready}:
            self._die_in(who, index, "fill", self._index_undropped)
        else:
            self.die(who)

    def _index_undropped(self, core: Core) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(index, "drop_unfinished", lambda *_: None)
            self._index(core)

    def die_purging(self, who: int) -> None:
        """In a purge, once everything but its facts is done."""
        self.let_go(0)
        self.let_go(1)
        self.expected.discard(gone := min(self.expected))
        query = Query({"_id": gone})
        self._die_in(who, purge, "complete", lambda core: purge.purge(core, "a", query))

    def die_both(self, who: int) -> None:
        """Nobody is left, and the next one recovers."""
        self.let_go(1 - who)
        self.dead.append(core := self.cores[1 - who])
        core.is_closed = True
        core.store.appender.close()
        core.store.pager.close()
        core.vfs.close(core.lock._fd)
        core.lock._fd = -1
        self.die(who)
        self.cores[1 - who] = self.opened()

    def _die_in(
        self, who: int, module: ModuleType, name: str, work: Callable[[Core], object]
    ) -> None:
        self.commit(who)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, name, killed)
            with pytest.raises(Killed):
                work(self.cores[who])
        self.die(who)

    def word(self, number: int, value: int | None = None) -> int:
        """A shared word; `value`: set it."""
        with open(self.path / "lock", "r+b", buffering=0) as file:
            if value is not None:
                os.pwrite(file.fileno(), struct.pack("=Q", value), 8 * number)
            return int(struct.unpack("=Q", os.pread(file.fileno(), 8, 8 * number))[0])

    def let_go(self, who: int) -> None:
        """Judge the views that a core holds: they say what they said."""
        core = self.cores[who]
        for view, owner, expected in self.held:
            if owner is core:
                core.store.pager.forget_cache()
                assert seen_in(view) == expected
        self.held = [each for each in self.held if each[1] is not core]

    def judge(self) -> None:
        """Both find nothing wrong, the older slot's pages included."""
        for core in self.cores:
            assert list(core.check()) == []

    def end(self) -> None:
        """Nothing was lost, nothing is wrong, and the files alone say the same."""
        for who in (0, 1):
            self.let_go(who)
        self.judge()
        for core in self.cores:
            core.release()
        alone = self.opened()
        assert set(documents_of(alone, "a")) == self.expected
        assert list(alone.check()) == []
        alone.release()


def seen_in(view: View) -> set[int]:
    """The `_id`s of a view, from its pages."""
    scan = view.scan(view.catalog.collections["a"].tree_id, None, None, False, None)
    return {decode(record_parts(record)[6])["_id"] for record in scan.next_records(1 << 20)}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory, where there is one: nothing here needs a flush to reach a disk."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
        yield Path(folder)


def programs(length: int) -> Iterator[tuple[tuple[int, str], ...]]:
    """Every program of the first core, and then of either; the two are alike."""
    names = STEPS + DEATHS
    steps = [(who, name) for who in (0, 1) for name in names]
    for first in names:
        for rest in itertools.product(steps, repeat=length - 1):
            yield ((0, first), *rest)


def run(path: Path, program: tuple[tuple[int, str], ...]) -> None:
    pair = Pair(path)
    try:
        for who in (0, 1, 0):
            pair.step(who, "commit")
        for who, name in program:
            pair.step(who, name)
        pair.judge()
        # and both go on afterwards
        for who, name in ((0, "commit"), (1, "checkpoint"), (0, "checkpoint")):
            pair.step(who, name)
        pair.end()
    except BaseException as error:
        error.add_note(f"program: {program}")
        raise
    finally:
        for core in pair.cores:
            if not core.is_closed:
                with contextlib.suppress(RangoError, AssertionError):  # after a failure
                    core.release()
        shutil.rmtree(path)


def test_every_order_of_short_programs_loses_nothing_and_shows_a_prefix(
    place: Path, seed: int, minutes: float, count_cases: Callable[[str, int], None]
) -> None:
    chosen = list(programs(3 if minutes else 2))
    if not minutes:
        # every pair, and as many threes as there is time for
        chosen += random.Random(seed).sample(list(programs(3)), 60)
    for program in chosen:
        run(place / "db", program)
    count_cases("orders of steps of two processes", len(chosen))


# --- planted bugs

FOLLOW, OPENED = attach.follow, Pair.opened


def without_moving(core: Core, number: int) -> None:
    """Another process's checkpoint is noticed and not gone on from."""
    core.store.known_generation = number


def without_fallback(core: Core) -> None:
    """The pages of the older slot are used again."""
    core.fallback = None


def without_segment(core: Core) -> None:
    """A new segment without a commit is not noticed before the next append."""
    if core.store.is_behind():
        FOLLOW(core)


def without_pins(pair: Pair) -> Core:
    """Pages that another process's view reads are used again."""
    core = OPENED(pair)
    core.store.builder.shared = None
    return core


def no_pins(_core: Core) -> kept.Pins:
    """Nobody reads anything."""
    return kept.Pins(set(), None)


def without_wiping(_appender: object) -> None:
    """What a dead writer left stays."""


PLANTED: dict[str, list[tuple[object, str, object]]] = {
    "lost generation": [(attach, "move_on", without_moving)],
    "segment not noticed": [(attach, "catch_up", without_segment)],
    # a pin that is not listed as a root keeps everything, so both have to go
    "page reused under a pin": [(Pair, "opened", without_pins), (kept, "pins_of", no_pins)],
    "dead tail not wiped": [(attach, "appender_mend", without_wiping)],
    "checkpoint on an old slot": [(checkpoint, "refresh", lambda _core: None)],
    "fallback not kept": [(checkpoint, "keep_fallback", without_fallback)],
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_bug_is_found(place: Path, planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for patch in PLANTED[planted]:
        monkeypatch.setattr(*patch)
    for program in programs(2):
        try:
            run(place / "db", program)
        except (RangoError, AssertionError):
            return
    pytest.fail(f"no order of two steps finds: {planted}")
