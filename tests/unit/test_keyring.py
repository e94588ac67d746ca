"""The keys that come from the keys file, slots, rotation and signatures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rango._ext import layout
from rango._ext.seal import Entropy, chain_hash, provider_libsodium
from rango._ext.vfs import POSIX
from rango.errors import (
    DatabaseClosed,
    InvalidArgument,
    KeyRejected,
    KeysCorrupted,
    LastKeySlot,
    NotFound,
)
from rango.storage.keyring import (
    Keyring,
    Passphrase,
    RawKey,
    Secret,
    signature_is_valid,
)
from rango.storage.keys_file import decode
from tests.unit.keyring_cases import (
    CANARY,
    CHEAP,
    KEY,
    KEYS_COPY_SIZE,
    OTHER,
    WORDS,
    content,
    create,
    reopen,
    same_keys,
)


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path)


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
    with pytest.raises(LastKeySlot, match="last key slot"):
        keyring.remove_slot(0)
    with pytest.raises(NotFound, match="not in use"):
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


class Stream:
    """A source of bytes that anybody can repeat."""

    def __init__(self) -> None:
        self.step = 0

    def __call__(self, size: int) -> bytes:
        self.step += 1
        return bytes([self.step]) * size


def test_creation_is_determined_by_its_entropy(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        create(str(tmp_path / name), KEY, Entropy(Stream()))
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
