"""Workspaces of the original Rango: the documents that their log says there are.

Terms       log: `oplog.rgo`; entry: one change in it, with a whole document or, for a delete, none.
            revision: `ms-counter-short`, ordered by number, number, text.
Layout      The log is entries without a header: u32 little-endian length, then that many bytes:
            BSON, or nonce (12 bytes) and AES-256-GCM of BSON with its tag. The key is
            PBKDF2-HMAC-SHA256 of the passphrase, 600,000 rounds, salted with the file `salt`.
Invariants  Nothing is written to the workspace. Of the entries of a document the one with the
            greatest revision counts, the later one if they are equal; a delete hides what came
            before it. Memory holds a place for each document, not the documents.
Failure     What cannot be read (a torn end, bytes behind it, an entry that is damaged) is counted
            and left out. KeyRejected if no entry opens with the passphrase. The state file
            `data.redb` is not read: what it holds beyond the log is not found.
Sources     The project's notes on the original's files; NIST SP 800-38D, SP 800-132.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from rango._ext.record import decode, encode
from rango.errors import InvalidArgument, KeyRejected, NotADatabase, RangoError
from rango.limits import DOCUMENT_SIZE_BYTES_MAX
from rango.names import RESERVED_NAMES

if TYPE_CHECKING:
    from rango.database import Database
    from rango.transfer import ImportReport

LOG_NAME: Final = "oplog.rgo"
SALT_NAME: Final = "salt"
ROUNDS: Final = 600_000
SALT_SIZE: Final = 16
NONCE_SIZE: Final = 12
TAG_SIZE: Final = 16
ENTRY_SIZE_MAX: Final = DOCUMENT_SIZE_BYTES_MAX + (1 << 20)
ENTRIES_TRIED: Final = 8
AUDIT: Final = "__governance_audit"
"""A collection of the original's own: its documents are no user's."""

Opener = Callable[[bytes], bytes]
Revision = tuple[int, int, str]


@dataclass(slots=True)
class WorkspaceReport:
    """What was found in a workspace, and what the import made of it."""

    entries: int = 0
    """Entries that could be read."""
    unreadable: int = 0
    """Stretches between entries that could not: damaged, or torn by a crash."""
    torn_bytes: int = 0
    """Bytes at the end of the log that are no entry."""
    deleted: int = 0
    """Documents whose last entry is a delete."""
    collections: dict[str, ImportReport] = field(default_factory=dict)


def number_of(text: str) -> int:
    """A part of a revision; 0 if it is none, as the original has it."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def revision_of(text: object) -> Revision:
    """What a revision compares as."""
    parts = [*str(text).split("-", 2), "", "", ""]
    return number_of(parts[0]), number_of(parts[1]), parts[2]


def opener_of(folder: Path, passphrase: str | None) -> Opener:
    """What makes BSON of the body of an entry."""
    salt_path = folder / SALT_NAME
    if not salt_path.exists():
        if passphrase is not None:
            raise InvalidArgument(f"{folder} is not encrypted; leave the passphrase out")
        return bytes
    if passphrase is None:
        raise KeyRejected(f"the workspace {folder} is encrypted; give its passphrase")
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt = salt_path.read_bytes()
    if len(salt) != SALT_SIZE:
        raise InvalidArgument(f"{salt_path} has {len(salt)} bytes and must have {SALT_SIZE}")
    key = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, ROUNDS, 32)
    cipher = AESGCM(key)

    def opened(body: bytes) -> bytes:
        if len(body) < NONCE_SIZE + TAG_SIZE:
            raise ValueError("too short")
        try:
            return cipher.decrypt(body[:NONCE_SIZE], body[NONCE_SIZE:], None)
        except InvalidTag:
            raise ValueError("not sealed with this key") from None

    return opened


