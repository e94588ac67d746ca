"""Proof of a history for people without the key: verify(), and the anchors that it is held against.

Terms       anchor: an ordinal and the chain value after it, signed by the database's own key, and
            kept where somebody who can write the database cannot write.
Invariants  verify() and read_anchor() need no secret, take no lock and write nothing.
Failure     InvalidArgument (not an anchor), NotADatabase, KeysCorrupted, IoFailed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rango.errors import InvalidArgument, NotADatabase, NotFound

if TYPE_CHECKING:
    from rango.storage.signatures import Signature
    from rango.storage.verification import Verification

StrPath = str | os.PathLike[str]
ANCHOR_FILE_SIZE_MAX: Final = 16 * 1024 * 1024


class Anchor(NamedTuple):
    """What a database was at one moment, signed by its own key: keep it elsewhere.

    `str(anchor)` is one line of text, parse() reads that again, or what as_dict() gives as JSON.
    """

    database_id: str
    """In hex, as everything here that is not a number."""
    ordinal: int
    """The last commit that it covers."""
    chain: str
    """The chain value after it: a hash of the whole history up to there."""
    ms: int
    """When it was signed, milliseconds since 1970, by the clock of who signed."""
    public_key: str
    """The Ed25519 key of the database."""
    signature: str

    @property
    def at(self) -> datetime:
        """When it was signed."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.ms)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"anchor": 1, **self._asdict()}

    def __str__(self) -> str:
        return (
            f"head 1 {self.database_id} {self.ordinal} {self.chain} {self.ms} {self.public_key}"
            f" {self.signature}"
        )

    @classmethod
    def parse(cls, text: str) -> Anchor:
        """The anchor in a line of text, or in the JSON of as_dict().

        Raises InvalidArgument if it is not one, or not as it was signed.
        """
        anchors = anchors_in(text)
        if len(anchors) != 1:
            raise InvalidArgument(f"an anchor is one line or one JSON object, not {len(anchors)}")
        return shown(anchors[0])


def shown(head: Signature) -> Anchor:
    """A signed head for people."""
    return Anchor(
        head.database_id.hex(),
        head.ordinal,
        head.chain.hex(),
        head.ms,
        head.public_key.hex(),
        head.signature.hex(),
    )


def anchors_in(text: str) -> list[Signature]:
    """The anchors in a text: lines, or JSON objects, one a line; empty lines and # are left out.

    Raises InvalidArgument.
    """
    if text.lstrip().startswith("{"):
        import json

        try:
            # one object that may be spread over lines, or one a line
            return [line_signed(line_of(json.loads(text)))]
        except ValueError:
            pass
    lines = [line.strip() for line in text.splitlines()]
    return [line_signed(line) for line in lines if line and not line.startswith("#")]


def line_of(fields: Any) -> str:
    """The line that stands for a JSON object."""
    names = Anchor._fields
    if not isinstance(fields, dict) or fields.get("anchor") != 1 or not set(names) <= set(fields):
        raise InvalidArgument("this JSON is not an anchor: see Anchor.as_dict()")
    return str(Anchor(*[fields[name] for name in names]))


def line_signed(line: str) -> Signature:
    """The anchor in a line, its own signature checked."""
    from rango.storage.signatures import Signature, line_read

    if line.startswith("{"):
        import json

        try:
            line = line_of(json.loads(line))
        except ValueError:
            raise InvalidArgument(f"this is not JSON: {line[:40]!r}") from None
    head = line_read(line)
    if not isinstance(head, Signature) or head.kind != "head":
        raise InvalidArgument(f"this is not an anchor: {line[:40]!r}")
    if not head.is_genuine:
        raise InvalidArgument(f"the anchor of commit {head.ordinal} is not as it was signed")
    return head


def anchors_of(given: object) -> list[Signature]:
    """The anchors that a caller named: an Anchor, text, the path of a file, or several."""
    if given is None:
        return []
    if isinstance(given, Anchor):
        return anchors_in(str(given))
    if isinstance(given, str) and (" " in given or "{" in given):
        return anchors_in(given)
    if isinstance(given, str | os.PathLike):
        try:
            with open(given, encoding="utf-8", errors="replace") as file:
                return anchors_in(file.read(ANCHOR_FILE_SIZE_MAX))
        except OSError as error:
            what = f"the anchor {os.fspath(given)!r} cannot be read: {error.strerror}"
            raise InvalidArgument(what) from error
    if not isinstance(given, Iterable):
        raise InvalidArgument(
            f"an anchor is an Anchor, its text or a file, not {type(given).__name__}"
        )
    return [each for one in given for each in anchors_of(one)]


def verify(
    path: StrPath,
    *,
    anchor: Anchor | StrPath | Iterable[Anchor | StrPath] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Verification:
    """Walk the log of a database and say whether it is the history that its key has signed.

    Needs no secret, takes no lock, and works while others write. `anchor`: an Anchor, its text, the
    path of a file with one or more of them, or several of these; against it a log that was cut, and
    a directory that was put back as a whole, show as well. `result.ok` says that nothing was found;
    `result.signed_ordinal` how far signatures reach, `result.findings` what is wrong and where.
    `progress(done, total)` is told bytes. Raises NotADatabase, KeysCorrupted, InvalidArgument (the
    anchor), IoFailed.
    """
    from rango._ext.vfs import POSIX
    from rango.storage.verification import verify as storage_verify

    return storage_verify(POSIX, path_text(path), anchors_of(anchor), progress)


def read_anchor(path: StrPath) -> Anchor:
    """The newest head that the database has signed by itself, without its secret.

    It signs at every checkpoint and when it is closed; Database.anchor() signs at once. Raises
    NotFound if there is none, NotADatabase.
    """
    from rango._ext.vfs import POSIX
    from rango.storage.signatures import Signature, lines_of, signatures_path

    folder = os.path.join(path_text(path), "oplog")
    if not os.path.isdir(folder):
        raise NotADatabase(f"{os.fspath(path)} is not a Rango database: there is no oplog")
    heads = [
        line.said
        for line in lines_of(POSIX, signatures_path(folder))
        if isinstance(line.said, Signature) and line.said.kind == "head"
    ]
    for head in sorted(heads, key=lambda each: each.ordinal, reverse=True):
        if head.is_genuine:
            return shown(head)
    raise NotFound(f"{os.fspath(path)} has signed nothing yet: checkpoint or close it")


def path_text(path: StrPath) -> str:
    """The path as an absolute str."""
    from rango.arguments import path_text

    return os.path.abspath(path_text(path))
