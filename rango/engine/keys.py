"""Changes of the keys of an open database: slots, and new key epochs.

Terms       slot, key epoch: see the glossary. To rotate: to begin a new key epoch.
Invariants  I-6, I-12. The keys file is changed under the append lock. An epoch is durable in it
            before anything is sealed under it, so that whatever is found after a crash can be
            opened. Older epochs stay readable: the root key makes the keys of all of them.
States      rotate: epoch durable -> pages written under it -> log goes on in a new segment under
            it -> checkpoint with a slot under it. After a crash anywhere in between, the next open
            writes pages under the new epoch, and the log follows with its next segment.
Failure     No space: LowDisk, the keys are as before; or, later in a rotation, the epoch is new
            and the rest happens with the next segment and the next checkpoint. A write whose
            outcome is unknown latches the database (I-10); old or new, the keys are whole.
Sources     architecture section 4.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from rango.engine import checkpoint
from rango.errors import IoFailed, KeyRejected, LowDisk
from rango.storage.keyring import Keyring, Secret

if TYPE_CHECKING:
    from rango.engine.core import Core

Result = TypeVar("Result")


def changed(core: Core, work: Callable[[Keyring], Result]) -> Result:
    """Run one change of the keys file under the append lock.

    Raises what `work` raises, ReadOnly, DatabaseBusy, KeyRejected (not encrypted), LowDisk,
    IoFailed.
    """
    try:
        core.append_lock_take()
        return written(core, work)
    finally:
        core.append_lock.drop()


def written(core: Core, work: Callable[[Keyring], Result]) -> Result:
    """The same for who has the append lock."""
    if not core.keyring.is_encrypted:
        raise KeyRejected(
            f"{core.path} is not encrypted and has no keys to change; rango.rekey, or `rango key "
            "encrypt`, encrypts it"
        )
    generation = core.keyring.generation
    try:
        result = work(core.keyring)
        core.lock.shared.keys = core.keyring.generation
        return result
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and _is_as_before(core, generation):
            raise LowDisk(
                f"{core.path}: no space to write the keys; nothing was changed, free space and try"
                " again"
            ) from error
        failed = IoFailed(
            f"{core.path}: changing the keys failed ({error}); the old or the new ones are in"
            " place: check the disk, then open the database again"
        )
        core.latch(failed)
        raise failed from error


def _is_as_before(core: Core, generation: int) -> bool:
    """Whether the file that is in place is the one before the write that failed."""
    try:
        core.keyring.refresh()
    except OSError:
        return False
    return core.keyring.generation == generation


def replace(core: Core, old: int | Secret, new: Secret) -> int:
    """Put `new` in the place of a slot, or of the one that `old` opens; returns its number."""

    def work(keyring: Keyring) -> int:
        number = old if isinstance(old, int) else keyring.slot_of(old)
        keyring.replace_slot(number, new)
        return number

    return changed(core, work)


def rotate(core: Core) -> int:
    """Begin a new key epoch and seal everything under it from now on; returns its number."""
    with core.checkpoint_lock:
        try:
            core.append_lock_take()
            epoch = written(core, Keyring.advance_epoch)
            core.store.pager.epoch_use(epoch)
            # a slot counts what was sealed under its own epoch
            core.seals = -core.store.pager.seals
            core.store.appender.roll_over()
        finally:
            core.append_lock.drop()
        checkpoint.guarded(core, checkpoint.run_anew)
        core.checkpoints += 1
    return epoch
