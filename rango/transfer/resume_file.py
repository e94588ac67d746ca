"""The resume file: how far an import is, on disk, so that one that was killed goes on.

Terms       run: an import from its start to its end, however often it is taken up again.
Layout      one JSON object: `version` 1, `run` (16 hex digits, random), `started_ms`, `collection`,
            `format`, `head` (SHA-256 of the first bytes of the source), `offset` and `number`
            (everything before them is durable), `rejects_size`, and the counts.
Invariants  It is replaced whole, by a rename, and only after what it says is durable. At most one
            batch behind it is stored as well; see docs/adr/0023-resumable-imports.md.
            A document without an `_id` gets one that is a function of run and number, so a batch
            that is read twice has the same ids both times. No value of a document is in it.
Failure     InvalidArgument if it is not one, or belongs to another source or collection.
Sources     docs/adr/0023-resumable-imports.md; RFC 9562 (UUID version 7).
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from rango.errors import InvalidArgument

VERSION: Final = 1
HEAD_SIZE: Final = 4096
RUN_BITS: Final = 40
NUMBER_BITS: Final = 34


@dataclass(slots=True)
class Resume:
    """What the file holds."""

    run: str
    started_ms: int
    collection: str
    format: str
    head: str
    head_size: int
    offset: int = 0
    number: int = 0
    rejects_size: int = 0
    imported: int = 0
    replaced: int = 0
    skipped: int = 0
    errors: int = 0
    version: int = VERSION

    def id_of(self, number: int) -> uuid.UUID:
        """The `_id` of the document of this number, if it brings none: UUID version 7, rising."""
        tail = (number & (1 << NUMBER_BITS) - 1) << RUN_BITS | int(self.run, 16)
        high, low = tail >> 62, tail & (1 << 62) - 1
        value = (self.started_ms & (1 << 48) - 1) << 80 | 7 << 76 | high << 64 | 2 << 62 | low
        return uuid.UUID(int=value)


def head_digest(head: bytes) -> str:
    """What tells one source from another."""
    return hashlib.sha256(head).hexdigest()


def begun(collection: str, format: str, head: bytes, now_ms: int) -> Resume:
    """A new run."""
    head = head[:HEAD_SIZE]
    run = os.urandom(RUN_BITS // 8).hex()
    return Resume(run, now_ms, collection, format, head_digest(head), len(head))


def loaded(path: Path) -> Resume | None:
    """What a resume file holds; None if there is none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        found = json.loads(data)
        kinds = {each.name: each.type for each in fields(Resume)}
        right = found.keys() == kinds.keys() and all(
            type(found[name]).__name__ == kind for name, kind in kinds.items()
        )
        if right and found["version"] == VERSION:
            return Resume(**found)
    except (ValueError, AttributeError):
        pass
    raise InvalidArgument(f"{path} is not a resume file of this version of Rango; name another one")


def checked(found: Resume, path: Path, collection: str, head: bytes) -> Resume:
    """A resume file that belongs to this import."""
    if found.collection != collection:
        raise InvalidArgument(
            f"{path} belongs to an import into {found.collection!r}; name another resume file"
        )
    if head_digest(head[: found.head_size]) != found.head:
        raise InvalidArgument(
            f"{path} belongs to another source: the beginning differs; name another resume file"
        )
    return found


def saved(resume: Resume, path: Path) -> None:
    """Replace the file; durable when this returns."""
    part = path.with_name(path.name + ".part")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(file, (json.dumps(asdict(resume)) + "\n").encode())
        os.fsync(file)
    finally:
        os.close(file)
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
