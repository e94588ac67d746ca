"""The keys file: what damage, forgery, newer versions and failing disks lead to."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nacl.bindings import crypto_sign_seed_keypair

from rango._ext import layout
from rango._ext.seal import Entropy
from rango._ext.vfs import POSIX, VFS_CREATE, VFS_EXCLUSIVE, VFS_WRITE, PythonVfs
from rango.errors import (
    FormatTooNew,
    KeyRejected,
    KeysCorrupted,
)
from rango.storage.keyring import (
    INTERACTIVE,
    KDF_CEILING,
    Keyring,
    Passphrase,
    Secret,
    keys_exist,
)
from tests.reference import seal as twin
from tests.unit.keyring_cases import (
    KEY,
    KEYS_COPY_SIZE,
    OTHER,
    WORDS,
    content,
    create,
    damage,
    forge,
    reopen,
    same_keys,
)


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path)


class Counted:
    """The real file system behind a PythonVfs: notes every call, fails the one that it should."""

    def __init__(self, fail_at: int = 0, partial: bool = False) -> None:
        self.calls: list[str] = []
        self.fail_at = fail_at
        self.partial = partial

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name == "write":
            return self._write
        return lambda *arguments: self._call(name, *arguments)

    def _call(self, name: str, *arguments: Any) -> Any:
        self._count(name)
        return getattr(POSIX, name)(*arguments)

    def _write(self, fd: int, data: bytes, offset: int) -> int:
        try:
            self._count("write")
        except OSError:
            if self.partial:
                POSIX.write(fd, data[: len(data) // 2], offset)
            raise
        POSIX.write(fd, data, offset)
        return len(data)

    def _count(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) == self.fail_at:
            raise OSError(errno.EIO, "planted")


def test_the_file_is_private_whole_and_alone(place: str) -> None:
    create(place)
    assert os.listdir(place) == ["keys"]
    assert stat.S_IMODE(Path(place, "keys").stat().st_mode) == 0o600
    data = content(place)
    assert len(data) == layout.KEYS_FILE_SIZE
    assert data[:KEYS_COPY_SIZE] == data[KEYS_COPY_SIZE:]


@pytest.mark.parametrize(
    ("secret", "words"),
    [(KEY, {"raw": b"k" * 32}), (Passphrase("cafe\u0301"), {"passphrase": "caf\u00e9"})],
)
def test_the_file_and_the_keys_equal_the_twin(
    place: str, secret: Secret, words: dict[str, Any]
) -> None:
    keyring = create(place, secret)
    keys = twin.keys_open(bytes(content(place)[:KEYS_COPY_SIZE]), **words)
    assert keys is not None
    assert (keys.database_id, keys.generation, keys.epoch) == (keyring.database_id, 1, 1)
    assert crypto_sign_seed_keypair(keys.seed)[0] == keyring.verify_key == keys.verify_key
    salt = bytes(range(16))
    parent = keys.epoch_key(3)
    for key, expected in (
        (keyring.page_key(3), twin.derive(parent, b"rango pages")),
        (keyring.superblock_key(3), twin.derive(parent, b"rango superblock")),
        (
            keyring.segment_key(9, salt, 3),
            twin.derive(parent, b"rango segment", (9).to_bytes(8, "little") + salt),
        ),
    ):
        nonce, sealed = key.seal_bytes(b"aad", b"data")
        assert twin.unseal(expected, b"aad", nonce, sealed) == b"data"


@pytest.mark.parametrize("secret", [None, KEY], ids=["plain", "raw"])
@pytest.mark.parametrize("at", [0, 8, 20, 33, 41, 44, 45, 60, 81, 120, 200, 256, 300, 400, 4090])
@pytest.mark.parametrize("copy", [0, 1])
def test_one_damaged_copy_is_named_and_mended(
    place: str, secret: Secret | None, at: int, copy: int
) -> None:
    made = create(place, secret)
    damage(place, copy * KEYS_COPY_SIZE + at)
    found = reopen(place, secret)
    assert list(found.damaged_copies) == [copy]
    assert same_keys(made, found)
    found.repair()
    assert not found.damaged_copies
    again = reopen(place, secret)
    assert (again.damaged_copies, again.generation) == ((), 2)


def test_two_damaged_copies_are_corruption(place: str) -> None:
    create(place)
    damage(place, 100, KEYS_COPY_SIZE + 200)
    with pytest.raises(KeysCorrupted, match="both copies"):
        reopen(place)


@pytest.mark.parametrize("size", [0, 1, 100, KEYS_COPY_SIZE - 1])
def test_a_short_file_is_corruption(place: str, size: int) -> None:
    create(place)
    os.truncate(Path(place, "keys"), size)
    with pytest.raises(KeysCorrupted):
        reopen(place)


@pytest.mark.parametrize("size", [KEYS_COPY_SIZE, KEYS_COPY_SIZE + 1, 2 * KEYS_COPY_SIZE - 1])
def test_a_file_that_lost_its_second_copy_opens(place: str, size: int) -> None:
    create(place)
    os.truncate(Path(place, "keys"), size)
    assert reopen(place).damaged_copies == (1,)


@pytest.mark.parametrize("at", range(0, KEYS_COPY_SIZE, 97))
def test_what_somebody_without_the_key_changes_is_refused(place: str, at: int) -> None:
    create(place)
    old = content(place)[at]
    forge(place, at, bytes([old ^ 1]))
    if at >= layout.KEYS_CHECK:
        pytest.skip("the check itself was made to fit again")
    with pytest.raises((KeysCorrupted, KeyRejected, FormatTooNew)):
        reopen(place)


def test_a_slot_from_another_database_is_rejected(place: str, tmp_path: Path) -> None:
    create(place)
    other = tmp_path / "other"
    other.mkdir()
    create(str(other))
    slots = slice(layout.KEYS_SLOTS, layout.KEYS_SLOTS + layout.KEYS_SLOT_SIZE)
    forge(place, layout.KEYS_SLOTS, bytes(content(str(other))[slots]))
    with pytest.raises(KeyRejected):
        reopen(place)


def test_an_encrypted_database_cannot_be_declared_plain(place: str) -> None:
    create(place)
    forge(place, layout.KEYS_CIPHER, b"\0")
    with pytest.raises(KeyRejected, match="not encrypted"):
        reopen(place)
    with pytest.raises(KeysCorrupted):
        reopen(place, None)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (layout.KEYS_VERSION, b"\x02\0\0\0", "format 2"),
        (layout.KEYS_FEATURES, b"\0\0\0\x80", "0x80000000"),
        (layout.KEYS_CIPHER, b"\x07", "cipher 7"),
    ],
)
def test_a_newer_file_is_refused(place: str, at: int, value: bytes, message: str) -> None:
    create(place)
    forge(place, at, value)
    with pytest.raises(FormatTooNew, match=message):
        reopen(place)


def test_a_newer_file_with_another_check_is_refused_as_newer(place: str) -> None:
    create(place)
    damage(place, layout.KEYS_VERSION, KEYS_COPY_SIZE + layout.KEYS_VERSION)
    with pytest.raises(FormatTooNew, match="format 17"):
        reopen(place)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (layout.KEYS_SLOT_OPERATIONS, (1).to_bytes(4, "little")),
        (layout.KEYS_SLOT_MEMORY, (8192).to_bytes(8, "little")),
        (layout.KEYS_SLOT_OPERATIONS, (2**32 - 1).to_bytes(4, "little")),
        (layout.KEYS_SLOT_MEMORY, (2**40).to_bytes(8, "little")),
    ],
    ids=["few passes", "little memory", "many passes", "much memory"],
)
def test_changed_stretching_is_refused_before_it_is_done(place: str, at: int, value: bytes) -> None:
    Keyring.create(POSIX, place, WORDS, Entropy(), kdf=INTERACTIVE)
    forge(place, layout.KEYS_SLOTS + at, value)
    with pytest.raises(KeyRejected, match="Argon2id"):
        Keyring.open(POSIX, place, WORDS, Entropy())


def test_a_cheap_header_is_refused_without_the_tests_floor(place: str) -> None:
    create(place, WORDS)
    with pytest.raises(KeyRejected, match="Argon2id"):
        Keyring.open(POSIX, place, WORDS, Entropy())
    assert INTERACTIVE.is_within(INTERACTIVE, KDF_CEILING)


def test_existing_keys_are_never_overwritten(place: str) -> None:
    create(place)
    before = content(place)
    with pytest.raises(FileExistsError):
        create(place, OTHER)
    assert content(place) == before


def test_missing_keys_and_no_permission_are_the_systems_errors(place: str) -> None:
    assert not keys_exist(POSIX, place)
    with pytest.raises(FileNotFoundError):
        reopen(place)
    os.symlink("/etc/passwd", Path(place, "keys"))
    with pytest.raises(OSError) as caught:
        reopen(place)
    assert caught.value.errno == errno.ELOOP


def test_a_write_goes_through_a_flushed_temporary_file(place: str) -> None:
    counted = Counted()
    Keyring.create(PythonVfs(counted), place, KEY, Entropy())
    doing = ["open", "write", "flush", "close", "rename", "flush_directory"]
    assert [call for call in counted.calls if call != "exists"] == doing


@pytest.mark.parametrize("partial", [False, True])
def test_a_failed_creation_can_be_repeated(tmp_path: Path, partial: bool) -> None:
    for fail_at in range(1, 9):
        place = str(tmp_path / str(fail_at))
        os.mkdir(place)
        with pytest.raises(OSError, match=r"Input/output error|planted"):
            Keyring.create(PythonVfs(Counted(fail_at, partial)), place, KEY, Entropy())
        if not keys_exist(POSIX, place):
            create(place)
        assert os.listdir(place) == ["keys"]
        assert reopen(place).generation == 1


@pytest.mark.parametrize("partial", [False, True])
def test_a_failed_change_leaves_the_old_or_the_new_file(tmp_path: Path, partial: bool) -> None:
    first = tmp_path / "first"
    first.mkdir()
    create(str(first))
    generations = set()
    for fail_at in range(4, 14):
        place = str(tmp_path / str(fail_at))
        shutil.copytree(first, place)
        counted = Counted(partial=partial)
        keyring = Keyring.open(PythonVfs(counted), place, KEY, Entropy())
        counted.fail_at = fail_at
        try:
            keyring.advance_epoch()
        except OSError as error:
            assert error.errno == errno.EIO
        found = reopen(place)
        assert found.epoch == found.generation
        generations.add(found.generation)
        found.advance_epoch()
        assert sorted(os.listdir(place)) == ["keys"]
    assert generations == {1, 2}


def test_a_stale_temporary_file_is_replaced(place: str) -> None:
    fd = POSIX.open(f"{place}/keys.new", VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE)
    POSIX.write(fd, b"half a file", 0)
    POSIX.close(fd)
    assert not keys_exist(POSIX, place)
    create(place)
    assert os.listdir(place) == ["keys"]
