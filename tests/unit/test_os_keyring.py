"""`keyring=True`: the operating system's keyring holds the key."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from keyring.backends.fail import Keyring as NoKeyring

import rango
from rango.errors import InvalidArgument, KeyRejected
from rango.storage.keyring import OsKeyring
from rango.storage.providers import SERVICE
from tests.unit.os_keyring import MemoryKeyring, os_keyring

KEY = bytes(range(32))


@pytest.fixture
def backend() -> Iterator[MemoryKeyring]:
    memory = MemoryKeyring()
    with os_keyring(memory):
        yield memory


def test_a_database_is_made_and_opened_without_typing(
    backend: MemoryKeyring, tmp_path: Path
) -> None:
    with rango.open(tmp_path / "db", keyring=True) as db:
        db["a"].insert_one({"_id": 1})
        assert [slot.kind for slot in db.keys.list()] == ["keyring"]
    (service, user), digits = next(iter(backend.entries.items()))
    assert service == SERVICE
    assert (len(bytes.fromhex(user)), len(bytes.fromhex(digits))) == (16, 32)
    with rango.open(tmp_path / "db", keyring=True) as db:
        assert db["a"].find_one(1) == {"_id": 1}
    for file in (tmp_path / "db").rglob("*"):
        assert file.is_dir() or bytes.fromhex(digits) not in file.read_bytes()


def test_it_is_one_slot_among_others(backend: MemoryKeyring, tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", key=KEY) as db:
        assert db.keys.add(keyring=True) == 1
        assert (db.keys.find(key=KEY), db.keys.find(keyring=True)) == (0, 1)
    with rango.open(tmp_path / "db", keyring=True) as db:
        db.keys.remove(0)
    with pytest.raises(KeyRejected):
        rango.open(tmp_path / "db", key=KEY)


def test_two_databases_have_two_keys(backend: MemoryKeyring, tmp_path: Path) -> None:
    for name in ("one", "two"):
        rango.open(tmp_path / name, keyring=True).close()
    assert len(set(backend.entries.values())) == 2
    (tmp_path / "one" / "keys").write_bytes((tmp_path / "two" / "keys").read_bytes())
    with pytest.raises(rango.RangoError):
        rango.open(tmp_path / "one", keyring=True)


@pytest.mark.parametrize("held", ["nothing", "not hexadecimal", "ab" * 32, "ab"])
def test_what_the_keyring_has_lost_opens_nothing(
    backend: MemoryKeyring, tmp_path: Path, held: str
) -> None:
    rango.open(tmp_path / "db", keyring=True).close()
    place = next(iter(backend.entries))
    del backend.entries[place]
    if held != "nothing":
        backend.entries[place] = held
    with pytest.raises(KeyRejected, match="does not open"):
        rango.open(tmp_path / "db", keyring=True)


def test_a_locked_keyring_is_said_so(backend: MemoryKeyring, tmp_path: Path) -> None:
    rango.open(tmp_path / "db", keyring=True).close()
    backend.is_locked = True
    with pytest.raises(KeyRejected, match="unlock it"):
        rango.open(tmp_path / "db", keyring=True)
    with rango.open(tmp_path / "other", key=KEY) as db:
        with pytest.raises(KeyRejected, match="unlock it"):
            db.keys.add(keyring=True)
        assert len(db.keys.list()) == 1


def test_no_keyring_is_one_plain_error(tmp_path: Path) -> None:
    with os_keyring(NoKeyring()), pytest.raises(KeyRejected, match="no OS keyring here"):
        rango.open(tmp_path / "db", keyring=True)
    rango.open(tmp_path / "db", key=KEY).close()  # what was begun is in nobody's way


def test_no_library_is_one_plain_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(InvalidArgument, match=r"rango\[keyring\]"):
        rango.open(tmp_path / "db", keyring=True)


def test_it_is_yes_or_no(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="True or False"):
        rango.open(tmp_path / "db", keyring="yes")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="not several"):
        rango.open(tmp_path / "db", keyring=True, key=KEY)
    assert repr(OsKeyring()) == "OsKeyring()"
