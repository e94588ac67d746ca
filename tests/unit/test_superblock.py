"""Superblock slots: what is written is read, and whatever is not whole does not count."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rango._ext import layout
from rango._ext.seal import Entropy
from rango._ext.vfs import POSIX, VFS_CREATE, VFS_WRITE, PythonVfs
from rango.errors import FormatTooNew, IoFailed
from rango.storage import superblock
from rango.storage.keyring import Keyring, RawKey
from rango.storage.superblock import (
    HEADER,
    Slot,
    slot_newest,
    slot_pack,
    slot_unpack,
    slot_write,
    slots_read,
)


@pytest.fixture(params=["plain", "sealed"])
def keyring(request: pytest.FixtureRequest, tmp_path: Path) -> Keyring:
    """A keyring of a new database."""
    folder = tmp_path / "keys"
    folder.mkdir()
    secret = RawKey(b"k" * 32) if request.param == "sealed" else None
    return Keyring.create(POSIX, str(folder), secret, Entropy())


def slot_of(generation: int, **changes: object) -> Slot:
    slot = Slot(
        generation=generation,
        ordinal=1 << 40,
        chain=bytes(range(32)),
        log_segment=3,
        log_offset=12345,
        file_units=4,
        catalog_link=b"l" * 16,
        catalog_height=2,
        clean=False,
        tree_next=77,
        hlc_ms=1 << 41,
        hlc_counter=9,
        bitmap_links=(b"a" * 16, b"b" * 16),
        seals=1 << 33,
        reach=0,
        epoch=1,
    )
    return slot._replace(**changes)  # type: ignore[arg-type]


def test_a_slot_comes_back_as_it_was(keyring: Keyring) -> None:
    for slot in (
        slot_of(1),
        slot_of(2, bitmap_links=(), clean=True),
        slot_of(3, bitmap_links=(b"x" * 16,) * layout.BITMAP_LINKS_MAX),
    ):
        data = slot_pack(slot, keyring)
        assert len(data) == layout.UNIT_SIZE
        assert slot_unpack(data, slot.generation % 2, "data", keyring) == slot


def test_any_flipped_bit_makes_it_invalid(keyring: Keyring) -> None:
    data = slot_pack(slot_of(1), keyring)
    for place in range(0, layout.UNIT_SIZE, 7):
        broken = bytearray(data)
        broken[place] ^= 1 << place % 8
        assert slot_unpack(bytes(broken), 1, "data", keyring) is None, place
    assert slot_unpack(data[:-1], 1, "data", keyring) is None
    assert slot_unpack(bytes(layout.UNIT_SIZE), 1, "data", keyring) is None


def test_a_slot_counts_only_in_its_place_and_its_database(keyring: Keyring, tmp_path: Path) -> None:
    data = slot_pack(slot_of(1), keyring)
    assert slot_unpack(data, 0, "data", keyring) is None
    (tmp_path / "other").mkdir()
    other = Keyring.create(POSIX, str(tmp_path / "other"), None, Entropy())
    assert slot_unpack(data, 1, "data", other) is None


@pytest.mark.parametrize(("version", "features"), [(2, 0), (1, 8)])
def test_a_newer_slot_says_so(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch, version: int, features: int
) -> None:
    class Newer:
        size = HEADER.size

        @staticmethod
        def pack(magic: bytes, _version: int, _features: int, *rest: object) -> bytes:
            return HEADER.pack(magic, version, features, *rest)

    monkeypatch.setattr(superblock, "HEADER", Newer)
    data = slot_pack(slot_of(1), keyring)
    monkeypatch.undo()
    with pytest.raises(FormatTooNew):
        slot_unpack(data, 1, "data", keyring)


def test_the_newest_valid_slot_counts_and_a_short_file_makes_it_invalid(
    keyring: Keyring, tmp_path: Path
) -> None:
    path = str(tmp_path / "data.rango")
    fd = POSIX.open(path, VFS_WRITE | VFS_CREATE)
    assert slots_read(POSIX, fd, path, keyring) == (None, None)
    slot_write(POSIX, fd, slot_of(1), keyring)
    assert slots_read(POSIX, fd, path, keyring) == (None, None)
    POSIX.truncate(fd, 4 * layout.UNIT_SIZE)
    assert slot_newest(slots_read(POSIX, fd, path, keyring)) == (slot_of(1), None)
    slot_write(POSIX, fd, slot_of(2, file_units=5), keyring)
    assert slot_newest(slots_read(POSIX, fd, path, keyring)) == (slot_of(1), None)
    POSIX.truncate(fd, 5 * layout.UNIT_SIZE)
    newest, other = slot_newest(slots_read(POSIX, fd, path, keyring))
    assert newest is not None and other is not None
    assert (newest.generation, other.generation) == (2, 1)
    slot_write(POSIX, fd, slot_of(3), keyring)
    assert slot_newest(slots_read(POSIX, fd, path, keyring))[0] == slot_of(3)
    POSIX.close(fd)


def test_slots_that_cannot_be_read_are_a_failing_disk(keyring: Keyring) -> None:
    class Failing:
        def size(self, _fd: int) -> int:
            return 8 * layout.UNIT_SIZE

        def read(self, _fd: int, _size: int, _offset: int) -> bytes:
            raise OSError(errno.EIO, "a bad sector")

    with pytest.raises(IoFailed, match="reading data"):
        slots_read(PythonVfs(Failing()), 3, "data.rango", keyring)
