"""`db.keys`: several secrets for one database, and new key epochs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango._ext.layout import KEYS_SLOTS_MAX
from rango.errors import (
    InvalidArgument,
    KeyRejected,
    LastKeySlot,
    NotFound,
    ReadOnly,
    TransactionError,
)
from rango.keys import KeySlot
from rango.storage.keyring import SoftwareToken

ONE, TWO, THREE = (bytes([n]) * 32 for n in (1, 2, 3))
PHRASE = "a phrase that is nowhere to be found"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A database that ONE opens, with a document."""
    place = str(tmp_path / "db")
    with rango.open(place, key=ONE) as db:
        db["a"].insert_one({"_id": 1, "text": "x" * 300})
    return place


@pytest.fixture
def db(path: str) -> Iterator[rango.Database]:
    with rango.open(path, key=ONE) as opened:
        yield opened


def opens(path: str, **secret: Any) -> bool:
    """Whether a secret opens the database, and what is in it is whole."""
    try:
        with rango.open(path, create=False, **secret) as db:
            assert list(db.check()) == []
            assert db["a"].find_one(1) is not None
    except KeyRejected:
        return False
    return True


def epochs_of_log(db: rango.Database) -> list[int]:
    return [header.epoch for header in db._handle.core.log.segments]


def test_slots_are_listed_without_secrets(db: rango.Database, tmp_path: Path) -> None:
    file = tmp_path / "second.key"
    file.write_bytes(TWO)
    assert db.keys.add(keyfile=file) == 1
    assert db.keys.add(passphrase=PHRASE) == 2
    assert db.keys.add(token=SoftwareToken(THREE)) == 3
    assert db.keys.list() == [
        KeySlot(0, "key", None, None),
        KeySlot(1, "key", None, None),
        KeySlot(2, "passphrase", 3, 64 * 1024 * 1024),
        KeySlot(3, "token", None, None),
    ]


def test_every_secret_that_was_added_opens(path: str, tmp_path: Path) -> None:
    file = tmp_path / "second.key"
    file.write_text(TWO.hex())
    with rango.open(path, key=ONE) as db:
        db.keys.add(keyfile=file)
        db.keys.add(passphrase=PHRASE)
        db.keys.add(token=SoftwareToken(THREE))
    assert opens(path, key=ONE)
    assert opens(path, key=TWO)
    assert opens(path, passphrase=PHRASE)
    assert opens(path, token=SoftwareToken(THREE))
    assert not opens(path, token=SoftwareToken(TWO))
    assert not opens(path, key=THREE)
    assert not opens(path, passphrase="another")


def test_a_changed_secret_opens_and_the_old_one_does_not(path: str) -> None:
    with rango.open(path, key=ONE) as db:
        assert db.keys.change(ONE, key=TWO) == 0
    assert not opens(path, key=ONE)
    with rango.open(path, key=TWO) as db:
        assert db.keys.change(0, passphrase=PHRASE) == 0
    assert not opens(path, key=TWO)
    assert opens(path, passphrase=PHRASE)
    with rango.open(path, passphrase=PHRASE) as db:
        assert db.keys.change(PHRASE, token=SoftwareToken(ONE)) == 0
        assert db.keys.change(SoftwareToken(ONE), key=THREE) == 0
    assert opens(path, key=THREE)


def test_a_removed_secret_opens_no_more(path: str) -> None:
    with rango.open(path, key=ONE) as db:
        db.keys.add(key=TWO)
        db.keys.remove(0)
    assert not opens(path, key=ONE)
    assert opens(path, key=TWO)


def test_the_last_slot_stays(db: rango.Database) -> None:
    with pytest.raises(LastKeySlot, match="nobody could open"):
        db.keys.remove(0)
    assert len(db.keys.list()) == 1


def test_a_slot_that_is_not_in_use_is_not_found(db: rango.Database) -> None:
    for number in (1, 7, 8, -1):
        with pytest.raises(NotFound, match="not in use"):
            db.keys.remove(number)
        with pytest.raises(NotFound, match="not in use"):
            db.keys.change(number, key=TWO)


def test_a_wrong_old_secret_changes_nothing(db: rango.Database, path: str) -> None:
    before = Path(path, "keys").read_bytes()
    for old in (TWO, PHRASE, SoftwareToken(ONE)):
        with pytest.raises(KeyRejected, match="opens no key slot"):
            db.keys.change(old, key=THREE)
    assert Path(path, "keys").read_bytes() == before


def test_arguments_that_are_none_are_refused(db: rango.Database) -> None:
    with pytest.raises(InvalidArgument, match="give a secret"):
        db.keys.add()
    with pytest.raises(InvalidArgument, match="not several"):
        db.keys.add(key=TWO, passphrase=PHRASE)
    with pytest.raises(InvalidArgument, match="number"):
        db.keys.remove("0")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="number"):
        db.keys.change(True, key=TWO)
    with pytest.raises(InvalidArgument, match="respond"):
        db.keys.add(token=object())  # type: ignore[arg-type]
    assert len(db.keys.list()) == 1


