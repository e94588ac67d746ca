"""The data file: its size, its two superblock slots, and the catalog and bitmap of the newest one.

Invariants  Both slots are read anew as long as another process may be writing one of them.
Failure     Without a secret only sizes and the clear headers of the slots are examined.
"""

from __future__ import annotations

from typing import Final

from rango._ext import layout
from rango._ext.pager import Pager
from rango._ext.vfs import VFS_READ
from rango.doctor.examination import Examination
from rango.engine import kept
from rango.engine.catalog import Catalog
from rango.errors import Corrupted, FormatTooNew, IoFailed
from rango.storage.keyring import Keyring
from rango.storage.superblock import DATA_FILE, MAGIC, Slot, slot_load, slot_newest, slot_unpack

TRIES: Final = 5
"""Readings of what somebody writes, before something odd is believed."""
CACHE_SIZE: Final = 1 << 20
RECLAIMABLE_BYTES: Final = 4 * 1024 * 1024
"""Free units that are worth a word, if they are also half of the file."""
REBUILD: Final = (
    "move data.rango away and open the database for writing: it is rebuilt from the oplog. Keep "
    "the old file until `rango check` says that all is well"
)


def examine_data_file(case: Examination) -> Catalog | None:
    """All of it; the catalog of the newest slot, or None."""
    if DATA_FILE not in case.names:
        if "oplog" in case.names and not case.is_written:
            case.find(
                "data-file-missing",
                DATA_FILE,
                "there is no data file",
                "nothing: the next open for writing rebuilds it from the oplog, which has all",
            )
        return None
    try:
        file = case.vfs.open(case.place(DATA_FILE), VFS_READ)
    except OSError:
        return None  # examine_files says so
    try:
        return examine_open(case, file)
    except (OSError, IoFailed) as error:
        case.not_read(DATA_FILE, str(error))
        return None
    finally:
        case.vfs.close(file)


def examine_open(case: Examination, file: int) -> Catalog | None:
    """The same with the file open."""
    size = case.vfs.size(file)
    case.facts["data_bytes"] = size
    if size % layout.UNIT_SIZE and not case.is_written:
        case.find(
            "data-file-size",
            DATA_FILE,
            f"its size, {size}, is no multiple of {layout.UNIT_SIZE}: a crash cut its growth short",
            "nothing: what is behind the last whole unit was never used",
        )
    if case.keyring is None:
        examine_heads(case, file)
        return None
    for at in range(TRIES if case.is_written else 1):
        before = len(case.findings)
        try:
            slot = examine_slots(case, file, case.keyring)
            catalog = None if slot is None else examine_pages(case, case.keyring, slot)
        except FormatTooNew as error:
            case.find("format-too-new", DATA_FILE, str(error), "update Rango")
            return None
        is_quiet = all(found.severity == "note" for found in case.findings[before:])
        if is_quiet or not case.is_written or at + 1 == TRIES:
            return catalog
        del case.findings[before:]  # perhaps it was being written just then
    return None


def examine_heads(case: Examination, file: int) -> None:
    """What the slots say in clear."""
    heads = [
        case.vfs.read(file, layout.SLOT_NONCE, number * layout.UNIT_SIZE)
        for number in range(layout.SLOT_UNITS)
    ]
    if any(heads) and not any(head.startswith(MAGIC) for head in heads):
        if heads[0].strip(b"\0"):
            case.find(
                "superblock-lost", DATA_FILE, "neither superblock slot begins as one does", REBUILD
            )
        return
    for head in heads:
        version = int.from_bytes(head[layout.SLOT_VERSION : layout.SLOT_FEATURES], "little")
        if head.startswith(MAGIC) and version > layout.FORMAT_VERSION:
            case.find(
                "format-too-new",
                DATA_FILE,
                f"it has format {version}, this Rango knows {layout.FORMAT_VERSION}",
                "update Rango",
            )


def examine_slots(case: Examination, file: int, keyring: Keyring) -> Slot | None:
    """Both slots; the newest that is whole. Raises FormatTooNew."""
    path = case.place(DATA_FILE)
    units = case.vfs.size(file) // layout.UNIT_SIZE
    data = [
        case.vfs.read(file, layout.UNIT_SIZE, number * layout.UNIT_SIZE)
        for number in range(layout.SLOT_UNITS)
    ]
    slots = [slot_unpack(each, number, path, keyring) for number, each in enumerate(data)]
    long = [slot for slot in slots if slot is not None and slot.file_units > units]
    whole = [None if slot in long else slot for slot in slots]
    newest, _other = slot_newest((whole[0], whole[1]))
    for slot in long:
        case.find(
            "data-file-short",
            DATA_FILE,
            f"checkpoint {slot.generation} needs {slot.file_units * layout.UNIT_SIZE} bytes, there "
            f"are {case.vfs.size(file)}",
            REBUILD
            if newest is None
            else "nothing yet: the other slot and the oplog have what it had. Look after the disk",
            "error" if newest is None else "warning",
        )
    was_second = any(slot is not None and slot.generation > 1 for slot in slots)
    torn = [
        number
        for number, slot in enumerate(slots)
        if slot is None and (was_second or data[number].strip(b"\0"))
    ]
    if newest is None and not long and data[0].strip(b"\0"):
        case.find("superblock-lost", DATA_FILE, "neither superblock slot is whole", REBUILD)
    elif newest is not None:
        for number in torn:
            case.find(
                "superblock-slot",
                f"{DATA_FILE}:{number * layout.UNIT_SIZE}",
                f"superblock slot {number} is torn or damaged",
                "nothing: the other slot and the oplog have what it had, and the next open for "
                "writing mends it",
            )
    case.slot = newest
    case.facts["generation"] = 0 if newest is None else newest.generation
    return newest


def examine_pages(case: Examination, keyring: Keyring, slot: Slot) -> Catalog | None:
    """Catalog and bitmap below the slot; how much of the file is in use."""
    pager = Pager(
        case.vfs,
        case.place(DATA_FILE),
        case.vfs.open(case.place(DATA_FILE), VFS_READ),
        keyring.database_id,
        keyring,
        keyring.epoch,
        CACHE_SIZE,
    )
    try:
        generation, definitions = slot_load(pager, slot)
        catalog = Catalog(dict(definitions), {}, slot.tree_next)
        roots = [kept.units_of(pager, root) for root in kept.listed_by(pager, slot)]
    except Corrupted as error:
        case.find(
            "page-damaged",
            f"{DATA_FILE} (checkpoint {slot.generation})",
            f"a page of the catalog or of the bitmap is damaged: {error}",
            REBUILD,
        )
        return None
    finally:
        pager.close()
    used = 0
    for each in (generation, *roots):
        if each is not None:
            used |= kept.units_in(each)
    free = (slot.file_units - used.bit_count()) * layout.UNIT_SIZE
    case.facts["reclaimable_bytes"] = free
    if free >= RECLAIMABLE_BYTES and 2 * free >= slot.file_units * layout.UNIT_SIZE:
        case.find(
            "reclaimable",
            DATA_FILE,
            f"{free} of {slot.file_units * layout.UNIT_SIZE} bytes are free inside of it",
            "nothing: they are used again, and free units at its end are given back. "
            "`rango compact` makes the file small now",
        )
    return catalog
