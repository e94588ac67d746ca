"""The two superblock slots of `data.rango`: which generation is the newest, and where the log goes
on.

Terms       superblock slot, generation, link, chain value: see the glossary.
Invariants  I-2 (the slot that is overwritten is never the newest), I-3 (a slot is valid only if the
            file is as long as it
            says), I-18 (a slot names an ordinal T that the log has durably, and H(T)).
Layout      layout.pxd SLOT_*; docs/reference/format.md#superblock. Slot 0 is unit 0, slot 1 is unit
            1; generation g goes into
            slot g mod 2. The AAD is the clear header of the slot and its number.
Failure     A slot that is torn, damaged, from another database or longer than the file is simply
            not valid; the other one then
            counts. Magic right but version or feature bits unknown: FormatTooNew.
Sources     ADR-0001; architecture section 7.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from rango._ext import layout
from rango._ext.generation import generation_load, roots_page
from rango._ext.vfs import Vfs
from rango.errors import FormatTooNew, PageCorrupted
from rango.storage.keyring import Keyring
from rango.storage.segment import io_named

if TYPE_CHECKING:
    from rango._ext.pager import Pager
    from rango._ext.view import Generation

MAGIC: Final = b"RANGODAT"
DATA_FILE: Final = "data.rango"
HEADER: Final = struct.Struct("<8sII16sI")
BODY: Final = struct.Struct("<QQ32sQQQ16sBBxxIQHHQQ")
EMPTY_LINK: Final = bytes(layout.LINK_SIZE)
LINKS_OFFSET: Final = layout.SLOT_BITMAP
FEATURES_KNOWN: Final = (
    layout.SLOT_FEATURE_MARKS | layout.SLOT_FEATURE_ROOTS | layout.SLOT_FEATURE_ACTORS
)
ROOT: Final = struct.Struct("<IH")


class Slot(NamedTuple):
    """What one superblock slot says."""

    generation: int
    ordinal: int
    chain: bytes
    log_segment: int
    log_offset: int
    file_units: int
    catalog_link: bytes
    catalog_height: int
    clean: bool
    tree_next: int
    hlc_ms: int
    hlc_counter: int
    bitmap_links: tuple[bytes, ...]
    seals: int
    reach: int
    epoch: int
    roots_link: bytes = b""
    """Of the page that says which older generations are kept; empty if none is."""
    has_actors: bool = False
    """Records may say who wrote them. In the clear header, because older readers must refuse."""


def slot_pack(slot: Slot, keyring: Keyring) -> bytes:
    """One unit, sealed, ready to be written at unit `slot.generation % 2`."""
    features = layout.SLOT_FEATURE_MARKS | (layout.SLOT_FEATURE_ROOTS if slot.roots_link else 0)
    features |= layout.SLOT_FEATURE_ACTORS if slot.has_actors else 0
    header = HEADER.pack(MAGIC, layout.FORMAT_VERSION, features, keyring.database_id, slot.epoch)
    body = body_pack(slot).ljust(layout.SLOT_ROOTS, b"\0") + slot.roots_link
    key = keyring.superblock_key(slot.epoch)
    nonce, sealed = key.seal_bytes(
        slot_aad(header, slot.generation % 2), body.ljust(layout.SLOT_BODY_SIZE, b"\0")
    )
    return header + nonce + sealed


def body_pack(slot: Slot) -> bytes:
    """The body of a slot up to the last of its bitmap links."""
    body = BODY.pack(
        slot.generation,
        slot.ordinal,
        slot.chain,
        slot.log_segment,
        slot.log_offset,
        slot.file_units,
        slot.catalog_link,
        slot.catalog_height,
        slot.clean,
        slot.tree_next,
        slot.hlc_ms,
        slot.hlc_counter,
        len(slot.bitmap_links),
        slot.seals,
        slot.reach,
    )
    return body.ljust(LINKS_OFFSET, b"\0") + b"".join(slot.bitmap_links)


def slot_aad(header: bytes, number: int) -> bytes:
    """What the tag of a slot vouches for besides its body."""
    return bytes([layout.FILE_KIND_SUPERBLOCK, number]) + header


def slot_unpack(data: bytes, number: int, path: str, keyring: Keyring) -> Slot | None:
    """The slot in these bytes, or None if they are not a whole slot of this database."""
    if len(data) < layout.UNIT_SIZE:
        return None
    magic, version, features, database_id, epoch = HEADER.unpack_from(data)
    if magic != MAGIC or database_id != keyring.database_id or not 1 <= epoch <= keyring.epoch:
        return None
    key = keyring.superblock_key(epoch)
    header = data[: HEADER.size]
    nonce = data[layout.SLOT_NONCE : layout.SLOT_BODY]
    sealed = data[layout.SLOT_BODY : layout.SLOT_BODY + layout.SLOT_BODY_SIZE + layout.TAG_SIZE]
    body = key.open_bytes(slot_aad(header, number), nonce, sealed)
    if body is None:
        return None
    if version > layout.FORMAT_VERSION or features & ~FEATURES_KNOWN:
        raise FormatTooNew(
            f"{path} has format version {version}, features {features:#x}; this Rango knows "
            f"version {layout.FORMAT_VERSION}. Update Rango."
        )
    slot = body_unpack(body, epoch)
    if slot is None or slot.generation % 2 != number:
        return None
    link = body[layout.SLOT_ROOTS : layout.SLOT_ROOTS + layout.LINK_SIZE]
    return slot._replace(
        roots_link=link if link != EMPTY_LINK else b"",
        has_actors=bool(features & layout.SLOT_FEATURE_ACTORS),
    )


def body_unpack(body: bytes, epoch: int) -> Slot | None:
    """What body_pack() packed; None if it cannot be that."""
    fields = BODY.unpack_from(body)
    count = fields[12]
    if count > layout.BITMAP_LINKS_MAX:
        return None
    links = tuple(
        body[at : at + layout.LINK_SIZE]
        for at in range(LINKS_OFFSET, LINKS_OFFSET + count * layout.LINK_SIZE, layout.LINK_SIZE)
    )
    return Slot(
        generation=fields[0],
        ordinal=fields[1],
        chain=fields[2],
        log_segment=fields[3],
        log_offset=fields[4],
        file_units=fields[5],
        catalog_link=fields[6],
        catalog_height=fields[7],
        clean=bool(fields[8]),
        tree_next=fields[9],
        hlc_ms=fields[10],
        hlc_counter=fields[11],
        bitmap_links=links,
        seals=fields[13],
        reach=fields[14],
        epoch=epoch,
    )


def roots_pack(roots: Sequence[Slot]) -> bytes:
    """The content of the page of kept roots: of each one epoch, size, body of its slot."""
    bodies = [(root.epoch, body_pack(root) + root.roots_link) for root in roots]
    return b"".join(ROOT.pack(epoch, len(body)) + body for epoch, body in bodies)


def roots_of(pager: Pager, slot: Slot) -> list[Slot]:
    """The kept roots that a slot names, the oldest first. PageCorrupted."""
    if not slot.roots_link:
        return []
    data = roots_page(pager, slot.roots_link)
    found: list[Slot] = []
    at = 0
    while at < len(data):
        epoch, size = ROOT.unpack_from(data, at)
        at += ROOT.size
        body = data[at : at + size]
        root = body_unpack(body, epoch)
        if root is None:
            raise PageCorrupted(pager.path, "a kept root is malformed")
        links = LINKS_OFFSET + len(root.bitmap_links) * layout.LINK_SIZE
        found.append(root._replace(roots_link=body[links:]))
        at += size
    return found


def slots_read(vfs: Vfs, fd: int, path: str, keyring: Keyring) -> tuple[Slot | None, Slot | None]:
    """Both slots; None for one that is not valid (I-3 included). IoFailed."""
    with io_named(f"reading {path}"):
        units = vfs.size(fd) // layout.UNIT_SIZE
        stored = [
            vfs.read(fd, layout.UNIT_SIZE, number * layout.UNIT_SIZE)
            for number in range(layout.SLOT_UNITS)
        ]
    found: list[Slot | None] = []
    for number, data in enumerate(stored):
        slot = slot_unpack(data, number, path, keyring)
        found.append(slot if slot is not None and slot.file_units <= units else None)
    return found[0], found[1]


def slot_newest(slots: tuple[Slot | None, Slot | None]) -> tuple[Slot | None, Slot | None]:
    """(newest, the other one): None where there is none."""
    first, second = slots
    if first is None or (second is not None and second.generation > first.generation):
        return second, first
    return first, second


def slot_write(vfs: Vfs, fd: int, slot: Slot, keyring: Keyring) -> None:
    """Overwrite the older slot.

    The caller has flushed everything that the slot names, and flushes after it.
    """
    vfs.write(fd, slot_pack(slot, keyring), (slot.generation % 2) * layout.UNIT_SIZE)


def slots_torn(vfs: Vfs, fd: int, slots: tuple[Slot | None, Slot | None]) -> list[int]:
    """The numbers of the slots that are not valid although they were written.

    Before the second generation one slot is blank; later a blank one is a write that left zeros.
    """
    was_written = any(slot is not None and slot.generation > 1 for slot in slots)
    return [
        number
        for number, slot in enumerate(slots)
        if slot is None
        and (was_written or vfs.read(fd, layout.UNIT_SIZE, number * layout.UNIT_SIZE).strip(b"\0"))
    ]


def slot_mend(vfs: Vfs, fd: int, number: int, slot: Slot | None, keyring: Keyring) -> Slot | None:
    """Write the slot that is not whole anew: what the good one says, as the generation before it.

    Returns what it says now; None if it is blank, because there was no generation before. Not
    flushed: it may tear as it was torn.
    """
    if slot is None or slot.generation == 1:
        vfs.write(fd, bytes(layout.UNIT_SIZE), number * layout.UNIT_SIZE)
        return None
    twin = slot._replace(generation=slot.generation - 1)
    slot_write(vfs, fd, twin, keyring)
    return twin


def slot_load(pager: Pager, slot: Slot) -> tuple[Generation, list[tuple[int, bytes]]]:
    """The generation that a slot names, and the definitions in its catalog. PageCorrupted."""
    found = generation_load(
        pager,
        slot.generation,
        slot.ordinal,
        slot.catalog_link,
        slot.catalog_height,
        list(slot.bitmap_links),
        slot.file_units,
        slot.tree_next,
    )
    found[0].roots_link = slot.roots_link
    return found
