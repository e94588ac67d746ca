"""The data file gives space back: what lies at its end moves into free units before it.

Terms       unit, generation, limit: see rango/_ext/relocate.pyx.
Invariants  I-2, I-3, I-18, as for a checkpoint. The generations made here hold what the one before
            them holds, so the slot names the same commit and the same place in the log. Others read
            and write between two steps; one step moves at most STEP_UNITS.
Failure     as of a checkpoint. LowDisk: what was moved has moved.
Sources     ADR-0032.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from rango._ext import layout
from rango._ext.generation import generation_slot, generation_units
from rango._ext.relocate import generation_relocated
from rango.engine import checkpoint, kept
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


def shrink(core: Core) -> int:
    """Move what lies at the end and cut the file off. Returns by how many bytes it is smaller.

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
        if not any(moved[-2:]):
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
    if store.head.generation_number != slot.generation:
        # the store is further than the slot: what it holds besides would be lost
        return 0
    old, definitions = slot_load(store.pager, slot)
    used = int.from_bytes(generation_units(old), "little").bit_count()
    limit = used + used // SPARE_SHARE + SPARE_UNITS
    if slot.file_units <= limit:
        return 0
    checkpoint.prove_slot(core)
    if not kept.protect(core).is_whole:
        # the next slot would list what this build may write over
        return 0
    generation, moved = generation_relocated(
        store.builder, old, dict(definitions), slot.generation + 1, limit, STEP_UNITS
    )
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
