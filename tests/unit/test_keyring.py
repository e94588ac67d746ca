"""The keys file and the keys that come from it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nacl.bindings import crypto_sign_seed_keypair

from rango._ext import layout
from rango._ext.seal import Entropy, chain_hash, provider_libsodium
from rango._ext.vfs import POSIX, VFS_CREATE, VFS_EXCLUSIVE, VFS_WRITE, PythonVfs
from rango.errors import (
    DatabaseClosed,
    FormatTooNew,
    InvalidArgument,
    KeyRejected,
    KeysCorrupted,
)
from rango.storage.keyring import (
    INTERACTIVE,
    KDF_CEILING,
    Kdf,
    KeyFile,
    Keyring,
    Passphrase,
    RawKey,
    Secret,
    keys_exist,
    secret_from,
    signature_is_valid,
)
from rango.storage.keys_file import decode, keys_check
from tests.reference import seal as twin

KEYS_COPY_SIZE = layout.KEYS_COPY_SIZE
CHEAP = Kdf(1, 8192)
KEY = RawKey(b"k" * 32)
OTHER = RawKey(b"o" * 32)
WORDS = Passphrase("correct horse")
CANARY = "correct horse battery"


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


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path)


def create(place: str, secret: Secret | None = KEY, entropy: Entropy | None = None) -> Keyring:
    return Keyring.create(POSIX, place, secret, entropy or Entropy(), kdf=CHEAP)


def reopen(place: str, secret: Secret | None = KEY) -> Keyring:
    return Keyring.open(POSIX, place, secret, Entropy(), kdf_floor=CHEAP)


def content(place: str) -> bytearray:
    return bytearray(Path(place, "keys").read_bytes())


def damage(place: str, *places: int) -> None:
    """Flip a bit at each place of the file."""
    data = content(place)
    for at in places:
        data[at] ^= 0x10
    Path(place, "keys").write_bytes(data)


def forge(place: str, at: int, value: bytes) -> None:
    """Change both copies, with a check that fits: what somebody without the key can do."""
    data = content(place)
    for start in (0, KEYS_COPY_SIZE):
        copy = data[start : start + KEYS_COPY_SIZE]
        copy[at : at + len(value)] = value
        copy[layout.KEYS_CHECK :] = keys_check(copy)
        data[start : start + KEYS_COPY_SIZE] = copy
    Path(place, "keys").write_bytes(data)


def same_keys(one: Keyring, other: Keyring) -> bool:
    """Whether what one seals, the other opens."""
    salt = bytes(range(16))
    for mine, its in (
        (one.page_key(1), other.page_key(1)),
        (one.superblock_key(1), other.superblock_key(1)),
        (one.segment_key(7, salt, 1), other.segment_key(7, salt, 1)),
    ):
        nonce, sealed = mine.seal_bytes(b"aad", b"data")
        if its.open_bytes(b"aad", nonce, sealed) != b"data":
            return False
    return one.segment_mac(1, b"header") == other.segment_mac(1, b"header")


@pytest.mark.parametrize("secret", [None, KEY, WORDS], ids=["plain", "raw", "passphrase"])
def test_what_was_created_opens(place: str, secret: Secret | None) -> None:
    made = create(place, secret)
    found = reopen(place, secret)
    assert found.database_id == made.database_id
    assert len(found.database_id) == 16
    assert found.is_encrypted == (secret is not None)
    assert (found.epoch, found.generation, found.damaged_copies) == (1, 1, ())
    assert (found.provider.name == "plain") == (secret is None)
    assert same_keys(made, found)
    assert len(found.segment_mac(1, b"header")) == 16


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


def test_every_subkey_differs(place: str) -> None:
    keyring = create(place)
    salt, other_salt = bytes(16), bytes(15) + b"x"
    keys = [
        keyring.page_key(1),
        keyring.page_key(2),
        keyring.superblock_key(1),
        keyring.superblock_key(2),
        keyring.segment_key(1, salt, 1),
        keyring.segment_key(2, salt, 1),
        keyring.segment_key(1, other_salt, 1),
        keyring.segment_key(1, salt, 2),
    ]
    assert len({key.fingerprint for key in keys}) == len(keys)
    assert keyring.page_key(1) is keys[0]
    macs = {keyring.segment_mac(epoch, data) for epoch in (1, 2) for data in (b"a", b"b")}
    assert len(macs) == 4


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_salt_of_another_size_is_refused(place: str, size: int) -> None:
    with pytest.raises(InvalidArgument, match="16 bytes"):
        create(place).segment_key(1, bytes(size), 1)


@pytest.mark.parametrize(
    ("secret", "wrong"),
    [
        (KEY, OTHER),
        (KEY, WORDS),
        (KEY, None),
        (WORDS, Passphrase("Correct horse")),
        (WORDS, KEY),
        (WORDS, None),
        (None, KEY),
        (None, WORDS),
    ],
)
def test_a_wrong_secret_is_rejected_and_changes_nothing(
    place: str, secret: Secret | None, wrong: Secret | None
) -> None:
    create(place, secret)
    before = content(place)
    with pytest.raises(KeyRejected):
        reopen(place, wrong)
    assert content(place) == before


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


def test_slots_come_and_go(place: str) -> None:
    keyring = create(place, KEY)
    assert keyring.add_slot(WORDS, kdf=CHEAP) == 1
    assert keyring.add_slot(OTHER) == 2
    assert keyring.slots == {
        0: layout.KEYS_KIND_RAW,
        1: layout.KEYS_KIND_PASSPHRASE,
        2: layout.KEYS_KIND_RAW,
    }
    for secret in (KEY, WORDS, OTHER):
        assert same_keys(keyring, reopen(place, secret))
    keyring.remove_slot(0)
    with pytest.raises(KeyRejected):
        reopen(place, KEY)
    assert same_keys(keyring, reopen(place, OTHER))
    assert keyring.generation == 4
    assert keyring.add_slot(KEY) == 0


def test_a_removed_slot_is_in_neither_copy(place: str) -> None:
    keyring = create(place)
    slot = layout.KEYS_SLOTS + layout.KEYS_SLOT_WRAPPED
    wrapped = bytes(content(place)[slot : slot + 48])
    keyring.add_slot(OTHER)
    keyring.remove_slot(0)
    assert wrapped not in content(place)


def test_slots_that_cannot_be(place: str) -> None:
    keyring = create(place)
    with pytest.raises(InvalidArgument, match="last key slot"):
        keyring.remove_slot(0)
    with pytest.raises(InvalidArgument, match="not in use"):
        keyring.remove_slot(5)
    for number in range(1, layout.KEYS_SLOTS_MAX):
        assert keyring.add_slot(OTHER) == number
    with pytest.raises(InvalidArgument, match="taken"):
        keyring.add_slot(OTHER)


def test_a_plain_database_has_no_slots(place: str) -> None:
    keyring = create(place, None)
    assert keyring.slots == {}
    with pytest.raises(KeyRejected, match="not encrypted"):
        keyring.add_slot(KEY)


def test_an_open_keyring_follows_a_rotation(place: str) -> None:
    keyring = create(place)
    other = reopen(place)
    assert other.advance_epoch() == 2
    nonce, sealed = other.page_key(2).seal_bytes(b"", b"new")
    assert keyring.page_key(2).open_bytes(b"", nonce, sealed) == b"new"
    keyring.refresh()
    assert (keyring.epoch, keyring.generation) == (2, 2)
    assert keyring.advance_epoch() == 3
    assert same_keys(keyring, reopen(place))


def test_changes_of_another_process_are_kept(place: str) -> None:
    keyring = create(place)
    reopen(place).add_slot(OTHER)
    keyring.add_slot(WORDS, kdf=CHEAP)
    assert sorted(keyring.slots) == [0, 1, 2]
    assert same_keys(keyring, reopen(place, OTHER))


def test_older_or_foreign_keys_are_not_followed(place: str, tmp_path: Path) -> None:
    keyring = create(place)
    older = content(place)
    keyring.advance_epoch()
    Path(place, "keys").write_bytes(older)
    with pytest.raises(KeysCorrupted, match="older"):
        keyring.refresh()
    other = tmp_path / "other"
    other.mkdir()
    create(str(other))
    Path(place, "keys").write_bytes(content(str(other)))
    with pytest.raises(KeysCorrupted, match="older"):
        keyring.refresh()


def test_an_unknown_slot_kind_survives_a_rewrite(place: str) -> None:
    keyring = create(place)
    state = decode(bytes(content(place)[:KEYS_COPY_SIZE]), "keys")
    token = b"\x09" + bytes(range(255))
    keyring._write_slot(3, token)
    assert state.slots[3] == bytes(256)
    reopen(place).advance_epoch()
    found = reopen(place)
    assert found._state.slots[3] == token
    assert found.slots == {0: layout.KEYS_KIND_RAW, 3: 9}


@pytest.mark.parametrize("secret", [None, KEY], ids=["plain", "raw"])
def test_signatures(place: str, secret: Secret | None) -> None:
    made = create(place, secret)
    found = reopen(place, secret)
    head = chain_hash(b"head")
    signature = found.sign(head)
    assert len(signature) == 64
    assert found.verify_key == made.verify_key
    assert signature == made.sign(head)
    assert signature_is_valid(found.verify_key, head, signature)
    assert not signature_is_valid(found.verify_key, head + b"x", signature)
    assert not signature_is_valid(bytes(32), head, signature)
    assert not signature_is_valid(found.verify_key, head, signature[:63])


def test_creation_is_determined_by_its_entropy(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        stream = iter(range(1000))
        source = Entropy(lambda size, stream=stream: bytes([next(stream) % 256]) * size)  # type: ignore[misc]
        create(str(tmp_path / name), KEY, source)
        contents.append(content(str(tmp_path / name)))
    assert contents[0] == contents[1]


def test_after_close_no_key_comes_out(place: str) -> None:
    keyring = create(place)
    keyring.close()
    keyring.close()
    for use in (
        lambda: keyring.page_key(1),
        lambda: keyring.superblock_key(1),
        lambda: keyring.segment_key(1, bytes(16), 1),
        lambda: keyring.segment_mac(1, b""),
        lambda: keyring.sign(b""),
        keyring.refresh,
        keyring.advance_epoch,
    ):
        with pytest.raises(DatabaseClosed):
            use()
    assert bytes(keyring._root or b"") == bytes(32)


def test_no_secret_is_shown_or_written(place: str) -> None:
    secrets: list[Secret] = [Passphrase(CANARY), RawKey(CANARY.encode().ljust(32, b"!")[:32])]
    keyring = create(place, secrets[0])
    keyring.add_slot(secrets[1])
    root = bytes(keyring._root or b"")
    shown = repr(secrets) + repr(keyring) + repr(keyring.page_key(1))
    assert "correct" not in shown
    assert root.hex() not in shown
    assert b"correct horse" not in content(place)
    assert root not in content(place)
    assert root[:8] not in content(place)


@pytest.mark.parametrize("provider", ["libsodium", "openssl"])
def test_providers_read_each_others_file(
    place: str, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        provider_libsodium()
    except InvalidArgument as error:
        pytest.skip(str(error))
    monkeypatch.setenv("RANGO_CRYPTO", provider)
    made = create(place)
    monkeypatch.setenv("RANGO_CRYPTO", "openssl" if provider == "libsodium" else "libsodium")
    found = reopen(place)
    assert found.provider.name != made.provider.name == provider
    assert same_keys(made, found)


def test_secrets_that_cannot_be(tmp_path: Path) -> None:
    bad: tuple[dict[str, Any], ...] = (
        {"passphrase": ""},
        {"passphrase": b"bytes"},
        {"passphrase": "lone \ud800"},
        {"key": b"short"},
        {"key": bytes(33)},
        {"key": "k" * 32},
        {"keyfile": 3},
        {"passphrase": "a", "key": bytes(32)},
        {"key": bytes(32), "keyfile": "x"},
    )
    for arguments in bad:
        with pytest.raises(InvalidArgument):
            secret_from(**arguments)
    assert secret_from() is None
    assert isinstance(secret_from(passphrase="a"), Passphrase)
    assert isinstance(secret_from(key=bytearray(32)), RawKey)
    assert isinstance(secret_from(keyfile=tmp_path / "key"), KeyFile)


@pytest.mark.parametrize(
    "stored",
    [b"k" * 32, b"6b" * 32, b"  " + b"6B" * 32 + b"\n"],
    ids=["raw", "digits", "spaces"],
)
def test_a_key_file_is_the_key_in_it(place: str, tmp_path: Path, stored: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(stored)
    made = create(place, KEY)
    assert same_keys(made, reopen(place, KeyFile(path)))


@pytest.mark.parametrize("stored", [b"", b"k" * 31, b"k" * 33, b"6b" * 31, b"6g" * 32, b"k" * 9000])
def test_a_key_file_with_something_else_is_refused(tmp_path: Path, stored: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(stored)
    with pytest.raises(InvalidArgument, match="neither 32 raw bytes"):
        KeyFile(path).read()
    with pytest.raises(FileNotFoundError):
        KeyFile(tmp_path / "missing").read()


def test_another_process_opens_with_the_same_passphrase(place: str) -> None:
    made = Keyring.create(POSIX, place, WORDS, Entropy())
    program = (
        "import sys\n"
        "from rango._ext.seal import Entropy\n"
        "from rango._ext.vfs import POSIX\n"
        "from rango.storage.keyring import Keyring, Passphrase\n"
        "ring = Keyring.open(POSIX, sys.argv[1], Passphrase('correct horse'), Entropy())\n"
        "print(ring.segment_mac(1, b'header').hex())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, place], check=True, capture_output=True, text=True
    )
    assert bytes.fromhex(done.stdout.strip()) == made.segment_mac(1, b"header")
