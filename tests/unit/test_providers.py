"""Secrets: what can be one, and what a key file may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rango.errors import (
    InvalidArgument,
)
from rango.storage.keyring import (
    KeyFile,
    Passphrase,
    RawKey,
    secret_from,
)
from tests.unit.keyring_cases import (
    KEY,
    create,
    reopen,
    same_keys,
)


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path)


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
    with pytest.raises(InvalidArgument, match="cannot be read"):
        KeyFile(tmp_path / "missing").read()
