"""A log whose first segment is sealed, and what packs it."""

from __future__ import annotations

import random

from rango._ext import layout
from rango._ext.vfs import PythonVfs
from rango.storage.pack import PackedSize, Retired, Signer, segment_pack
from rango.storage.segment import LogMark
from tests.unit.log_case import FOLDER, LogCase, StubKeyring

WORDS = ("memory", "agent", "plan", "note", "release", "budget", "meeting", "error")
SIGNER = Signer(b"v" * 32, lambda message: (message * 2)[:64])


def bodies_of(count: int, seed: int, size_max: int = 600) -> list[bytes]:
    """Bodies that compress as documents do, and some that do not compress at all."""
    chance = random.Random(seed)
    made = []
    for n in range(count):
        text = " ".join(chance.choices(WORDS, k=chance.randrange(0, max(1, size_max // 7))))
        body = f"{n}:{text}".encode()[:size_max]
        made.append(chance.randbytes(len(body)) if chance.random() < 0.1 else body)
    return made


def sealed(
    bodies: list[bytes],
    secret: bytes | None = None,
    *,
    flush_every: int = 3,
    closed_every: int = 0,
) -> LogCase:
    """A log with these commits in its first segment, and one in the second."""
    case = LogCase(StubKeyring(secret))
    appender = case.create()
    for n, body in enumerate(bodies):
        appender.append_bytes(body)
        if flush_every and n % flush_every == 0:
            appender.flush()
        if closed_every and n % closed_every == closed_every - 1:
            appender.append_closed()
            appender.close()
            appender = case.reopen()
    appender.flush()
    appender.roll_over()
    appender.append_bytes(b"in the next segment")
    appender.flush()
    appender.close()
    case.open()
    return case


def retired(case: LogCase, at: int = 0, asked: list[int] | None = None) -> Retired:
    """A segment of the log as the packer wants it."""
    header, successor = case.log.segments[at : at + 2]
    end = LogMark(
        successor.id, layout.SEGMENT_HEADER_SIZE, successor.first_ordinal - 1, successor.chain
    )
    return Retired(header, successor.predecessor_end, end, asked or [])


def packed(case: LogCase, at: int = 0, asked: list[int] | None = None) -> PackedSize | None:
    """Pack a segment of the log."""
    vfs = PythonVfs(case.disk)
    return segment_pack(vfs, FOLDER, case.keyring, retired(case, at, asked), SIGNER)


def original(case: LogCase) -> bytes:
    """The first segment up to where its frames and its purge table end."""
    limit = retired(case).limit
    data = bytes(case.data())
    if data[layout.SEGMENT_FEATURES] & layout.SEGMENT_PURGED:
        return data
    return data[:limit].ljust(limit, b"\0")


def shown(case: LogCase) -> bytes:
    """What a view of the first segment's file shows."""
    from rango.storage.segment import file_view, opened

    vfs, header = PythonVfs(case.disk), case.log.segments[0]
    with opened(vfs, f"{FOLDER}/{header.id:016d}.rgo") as fd:
        view = file_view(vfs, fd, case.keyring, header)
        assert view is not vfs
        return bytes(view.read(fd, view.size(fd), 0))
