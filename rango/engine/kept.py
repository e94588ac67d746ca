"""Roots of the past: generations that are whole in the data file, besides the newest one.

Terms       root: see engine/past.py. Kept: listed on the page of kept roots of a superblock slot,
            as a copy of the slot that named it. Position: bytes of log before it, of what the log
            still has. Gap: the log between two neighbours, which a view of a commit in between
            replays.
Invariants  I-2: who finds a root under the checkpoint lock pins it before the lock is let go; a
            build that begins later leaves its pages alone. What either slot lists is left alone by
            every build (protect), so a root that one slot lost is whole as long as the other one
            may be the newest.
            I-5: the bitmap of a generation does not mark the pages of the roots that its slot
            lists; every root has a bitmap of its own, which marks its page of kept roots as well.
            I-6 and purge: before pages are cleared, and before history is given up, neither slot
            lists any (checkpoint.forget_roots). A data file that is built anew has none.
            A generation that somebody reads when its slot is written over becomes a root, and
            stays one until nobody does: so every process knows which units its readers need.
Policy      The gap made by giving a root up must be worth it: more than `root_gap` bytes of log,
            and more than half the distance to now behind it, so that they lie at geometric
            distances. The root before a named snapshot stays. All together, pages that nothing but
            roots uses are at most a half of those in use (or ROOT_UNITS_MIN).
Failure     A root that cannot be read is passed over: the log has everything.
Sources     architecture section 8 (History); ADR-0028, ADR-0035, ADR-0038.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from rango._ext.generation import generation_units, generation_units_only
from rango._ext.pins import lease, pinned_by_others, pinned_here
from rango.errors import Corrupted, IoFailed
from rango.storage.segment import io_named
from rango.storage.superblock import (
    DATA_FILE,
    Slot,
    roots_of,
    roots_pack,
    slot_newest,
    slots_read,
)

if TYPE_CHECKING:
    from rango._ext.pager import Pager
    from rango._ext.store import Store
    from rango._ext.view import Generation, View
    from rango.engine.core import Core
    from rango.engine.past import Hold
    from rango.storage.oplog import Oplog
    from rango.storage.segment import LogMark

R = TypeVar("R")

ROOT_GAP: Final = 8 * 1024 * 1024
"""Bytes of log that are replayed without a root: some 50,000 small commits, a third of a second."""

ROOT_UNITS_MIN: Final = 1_024
"""4 MiB: what the pages of roots may take in any case."""

ROOTS_MAX: Final = 64
"""At geometric distances 64 are enough for any log."""

LIST_SIZE_MAX: Final = 32 * 1024
"""Of their page: a root of a file of 100 GiB takes about 1 KiB there."""

NAMES_MAX: Final = 16
"""Of named snapshots, the newest so many have a root of their own."""


class Place(NamedTuple):
    """A root, and where it lies in the log."""

    position: int
    root: Slot


# --- finding


def nearest(core: Core, target: int, hold: Hold, without: Collection[int] = ()) -> Slot | None:
    """The newest root at or before an ordinal, its pages pinned by `hold`; None if there is none.

    `without`: generations that turned out to be damaged.

    Raises DatabaseBusy if a checkpoint takes very long, IoFailed.
    """
    if core.data_fd < 0:
        return None
    lock = core.checkpoint_lock
    if not core.append_lock.is_mine:
        with lock:
            return pinned(core, target, hold, without)
    # in a transaction: whoever writes a checkpoint waits for this thread, so it does not wait
    try:
        return pinned(core, target, hold, without) if lock.take(0) else None
    finally:
        lock.drop()


def pinned(core: Core, target: int, hold: Hold, without: Collection[int]) -> Slot | None:
    """The same under the checkpoint lock."""
    slots = slots_of(core)
    # of the older slot's list only what the newest one lists as well: a build that could not read
    # one may have taken its pages
    found = [*slots, *(root for slot in slots[-1:] for root in listed_by(core.store.pager, slot))]
    for root in sorted(found, key=lambda each: each.ordinal, reverse=True):
        if root.generation in without or root.ordinal > target:
            continue
        if pin(core, root, hold):
            return root
    return None


def slots_of(core: Core) -> list[Slot]:
    """What both slots say now, the older one first. Under the checkpoint lock."""
    path = os.path.join(core.path, DATA_FILE)
    with io_named(f"reading {path}"):
        newest, other = slot_newest(slots_read(core.vfs, core.data_fd, path, core.keyring))
    return [slot for slot in (other, newest) if slot is not None]


def listed_by(pager: Pager, slot: Slot | None) -> list[Slot]:
    """The roots that a slot lists; none if that cannot be read."""
    return [] if slot is None else tried(lambda: roots_of(pager, slot)) or []


def units_of(pager: Pager, root: Slot) -> Generation | None:
    """A generation known by its units; None if its bitmap cannot be read."""
    return tried(
        lambda: generation_units_only(
            pager, root.generation, list(root.bitmap_links), root.file_units
        )
    )


def tried(read: Callable[[], R]) -> R | None:
    """What is read; None if it cannot be. A read that failed is tried once more."""
    for _ in range(2):
        try:
            return read()
        except IoFailed:
            continue
        except Corrupted:
            break
    return None


def pin(core: Core, root: Slot, hold: Hold) -> bool:
    """Keep a root's pages from being given out, here and in other processes, while `hold` lives."""
    store = core.store
    generation = units_of(store.pager, root)
    if generation is None:
        return False
    store.builder.watch(generation)
    held = None if store.shared is None else lease(store.shared, root.generation)
    hold.pin = (hold.pin, generation, held)
    return True


