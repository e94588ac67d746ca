"""The data file gives space back: what lies at its end moves into free units before it.

Terms       unit, generation, limit: see rango/_ext/relocate.pyx.
Invariants  I-2, I-3, I-18, as for a checkpoint. The generations made here hold what the one before
            them holds, so the slot names the same commit and the same place in the log. Others read
            and write between two steps; one step moves at most STEP_UNITS.
Failure     as of a checkpoint. LowDisk: what was moved has moved. A page that cannot be read is not
            moved, nor is what the step would have moved with it, and so with a page that cannot be
            written: a finding and an event, no reason to latch, for nothing names what the step
            has written. A flush that fails latches.
Sources     ADR-0032, ADR-0038.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from rango._ext import layout
from rango._ext.generation import generation_slot
from rango.engine import checkpoint, kept, signing
from rango.errors import Corrupted, IoFailed, LowDisk, RangoError
from rango.events import WARNING, emit
from rango.storage.superblock import DATA_FILE, slot_load, slots_read

if TYPE_CHECKING:
    from rango.engine.core import Core

STEP_UNITS: Final = 4_096
"""16 MiB: what one step moves at most."""

SPARE_UNITS: Final = 64
"""Free units that are left, at the least: the next checkpoint needs some (I-2)."""

SPARE_SHARE: Final = 8
"""Of the used units, so much is left free as well."""

STEPS_MAX: Final = 100_000

LOOSE_RATIO: Final = 2.5
"""A file that is so many times as long as what its newest generation holds is worth the work at
close, ..."""

LOOSE_UNITS: Final = 4_096
"""... if it is longer than 16 MiB (copy-on-write alone keeps three times a small database), ..."""

CLOSE_UNITS_MAX: Final = 16_384
"""... and if there are not more than 64 MiB to read: compact() takes its time, close() does not."""


def at_close(core: Core) -> None:
    """Let a small file that is mostly free be small again. By the last one that has it open.

    Nothing is lost by a file's length, and the end of the log is recorded before, so what cannot be
    done is a finding and an event: whoever closes is not told of a page that only this has read.
    Raises IoFailed if the end cannot be recorded.
    """
    if not is_loose(core):
        return
    try:
        with core.checkpoint_lock:
            record_end(core)
    except LowDisk as error:
        told(core, error)
        return
    findings = len(core.findings)
    try:
        # its first generations give up the roots that are too many beside what is there now
        shrink(core, is_patient=False)
        # one that could not move everything finds no more with less
        if len(core.findings) == findings and is_loose(core) and roots_hold_end(core):
            # they save time, the log has what they say
            checkpoint.forget_roots(core)
            shrink(core, is_patient=False)
    except (RangoError, OSError) as error:
        told(core, error)


def record_end(core: Core) -> None:
    """Record how far the log reaches, and sign it. Under the checkpoint lock.

    Raises LowDisk, IoFailed.
    """
    try:
        core.append_lock_take()
        core.store.appender.flush()
        core.store.publish()
        checkpoint.guarded(core, checkpoint.record_reach)
        signing.sign_end(core)
    finally:
        core.append_lock.drop()


def told(core: Core, error: Exception) -> None:
    """Say why the file is as long as it is."""
    core.findings.append(f"the data file was not made smaller: {error}")
    kind = type(error).__name__
    emit("engine", WARNING, "not_shrunk", str(error), path=core.path, error=kind)


def is_loose(core: Core) -> bool:
    """Whether the file is much longer than what its newest generation holds."""
    slot = core.slot
    if slot is None or slot.file_units <= LOOSE_UNITS:
        return False
    newest = kept.units_of(core.store.pager, slot)
    if newest is None:
        return False
    used = kept.units_in(newest).bit_count()
    return used <= CLOSE_UNITS_MAX and slot.file_units > LOOSE_RATIO * used


def roots_hold_end(core: Core) -> bool:
    """Whether a kept root has pages where the file could end."""
    pager, slot = core.store.pager, core.slot
    newest = None if slot is None else kept.units_of(pager, slot)
    if newest is None:
        return False
    limit = limit_of(kept.units_in(newest).bit_count())
    roots = [kept.units_of(pager, root) for root in kept.listed_by(pager, slot)]
    return any(each is not None and kept.units_in(each).bit_length() > limit for each in roots)


def limit_of(used: int) -> int:
    """Where a file may end in which so many units are used."""
    return used + used // SPARE_SHARE + SPARE_UNITS


def shrink(core: Core, *, is_patient: bool = True) -> int:
    """Move what lies at the end and cut the file off. Returns by how many bytes it is smaller. Not
    patient: not if the first step moves nothing.

    Raises what a checkpoint raises.
    """
    path = os.path.join(core.path, DATA_FILE)
    before = core.vfs.size(core.data_fd)
    # what was freed last can be used only after two generations more
    settle(core, 2)
    moved = [1]

    def work(core: Core) -> None:
        moved.append(step(core, path))

    for _ in range(STEPS_MAX):
        with core.checkpoint_lock:
            checkpoint.guarded(core, work)
        if not any(moved[-2:]) or not (any(moved[1:]) or is_patient):
            break
        if not moved[-1]:
            # what the steps before have freed may be room enough
            settle(core, 2)
    # and cut off once neither slot needs it
    settle(core, 3)
    return max(before - core.vfs.size(core.data_fd), 0)


def settle(core: Core, generations: int) -> None:
    """Some generations that change nothing; none if the file is no larger than it has to be."""
    used: int = core.store.pager.stats()["used_units"]
    if core.vfs.size(core.data_fd) <= (used + checkpoint.SHRINK_UNITS_MIN) * layout.UNIT_SIZE:
        return
    for _ in range(generations):
        with core.checkpoint_lock:
            checkpoint.guarded(core, checkpoint.run_anew)
            core.checkpoints += 1


def step(core: Core, path: str) -> int:
    """One generation with some of the end moved; how many units. Under the checkpoint lock."""
    store = core.store
    checkpoint.refresh(core)
    checkpoint.keep_fallback(core)
    if core.unadopted is not None:
        checkpoint.finish(core, *core.unadopted)
    slot = core.slot
    if slot is None or slot not in slots_read(core.vfs, core.data_fd, path, core.keyring):
        return 0
    newest = kept.units_of(store.pager, slot)
    used = slot.file_units if newest is None else kept.units_in(newest).bit_count()
    limit = limit_of(used)
    # a store that is further than the slot holds what would be lost
    if slot.file_units <= limit or store.head.generation_number != slot.generation:
        return 0
    checkpoint.prove_slot(core)
    if not kept.protect(core).is_whole:
        # the next slot would list what this build may write over
        return 0
    # imported here: few files are ever shrunk
    from rango._ext.relocate import generation_relocated

    try:
        old, definitions = slot_load(store.pager, slot)
        generation, moved = generation_relocated(
            store.builder, old, dict(definitions), slot.generation + 1, limit, STEP_UNITS
        )
    except (Corrupted, IoFailed) as error:
        # nothing names what was written, and what cannot be read may never be read again
        told(core, error)
        return 0
    if not moved:
        return 0
    fields = generation_slot(generation)
    checkpoint.write_file_end(core.vfs, core.data_fd, fields["file_units"])
    core.vfs.flush(core.data_fd)
    made = slot._replace(
        generation=fields["generation"],
        file_units=fields["file_units"],
        catalog_link=fields["catalog_link"],
        catalog_height=fields["catalog_height"],
        bitmap_links=tuple(fields["bitmap_links"]),
        seals=core.seals + store.pager.seals,
        epoch=store.pager.epoch,
    )
    core.unadopted = generation, made
    checkpoint.finish(core, generation, made)
    core.checkpoints += 1
    return int(moved)
