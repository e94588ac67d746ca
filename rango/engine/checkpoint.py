"""The checkpoint: the data file catches up with the log.

Terms       checkpoint, generation, superblock slot: see the glossary.
Invariants  I-2, I-3, I-18. Order: the newest slot once more (prove_slot) -> pages and bitmap -> the
            file's length -> flush -> log durable through T -> slot -> flush -> adopt. Only then are
            the units of the generation before the last one given out again.
States      idle -> building (others commit meanwhile) -> slot written -> adopted
Failure     No space: the build is abandoned, nothing names it, LowDisk. A write or flush whose
            outcome is unknown latches the
            database (I-10): nothing in the data file is lost, because no slot was touched before
            its flush.
Sources     architecture section 3; ADR-0006.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from rango._ext import layout
from rango._ext.generation import generation_slot, generation_units_only
from rango._ext.vfs import VFS_WRITE, Vfs
from rango.engine import index, kept, signing
from rango.errors import Corrupted, DatabaseBusy, IoFailed, LowDisk, RangoError
from rango.events import DEBUG, emit
from rango.storage.segment import LogMark
from rango.storage.superblock import DATA_FILE, Slot, slot_newest, slot_write, slots_read

if TYPE_CHECKING:
    from rango._ext.store import Store
    from rango._ext.view import Generation
    from rango.engine.core import Core

OVERLAY_ENTRIES_MAX: Final = 98_304
"""Overlay entries (documents and index entries) at which a checkpoint is due.

Bounds replay and memory.
"""

OVERLAY_BYTES_MAX: Final = 32 * 1024 * 1024
"""Overlay bytes at which a checkpoint is due."""

SHARED_ENTRIES_MAX: Final = 16_384
"""The same while other processes come and go: each opening replays the overlay (about 1 us an
entry). Some 8,000 documents with one index.
"""

SHARED_BYTES_MAX: Final = 16 * 1024 * 1024
"""The same in bytes."""

CHECKPOINT_RETRY: Final = 1.25
"""After a checkpoint found no space, the overlay grows by this factor before it is tried again."""

CLOSE_ENTRIES_MAX: Final = 512
"""close() leaves a tail up to this long to the next open (about 0.4 ms of replay).