def test_eight_slots_are_all_and_a_full_file_can_be_changed(db: rango.Database, path: str) -> None:
    for number in range(1, KEYS_SLOTS_MAX):
        assert db.keys.add(key=bytes([10 + number]) * 32) == number
    with pytest.raises(InvalidArgument, match="taken"):
        db.keys.add(key=TWO)
    assert db.keys.change(ONE, key=TWO) == 0
    db.close()
    assert opens(path, key=TWO)


def test_a_plain_database_has_no_keys(tmp_path: Path) -> None:
    with rango.open(tmp_path / "plain") as db:
        for call in (db.keys.list, db.keys.rotate, lambda: db.keys.add(key=ONE)):
            with pytest.raises(KeyRejected, match="not encrypted"):
                call()


def test_read_only_lists_and_changes_nothing(path: str) -> None:
    with rango.open(path, key=ONE, read_only=True) as db:
        assert len(db.keys.list()) == 1
        for call in (db.keys.rotate, lambda: db.keys.add(key=TWO), lambda: db.keys.remove(0)):
            with pytest.raises(ReadOnly):
                call()


def test_a_transaction_holds_no_change_of_keys(db: rango.Database) -> None:
    with db.transaction(), pytest.raises(TransactionError):
        db.keys.rotate()


class Watched:
    """A token that remembers what it answered."""

    def __init__(self, token: SoftwareToken) -> None:
        self.token = token
        self.answers: list[bytes] = []

    def respond(self, challenge: bytes) -> bytes:
        self.answers.append(self.token.respond(challenge))
        return self.answers[-1]


class Moody:
    """A token that never answers the same twice."""

    def respond(self, challenge: bytes) -> bytes:
        return random.randbytes(len(challenge))


class Absent:
    """A token that is not plugged in."""

    def respond(self, challenge: bytes) -> bytes:
        raise FileNotFoundError(2, "no device")


class Terse:
    """A token whose answer is too short to be a secret."""

    def respond(self, challenge: bytes) -> bytes:
        return challenge[:8]


@pytest.mark.parametrize(
    ("token", "said"), [(Moody(), "does not open"), (Absent(), "no device"), (Terse(), "8 bytes")]
)
def test_a_token_that_is_no_good_gets_no_slot(db: rango.Database, token: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        db.keys.add(token=token)
    assert len(db.keys.list()) == 1


def test_a_database_can_be_made_with_a_token(tmp_path: Path) -> None:
    place = str(tmp_path / "db")
    with rango.open(place, token=SoftwareToken(ONE)) as db:
        db["a"].insert_one({"_id": 1})
    assert opens(place, token=SoftwareToken(ONE))
    assert not opens(place, key=ONE)


def test_after_a_rotation_log_slot_and_pages_have_the_new_epoch(path: str) -> None:
    with rango.open(path, key=ONE) as db:
        assert db.keys.epoch == 1
        assert db.keys.rotate() == 2
        db["a"].insert_one({"_id": 2})
        core = db._handle.core
        assert epochs_of_log(db) == [1, 2]
        assert core.slot is not None
        assert (core.slot.epoch, core.store.pager.epoch) == (2, 2)
        digest = core.digest()
    with rango.open(path, key=ONE) as db:
        assert db.keys.epoch == 2
        assert list(db.check()) == []
        assert db._handle.core.digest() == digest


def test_an_empty_segment_of_an_old_epoch_is_left_too(db: rango.Database, path: str) -> None:
    assert [db.keys.rotate() for _ in range(3)] == [2, 3, 4]
    db["a"].insert_one({"_id": 2})
    assert epochs_of_log(db)[-1] == 4
    db.close()
    assert opens(path, key=ONE)
    Path(path, "data.rango").unlink()
    assert opens(path, key=ONE)


def test_pages_of_every_epoch_are_read(path: str) -> None:
    with rango.open(path, key=ONE) as db:
        for turn in range(3):
            db["a"].insert_many({"_id": 100 * turn + n + 10, "t": "y" * 900} for n in range(60))
            db.checkpoint()
            db.keys.rotate()
            db._handle.core.store.pager.forget_cache()
            assert db["a"].count_documents({}) == 60 * (turn + 1) + 1
        assert list(db.check()) == []
    assert opens(path, key=ONE)


def test_no_secret_is_in_any_file(path: str) -> None:
    with rango.open(path, key=ONE) as db:
        db.keys.add(key=TWO)
        db.keys.add(passphrase=PHRASE)
        token = Watched(SoftwareToken(THREE))
        db.keys.add(token=token)
        root = bytes(db._handle.core.keyring._root or b"")
        db.keys.rotate()
        db.keys.change(PHRASE, key=THREE)
    rango.open(path, token=token).close()
    # made, tried, and opened: always the same answer to the challenge of its slot
    assert len(token.answers) >= 3
    assert len(set(token.answers)) == 1
    answer = token.answers[0]
    files = [file for file in Path(path).rglob("*") if file.is_file()]
    assert len(files) > 4
    for file in files:
        content = file.read_bytes()
        for secret in (ONE, TWO, THREE, PHRASE.encode(), root, answer):
            assert secret not in content
            assert secret.hex().encode() not in content
        assert file.stat().st_mode & 0o077 == 0


def test_no_secret_is_in_a_repr(db: rango.Database) -> None:
    for thing in (db.keys, SoftwareToken(ONE)):
        assert "..." in repr(thing) or "rango.Keys" in repr(thing)
        assert repr(ONE) not in repr(thing)