# --- keeping


def is_any(core: Core) -> bool:
    """Whether a slot lists any. Under the checkpoint lock."""
    return any(slot.roots_link for slot in slots_of(core))


class Protected(NamedTuple):
    """The roots of the newest slot that are protected."""

    roots: list[Slot]
    is_whole: bool
    """Whether these are all that it lists. Of the others the build may take pages, so the next slot
    must not list them, though they could be read then."""
    pinned: tuple[Slot, ...] = ()
    """Those that somebody reads, of what either slot lists and what the older one names: protected,
    too."""


def protect(core: Core) -> Protected:
    """Before a build: its pages are those of no root that a slot lists, and of none that the older
    slot names if somebody reads it.

    Under the checkpoint lock.
    """
    slots = slots_of(core)
    pins = pins_of(core)
    read = [slot for slot in slots[:-1] if pins.has(slot.generation)]
    protected = protect_slots(core.store, *slots, read=read)
    remember(core, pins)
    if not slots:
        return Protected([], True)
    newest = slots[-1]
    found = tried(lambda: roots_of(core.store.pager, newest))
    roots = [root for root in found or [] if root.generation in protected]
    pinned = tuple(root for number, root in protected.items() if number in core.read_elsewhere)
    return Protected(roots, found is not None and len(roots) == len(found), pinned)


def remember(core: Core, pins: Pins) -> None:
    """Protect also what was protected before and is still read, though no slot lists it any more:
    so that giving up history and moving pages take nothing from a reader.
    """
    roots = {each.number: each for each in core.store.builder.roots}
    known = {**core.read_elsewhere, **roots}
    read = [each for number, each in sorted(known.items(), reverse=True) if pins.has(number)]
    core.read_elsewhere = {each.number: each for each in within_bound(core, read)}
    core.store.builder.roots = list({**core.read_elsewhere, **roots}.values())


def within_bound(core: Core, read: Iterable[Generation]) -> Iterator[Generation]:
    """Of what somebody reads, the newest first, as much as readers may hold: the pages that nothing
    else needs are at most twice as many as those in use, and 64 MiB.
    """
    used = used_by_newest(core)
    bound = core.store.builder.pinned_units_max + 2 * used.bit_count()
    held = used
    for generation in read:
        held |= units_in(generation)
        if (held & ~used).bit_count() > bound:
            return
        yield generation


def used_by_newest(core: Core) -> int:
    """The units of the newest slot's generation, as the bits of a number; 0 if they cannot be
    read.
    """
    newest = None if core.slot is None else units_of(core.store.pager, core.slot)
    return 0 if newest is None else units_in(newest)


def protect_slots(
    store: Store, *slots: Slot | None, read: Collection[Slot] = ()
) -> dict[int, Slot]:
    """The same, for these slots; what is protected, by generation."""
    listed = (root for slot in slots for root in listed_by(store.pager, slot))
    found = {root.generation: root for root in (*listed, *read)}
    units = {number: units_of(store.pager, root) for number, root in found.items()}
    store.builder.roots = [each for each in units.values() if each is not None]
    store.builder.roots_content = None
    return {number: root for number, root in found.items() if units[number] is not None}


class Pins(NamedTuple):
    """The generations that somebody reads."""

    numbers: set[int]
    since: int | None
    """Any from this one on may be one of them."""

    def has(self, number: int) -> bool:
        """Whether somebody reads it, or may."""
        return number in self.numbers or (self.since is not None and number >= self.since)


def pins_of(core: Core) -> Pins:
    """The generations that somebody reads, here or elsewhere, and others have to be told of.

    No pin of a generation comes once a newer one is named, but for roots, whose finder has the
    checkpoint lock. So what is found under that lock is all there will be of older ones.
    """
    shared = core.store.shared
    if shared is None or len(shared.users()) < 2:
        return Pins(set(), None)
    numbers, since = pinned_by_others(shared)
    return Pins(numbers | pinned_here(shared), since)