So short runs cost no checkpoint.
"""

SHRINK_UNITS_MIN: Final = 256
"""Free units at the end of the file (1 MiB) that are worth a truncation."""


def is_due(core: Core) -> bool:
    """Whether the overlay has grown to its bound."""
    store = core.store
    entries, size = store.overlay_count, store.overlay_bytes
    if entries >= core.overlay_entries_max or size >= core.overlay_bytes_max:
        return True
    return (entries >= SHARED_ENTRIES_MAX or size >= SHARED_BYTES_MAX) and core.lock.had_company(
        entries
    )


def is_worth_it(core: Core) -> bool:
    """Whether close() should spare the next open a long replay, or there is no slot at all yet."""
    if core.slot is None:
        return True
    store = core.store
    return (
        store.overlay_count > CLOSE_ENTRIES_MAX
        or store.head.generation_number != core.slot.generation
    )


def run_due(core: Core) -> None:
    """Write one checkpoint that is due; a failure is latched or postponed, not raised.

    The commit that brought us here is done. Under the checkpoint lock.
    """
    options = core.options
    try:
        # every write maintains what one that died has left
        index.drop_all_unfinished(core)
        guarded(core)
        core.checkpoints += 1
        core.overlay_entries_max = options.overlay_entries_max or OVERLAY_ENTRIES_MAX
        core.overlay_bytes_max = options.overlay_bytes_max or OVERLAY_BYTES_MAX
    except (LowDisk, DatabaseBusy) as error:
        core.findings.append(str(error))
        core.overlay_entries_max = int(core.store.overlay_count * CHECKPOINT_RETRY) + 1
        core.overlay_bytes_max = int(core.store.overlay_bytes * CHECKPOINT_RETRY) + 1
    except RangoError as error:
        if core.error is None:
            raise
        core.findings.append(str(error))


def run_anew(core: Core) -> None:
    """Write one checkpoint even if the data file is up to date: with a slot of a new key epoch."""
    run(core, is_forced=True)


def run_bare(core: Core) -> None:
    """The same, and no older generation is kept any more."""
    run(core, is_forced=True, keeps_roots=False)


def forget_roots(core: Core) -> None:
    """Let neither slot name a kept root. Raises LowDisk, IoFailed."""
    with core.checkpoint_lock:
        for _slot in range(layout.SLOT_UNITS):
            if kept.is_any(core):
                guarded(core, run_bare)
                core.checkpoints += 1


def run(core: Core, *, is_forced: bool = False, keeps_roots: bool = True) -> None:
    """Write one checkpoint.

    Under the checkpoint lock. Raises LowDisk (nothing happened), IoFailed or Corrupted (latched).
    """
    store = core.store
    refresh(core)
    keep_fallback(core)
    if core.unadopted is not None:
        finish(core, *core.unadopted)
    protected = kept.protect(core)
    try:
        core.append_lock_take()
        view = store.head
        segment, offset, ordinal, chain = store.appender.mark()
        hlc_ms, hlc_counter = store.revision_floor
    finally:
        core.append_lock.drop()
    named = 0 if core.slot is None else core.slot.generation
    if view.overlay_entries == 0 and view.generation_number == named and not is_forced:
        return
    prove_slot(core)
    # frames after the view's commit can only be closed frames: the slot names the log's end
    number = 1 if core.slot is None else core.slot.generation + 1
    if keeps_roots:
        kept.choose(core, protected, view, LogMark(segment, offset, ordinal, chain))
    else:
        store.builder.roots_content = b""
    generation = store.build(view, view.catalog.definitions, number, ordinal)
    fields = generation_slot(generation)
    write_file_end(core.vfs, core.data_fd, fields["file_units"])
    core.vfs.flush(core.data_fd)
    store.appender.flush(ordinal)
    slot = Slot(
        generation=fields["generation"],
        ordinal=ordinal,
        chain=chain,
        log_segment=segment,
        log_offset=offset,
        file_units=fields["file_units"],
        catalog_link=fields["catalog_link"],
        catalog_height=fields["catalog_height"],
        clean=False,
        tree_next=view.catalog.tree_next,
        hlc_ms=hlc_ms,
        hlc_counter=hlc_counter,
        bitmap_links=tuple(fields["bitmap_links"]),
        seals=core.seals + store.pager.seals,
        reach=ordinal,
        epoch=store.pager.epoch,
        roots_link=fields["roots_link"],
        has_actors=store.has_actors or (core.slot is not None and core.slot.has_actors),
    )
    core.unadopted = generation, slot
    finish(core, generation, slot)


def refresh(core: Core) -> None:
    """Go on from the newest slot, whoever wrote it.

    A process that died behind its slot has told nobody of it: it is proven first.
    """
    # alone or not: the last one to close may come behind a neighbour that died
    if not core.lock.is_shared:
        return
    with core.follow_lock:
        if core.lock.shared.keys > core.keyring.generation:
            # else a slot of a new epoch would not be seen, and overwritten
            take_keys(core)
    path = os.path.join(core.path, DATA_FILE)
    slot, _other = slot_newest(slots_read(core.vfs, core.data_fd, path, core.keyring))
    is_untold = slot is not None and slot.generation > core.lock.shared.generation
    if slot is not None and is_untold:
        rewrite_slot(core, slot)
    # what this process had not gone on from is in the slots, or never was
    core.unadopted = None
    try:
        core.append_lock_take()
        if slot is not None and is_untold:
            # the word moves under the append lock only: no transaction is built on the one before
            core.lock.shared.generation = slot.generation
            core.view()
    finally:
        core.append_lock.drop()


def take_keys(core: Core) -> None:
    """Take over what another process changed in the keys, a new epoch above all. Under the follow
    lock.
    """
    core.keyring.refresh()
    if core.store.pager.epoch != core.keyring.epoch:
        core.store.pager.epoch_use(core.keyring.epoch)
        core.seals = -core.store.pager.seals


def finish(core: Core, generation: Generation, slot: Slot) -> None:
    """Let the slot name the generation, and go on from it.

    Where an interruption (a signal, a full disk, a writer that does not let go of the append lock)
    stopped this is unknown, so the next checkpoint begins with doing it again: until then the slot
    may name the generation, and the one before it is still the store's, so neither loses a unit.
    """
    write_slot(core, slot)
    adopt(core, generation, slot)
    core.unadopted = None
    signing.sign(core, slot.ordinal, slot.chain)


def write_slot(core: Core, slot: Slot) -> None:
    """Overwrite the older slot, durably."""
    try:
        slot_write(core.vfs, core.data_fd, slot, core.keyring)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise LowDisk(
            f"{core.path}: no space for the checkpoint's slot; nothing was lost, free space and "
            "write again"
        ) from error
    core.vfs.flush(core.data_fd)
    core.is_slot_proven = True


def record_reach(core: Core) -> None:
    """At close: a slot with the trees of the one before that says how far the log reaches.

    So a log that was cut behind T is found out, too. The log is durable to its end (I-18).
    """
    store, before = core.store, core.slot
    if before is None or before.reach >= store.head.ordinal:
        return
    hlc_ms, hlc_counter = store.revision_floor
    slot = before._replace(
        generation=before.generation + 1,
        clean=True,
        hlc_ms=hlc_ms,
        hlc_counter=hlc_counter,
        reach=store.head.ordinal,
    )
    write_slot(core, slot)
    core.slot = slot


def trim_log(core: Core) -> None:
    """At close, alone: give back what was written ahead, but for one step.

    The next open reads whatever is behind the end (I-11). Not flushed: zeros that come back after a
    crash are only zeros. Where it cannot be done, that open takes longer.
    """
    segment_id, end, _ordinal, _chain = core.store.appender.mark()
    keep = -(-end // layout.UNIT_SIZE) * layout.UNIT_SIZE + layout.SEGMENT_FIRST_STEP
    try:
        fd = core.vfs.open(core.log.path(segment_id), VFS_WRITE)
        try:
            if core.vfs.size(fd) > keep:
                core.vfs.truncate(fd, keep)
        finally:
            core.vfs.close(fd)
    except OSError as error:
        core.findings.append(f"what was written ahead of the log was not given back: {error}")


def prove_slot(core: Core) -> None:
    """Before the first page of this session: write the newest slot again (same bytes) and flush.

    After a failed flush it may live in the cache only, marked clean (as in I-17). On the disk an
    older slot then still stands in its place, and that one's pages are about to be reused.
    """
    if core.is_slot_proven or core.slot is None:
        return
    rewrite_slot(core, core.slot)
    core.is_slot_proven = True


def rewrite_slot(core: Core, slot: Slot) -> None:
    """Write a slot's bytes to the same place again, durably."""
    offset = slot.generation % 2 * layout.UNIT_SIZE
    core.vfs.write(core.data_fd, core.vfs.read(core.data_fd, layout.UNIT_SIZE, offset), offset)
    core.vfs.flush(core.data_fd)


