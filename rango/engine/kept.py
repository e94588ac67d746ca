"""Roots of the past: generations that are whole in the data file, besides the newest one.

Terms       root: see engine/past.py.
Invariants  I-2: who finds a root under the checkpoint lock pins it before the lock is let go; a
            build that begins later leaves its pages alone.
Failure     A root that cannot be read is passed over: the log has everything.
Sources     architecture section 8 (History); ADR-0028.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rango._ext.generation import generation_units_only
from rango.errors import Corrupted
from rango.storage.segment import io_named
from rango.storage.superblock import DATA_FILE, slots_read

if TYPE_CHECKING:
    from rango.engine.core import Core
    from rango.engine.past import Hold
    from rango.storage.superblock import Slot


def nearest(core: Core, target: int, hold: Hold) -> Slot | None:
    """The newest root at or before an ordinal, its pages pinned by `hold`; None if there is none.

    Raises DatabaseBusy if a checkpoint takes very long, IoFailed.
    """
    if core.data_fd < 0:
        return None
    lock = core.checkpoint_lock
    if not core.append_lock.is_mine:
        with lock:
            return pinned(core, target, hold)
    # in a transaction: whoever writes a checkpoint waits for this thread, so it does not wait
    try:
        return pinned(core, target, hold) if lock.take(0) else None
    finally:
        lock.drop()


def pinned(core: Core, target: int, hold: Hold) -> Slot | None:
    """The same under the checkpoint lock."""
    for root in sorted(roots(core), key=lambda each: each.ordinal, reverse=True):
        if root.ordinal <= target and pin(core, root, hold):
            return root
    return None


def roots(core: Core) -> list[Slot]:
    """All there are. Under the checkpoint lock."""
    path = os.path.join(core.path, DATA_FILE)
    with io_named(f"reading {path}"):
        slots = slots_read(core.vfs, core.data_fd, path, core.keyring)
    return [slot for slot in slots if slot is not None]


def pin(core: Core, root: Slot, hold: Hold) -> bool:
    """Keep a root's pages from being given out, here and in other processes, while `hold` lives."""
    store = core.store
    try:
        generation = generation_units_only(
            store.pager, root.generation, list(root.bitmap_links), root.file_units
        )
    except Corrupted:
        return False
    store.builder.watch(generation)
    lease = None if store.shared is None else store.shared.lease(root.generation)
    hold.pin = (hold.pin, generation, lease)
    return True