def choose(core: Core, protected: Protected, view: View, now: LogMark) -> None:
    """Decide which roots the next slot lists: of the last ones, and of the newest slot. Right
    before the build of `view`, which holds the log up to the mark `now`.
    """
    builder, log, listed = core.store.builder, core.log, protected.roots
    end = position_of(log, now.segment_id, now.offset)
    candidates = {root.ordinal: root for root in listed}
    if core.slot is not None and (listed or end > gap_of(core)):
        candidates.setdefault(core.slot.ordinal, core.slot)
    places = [
        Place(position_of(log, root.log_segment, root.log_offset), root)
        for _ordinal, root in sorted(candidates.items())
        if root.log_segment >= log.segments[0].id and root.ordinal < now.ordinal
    ]
    wanted: list[Slot] = []
    if not view.catalog.settings.get("is_purging"):
        places = thinned(places, end, gap_of(core), names_of(view) if places else [])
        # what cannot be listed costs space until it is let go, not more (Builder._keep_foreign)
        read = listable(protected.pinned)
        wanted = joined(*within_budget(core, places, end, read), *read)
    is_same = protected.is_whole and wanted == listed
    builder.roots_content = None if is_same else roots_pack(wanted)


def listable(pinned: Collection[Slot]) -> list[Slot]:
    """Of what somebody reads the newest, as far as the page of the list has room."""
    found: list[Slot] = []
    for root in sorted(pinned, key=lambda each: each.generation, reverse=True):
        if len(roots_pack([*found, root])) > LIST_SIZE_MAX:
            break
        found.append(root)
    return found


def joined(*roots: Slot) -> list[Slot]:
    """Each of them once, in their order."""
    found = {root.generation: root for root in roots}
    return sorted(found.values(), key=lambda each: each.generation)


def names_of(view: View) -> list[int]:
    """The commits of the newest named snapshots; none if they cannot be read, which is no reason
    to go without a checkpoint.
    """
    from rango.engine import named

    try:
        return [each["ordinal"] for each in named.listed(view)[-NAMES_MAX:]]
    except (Corrupted, IoFailed):
        return []


def gap_of(core: Core) -> int:
    """The least gap."""
    return core.options.root_gap or ROOT_GAP


def position_of(log: Oplog, segment_id: int, offset: int) -> int:
    """How many bytes of log there are before a place in it."""
    before = (each.predecessor_end for each in log.segments[1:] if each.id <= segment_id)
    return sum(before) + offset


def neighbours(places: list[Place], at: int, end: int) -> tuple[int, int]:
    """Where those beside a root lie: the log's beginning and its end count as such."""
    left = places[at - 1].position if at else 0
    right = places[at + 1].position if at + 1 < len(places) else end
    return left, right


def thinned(places: list[Place], end: int, gap: int, names: list[int]) -> list[Place]:
    """Those that are worth it, the oldest first."""
    ordinals = [place.root.ordinal for place in places]
    needed = {ordinals[at - 1] for name in names if (at := bisect_right(ordinals, name))}
    places = list(places)
    at = 0
    while at < len(places):
        left, right = neighbours(places, at, end)
        is_far = right - left > max(gap, (end - right) // 2)
        # right behind another one it saves nothing
        is_needed = places[at].root.ordinal in needed and places[at].position - left > gap // 8
        if is_far or is_needed:
            at += 1
        else:
            del places[at]
            # the one before has another neighbour now
            at = max(at - 1, 0)
    return places


def within_budget(core: Core, places: list[Place], end: int, read: list[Slot]) -> list[Slot]:
    """As many of them as may take space, beside those that somebody reads."""
    pager = core.store.pager
    found = [(place, units_of(pager, place.root)) for place in places]
    rest = [(place, units_in(units)) for place, units in found if units is not None]
    used = used_by_newest(core)
    budget = max(ROOT_UNITS_MIN, used.bit_count() // 2)
    while rest and (
        len(rest) > ROOTS_MAX
        or len(roots_pack(joined(*[place.root for place, _units in rest], *read))) > LIST_SIZE_MAX
        or extra_of(rest, used) > budget
    ):
        del rest[least_worth([place for place, _units in rest], end)]
    return [place.root for place, _units in rest]


def units_in(generation: Generation) -> int:
    """Its units, as the bits of a number."""
    return int.from_bytes(generation_units(generation), "little")


def extra_of(rest: list[tuple[Place, int]], used: int) -> int:
    """How many units nothing but roots uses."""
    units = 0
    for _place, own in rest:
        units |= own
    return (units & ~used).bit_count()


def least_worth(places: list[Place], end: int) -> int:
    """The one whose gap is the smallest for its distance."""

    def worth(at: int) -> float:
        left, right = neighbours(places, at, end)
        return (right - left) / max(end - places[at].position, 1)

    return min(range(len(places)), key=worth)
