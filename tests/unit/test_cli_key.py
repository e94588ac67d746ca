"""`rango key`: secrets from files, the environment and a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rango
from rango.cli.failures import run_guarded

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
    monkeypatch.delenv("RANGO_PASSPHRASE", raising=False)
    monkeypatch.delenv("RANGO_NEW_PASSPHRASE", raising=False)
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
