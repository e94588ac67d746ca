"""Signed heads of the chain: what the database's own key has said of its log, for anyone to check.

Terms       head: an ordinal and the chain value after it. Signature: a head with a time, signed by
            the signing key of the database (keyring.py). Base: the same, and the statement that
            what lies before it was given up. Link: two heads of one ordinal, of the chains before
            and after a change of the root key, signed by both keys. Stamp of a purge: what a purge
            left in one segment, signed.
Invariants  Only what is durable is signed, so an honest log always reaches its last signature.
            Nobody needs this file to open a database, and losing a line loses evidence, no data:
            it is written without a flush of its own. One writer at a time (under the checkpoint
            lock). Whatever the bytes are, they are read as lines, some of them signatures.
Layout      oplog/signatures: lines of ASCII, words separated by one space, bytes in lower-case hex

            head 1 <database id> <ordinal> <chain> <ms> <public key> <signature>
            base 1 <database id> <ordinal> <chain> <ms> <public key> <signature>
            purge 1 <database id> <segment> <digest> <ms> <public key> <signature>
            link 1 <database id> <ordinal> <old key> <old chain> <new key> <new chain>
                   <signature by the old key> <signature by the new key>

            What is signed (Ed25519), integers little-endian:
            head, base, purge: "rango head", "rango base" or "rango purge" | database id 16 |
            ordinal or segment u64 | chain or digest 32 | ms u64 | public key 32
            link: "rango rekey" | database id 16 | ordinal u64 | old key 32 | old chain 32 |
            new key 32 | new chain 32
            The digest of a purge: BLAKE2b-256 over offset u64 | BLAKE2b-256(frame as it is now)
            of each purged frame of the segment.
            A line of the kind head is an anchor (rango.Anchor) as it stands.
Failure     a line that is not one of these (torn, damaged, of a later version) is no signature. No
            space, or an error of the disk: OSError to the caller, nothing else is touched.
Sources     architecture section 4 (Chain); RFC 8032 (Ed25519); ADR-0031.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from rango._ext.layout import CHAIN_SIZE, DATABASE_ID_SIZE
from rango._ext.vfs import VFS_CREATE, VFS_READ, VFS_WRITE, Vfs
from rango.storage.ed25519 import SIGNATURE_SIZE
from rango.storage.keyring import signature_is_valid

SIGNATURES: Final = "signatures"
"""The file's name in the directory of the log."""

LINE_SIZE_MAX: Final = 1024
READ_SIZE: Final = 256 * 1024
LINES_MAX: Final = 8_192
"""Lines at which a file is thinned out: at most 3 MB."""
LINES_KEPT: Final = 1_024
"""The newest lines, all of which survive that."""

KEY_SIZE: Final = 32
Kind = Literal["head", "base", "purge"]
KINDS_BY_WORD: Final[dict[str, Kind]] = {"head": "head", "base": "base", "purge": "purge"}
KINDS: Final = {"head": b"rango head", "base": b"rango base", "purge": b"rango purge"}
WORDS: Final = r"[a-z]+( [0-9a-z]+)+"
NUMBER: Final = r"0|[1-9][0-9]{0,19}"


class Signature(NamedTuple):
    """A signed head, base or purge; `ordinal` and `chain` are segment and digest of a purge."""

    kind: Kind
    database_id: bytes
    ordinal: int
    chain: bytes
    ms: int
    public_key: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """As it is stored, without the end of the line."""
        return (
            f"{self.kind} 1 {self.database_id.hex()} {self.ordinal} {self.chain.hex()} {self.ms}"
            f" {self.public_key.hex()} {self.signature.hex()}"
        )

    @property
    def message(self) -> bytes:
        """What is signed."""
        return (
            KINDS[self.kind]
            + self.database_id
            + self.ordinal.to_bytes(8, "little")
            + self.chain
            + self.ms.to_bytes(8, "little")
            + self.public_key
        )

    @property
    def is_genuine(self) -> bool:
        """Whether the owner of `public_key` has signed it. Whose key that is it does not say."""
        return signature_is_valid(self.public_key, self.message, self.signature)


class Link(NamedTuple):
    """Where a change of the root key joins two chains."""

    database_id: bytes
    ordinal: int
    old_key: bytes
    old_chain: bytes
    new_key: bytes
    new_chain: bytes
    old_signature: bytes
    new_signature: bytes

    @property
    def line(self) -> str:
        """As it is stored, without the end of the line."""
        rest = " ".join(part.hex() for part in self[2:])
        return f"link 1 {self.database_id.hex()} {self.ordinal} {rest}"

    @property
    def message(self) -> bytes:
        """What both keys sign."""
        return (
            b"rango rekey"
            + self.database_id
            + self.ordinal.to_bytes(8, "little")
            + b"".join(self[2:6])
        )

    @property
    def is_genuine(self) -> bool:
        """Whether the owners of both keys have signed it."""
        return signature_is_valid(
            self.old_key, self.message, self.old_signature
        ) and signature_is_valid(self.new_key, self.message, self.new_signature)


class Line(NamedTuple):
    """A line of the file: its number, from 1, and what it says; None: nothing."""

    number: int
    said: Signature | Link | None


def signed(
    kind: Kind,
    database_id: bytes,
    ordinal: int,
    chain: bytes,
    ms: int,
    public_key: bytes,
    sign: Callable[[bytes], bytes],
) -> Signature:
    """A signature made with `sign` (Keyring.sign)."""
    made = Signature(kind, database_id, ordinal, chain, ms, public_key, b"")
    return made._replace(signature=sign(made.message))


