"""Segment files: which there are, how they continue each other, and what is intact in them.

Terms       segment, frame, ordinal, lsn: see glossary. Void: a file whose header is not one.
Invariants  I-11: a valid header proves that its predecessor was durable up to `predecessor_end`.
Layout      <database>/oplog/<id as 16 decimal digits>.rgo, _ext/layout.pxd SEGMENT_*. Beside them
            may lie *.rgo.new (a creation cut short by a crash) and *.cut (a torn tail kept aside).
Failure     a void segment that another one names, or that holds frames; a missing or copied
            segment: LogCorrupted. A void segment that nothing refers to was never used: skipped.
Sources     storage-notes scenario 10.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from typing import Final, NamedTuple, Protocol

from rango._ext.layout import (
    FRAME_CLOSED,
    FRAME_PART,
    PACKED_FOOTER_SIZE,
    SEGMENT_BASE,
    SEGMENT_FEATURES,
    SEGMENT_HEADER_SIZE,
    SEGMENT_PACKED,
)
from rango._ext.seal import SealKey
from rango._ext.segment import SegmentHeader, segment_path
from rango._ext.segment_scan import Scanner, frame_header_any
from rango._ext.unpacked import UnpackedVfs
from rango._ext.vfs import VFS_READ, Vfs
from rango.errors import IoFailed, LogCorrupted, LowDisk, NotFound

CHAIN_START: Final = bytes(32)
"""H(0): the chain value before the first commit of a database."""

BASE_ORDINAL: Final = 1 << 63
"""Of the first frame of a base segment: no commit of the history ever has it."""

FOLLOW_TRIES: Final = 20
"""Readings of the names before a segment that is gone counts as missing: somebody removes them."""


class LogKeys(Protocol):
    """What of a keyring the log needs."""

    @property
    def database_id(self) -> bytes:
        """16 bytes."""

    @property
    def epoch(self) -> int:
        """The newest key epoch."""

    def segment_key(self, segment_id: int, salt: bytes, epoch: int) -> SealKey:
        """The key of one segment."""

    def packed_key(self, segment_id: int, salt: bytes, epoch: int) -> SealKey:
        """The key of the pieces of one segment that is packed."""

    def segment_mac(self, epoch: int, data: bytes) -> bytes:
        """16 bytes that authenticate a segment header."""


class LogMark(NamedTuple):
    """A place between two frames: where the next one starts, and what it must continue."""

    segment_id: int
    offset: int
    ordinal: int
    chain: bytes


class LogFinding(NamedTuple):
    """Something that is not as it should be: file and offset, and what was found."""

    where: str
    what: str
    is_torn_tail: bool = False


class SegmentFiles(NamedTuple):
    """The segments of a log, oldest first, and the ids of void files."""

    headers: list[SegmentHeader]
    void_ids: list[int]
    base: SegmentHeader | None = None
    """In front of them, if history was given up; not one of `headers`."""
    given_up: tuple[int, ...] = ()
    """Ids of files that the base has taken the place of and nobody has removed yet."""


def place_name(segment_id: int, offset: int) -> str:
    """How errors name a place in the log."""
    return f"oplog/{segment_id:016d}.rgo:{offset}"


@contextmanager
def io_named(doing: str) -> Iterator[None]:
    """Turn what the operating system refuses into the errors that callers know."""
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise LowDisk(f"no space while {doing}; free space and open again") from error
        raise IoFailed(f"{doing} failed: {error}; check the disk, then open again") from error


@contextmanager
def opened(vfs: Vfs, path: str, flags: int = VFS_READ) -> Iterator[int]:
    """A descriptor for the length of a block."""
    with io_named(f"opening {path}"):
        fd = vfs.open(path, flags)
    try:
        yield fd
    finally:
        vfs.close(fd)


def segment_id_in(name: str) -> int | None:
    """The number of the segment that a file with this name is; None: it is none."""
    digits = name.removesuffix(".rgo")
    is_name = len(digits) == 16 and len(name) == 20 and digits.isascii() and digits.isdigit()
    return int(digits) if is_name else None


def segment_ids(vfs: Vfs, directory: str) -> list[int]:
    """The ids that file names say, in order. `directory` is that of the segments."""
    with io_named(f"listing {directory}"):
        names = vfs.list_directory(directory)
    return sorted(each for name in names if (each := segment_id_in(name)) is not None)


def header_bytes(vfs: Vfs, directory: str, segment_id: int) -> bytes:
    """The first bytes of a segment file, fewer if it is shorter."""
    with opened(vfs, segment_path(directory, segment_id)) as fd, io_named("reading the oplog"):
        return vfs.read(fd, SEGMENT_HEADER_SIZE, 0)


def read_segments(vfs: Vfs, directory: str, keyring: LogKeys) -> SegmentFiles:
    """Read all headers and check that each segment continues the one before it."""
    for _ in range(FOLLOW_TRIES - 1):
        found, void_ids = stored_headers(vfs, directory, keyring)
        if not found or not found[-1].features & (SEGMENT_BASE | SEGMENT_PACKED):
            return arranged(found, void_ids)
        # they come after the segment behind them: the names were read before that
    return arranged(*stored_headers(vfs, directory, keyring))


def arranged(found: list[SegmentHeader], void_ids: list[int]) -> SegmentFiles:
    """The segments in order, each continuing the one before it. Raises LogCorrupted."""
    headers: list[SegmentHeader] = []
    base: SegmentHeader | None = None
    for header in found:
        if is_base(header):
            base = header
    first = 0 if base is None else base.id
    given_up = [each.id for each in found if each.id < first]
    given_up = sorted([*given_up, *(each for each in void_ids if each < first)])
    void_ids = [each for each in void_ids if each > first]
    for header in found:
        if header.id <= first:
            continue
        where = place_name(header.id, 0)
        before = headers[-1].id if headers else first
        if header.predecessor != before:
            raise LogCorrupted(
                where,
                f"it continues segment {header.predecessor}, which is missing or damaged"
                f" (found before it: {before or 'none'})",
            )
        headers.append(header)
    if not headers:
        raise LogCorrupted(
            place_name(void_ids[0] if void_ids else first + 1, 0),
            "there is no segment with a valid header",
        )
    if headers[-1].features & SEGMENT_PACKED:
        # nobody may append to it
        raise LogCorrupted(
            place_name(headers[-1].id, 0),
            "this segment is packed, so another one goes on from it, which is missing or damaged",
        )
    if base is not None and (base.first_ordinal, base.chain) != (
        headers[0].first_ordinal,
        headers[0].chain,
    ):
        raise LogCorrupted(
            place_name(headers[0].id, 0), "it does not continue the base segment before it"
        )
    return SegmentFiles(headers, void_ids, base, tuple(given_up))


def stored_headers(
    vfs: Vfs, directory: str, keyring: LogKeys
) -> tuple[list[SegmentHeader], list[int]]:
    """The headers of all segment files, oldest first, and the ids of those that have none."""
    tries = FOLLOW_TRIES
    while True:
        try:
            return headers_once(vfs, directory, keyring)
        except IoFailed as error:
            # somebody gives history up between our reading of the names and that of the file
            tries -= 1
            if tries == 0 or not is_gone(error):
                raise


def headers_once(
    vfs: Vfs, directory: str, keyring: LogKeys
) -> tuple[list[SegmentHeader], list[int]]:
    """The same, read once."""
    headers: list[SegmentHeader] = []
    void_ids: list[int] = []
    for segment_id in segment_ids(vfs, directory):
        header = SegmentHeader.unpack(header_bytes(vfs, directory, segment_id), keyring)
        if header is None:
            void_ids.append(segment_id)
            continue
        where = place_name(segment_id, 0)
        if header.id != segment_id:
            raise LogCorrupted(where, f"this file is segment {header.id}, copied or renamed")
        if header.database_id != keyring.database_id:
            raise LogCorrupted(where, "this segment belongs to another database")
        headers.append(header)
    return headers, void_ids


def is_gone(error: BaseException) -> bool:
    """Whether an error says that a file is not there any more."""
    return isinstance(error.__cause__, FileNotFoundError)


def is_base(header: SegmentHeader) -> bool:
    """Whether this segment holds a state and not commits of the history."""
    return bool(header.features & SEGMENT_BASE)


def header_with(
    header: SegmentHeader, features: int, segment_id: int | None = None
) -> SegmentHeader:
    """The same header with other feature bits, and with another id if one is given."""
    return SegmentHeader(
        header.id if segment_id is None else segment_id,
        header.predecessor,
        header.predecessor_end,
        header.first_ordinal,
        header.chain,
        header.salt,
        header.epoch,
        header.database_id,
        features,
    )


def first_mark(header: SegmentHeader) -> LogMark:
    """The mark before the first frame of a segment."""
    if is_base(header):
        return LogMark(header.id, SEGMENT_HEADER_SIZE, BASE_ORDINAL - 1, CHAIN_START)
    return LogMark(header.id, SEGMENT_HEADER_SIZE, header.first_ordinal - 1, header.chain)


def is_packed(vfs: Vfs, fd: int) -> bool:
    """Whether the header of this file says that it is packed."""
    features = vfs.read(fd, 4, SEGMENT_FEATURES)
    return bool(int.from_bytes(features, "little") & SEGMENT_PACKED)


def file_view(vfs: Vfs, fd: int, keyring: LogKeys, header: SegmentHeader) -> Vfs:
    """What reads this file as it was before it was packed, if it was: `vfs`, or a view through it.

    The file says which: `header` may be from before somebody packed it under the same name.
    """
    if isinstance(vfs, UnpackedVfs):
        return vfs
    with io_named("reading the oplog"):
        if not is_packed(vfs, fd):
            return vfs
        # imported here: few logs are packed
        from rango.storage.packed import packed_keys, view_of

        view = view_of(vfs, fd, packed_keys(keyring, header))
    if view is None:
        raise LogCorrupted(place_name(header.id, 0), "the end of this packed segment is damaged")
    return view


def scanner_for(
    vfs: Vfs,
    fd: int,
    keyring: LogKeys,
    header: SegmentHeader,
    mark: LogMark | None = None,
    limit: int | None = None,
    *,
    is_point: bool = False,
    stop: int | None = None,
) -> Scanner:
    """A walk of one segment from `mark`, or from its first frame, packed or not."""
    if mark is None:
        mark = first_mark(header)
    return Scanner(
        file_view(vfs, fd, keyring, header),
        fd,
        keyring.segment_key(header.id, header.salt, header.epoch),
        keyring.database_id,
        header.id,
        mark.offset,
        mark.ordinal,
        mark.chain,
        limit,
        is_point=is_point,
        stop=stop,
    )


def holds_frames(vfs: Vfs, fd: int, ordinal_min: int) -> int | None:
    """Where a file without a header has something that an honest crash does not leave in one: a
    frame of this ordinal or a later one, or the end of a packed segment. None: nothing.
    """
    from rango.storage.packed import footer_read

    with io_named("reading the oplog"):
        if footer_read(vfs, fd) is not None:
            return vfs.size(fd) - PACKED_FOOTER_SIZE
    return frame_header_any(vfs, fd, ordinal_min)


def frames_for(vfs: Vfs, fd: int, keyring: LogKeys, header: SegmentHeader) -> Scanner | UnpackedVfs:
    """What finds and opens single frames of a segment, packed or not."""
    view = file_view(vfs, fd, keyring, header)
    if isinstance(view, UnpackedVfs):
        return view
    return scanner_for(view, fd, keyring, header, is_point=True)


def salvage(
    vfs: Vfs, directory: str, keyring: LogKeys, lost: list[LogFinding]
) -> Iterator[tuple[int, int, bytes]]:
    """Every intact commit as (lsn, ordinal, body), whatever lies before or behind it.

    Order is that of the files. What is missing between the commits is appended to `lost`. Works
    where opening the log fails; a commit is intact if the tags of all its frames are. `directory`
    is that of the database. Commits of a base segment have ordinals from BASE_ORDINAL on.
    """
    from rango.storage.packed import packed_keys, view_tolerant

    folder = os.path.join(directory, "oplog")
    expected = 1
    ids = segment_ids(vfs, folder)
    unproven = {
        each: SegmentHeader.unpack_unproven(header_bytes(vfs, folder, each)) for each in ids
    }
    bases = [each for each, header in unproven.items() if header and is_base(header)]
    for segment_id in ids:
        if segment_id < max(bases, default=0):
            continue
        data = header_bytes(vfs, folder, segment_id)
        header = unproven[segment_id]
        if header is None:
            lost.append(LogFinding(place_name(segment_id, 0), "no segment header: nothing opens"))
            continue
        if keyring.segment_mac(header.epoch, data[:-16]) != data[-16:]:
            lost.append(LogFinding(place_name(segment_id, 0), "the segment header is damaged"))
            # the name may be the only place where the id is right
            header = header_with(header, header.features & SEGMENT_BASE, segment_id)
        with opened(vfs, segment_path(folder, segment_id)) as fd:
            with io_named("reading the oplog"):
                view = view_tolerant(vfs, fd, packed_keys(keyring, header))
            scanner = scanner_for(view or vfs, fd, keyring, header)
            if is_base(header):
                expected = BASE_ORDINAL
            expected = yield from salvage_segment(scanner, segment_id, expected, lost)
            for offset, what in view.damaged if view else ():
                lost.append(LogFinding(place_name(segment_id, offset), what))
            if is_base(header):
                if scanner.offset < header.predecessor_end:
                    where = place_name(segment_id, scanner.offset)
                    lost.append(LogFinding(where, "the base segment ends before it should"))
                expected = header.first_ordinal


def salvage_segment(
    scanner: Scanner, segment_id: int, expected: int, lost: list[LogFinding]
) -> Generator[tuple[int, int, bytes], None, int]:
    """The intact commits of one segment. Returns the ordinal that should follow."""
    parts: list[bytes] = []
    first_offset = 0
    while (frame := scanner.genuine_next()) is not None:
        offset, kind, ordinal, first_ordinal, _durable, body, _end = frame
        if ordinal != expected:
            lost.append(
                LogFinding(
                    place_name(segment_id, offset),
                    f"ordinal {ordinal} follows, {expected} was expected",
                )
            )
            parts.clear()
        expected = ordinal + 1
        if kind == FRAME_CLOSED:
            continue
        if first_ordinal == ordinal:
            parts.clear()
            first_offset = offset
        parts.append(body)
        if kind == FRAME_PART:
            continue
        if len(parts) == ordinal - first_ordinal + 1:
            yield segment_id << 32 | first_offset, ordinal, b"".join(parts)
        else:
            lost.append(
                LogFinding(
                    place_name(segment_id, offset),
                    f"commit {ordinal} lacks parts before this frame",
                )
            )
        parts.clear()
    return expected


def found_offset(scanner: Scanner | UnpackedVfs, ordinal: int) -> int:
    """Where the frame with this ordinal starts."""
    offset = scanner.find(ordinal)
    if offset is None:
        raise NotFound(f"there is no commit with ordinal {ordinal} in the oplog")
    return offset


def frame_opened(
    scanner: Scanner | UnpackedVfs, offset: int, ordinal: int
) -> tuple[int, int, int, int, bytes, int]:
    """The genuine frame here, which has this ordinal."""
    frame = scanner.frame_at(offset)
    if frame is None or frame[1] != ordinal:
        raise LogCorrupted(
            place_name(scanner.segment_id, offset), f"the frame with ordinal {ordinal} is damaged"
        )
    return frame