class _Log:
    """The log of a workspace, open."""

    def __init__(self, file: IO[bytes], opener: Opener, report: WorkspaceReport) -> None:
        size = os.fstat(file.fileno()).st_size
        # a file of no bytes cannot be mapped
        self._data: Any = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""
        self._opener = opener
        self._report = report

    def size_at(self, place: int) -> int:
        """The size of the entry that begins here; 0 if none can."""
        size = int.from_bytes(self._data[place : place + 4], "little")
        return size if 0 < size <= min(ENTRY_SIZE_MAX, len(self._data) - place - 4) else 0

    def mutation(self, place: int) -> dict[str, Any] | None:
        """The change that the entry at a place holds; None if there is none that can be read."""
        size = self.size_at(place)
        if not size:
            return None
        try:
            found = decode(self._opener(self._data[place + 4 : place + 4 + size]))["mutation"]
        except (RangoError, ValueError, KeyError):
            return None
        patch = found.get("patch") if isinstance(found, dict) else None
        is_right = (
            isinstance(found, dict)
            and isinstance(found.get("collection"), str)
            and "doc_id" in found
            and (patch is None or isinstance(patch, dict))
        )
        return found if is_right else None

    def check_key(self) -> None:
        """Raise KeyRejected if none of the first entries opens."""
        place, tried = 0, 0
        while tried < ENTRIES_TRIED and (size := self.size_at(place)):
            if self.mutation(place) is not None:
                return
            place, tried = place + 4 + size, tried + 1
        if tried:
            raise KeyRejected("the passphrase does not open the log of the workspace")

    def entries(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Where each entry lies, and its change."""
        place = 0
        while place < len(self._data):
            found = self.mutation(place)
            if found is not None:
                self._report.entries += 1
                yield place, found
                place += 4 + self.size_at(place)
                continue
            # The original appends behind a torn entry, whose length then leads astray: look for
            # the next place where an entry can be read.
            ends = len(self._data)
            start, place = place, place + 1
            while place < ends and self.mutation(place) is None:
                place += 1
            if place >= ends:
                self._report.torn_bytes = ends - start
            else:
                self._report.unreadable += 1


def latest(log: _Log, report: WorkspaceReport) -> dict[tuple[str, bytes], tuple[Revision, int]]:
    """Each document with its last revision and the place of that entry, -1 for a deleted one."""
    found: dict[tuple[str, bytes], tuple[Revision, int]] = {}
    for place, mutation in log.entries():
        name = mutation["collection"] or "default"
        key = (name, encode({"v": mutation["doc_id"]}))
        patch = mutation.get("patch")
        is_gone = patch is None or mutation.get("op") == "delete" or patch.get("_deleted") is True
        new = (revision_of(mutation.get("rev")), -1 if is_gone else place)
        old = found.get(key)
        if old is None or new[0] >= old[0]:
            found[key] = new
    report.deleted = sum(place < 0 for _, place in found.values())
    return found


def documents(log: _Log, places: list[int]) -> Iterator[dict[str, Any]]:
    """The documents at these places, without what the original kept in them."""
    for place in places:
        mutation = log.mutation(place)
        if mutation is None:
            raise InvalidArgument("the log changed while it was read; close the original first")
        patch = mutation["patch"]
        fields = {name: patch[name] for name in patch if name not in RESERVED_NAMES}
        yield {**fields, "_id": mutation["doc_id"]}


def import_workspace(
    db: Database,
    folder: str | os.PathLike[str],
    *,
    passphrase: str | None = None,
    collection: str | None = None,
    on_duplicate: Any = "fail",
    progress: Callable[[int, int | None], None] | None = None,
) -> WorkspaceReport:
    """Store the current documents of a workspace of the original Rango, by its log.

    `folder`      the directory with `oplog.rgo`; it is only read
    `passphrase`  if the workspace has a file `salt`, thus is encrypted
    `collection`  only this one; all but the original's audit trail unless given
    `on_duplicate`  as in import_documents

    Revisions, conflicts and deleted documents are not taken over. Raises NotADatabase if there is
    no log, KeyRejected for a wrong or missing passphrase, and what import_documents raises.
    """
    from rango.transfer.importing import import_units

    path = Path(folder)
    if not (path / LOG_NAME).is_file():
        raise NotADatabase(f"{path} has no {LOG_NAME}: it is no workspace of the original Rango")
    report = WorkspaceReport()
    opener = opener_of(path, passphrase)
    with (path / LOG_NAME).open("rb") as file:
        log = _Log(file, opener, report)
        if passphrase is not None:
            log.check_key()
        found = latest(log, report)
        by_name: dict[str, list[int]] = {}
        for (name, _), (_, place) in found.items():
            is_wanted = name != AUDIT if collection is None else name == collection
            if place >= 0 and is_wanted:
                by_name.setdefault(name, []).append(place)
        for name, places in by_name.items():
            report.collections[name] = import_units(
                db[name],
                documents(log, sorted(places)),
                on_duplicate=on_duplicate,
                total=len(places),
                progress=progress,
            )
    return report