def line_read(text: str) -> Signature | Link | None:
    """What a line says, its signatures not checked; None if it is not one of ours."""
    if len(text) > LINE_SIZE_MAX or not re.fullmatch(WORDS, text):
        return None
    kind, version, *words = text.split(" ")
    if version != "1":
        return None
    return link_read(words) if kind == "link" else signature_read(kind, words)


def link_read(words: list[str]) -> Link | None:
    """A link from the words behind the version."""
    sizes = (KEY_SIZE, CHAIN_SIZE, KEY_SIZE, CHAIN_SIZE, SIGNATURE_SIZE, SIGNATURE_SIZE)
    if len(words) != 2 + len(sizes):
        return None
    database_id, ordinal = bytes_of(words[0], DATABASE_ID_SIZE), number_of(words[1])
    parts = [bytes_of(word, size) for word, size in zip(words[2:], sizes, strict=True)]
    if database_id is None or ordinal is None or None in parts:
        return None
    return Link(database_id, ordinal, *[part for part in parts if part is not None])


def signature_read(word: str, words: list[str]) -> Signature | None:
    """A head, a base or a purge from the words behind the version."""
    kind = KINDS_BY_WORD.get(word)
    if kind is None or len(words) != 6:
        return None
    numbers = [number_of(words[1]), number_of(words[3])]
    sizes = (DATABASE_ID_SIZE, CHAIN_SIZE, KEY_SIZE, SIGNATURE_SIZE)
    places = (words[0], words[2], words[4], words[5])
    parts = [bytes_of(each, size) for each, size in zip(places, sizes, strict=True)]
    if None in numbers or None in parts:
        return None
    ordinal, ms = (each for each in numbers if each is not None)
    database_id, chain, key, signature = (each for each in parts if each is not None)
    return Signature(kind, database_id, ordinal, chain, ms, key, signature)


def bytes_of(word: str, size: int) -> bytes | None:
    """`size` bytes in hex."""
    if len(word) != 2 * size or not re.fullmatch("[0-9a-f]*", word):
        return None
    return bytes.fromhex(word)


def number_of(word: str) -> int | None:
    """An unsigned integer of 64 bits, in decimal."""
    return int(word) if re.fullmatch(NUMBER, word) and int(word) < 1 << 64 else None


# --- the file


def signatures_path(log_directory: str) -> str:
    """Where the signatures of a log lie."""
    return os.path.join(log_directory, SIGNATURES)


def lines_of(vfs: Vfs, path: str) -> Iterator[Line]:
    """Every line of the file, in its order; nothing if there is no file. OSError of the disk."""
    if not vfs.exists(path):
        return
    fd = vfs.open(path, VFS_READ)
    try:
        number, offset, rest = 0, 0, b""
        while data := vfs.read(fd, READ_SIZE, offset):
            offset += len(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                number += 1
                yield Line(number, line_read(line.decode("latin-1")))
            # what is longer than any line is none
            rest = rest[: LINE_SIZE_MAX + 1]
        if rest:
            yield Line(number + 1, line_read(rest.decode("latin-1")))
    finally:
        vfs.close(fd)


def last_ordinal(vfs: Vfs, path: str) -> int:
    """The ordinal of the last line that is a head or a base, if it is near the end; else 0."""
    if not vfs.exists(path):
        return 0
    fd = vfs.open(path, VFS_READ)
    try:
        size = vfs.size(fd)
        data = vfs.read(fd, 4 * LINE_SIZE_MAX, max(0, size - 4 * LINE_SIZE_MAX))
    finally:
        vfs.close(fd)
    for line in reversed(data.split(b"\n")):
        said = line_read(line.decode("latin-1"))
        if isinstance(said, Signature) and said.kind != "purge":
            return said.ordinal
    return 0


def append(vfs: Vfs, path: str, lines: list[str], *, is_durable: bool = False) -> None:
    """Write lines behind those that are there. Without `is_durable` they are not flushed."""
    is_new = not vfs.exists(path)
    fd = vfs.open(path, VFS_WRITE | VFS_CREATE)
    try:
        size = vfs.size(fd)
        text = "".join(f"{line}\n" for line in lines).encode()
        if size and vfs.read(fd, 1, size - 1) != b"\n":
            # a crash tore the last line
            text = b"\n" + text
        vfs.write(fd, text, size)
        if is_durable:
            vfs.flush(fd)
    finally:
        vfs.close(fd)
    if is_durable and is_new:
        vfs.flush_directory(os.path.dirname(path))


def thin(vfs: Vfs, path: str, boundaries: set[int]) -> None:
    """Drop every second of the older heads, durably, when there are too many lines.

    A later head vouches for all before it, so only the intervals get coarser. `boundaries`:
    ordinals that stay, because segments end there.
    """
    if not vfs.exists(path):
        return
    fd = vfs.open(path, VFS_READ)
    try:
        size = vfs.size(fd)
    finally:
        vfs.close(fd)
    if size < LINES_MAX * 300:
        return
    lines = [line for line in lines_of(vfs, path) if line.said is not None]
    older = len(lines) - LINES_KEPT
    kept = [
        line.said.line
        for at, line in enumerate(lines)
        if line.said is not None
        and (
            at >= older
            or at % 2 == 0
            or isinstance(line.said, Link)
            or line.said.kind != "head"
            or line.said.ordinal in boundaries
        )
    ]
    text = "".join(f"{line}\n" for line in kept).encode()
    fd = vfs.open(f"{path}.new", VFS_WRITE | VFS_CREATE)
    try:
        vfs.truncate(fd, 0)
        vfs.write(fd, text, 0)
        vfs.flush(fd)
    finally:
        vfs.close(fd)
    vfs.rename(f"{path}.new", path)
    vfs.flush_directory(os.path.dirname(path))
