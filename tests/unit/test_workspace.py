"""Workspaces of the original Rango, as its notes describe them: read, replayed, imported."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson.int64 import Int64
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import rango
from rango._ext.record import encode
from rango.compat.workspace import import_workspace, revision_of
from rango.errors import DuplicateKey, InvalidArgument, KeyRejected, NotADatabase

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PHRASE = "correct horse"
SALT = bytes(range(16))


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with rango.open(tmp_path / "db", durability="memory") as opened:
        yield opened


def entry(
    number: int, op: str, id_value: Any, rev: str, collection: str = "a", **patch: Any
) -> bytes:
    """BSON of one entry of the log."""
    kept = {"_rev": rev, "_updated_at": NOW, "_source_node": "n"}
    mutation = {
        "op": op,
        "collection": collection,
        "doc_id": id_value,
        "patch": None if op == "delete" else {"_id": id_value, **patch, **kept},
        "seq": Int64(0),
        "timestamp": NOW,
        "rev": rev,
        "write_id": f"{number:016x}",
        "metadata": {"id": id_value, "namespace": collection, "tenant_id": "default"},
    }
    fields = {"seq": Int64(number), "timestamp": NOW, "mutation": mutation, "origin": "local"}
    return encode({**fields, "applied": False, "snapshot_anchor": None})


ENTRIES = [
    entry(1, "insert", 1, "10-0-aaaa", text="old"),
    entry(2, "insert", 2, "11-0-aaaa", text="goes"),
    entry(3, "update", 1, "100-0-aaaa", text="new"),
    entry(4, "delete", 2, "12-0-aaaa"),
    entry(5, "update", 1, "99-7-bbbb", text="late, from elsewhere"),
    entry(6, "insert", "x", "13-0-aaaa", collection="b", n=Int64(5)),
    entry(7, "insert", 1, "14-0-aaaa", collection="__governance_audit"),
]


def framed(bodies: list[bytes]) -> bytes:
    return b"".join(len(body).to_bytes(4, "little") + body for body in bodies)


def sealed(bodies: list[bytes]) -> list[bytes]:
    cipher = AESGCM(hashlib.pbkdf2_hmac("sha256", PHRASE.encode(), SALT, 600_000, 32))
    nonces = [os.urandom(12) for _ in bodies]
    return [n + cipher.encrypt(n, body, None) for n, body in zip(nonces, bodies, strict=True)]


def workspace(folder: Path, data: bytes, salt: bytes | None = None) -> Path:
    folder.mkdir()
    (folder / "oplog.rgo").write_bytes(data)
    if salt is not None:
        (folder / "salt").write_bytes(salt)
    return folder


def test_the_current_documents_are_imported(db: rango.Database, tmp_path: Path) -> None:
    folder = workspace(tmp_path / "w", framed(ENTRIES))
    report = import_workspace(db, folder)
    assert (report.entries, report.unreadable, report.torn_bytes, report.deleted) == (7, 0, 0, 1)
    assert list(db["a"].find()) == [{"_id": 1, "text": "new"}]
    assert list(db["b"].find()) == [{"_id": "x", "n": 5}]
    assert set(report.collections) == {"a", "b"}
    assert report.collections["a"].imported == 1
    assert import_workspace(db, folder, on_duplicate="skip").collections["a"].skipped == 1
    with pytest.raises(DuplicateKey):
        import_workspace(db, folder)
    assert import_workspace(db, folder, collection="none").collections == {}


def test_an_encrypted_one_needs_its_passphrase(db: rango.Database, tmp_path: Path) -> None:
    folder = workspace(tmp_path / "w", framed(sealed(ENTRIES)), SALT)
    with pytest.raises(KeyRejected, match="give its passphrase"):
        import_workspace(db, folder)
    with pytest.raises(KeyRejected, match="does not open"):
        import_workspace(db, folder, passphrase="another")
    assert import_workspace(db, folder, passphrase=PHRASE).entries == 7
    assert list(db["a"].find()) == [{"_id": 1, "text": "new"}]


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_torn_entry_hides_nothing_behind_it(
    db: rango.Database, tmp_path: Path, is_sealed: bool
) -> None:
    bodies = sealed(ENTRIES) if is_sealed else ENTRIES
    whole = framed(bodies)
    torn = whole[:-9] + framed(bodies[:1])[:30]
    folder = workspace(tmp_path / "w", framed(bodies[:3])[:-20] + torn, SALT if is_sealed else None)
    report = import_workspace(db, folder, passphrase=PHRASE if is_sealed else None)
    assert (report.entries, report.unreadable) == (8, 1)
    assert report.torn_bytes > 30
    assert list(db["a"].find()) == [{"_id": 1, "text": "new"}]


def test_what_is_no_workspace_is_refused(db: rango.Database, tmp_path: Path) -> None:
    with pytest.raises(NotADatabase):
        import_workspace(db, tmp_path)
    plain = workspace(tmp_path / "plain", framed(ENTRIES))
    with pytest.raises(InvalidArgument, match="not encrypted"):
        import_workspace(db, plain, passphrase=PHRASE)
    bad = workspace(tmp_path / "salt", framed(ENTRIES), b"short")
    with pytest.raises(InvalidArgument, match="16"):
        import_workspace(db, bad, passphrase=PHRASE)
    empty = workspace(tmp_path / "empty", b"", SALT)
    assert import_workspace(db, empty, passphrase=PHRASE).entries == 0


def test_revisions_compare_as_the_original_compares_them() -> None:
    assert revision_of("9-0-z") < revision_of("10-0-a") < revision_of("10-1-a")
    assert revision_of("10-1-a") < revision_of("10-1-b")
    assert revision_of(None) == (*revision_of("x-y-")[:2], "")