def keep_fallback(core: Core) -> None:
    """Before the first checkpoint: learn which units the other slot's generation uses (I-2), if
    nobody has.
    """
    fallback, core.fallback = core.fallback, None
    if fallback is not None:
        core.findings.extend(keep_slot(core.store, fallback))


def keep_slot(store: Store, fallback: Slot) -> list[str]:
    """Keep the pages of the generation that the other slot names.

    Opening does not wait for this. A bitmap that is not whole means that the other slot is of no
    use any more: then there is
    nothing to keep, and the finding says so.
    """
    try:
        generation = generation_units_only(
            store.pager, fallback.generation, list(fallback.bitmap_links), fallback.file_units
        )
    except Corrupted as error:
        return [f"the older superblock slot cannot be used: {error}"]
    store.keep(generation)
    return []


def write_file_end(vfs: Vfs, fd: int, units: int) -> None:
    """Make the file at least `units` long (I-3)."""
    if vfs.size(fd) < units * layout.UNIT_SIZE:
        vfs.truncate(fd, units * layout.UNIT_SIZE)


def adopt(core: Core, generation: Generation, slot: Slot) -> None:
    """Go on from the new generation, and give the end of the file back if nobody needs it."""
    try:
        core.append_lock_take()
        core.store.appender.flush()
        core.store.publish()
        core.store.adopt(generation, True)
        core.store.known_generation = slot.generation
        core.lock.shared.generation = slot.generation
    finally:
        core.append_lock.drop()
    before, core.slot = core.slot, slot
    units = max(slot.file_units, before.file_units if before is not None else 0)
    if core.vfs.size(core.data_fd) >= (units + SHRINK_UNITS_MIN) * layout.UNIT_SIZE:
        core.vfs.truncate(core.data_fd, units * layout.UNIT_SIZE)


def guarded(core: Core, work: Callable[[Core], None] = run) -> None:
    """Run `work`, with every failure whose outcome is unknown latched for the whole database."""
    started = perf_counter_ns()
    generation = core.store.head.generation_number
    try:
        work(core)
        spent = perf_counter_ns() - started
        if core.store.head.generation_number != generation:
            core.times["checkpoint"].observe(spent)
            emit(
                "engine",
                DEBUG,
                "checkpoint",
                "the data file is up to date",
                path=core.path,
                generation=core.store.head.generation_number,
                duration_ms=spent / 1e6,
            )
    except (IoFailed, Corrupted) as error:
        core.latch(error)
        raise
    except OSError as error:
        failed = IoFailed(
            f"{core.path}: the checkpoint failed ({error}); check the disk, then open the "
            "database again"
        )
        core.latch(failed)
        raise failed from error
