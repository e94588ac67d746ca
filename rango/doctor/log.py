"""The oplog: whether its segments continue each other, and how its tail ends.

Invariants  Nothing is repaired. While another process appends, frames appear between two readings:
            damage is believed only if it is found at the same place twice, and the end of the log
            is not judged at all.
Failure     Without a secret the segments' headers are compared without their tags, and no frame is
            opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from rango._ext import layout
from rango._ext.segment import SegmentHeader
from rango.doctor.examination import Examination
from rango.engine.catalog import Catalog
from rango.engine.kept_state import definitions_of
from rango.engine.mutation import MUTATION, mutations
from rango.errors import FormatTooNew, IoFailed, LogCorrupted, LowDisk
from rango.storage.keyring import Keyring
from rango.storage.oplog import LogEnd, Oplog
from rango.storage.segment import header_bytes, is_base, place_name, segment_ids

TRIES: Final = 5
HISTORY_BYTES: Final = 256 * 1024 * 1024
HISTORY_SHARE: Final = 10
"""A log larger than this, and than so many data files, is worth a note."""

RESTORE: Final = (
    "restore a backup; or `rango salvage` writes what is intact to a new place. Change nothing here"
)
HEALS: Final = "nothing: the next open for writing sees to it"


class Tail(NamedTuple):
    """What the log holds behind the newest slot."""

    commits: int
    last_ms: int
    catalog: Catalog


def examine_log(case: Examination, catalog: Catalog | None) -> None:
    """All of the log, as far as it can be opened."""
    if "keys" not in case.names:
        return
    folder = case.place("oplog")
    try:
        ids = segment_ids(case.vfs, folder) if os.path.isdir(folder) else []
    except (IoFailed, LowDisk):
        return  # examine_files says so
    if not ids:
        examine_missing(case)
        return
    sizes = [os.path.getsize(os.path.join(folder, f"{each:016d}.rgo")) for each in ids]
    case.facts["log"] = {"segments": len(ids), "bytes": sum(sizes)}
    examine_size(case, sum(sizes))
    if case.keyring is None:
        examine_headers(case, folder, ids)
        return
    examine_frames(case, case.keyring, catalog)


def examine_size(case: Examination, size: int) -> None:
    """Is most of it history?"""
    data = case.place("data.rango")
    present = os.path.getsize(data) if os.path.isfile(data) else size
    if size > HISTORY_BYTES and size > HISTORY_SHARE * present:
        case.find(
            "history-large",
            "oplog",
            f"the oplog takes {size} bytes and the data file {present}: most of it is history",
            "nothing, if it is wanted; `rango compact --keep 30d` gives up what is older than that",
        )


def examine_missing(case: Examination) -> None:
    """There is no segment: a creation that was cut short, or a loss."""
    if "data.rango" in case.names or (case.keyring is not None and case.keyring.generation > 1):
        case.find("log-missing", "oplog", "the oplog is missing although there was one", RESTORE)
    elif not case.is_written:
        case.find(
            "creation-unfinished",
            case.path,
            "the creation of this database was cut short before there was anything in it",
            "nothing: the next open for writing goes on with it",
        )


def examine_headers(case: Examination, folder: str, ids: list[int]) -> None:
    """Without a secret: does each header name the one before?"""
    before: SegmentHeader | None = None
    headers: dict[int, SegmentHeader | None] = {}
    for number in ids:
        try:
            data = header_bytes(case.vfs, folder, number)
        except IoFailed:
            continue
        headers[number] = SegmentHeader.unpack_unproven(data)
    first = max((each for each, header in headers.items() if header and is_base(header)), default=0)
    for number, header in headers.items():
        where = place_name(number, 0)
        if number < first:
            # given up, and not removed yet
            continue
        if header is None:
            void(case, where)
            continue
        expected = 0 if before is None else before.id
        if header.id != number or header.predecessor != expected:
            case.find(
                "log-broken",
                where,
                f"it says that it is segment {header.id} and continues {header.predecessor}; "
                f"expected were {number} and {expected}",
                RESTORE,
            )
        before = header


def void(case: Examination, where: str) -> None:
    """A segment that was never used."""
    if not case.is_written:
        case.find(
            "segment-void",
            where,
            "this file has no header of a segment: a crash cut its creation short",
            "nothing: it was never used. If segments behind it are missed, see `rango check`",
        )


def examine_frames(case: Examination, keyring: Keyring, catalog: Catalog | None) -> None:
    """With the keys: headers, the tail behind the slot, and how it ends."""
    place = ""
    for _ in range(TRIES):
        code = "log-broken"
        try:
            log = Oplog.open(case.vfs, case.path, keyring)
            code = "log-damaged"
            examine_end(case, log, tail_of(case, log, catalog))
            return
        except FormatTooNew as error:
            case.find("format-too-new", "oplog", str(error), "update Rango")
            return
        except IoFailed as error:
            case.not_read("oplog", str(error))
            return
        except LogCorrupted as error:
            if not case.is_written or error.where == place:
                case.find(code, error.where, error.what, RESTORE)
                return
            place = error.where
    # it moves on from one reading to the next: somebody writes it


def tail_of(case: Examination, log: Oplog, catalog: Catalog | None) -> Tail:
    """Read everything behind the slot. Raises LogCorrupted."""
    slot = case.slot
    start: tuple[Any, ...] = log.start()
    if slot is not None:
        start = (slot.log_segment, slot.log_offset, slot.ordinal, slot.chain)
    commits, last_ms = 0, 0 if slot is None else slot.hlc_ms
    changes: list[tuple[int, bytes | None]] = []
    if slot is None:
        changes += definitions_of(log)
    for batch in log.replay(*start, must_reach=0 if slot is None else slot.reach):
        for _ordinal, _lsn, body, _first in batch:
            commits += 1
            for mutation in mutations(body):
                tree, value = tree_and_value(mutation)
                if tree == layout.TREE_CATALOG:
                    changes += catalog_changes(mutation, value)
                elif len(value) >= layout.RECORD_HEADER_SIZE:
                    ms = int.from_bytes(
                        value[layout.RECORD_MS : layout.RECORD_UPDATED_AT], "little"
                    )
                    last_ms = max(last_ms, ms)
    base = Catalog({}, {}, 1) if catalog is None else catalog
    return Tail(commits, last_ms, base.changed(changes, {}))


def tree_and_value(mutation: memoryview) -> tuple[int, memoryview]:
    """The tree of a mutation, and its record (empty if what it was is blanked)."""
    _size, op, tree, key_size = MUTATION.unpack_from(mutation)
    if op in (layout.MUTATION_PURGED, layout.MUTATION_FORGET):
        return tree, mutation[:0]
    value_size = int.from_bytes(
        mutation[layout.MUTATION_VALUE_SIZE : layout.MUTATION_INDEX_COUNT], "little"
    )
    start = layout.MUTATION_HEADER_SIZE + key_size
    return tree, mutation[start : start + value_size]


def catalog_changes(mutation: memoryview, value: memoryview) -> Iterator[tuple[int, bytes | None]]:
    """What a mutation of the catalog does to definitions."""
    _size, op, _tree, key_size = MUTATION.unpack_from(mutation)
    start = layout.MUTATION_HEADER_SIZE
    tree = int.from_bytes(mutation[start : start + key_size], "big")
    yield tree, None if op == layout.MUTATION_DELETE else bytes(value)


def examine_end(case: Examination, log: Oplog, tail: Tail) -> None:
    """How the log ends, and what was under way when it did."""
    case.last_ms = tail.last_ms
    end = log.end
    case.facts["log"] |= {
        "ordinal": 0 if end is None else end.mark.ordinal,
        "replayed_commits": tail.commits,
    }
    for void_id in log.void_ids:
        void(case, place_name(void_id, 0))
    for segment_id in () if case.is_written else log.given_up[:1]:
        case.find(
            "given-up-files",
            place_name(segment_id, 0),
            f"{len(log.given_up)} files of the history that was given up are still there",
            "nothing: the next open for writing removes them",
        )
    keyring = case.keyring
    slot_epoch = None if case.slot is None else case.slot.epoch
    if keyring is not None and min(slot_epoch or keyring.epoch, log.segments[-1].epoch) < (
        keyring.epoch
    ):
        case.find(
            "rotation-unfinished",
            "keys",
            f"key epoch {keyring.epoch} has begun, and not everything is written under it yet",
            "nothing: the next checkpoint and the next segment are; `rango key rotate` begins "
            "another one at once",
        )
    if case.is_written or end is None:
        return
    examine_tail(case, end, tail)
    if tail.catalog.settings.get("is_purging"):
        case.find(
            "purge-unfinished",
            "oplog",
            "a purge was cut short: the documents are gone, what they were is still in the history",
            "open the database for writing: it goes on by itself, once nobody reads older pages. "
            "Until then the files hold it",
        )
    for tree in tail.catalog.building():
        case.find(
            "index-unfinished",
            f"tree {tree}",
            "the building of an index was cut short",
            "nothing: the next open for writing or checkpoint drops what there is of it; create it "
            "again",
        )


def examine_tail(case: Examination, end: LogEnd, tail: Tail) -> None:
    """What a crash left at the end."""
    if end.state == "torn":
        case.find(
            "torn-tail",
            place_name(end.mark.segment_id, end.mark.offset),
            f"{end.what}: a crash or a power cut came while they were written",
            "nothing: no acknowledged commit is lost. The next open for writing puts them aside",
        )
    elif not end.is_closed and tail.commits:
        case.find(
            "not-closed",
            "oplog",
            f"who wrote last did not close it; the next open replays {tail.commits} commits",
            HEALS,
        )
