"""Files and directories of a disk that can lose power: durable, pending, and what a crash leaves.

Terms       pending: done since the last flush, so a crash may keep, drop or tear it. Lost: pending
            when a flush failed; no later flush makes it durable (fsyncgate). Forced: flushed on top
            of something lost. Choice: what one crash keeps of each pending operation.
Invariants  a write changes only its own bytes; what a flush covered survives; names and content are
            independent; an atomic rename leaves the old name, the new one or both, never none.
Sources     architecture section 7 (media assumptions), reliability facts 2.1 (S2, S3, S6).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import NamedTuple

SECTOR = 512

OPEN, LOST, FORCED = 0, 1, 2

# What a crash does with one pending operation. The argument of a torn one says where or how.
DROP, WHOLE, PREFIX, SUFFIX, SECTORS, GARBAGE, ZEROS, BYTES, BOTH_NAMES = range(9)
TORN = (PREFIX, SUFFIX, SECTORS, GARBAGE, ZEROS, BYTES)

# What a crash does with the growth of a file.
SIZE_AS_WRITTEN, SIZE_KEPT_BACK, SIZE_ZEROS, SIZE_GARBAGE = range(4)

_GARBAGE = random.Random(0x52414E47).randbytes(1 << 17)


class Write(NamedTuple):
    """A pending write; or, with data None, a pending change of size to `offset`."""

    sequence: int
    offset: int
    data: bytes | None
    state: int


class Naming(NamedTuple):
    """A pending change of one directory: name -> number, or the removal of a name, or both.

    A removal may be the second half of a move from one directory to another: `arrival` is the first
    half, and where that is not durable and not kept, the old name stays.
    """

    sequence: int
    added: str | None
    number: int
    removed: str | None
    arrival: int = 0


class Choice(NamedTuple):
    """What one crash keeps: (mode, argument) by sequence of the operation, size mode by file."""

    modes: dict[int, tuple[int, int]]
    sizes: dict[int, int]
    order_seed: int

    def is_kept(self, sequence: int) -> bool:
        """Whether a pending operation survives, whole or not."""
        return self.modes.get(sequence, (DROP, 0))[0] != DROP

    def signature(self) -> tuple[object, ...]:
        """Equal for two choices that leave the same image of the same disk."""
        kept = tuple((k, m) for k, m in sorted(self.modes.items()) if m[0] != DROP)
        sizes = tuple((k, m) for k, m in sorted(self.sizes.items()) if m != SIZE_AS_WRITTEN)
        return kept, sizes, self.order_seed


class File:
    """One file: what programs see, what is durable, and the operations between the two."""

    __slots__ = ("allocated", "content", "durable", "locks", "number", "pending")

    def __init__(self, number: int, content: bytes = b"") -> None:
        self.number = number
        self.content: bytes | bytearray = content  # bytes: shared with other disks, copy first
        self.durable: bytes | bytearray = content
        self.pending: list[Write] = []
        self.allocated = len(content)
        self.locks: list[tuple[int, int, int, int]] = []

    def write(self, sequence: int, offset: int, data: bytes) -> None:
        if type(self.content) is bytes:
            self.content = bytearray(self.content)
        put(self.content, offset, data)  # type: ignore[arg-type]
        self.allocated = max(self.allocated, offset + len(data))
        self.pending.append(Write(sequence, offset, data, OPEN))

    def resize(self, sequence: int, size: int) -> None:
        if type(self.content) is bytes:
            self.content = bytearray(self.content)
        cut(self.content, size)  # type: ignore[arg-type]
        self.allocated = min(self.allocated, size)
        self.pending.append(Write(sequence, size, None, OPEN))

    def flush(self) -> None:
        if any(write.state != OPEN for write in self.pending):
            self.pending = [
                write._replace(state=FORCED) if write.state == OPEN else write
                for write in self.pending
            ]
            return
        if type(self.durable) is bytes:
            self.durable = bytearray(self.durable)
        for _, offset, data, _ in self.pending:
            if data is None:
                cut(self.durable, offset)  # type: ignore[arg-type]
            else:
                put(self.durable, offset, data)  # type: ignore[arg-type]
        self.pending = []

    def lose(self, evicted: bool) -> None:
        """A flush failed: what was pending counts as clean from now on, durable or not."""
        self.pending = [
            write._replace(state=LOST) if write.state == OPEN else write for write in self.pending
        ]
        if evicted:
            # What is read again is what the disk has: nothing of it, and that is settled.
            self.content = self.durable = bytes(self.forced())
            self.pending = []

    def frozen(self) -> bytes:
        """The durable content as bytes that other disks may share."""
        if type(self.durable) is not bytes:
            self.durable = bytes(self.durable)
        return self.durable

    def copy(self) -> File:
        if not self.pending:
            return File(self.number, self.frozen())
        result = File(self.number, self.frozen())
        result.content = bytes(self.content)
        result.pending = list(self.pending)
        result.allocated = self.allocated
        return result

    def forced(self) -> bytearray:
        """What survives any crash."""
        content = bytearray(self.durable)
        for _, offset, data, state in self.pending:
            if state == FORCED:
                cut(content, offset) if data is None else put(content, offset, data)
        return content


def put(content: bytearray, offset: int, data: bytes) -> None:
    """Writes data at offset; a gap before it reads as zeros."""
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def cut(content: bytearray, size: int) -> None:
    """Makes content exactly size bytes long."""
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def garbage(seed: int, size: int) -> bytes:
    start = (seed * 7919) % (len(_GARBAGE) - 4096)
    piece = _GARBAGE[start : start + size]
    while len(piece) < size:
        piece += _GARBAGE[: size - len(piece)]
    return piece


def put_torn(content: bytearray, offset: int, data: bytes, mode: int, argument: int) -> None:
    """Persists part of a write. Sector edges are those of the file; only the write's bytes change.

    A sector that holds the written bytes already stays as it is: I-17 rewrites a tail in place with
    the same bytes, and stands on the assumption that this cannot damage it.
    """
    size = len(data)
    edges = [0, *range(SECTOR - offset % SECTOR, size, SECTOR), size]
    count = len(edges) - 1
    if mode == BYTES:
        at = 1 + argument % max(1, size - 1)
        put(content, offset, data[:at])
        if argument & 1:  # the sector in which it stopped is neither old nor new
            end = min(size, at + SECTOR - (offset + at) % SECTOR)
            if content[offset + at : offset + end] != data[at:end]:
                put(content, offset + at, garbage(argument, end - at))
        return
    if mode in (PREFIX, SUFFIX):
        at = edges[1 + argument % max(1, count - 1)] if count > 1 else size // 2
        if mode == PREFIX:
            put(content, offset, data[:at])
        else:
            put(content, offset + at, data[at:])
        return
    kept = random.Random(argument).getrandbits(count) if count > 1 else 0
    for n in range(count):
        start, end = edges[n], edges[n + 1]
        if (kept >> n) & 1:
            put(content, offset + start, data[start:end])
        elif content[offset + start : offset + end] == data[start:end]:
            continue
        elif mode == GARBAGE:
            put(content, offset + start, garbage(argument + n, end - start))
        elif mode == ZEROS:
            put(content, offset + start, bytes(end - start))


def ordered(pending: list[Write], seed: int) -> Iterable[Write]:
    """The pending operations; a seed shuffles the writes between two changes of size."""
    if not seed:
        return pending
    rng = random.Random(seed)
    result: list[Write] = []
    run: list[Write] = []
    for write in pending:
        if write.data is None or write.state == FORCED:
            rng.shuffle(run)
            result += [*run, write]
            run = []
        else:
            run.append(write)
    rng.shuffle(run)
    return result + run


def file_image(file: File, choice: Choice) -> bytes:
    """The content that a crash leaves of a file."""
    if not file.pending:
        return file.frozen()
    content = bytearray(file.durable)
    modes = choice.modes
    for sequence, offset, data, state in ordered(file.pending, choice.order_seed):
        mode, argument = (WHOLE, 0) if state == FORCED else modes.get(sequence, (DROP, 0))
        if mode == DROP:
            continue
        if data is None:
            cut(content, offset)
        elif mode == WHOLE:
            put(content, offset, data)
        else:
            put_torn(content, offset, data, mode, argument)
    size_mode = choice.sizes.get(file.number, SIZE_AS_WRITTEN)
    if size_mode == SIZE_KEPT_BACK:
        kept = len(file.forced())
        del content[kept:]
    elif size_mode != SIZE_AS_WRITTEN:
        missing = len(file.content) - len(content)
        if missing > 0:
            filler = garbage(file.number + choice.order_seed, missing)
            content.extend(filler if size_mode == SIZE_GARBAGE else bytes(missing))
    return bytes(content)


class Directory:
    """One directory: the names that programs see, the durable ones, and the changes between."""

    __slots__ = ("durable", "entries", "number", "path", "pending")

    def __init__(self, number: int, path: str, entries: dict[str, int]) -> None:
        self.number = number
        self.path = path
        self.entries = entries
        self.durable = dict(entries)
        self.pending: list[Naming] = []

    def change(
        self,
        sequence: int,
        added: str | None,
        number: int,
        removed: str | None,
        arrival: int = 0,
    ) -> None:
        naming = Naming(sequence, added, number, removed, arrival)
        rename_entries(self.entries, naming, WHOLE)
        self.pending.append(naming)

    def copy(self) -> Directory:
        twin = Directory(self.number, self.path, dict(self.entries))
        twin.durable = dict(self.durable)
        twin.pending = list(self.pending)
        return twin

    def flush(self) -> None:
        for naming in self.pending:
            rename_entries(self.durable, naming, WHOLE)
        self.pending = []

    def image(self, choice: Choice, waiting: set[int]) -> dict[str, int]:
        """The names that a crash leaves; `waiting`: every pending change of any directory."""
        entries = dict(self.durable)
        for naming in self.pending:
            mode = choice.modes.get(naming.sequence, (DROP, 0))[0]
            is_lost = naming.arrival in waiting and not choice.is_kept(naming.arrival)
            if mode != DROP and not is_lost:
                rename_entries(entries, naming, mode)
        return entries


def rename_entries(entries: dict[str, int], naming: Naming, mode: int) -> None:
    added, number, removed = naming.added, naming.number, naming.removed
    if removed is not None and mode != BOTH_NAMES and entries.get(removed) == number:
        # A later file of the same name must not go with an earlier one's removal.
        del entries[removed]
    if added is not None:
        entries[added] = number
