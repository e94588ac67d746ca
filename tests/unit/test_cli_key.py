"""`rango key`: secrets from files, the environment and a terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from keyring.backends.fail import Keyring as NoKeyring

import rango
from rango.cli.failures import run_guarded
from rango.storage.keyring import SoftwareToken
from tests.unit.os_keyring import MemoryKeyring, os_keyring
from tests.unit.terminal import Typist

FIRST = "the first phrase"
SECOND = "the second phrase"


class Shell:
    """Runs `rango key ...` on one encrypted database."""

    def __init__(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.place = place
        self.capsys = capsys
        self.out = self.err = ""
        self.first = self.file("first", FIRST)
        self.second = self.file("second", SECOND)

    def file(self, name: str, content: str) -> str:
        path = self.place / name
        path.write_text(content + "\n")
        return str(path)

    def __call__(self, *words: str) -> int:
        from rango.cli import root

        code = run_guarded(root, ["key", *words])
        self.out, self.err = self.capsys.readouterr()
        for text in (self.out, self.err):
            assert FIRST not in text
            assert SECOND not in text
        return code


@pytest.fixture
def key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    monkeypatch.setenv("RANGO_PATH", str(tmp_path / "db"))
    for side in ("RANGO_", "RANGO_NEW_"):
        for end in ("PASSPHRASE", "KEYFILE", "KEY"):
            monkeypatch.delenv(side + end, raising=False)
    rango.open(tmp_path / "db", passphrase=FIRST).close()
    return Shell(tmp_path, capsys)


def kinds(key: Shell, *secret: str) -> dict[int, str]:
    assert key("list", "--json", *secret) == 0, key.err
    return {slot["number"]: slot["kind"] for slot in json.loads(key.out)["slots"]}


def test_slots_are_listed_added_and_removed(key: Shell) -> None:
    opened = ("--passphrase-file", key.first)
    assert kinds(key, *opened) == {0: "passphrase"}
    file = key.file("raw.key", "ab" * 32)
    assert key("add", *opened, "--new-keyfile", file) == 0
    assert key.out == "added key slot 1\n"
    assert kinds(key, "--keyfile", file) == {0: "passphrase", 1: "key"}
    assert key("list", *opened) == 0
    assert "Argon2id, 3 passes over 64.0 MiB" in key.out
    assert key("remove", "0", "--keyfile", file, "--json") == 0
    assert json.loads(key.out) == {"removed": 0}
    assert key("list", *opened) == 4
    assert kinds(key, "--keyfile", file) == {1: "key"}


def test_the_secret_that_opened_is_the_one_that_changes(key: Shell) -> None:
    file = key.file("raw.key", "ab" * 32)
    assert key("add", "--passphrase-file", key.first, "--new-keyfile", file) == 0
    assert key("change", "--keyfile", file, "--new-passphrase-file", key.second, "--json") == 0
    assert json.loads(key.out) == {"changed": 1}
    assert key("list", "--keyfile", file) == 4
    assert kinds(key, "--passphrase-file", key.second) == {0: "passphrase", 1: "passphrase"}


def test_a_slot_can_be_changed_by_number(key: Shell) -> None:
    assert key("add", "--passphrase-file", key.first, "--new-passphrase-file", key.second) == 0
    file = key.file("raw.key", "cd" * 32)
    opened = ("--passphrase-file", key.second)
    assert key("change", "--slot", "0", *opened, "--new-keyfile", file) == 0
    assert kinds(key, *opened) == {0: "key", 1: "passphrase"}


def test_the_environment_holds_both_secrets(key: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANGO_PASSPHRASE", FIRST)
    monkeypatch.setenv("RANGO_NEW_PASSPHRASE", SECOND)
    assert key("change") == 0
    assert key("list") == 4
    monkeypatch.setenv("RANGO_PASSPHRASE", SECOND)
    assert key("list") == 0


def test_a_rotation_begins_an_epoch(key: Shell) -> None:
    opened = ("--passphrase-file", key.first)
    assert key("rotate", *opened, "--json") == 0
    assert json.loads(key.out) == {"epoch": 2}
    assert key("list", *opened, "--json") == 0
    assert json.loads(key.out)["epoch"] == 2


def test_what_cannot_be_done_has_its_exit_code(key: Shell) -> None:
    opened = ("--passphrase-file", key.first)
    assert key("remove", "0", *opened) == 2
    assert "last key slot" in key.err
    assert key("remove", "5", *opened) == 1
    assert key("add", *opened) == 2
    assert "--new-passphrase-file" in key.err
    raw = key.file("raw.key", "ab" * 32)
    assert key("add", *opened, "--new-keyfile", raw, "--new-passphrase-file", key.second) == 2
    assert key("rotate", "--passphrase-file", key.second) == 4
    assert kinds(key, *opened) == {0: "passphrase"}


def test_a_plain_database_has_no_keys(key: Shell, tmp_path: Path) -> None:
    rango.open(tmp_path / "plain").close()
    assert key("list", "-P", str(tmp_path / "plain")) == 4
    assert "not encrypted" in key.err


TOKEN = """
import hashlib, sys
challenge = bytes.fromhex(sys.argv[-1])
assert len(challenge) == 64
print(hashlib.sha256(b"device" + challenge).hexdigest())
"""


def token_command(key: Shell, code: str = TOKEN) -> str:
    """A program that stands for a hardware token's."""
    return f"{sys.executable} {key.file('token.py', code)} slot-2"


