"""Which crashes to try at one point: what is kept, dropped or torn of everything that is pending.

Terms       choice, pending: see disk.py. Newest: the operation during which the power goes.
Invariants  the first two choices are "nothing kept" and "all kept"; every subset is tried where
            there are few; all randomness comes from the generator that the caller seeds.
Sources     reliability facts 2.1 (S1-S3).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.crash.disk import Disk
from tests.crash.model import (
    BOTH_NAMES,
    BYTES,
    PREFIX,
    SECTORS,
    SIZE_AS_WRITTEN,
    SIZE_GARBAGE,
    SIZE_KEPT_BACK,
    SIZE_ZEROS,
    SUFFIX,
    TORN,
    WHOLE,
    Choice,
    Directory,
    File,
    Naming,
    Write,
)

Item = tuple[File | Directory, Write | Naming]
Modes = dict[int, tuple[int, int]]

_KEPT = (WHOLE, 0)


def torn_mode(item: Item, rng: random.Random) -> tuple[int, int]:
    """A way in which one operation is half done."""
    operation = item[1]
    if isinstance(operation, Naming):
        both = operation.added is not None and operation.removed is not None
        return (BOTH_NAMES if both else WHOLE, 0)
    if operation.data is None:
        return _KEPT
    return rng.choice(TORN), rng.getrandbits(16)


def random_modes(items: list[Item], rng: random.Random, kept: float) -> Modes:
    """Each operation kept with this probability, torn now and then."""
    modes: Modes = {}
    for item in items:
        draw = rng.random()
        if draw < kept:
            torn = rng.random() < 0.25
            modes[item[1].sequence] = torn_mode(item, rng) if torn else _KEPT
    return modes


def random_choice(items: list[Item], rng: random.Random) -> Choice:
    """Any subset in any order, any of it torn, sizes as they come."""
    modes = random_modes(items, rng, rng.choice((0.15, 0.5, 0.85)))
    sizes: dict[int, int] = {}
    for owner, _ in items:
        if isinstance(owner, File) and len(owner.content) > len(owner.durable):
            sizes[owner.number] = rng.choice(
                (SIZE_AS_WRITTEN, SIZE_AS_WRITTEN, SIZE_KEPT_BACK, SIZE_ZEROS, SIZE_GARBAGE)
            )
    return Choice(modes, sizes, rng.getrandbits(16) if rng.random() < 0.15 else 0)


def newest_torn(items: list[Item], rng: random.Random) -> Iterator[Choice]:
    """The newest operation torn in each way, with everything before it kept, and with nothing."""
    owner, operation = items[-1]
    before: Modes = {item[1].sequence: _KEPT for item in items[:-1]}
    sequence = operation.sequence
    if isinstance(operation, Naming):
        mode = torn_mode((owner, operation), rng)
        yield Choice({**before, sequence: mode}, {}, 0)
        return
    if operation.data is None:
        return
    arguments = [(PREFIX, rng.getrandbits(16)), (SUFFIX, rng.getrandbits(16))]
    arguments += [(SECTORS, rng.getrandbits(16)), (BYTES, rng.getrandbits(16))]
    arguments += [(mode, rng.getrandbits(16)) for mode in TORN[3:5]]
    rng.shuffle(arguments)
    for mode in arguments:
        yield Choice({**before, sequence: mode}, {}, 0)
        yield Choice({sequence: mode}, {}, 0)


def single_changes(items: list[Item]) -> Iterator[Choice]:
    """Each operation alone, all but each, and each prefix of the history."""
    everything: Modes = {item[1].sequence: _KEPT for item in items}
    for index, (_, operation) in enumerate(items):
        sequence = operation.sequence
        yield Choice({sequence: _KEPT}, {}, 0)
        yield Choice({k: m for k, m in everything.items() if k != sequence}, {}, 0)
        yield Choice({item[1].sequence: _KEPT for item in items[:index]}, {}, 0)


def size_changes(items: list[Item]) -> Iterator[Choice]:
    """Growth without data, and data without growth."""
    everything: Modes = {item[1].sequence: _KEPT for item in items}
    growing = {
        owner.number
        for owner, _ in items
        if isinstance(owner, File) and len(owner.content) > len(owner.durable)
    }
    # A name that was never flushed takes the file with it: keep the names.
    names: Modes = {s: m for s, m in everything.items() if s in _naming_sequences(items)}
    for number in sorted(growing):
        yield Choice(everything, {number: SIZE_KEPT_BACK}, 0)
        yield Choice(names, {number: SIZE_ZEROS}, 0)
        yield Choice(names, {number: SIZE_GARBAGE}, 0)


def _naming_sequences(items: list[Item]) -> set[int]:
    return {operation.sequence for _, operation in items if isinstance(operation, Naming)}


def every_subset(items: list[Item]) -> Iterator[Choice]:
    for bits in range(1 << len(items)):
        yield Choice(
            {item[1].sequence: _KEPT for n, item in enumerate(items) if (bits >> n) & 1}, {}, 0
        )


def choices(disk: Disk, rng: random.Random, limit: int) -> Iterator[Choice]:
    """At most `limit` crashes of this disk, the most telling first."""
    yield Choice({}, {}, 0)
    items = disk.pending()
    if not items or limit < 2:
        return
    yield Choice({item[1].sequence: _KEPT for item in items}, {}, 0)
    left = limit - 2
    if left <= 0:
        return
    structured: list[Choice] = []
    if 1 << len(items) <= limit // 2:
        structured += every_subset(items)
    elif len(items) <= 64:
        structured += single_changes(items)
    structured += size_changes(items)
    rng.shuffle(structured)
    torn = list(newest_torn(items, rng))
    # A third each for the torn newest, the structured ones and the random ones.
    third = max(1, left // 3)
    first = structured if 1 << len(items) <= limit // 2 else structured[:third]
    for choice in torn[:third]:
        yield choice
    for choice in first:
        yield choice
    for _ in range(max(0, left - min(third, len(torn)) - len(first))):
        yield random_choice(items, rng)
