"""One packed segment judged without the data key: is it what the database's own key has signed?

Terms       packed, piece, mark, footer: docs/reference/format.md#packed-segment. Finding, head: see
            storage/verification.py.
Invariants  Nothing is believed but what the signature covers: the header, the digest of every
            piece, where the frames lead, and the chain values of the marks. That the pieces lead
            there whoever packed them has checked, who had the data key; a reader with it does so
            again. A plain database needs no key for that: its pieces are walked like any segment.
Failure     whatever the bytes are, the answer is an Outcome. A read that fails: IoFailed.
Sources     ADR-0036.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Final

from rango._ext import layout
from rango.errors import LogCorrupted
from rango.storage.keyring import signature_is_valid
from rango.storage.packed import (
    TABLE,
    Footer,
    PackedKeys,
    footer_read,
    signed_message,
    view_of,
)
from rango.storage.segment import io_named, is_packed
from rango.storage.segment_walk import Broken, FindingKind, Outcome, Place, walk_twice

READ_SIZE: Final = 1024 * 1024


def packed_outcome(
    place: Place,
    verify_key: bytes,
    tell: Callable[[int], object],
    proven: list[tuple[int, int]],
) -> Outcome | None:
    """What a packed segment comes to, for the key that counts; its first and last ordinal are added
    to `proven` if it is what that key has signed. None: the file is not packed.
    """
    with io_named("reading the oplog"):
        if not is_packed(place.vfs, place.fd):
            return None
        outcome = signed_outcome(place, verify_key, tell)
    if outcome.broken is None:
        proven.append((place.header.first_ordinal, outcome.ordinal))
    if outcome.broken is not None or place.key is None:
        return outcome
    header = place.header
    keys = PackedKeys(header.database_id, header.id, place.key, place.key)
    with io_named("reading the oplog"):
        view = view_of(place.vfs, place.fd, keys)
    try:
        if view is not None:
            return walk_twice(place._replace(vfs=view), tell)
    except LogCorrupted as error:
        offset = int(error.where.rpartition(":")[2])
        return broken_at(place, "altered", header.first_ordinal, offset, error.what)
    return outcome


def signed_outcome(place: Place, verify_key: bytes, tell: Callable[[int], object]) -> Outcome:
    """What its signature says, if all of it is what was signed."""
    vfs, fd, header = place.vfs, place.fd, place.header
    first, size = header.first_ordinal, vfs.size(fd)
    footer = footer_read(vfs, fd)
    start = 0 if footer is None else size - footer.rest_size
    rest = b"" if footer is None else vfs.read(fd, footer.rest_size, start)
    if footer is None or len(rest) < footer.rest_size:
        return broken_at(place, "damaged", first, size, "the end of this packed segment is damaged")
    head = vfs.read(fd, layout.SEGMENT_HEADER_SIZE, 0)
    if footer.verify_key != verify_key:
        what = f"this packed segment is signed with another key, {footer.verify_key.hex()}"
        return broken_at(place, "other-key", first, start, what)
    if not signature_is_valid(verify_key, signed_message(head, rest), footer.signature):
        what = "header, table or end of this packed segment is not what the key has signed"
        return broken_at(place, "signature", first, start, what)
    for number, (offset, length, ordinal, digest) in enumerate(pieces_of(rest, footer)):
        found = vfs.read(fd, length, offset)
        if len(found) != length or blake2b(found, digest_size=32).digest() != digest:
            until = ordinal_after(rest, footer, number)
            what = f"commits {ordinal} to {until} were altered: their piece is not what was signed"
            return broken_at(place, "altered", ordinal, offset, what)
        tell(number * layout.BLOCK_SIZE)
    asked = set(place.asked)
    return Outcome(
        footer.ordinal,
        footer.chain,
        footer.limit,
        0,
        footer.commits,
        footer.frames,
        tuple(each for each in marks_of(rest, footer) if each[0] in asked),
        tuple(purged_of(rest, footer)),
        footer.purges,
        judged(place, footer),
    )


def judged(place: Place, footer: Footer) -> Broken | None:
    """Whether it leads to what goes on from it; how far is for the caller, as with any segment."""
    follows = place.successor
    if follows is None or footer.ordinal != follows.first_ordinal - 1:
        return None
    if footer.chain == follows.chain:
        return None
    what = (
        f"segment {follows.id} was put in another's place, or this one was: the one does not lead"
        " to the other"
    )
    return Broken("altered", footer.ordinal, place.header.id, 0, what)


def broken_at(place: Place, kind: FindingKind, ordinal: int, offset: int, what: str) -> Outcome:
    """An outcome that leads nowhere."""
    header = place.header
    broken = Broken(kind, ordinal, header.id, offset, what)
    return Outcome(header.first_ordinal - 1, header.chain, 0, 0, 0, 0, (), (), b"", broken)


def pieces_of(rest: bytes, footer: Footer) -> Iterator[tuple[int, int, int, bytes]]:
    """(offset, size, first ordinal, digest) of each piece, as the table says."""
    offset = layout.SEGMENT_HEADER_SIZE
    for size, ordinal, digest in TABLE.iter_unpack(rest[: footer.table_size]):
        yield offset, size, ordinal, digest
        offset += size


def ordinal_after(rest: bytes, footer: Footer, number: int) -> int:
    """The last ordinal that a piece has."""
    if number + 1 >= footer.pieces:
        return footer.ordinal
    ordinal: int = TABLE.unpack_from(rest, (number + 1) * layout.TABLE_ENTRY_SIZE)[1]
    return ordinal - 1


def marks_of(rest: bytes, footer: Footer) -> Iterator[tuple[int, bytes]]:
    """(ordinal, chain value) of each mark."""
    for number in range(footer.marks):
        at = footer.table_size + number * layout.MARK_SIZE
        mark = rest[at : at + layout.MARK_SIZE]
        yield int.from_bytes(mark[: layout.MARK_CHAIN], "little"), mark[layout.MARK_CHAIN :]


def purged_of(rest: bytes, footer: Footer) -> Iterator[int]:
    """The ordinals of purged frames."""
    start = footer.table_size + footer.marks * layout.MARK_SIZE
    for number in range(footer.purged):
        yield int.from_bytes(rest[start + 8 * number :][:8], "little")


def packed_notes(count: int, *, is_walked: bool) -> list[str]:
    """What people should know of so many packed segments."""
    if not count or is_walked:
        return []
    return [
        f"{count} segments are packed: that they are what the key has signed was checked, not the"
        " chain inside of them, which `rango check` walks with the key"
    ]