def test_a_token_opens_through_its_program(key: Shell, tmp_path: Path) -> None:
    command = token_command(key)
    assert key("add", "--passphrase-file", key.first, "--new-token-command", command) == 0
    assert kinds(key, "--token-command", command) == {0: "passphrase", 1: "token"}
    assert key("change", "--token-command", command, "--new-passphrase-file", key.second) == 0
    assert key.out == "changed key slot 1\n"
    assert key("list", "--token-command", command) == 4


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit(3)", "ended with 3"),
        ("print('no hex')", "hexadecimal"),
        ("print('abcd')", "2 bytes"),
    ],
)
def test_a_token_program_that_fails_is_said_so(key: Shell, code: str, said: str) -> None:
    command = token_command(key, code)
    assert key("add", "--passphrase-file", key.first, "--new-token-command", command) == 2
    assert said in key.err
    assert kinds(key, "--passphrase-file", key.first) == {0: "passphrase"}


def test_a_token_program_sees_no_passphrase(key: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = key.place / "seen"
    code = f"import os; open({str(seen)!r}, 'w').write(repr(dict(os.environ)))" + TOKEN
    monkeypatch.setenv("RANGO_PASSPHRASE", FIRST)
    assert key("add", "--new-token-command", token_command(key, code)) == 0
    assert "RANGO_PATH" in seen.read_text()
    assert FIRST not in seen.read_text()


def test_a_token_in_software_has_its_key_in_a_file(key: Shell) -> None:
    file = key.file("token.key", "ef" * 32)
    assert key("add", "--passphrase-file", key.first, "--new-token-file", file) == 0
    assert kinds(key, "--token-file", file) == {0: "passphrase", 1: "token"}
    assert key("list", "--keyfile", file) == 4


def test_the_os_keyring_opens(key: Shell) -> None:
    with os_keyring(MemoryKeyring()):
        assert key("add", "--passphrase-file", key.first, "--new-os-keyring") == 0
        assert kinds(key, "--os-keyring") == {0: "passphrase", 1: "keyring"}
        assert key("change", "--os-keyring", "--new-passphrase-file", key.second) == 0
        assert key("list", "--os-keyring") == 4
    with os_keyring(NoKeyring()):
        assert key("add", "--passphrase-file", key.second, "--new-os-keyring") == 4
        assert "no OS keyring here" in key.err


def test_a_key_comes_from_the_environment(key: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    file = key.file("raw.key", "ab" * 32)
    monkeypatch.setenv("RANGO_NEW_KEY", "cd" * 32)
    assert key("add", "--passphrase-file", key.first) == 0
    monkeypatch.delenv("RANGO_NEW_KEY")
    monkeypatch.setenv("RANGO_NEW_KEYFILE", file)
    assert key("add", "--passphrase-file", key.first) == 0
    monkeypatch.setenv("RANGO_KEYFILE", file)
    assert kinds(key) == {0: "passphrase", 1: "key", 2: "key"}
    monkeypatch.setenv("RANGO_KEY", "cd" * 32)
    assert key("list") == 2
    assert "RANGO_KEYFILE and RANGO_KEY are both set" in key.err
    monkeypatch.delenv("RANGO_KEYFILE")
    assert kinds(key) == {0: "passphrase", 1: "key", 2: "key"}
    monkeypatch.setenv("RANGO_KEY", "not hexadecimal")
    assert key("list") == 2
    assert "64 hexadecimal digits" in key.err
    assert "not hexadecimal" not in key.err.replace("RANGO_KEY must be", "")
    # an option comes before the environment
    assert kinds(key, "--passphrase-file", key.first) == {0: "passphrase", 1: "key", 2: "key"}


def test_two_secrets_at_once_are_refused(key: Shell) -> None:
    file = key.file("raw.key", "ab" * 32)
    assert key("list", "--keyfile", file, "--token-file", file) == 2
    assert "--keyfile, --token-file, not several" in key.err


def test_in_a_terminal_a_new_passphrase_is_asked_for_twice_and_not_shown(key: Shell) -> None:
    person = Typist("key", "add")
    person.answer("Passphrase of", FIRST)
    person.answer("New passphrase: ", SECOND)
    person.answer("Again: ", "something else")
    person.answer("New passphrase: ", SECOND)
    person.answer("Again: ", SECOND)
    assert person.end() == 0, person.seen
    for text in (FIRST, SECOND, "something else"):
        assert text.encode() not in person.seen
    assert [person.seen.count(each) for each in (b"Passphrase of", b"New", b"Again")] == [1, 2, 2]
    assert kinds(key, "--passphrase-file", key.second) == {0: "passphrase", 1: "passphrase"}


def test_salvage_and_restore_take_a_token_too(key: Shell, tmp_path: Path) -> None:
    token = SoftwareToken(bytes(32))
    with rango.open(tmp_path / "sealed", token=token) as db:
        db["a"].insert_one({"_id": 1})
        db.backup(tmp_path / "backup")
    assert rango.salvage(tmp_path / "sealed", to=tmp_path / "saved", token=token)["documents"] == 1
    assert rango.restore(tmp_path / "backup", to=tmp_path / "again", token=token)["documents"] == 1
    for place in ("saved", "again"):
        with rango.open(tmp_path / place, token=token) as db:
            assert db["a"].find_one(1) == {"_id": 1}
    file = key.file("token.key", "00" * 32)
    from rango.cli import root

    words = ["--token-file", file, "--json", "--to"]
    assert (
        run_guarded(root, ["salvage", str(tmp_path / "sealed"), *words, str(tmp_path / "c")]) == 0
    )
    assert (
        run_guarded(root, ["restore", str(tmp_path / "backup"), *words, str(tmp_path / "d")]) == 0
    )


def test_a_plain_database_is_encrypted_and_made_plain_again(key: Shell, tmp_path: Path) -> None:
    place = tmp_path / "plain"
    with rango.open(place) as db:
        db["a"].insert_one({"_id": 1, "text": "canary"})
    where = ("-P", str(place))
    assert key("encrypt", *where) == 2
    assert "--new-passphrase-file" in key.err
    assert key("encrypt", *where, "--new-passphrase-file", key.first, "--remove-old") == 0
    assert "is encrypted; the old files were removed, which does not wipe the disk" in key.out
    assert [
        each for each in place.rglob("*") if each.is_file() and b"canary" in each.read_bytes()
    ] == []
    assert key("encrypt", *where, "--new-passphrase-file", key.first) == 2
    assert "rotate --root" in key.err
    opened = ("--passphrase-file", key.first)
    assert key("decrypt", *where, *opened, "--yes", "--json") == 0
    assert json.loads(key.out)["kept"] == str(place / "replaced")
    with rango.open(place) as db:
        assert db["a"].find_one(1) == {"_id": 1, "text": "canary"}
    assert key("decrypt", *where, "--yes") == 4
    assert "not encrypted" in key.err


def test_a_new_root_key_takes_the_old_or_a_new_secret(key: Shell, tmp_path: Path) -> None:
    opened = ("--passphrase-file", key.first)
    file = key.file("raw.key", "ab" * 32)
    assert key("add", *opened, "--new-keyfile", file) == 0
    assert key("rotate", "--root", *opened) == 0
    assert f"the old files are in {tmp_path / 'db' / 'replaced'}; delete them" in key.out
    assert kinds(key, *opened) == {0: "passphrase"}
    assert key("list", "--keyfile", file) == 4
    assert key("rotate", "--root", "--remove-old", *opened, "--new-keyfile", file, "--json") == 0
    assert json.loads(key.out)["kept"] is None
    assert kinds(key, "--keyfile", file) == {0: "key"}
    assert key("rotate", "--keyfile", file, "--new-passphrase-file", key.second) == 2
    assert "go with --root" in key.err
    rango.open(tmp_path / "plain").close()
    assert key("rotate", "--root", "-P", str(tmp_path / "plain")) == 4
    assert "key encrypt" in key.err


def test_in_a_terminal_a_decryption_is_asked_for(key: Shell, tmp_path: Path) -> None:
    person = Typist("key", "decrypt")
    person.answer("Passphrase of", FIRST)
    person.answer("without encryption? [y/N]: ", "n")
    assert person.end() == 130
    assert kinds(key, "--passphrase-file", key.first) == {0: "passphrase"}
    person = Typist("key", "decrypt", "--remove-old")
    person.answer("Passphrase of", FIRST)
    person.answer("without encryption? [y/N]: ", "y")
    assert person.end() == 0
    rango.open(tmp_path / "db").close()
