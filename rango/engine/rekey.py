"""Other keys for a whole database: a new root key, from plain to sealed, or back.

Terms       half: the directory `rekey` below the database, where the new files are made. Kept: the
            directory that holds the old files afterwards, a whole database. Order: the file in
            `rekey` that says what is decided. Link: the document in `system.rekeys` that joins the
            two chains, signed with the old and with the new signing key.
Invariants  Until the order is durable the database is the old one, untouched; from then on it is
            the new one: whoever opens it first finishes the exchange. Every file of the new one is
            durable, opened, checked and has the old one's digest before there is an order. The lock
            file stays where it is, so nobody comes in between.
States      building (`rekey` without an order: the next open removes it) -> `ready` (old files move
            to `kept`) -> `cleared` (new files move in; then, if asked for, the old ones go) ->
            no order. Every step may be done again. Names move between directories: the one they
            move to is flushed first.
Failure     LowDisk, LogCorrupted, KeyRejected while building: the database is as it was. IoFailed
            while files move: the next open goes on. A reader that comes in between: ReadOnly.
Sources     architecture sections 4 and 8 (Key rotation); ADR-0024; storage/reseal.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rango._ext.record import encode
from rango._ext.vfs import VFS_CREATE, VFS_WRITE, Vfs
from rango.engine.recovery import HALF
from rango.engine.signing import links_carried
from rango.errors import (
    Corrupted,
    DatabaseClosed,
    KeyRejected,
    LowDisk,
    ReadOnly,
)
from rango.storage.base_segment import all_headers, all_limits
from rango.storage.directory import LOG, refuse_link, remove_tree
from rango.storage.keyring import Keyring, Secret, signature_is_valid
from rango.storage.lock import LOCK_FILE
from rango.storage.reseal import Chains, log_reseal
from rango.storage.segment import io_named, opened
from rango.storage.signatures import Link, append, signatures_path
from rango.storage.superblock import DATA_FILE

if TYPE_CHECKING:
    from rango.engine.core import Core
    from rango.engine.options import OpenOptions

KEPT: Final = "replaced"
KEPT_NAME: Final = rf"{KEPT}(-[1-9][0-9]*)?"
READY: Final = "ready"
CLEARED: Final = "cleared"
FILES: Final = (DATA_FILE, "keys")
UNFINISHED: Final = (f"{DATA_FILE}.new", "keys.new")
ORDER_SIZE_MAX: Final = 4096
LINKS: Final = "system.rekeys"
"""The collection of links."""

Progress = Callable[[int, int], object]


class Order(NamedTuple):
    """What is decided: the name of the directory for the old files, and whether they go."""

    kept: str
    removes: bool


def rekey(
    options: OpenOptions, secret: Secret | None, *, removes: bool, progress: Progress | None
) -> dict[str, Any]:
    """Give the database in options.path a new root key, opened by `secret`; None: no key at all.

    Returns {"ordinal", "segments", "bytes", "kept"}: `kept` is the path of the old files, None if
    they were removed. Raises DatabaseBusy (a handle of this process is open), and what the module
    says.
    """
    from rango.engine.core import Core

    # no thread of its own works on it meanwhile
    alone = options._replace(durability="commit", ttl_interval_s=0)
    core = Core.open(alone._replace(create=False, read_only=False))
    try:
        with core.history_lock, core.checkpoint_lock:
            core.seclude()
            if secret is None and not core.keyring.is_encrypted:
                raise KeyRejected(f"{core.path} is not encrypted; there is nothing to open")
            core.end_log()
            try:
                core.append_lock_take()
                return exchanged(core, secret, removes, progress)
            finally:
                core.append_lock.drop()
    finally:
        core.release()


def exchanged(
    core: Core, secret: Secret | None, removes: bool, progress: Progress | None
) -> dict[str, Any]:
    """Build the new database and let it take the old one's place. Under all of its locks."""
    vfs, path = core.vfs, core.path
    half = os.path.join(path, HALF)
    try:
        done = build(core, half, secret, progress)
    except BaseException:
        # frees the space; what a crash brings back is removed by the next open
        with suppress(OSError):
            remove_tree(vfs, half, is_durable=False)
        raise
    kept = kept_name(vfs, path)
    closed = DatabaseClosed(f"the keys of {path} were changed; open it again")
    try:
        give_order(vfs, half, Order(kept, removes))
        finish(vfs, path)
    finally:
        # what this core has open are the old files
        core.latch(closed)
    return {**done, "kept": None if removes else os.path.join(path, kept)}


def build(
    core: Core, half: str, secret: Secret | None, progress: Progress | None
) -> dict[str, Any]:
    """Make the new database in `half`, durable and checked."""
    vfs = core.vfs
    _segment, end, ordinal, _chain = core.store.appender.mark()
    # another process may have purged some before it left
    core.log.reread()
    headers = all_headers(core.log)
    limits = all_limits(core.log, end)
    need_space(core, sum(limits))
    steps = len(headers) + 2
    tell = progress or (lambda _done, _total: None)
    with io_named(f"making {half}"):
        remove_half(vfs, core.path)
        for folder in (half, os.path.join(half, LOG)):
            vfs.make_directory(folder)
    with io_named(f"writing keys to {half}"):
        keyring = Keyring.create(
            vfs, half, secret, core.options.entropy, database_id=core.keyring.database_id
        )
    try:
        chains = log_reseal(
            vfs,
            core.log.directory,
            os.path.join(half, LOG),
            list(zip(headers, limits, strict=True)),
            core.keyring,
            keyring,
            core.options.entropy,
            lambda count: tell(count, steps),
        )
        with io_named(f"writing keys to {half}"):
            # not those of a creation that was cut off
            keyring.repair()
        link = link_of(core, keyring, ordinal, chains)
        lines = links_carried(core, link_shown(link, core.keyring.database_id))
        with io_named("writing the link between the chains"):
            append(vfs, signatures_path(os.path.join(half, LOG)), lines, is_durable=True)
    finally:
        keyring.close()
    settle(core, half, secret, link, lambda count: tell(len(headers) + count, steps))
    return {"ordinal": ordinal, "segments": len(headers), "bytes": sum(limits)}


def settle(
    core: Core,
    half: str,
    secret: Secret | None,
    link: dict[str, Any],
    tell: Callable[[int], object],
) -> None:
    """Open the new database, which builds its data file; compare, link, check, and close it."""
    from rango.engine.core import Core

    fresh = Core.open(core.options._replace(path=half, secret=secret, node_id=None))
    try:
        if fresh.digest() != core.digest():
            raise Corrupted(
                core.path, "the log does not lead to what the data file holds; run `rango check`"
            )
        tell(1)
        txn = fresh.begin()
        try:
            txn.lock()
            txn.insert(txn.create_collection(LINKS), encode(link))
            txn.commit()
        finally:
            txn.abort()
        fresh.checkpoint()
        for finding in fresh.check():
            raise Corrupted(finding.where, finding.what)
        tell(2)
    finally:
        fresh.release()
    with io_named(f"naming the files in {half}"):
        core.vfs.remove(os.path.join(half, LOCK_FILE))
        core.vfs.flush_directory(half)


def need_space(core: Core, log_size: int) -> None:
    """Raise LowDisk at once if the second copy will not fit."""
    with io_named("reading sizes"):
        needed = log_size + core.vfs.size(core.data_fd)
        free = core.vfs.free_bytes(core.path)
    if free < needed:
        raise LowDisk(
            f"{core.path}: new keys need {needed} bytes for a second copy and {free} are free; "
            "nothing was changed"
        )


# --- the link between the chains


def link_of(core: Core, fresh: Keyring, ordinal: int, chains: Chains) -> dict[str, Any]:
    """The document that joins the chains, signed by both sides."""
    old = core.keyring
    link: dict[str, Any] = {
        "_id": core.options.ids(),
        "at": datetime.fromtimestamp(core.clock() / 1000, UTC),
        "node": core.node_id,
        "ordinal": ordinal,
        "old": {
            "is_encrypted": old.is_encrypted,
            "verify_key": old.verify_key,
            "chain": chains.old,
        },
        "new": {
            "is_encrypted": fresh.is_encrypted,
            "verify_key": fresh.verify_key,
            "chain": chains.new,
        },
    }
    data = signed_bytes(link, old.database_id)
    return {**link, "signatures": {"old": old.sign(data), "new": fresh.sign(data)}}


def link_shown(link: dict[str, Any], database_id: bytes) -> Link:
    """The same for those who have no key: a line of the signatures."""
    sides = [bytes(link[side][part]) for side in ("old", "new") for part in ("verify_key", "chain")]
    signatures = [bytes(link["signatures"][side]) for side in ("old", "new")]
    return Link(database_id, int(link["ordinal"]), *sides, *signatures)


def signed_bytes(link: dict[str, Any], database_id: bytes) -> bytes:
    """What both signatures cover."""
    sides = [bytes(link[side][part]) for side in ("old", "new") for part in ("verify_key", "chain")]
    return (
        b"rango rekey" + database_id + int(link["ordinal"]).to_bytes(8, "little") + b"".join(sides)
    )


def link_is_valid(link: dict[str, Any], database_id: bytes) -> bool:
    """Whether both signing keys have signed the link."""
    data = signed_bytes(link, database_id)
    return all(
        signature_is_valid(bytes(link[side]["verify_key"]), data, bytes(link["signatures"][side]))
        for side in ("old", "new")
    )


# --- the exchange


def kept_name(vfs: Vfs, path: str) -> str:
    """A name for the old files that is not taken."""
    number = 1
    name = KEPT
    while vfs.exists(os.path.join(path, name)):
        number += 1
        name = f"{KEPT}-{number}"
    return name


def give_order(vfs: Vfs, half: str, order: Order) -> None:
    """Decide: from the flush of the order's name on the database is the new one."""
    # here and below only when there is an order: every open looks for one
    import json

    with io_named("deciding the change of keys"):
        vfs.flush_directory(os.path.dirname(half))
        place = os.path.join(half, READY)
        fd = vfs.open(f"{place}.new", VFS_WRITE | VFS_CREATE)
        try:
            vfs.write(fd, json.dumps(order._asdict()).encode(), 0)
            vfs.flush(fd)
        finally:
            vfs.close(fd)
        vfs.rename(f"{place}.new", place)
        vfs.flush_directory(half)


def order_read(vfs: Vfs, half: str) -> tuple[Order, bool] | None:
    """The order and whether the old files are out of the way; None if nothing is decided."""
    for name in (CLEARED, READY):
        place = os.path.join(half, name)
        if not vfs.exists(place):
            continue
        import json

        with opened(vfs, place) as fd, io_named(f"reading {place}"):
            data = vfs.read(fd, ORDER_SIZE_MAX, 0)
        try:
            order = Order(**json.loads(data))
            if not re.fullmatch(KEPT_NAME, order.kept):
                raise ValueError("a name for old files that Rango does not give")
            return order, name == CLEARED
        except (ValueError, TypeError) as error:
            raise Corrupted(
                place, f"the order of a change of keys is damaged ({error}); restore a backup"
            ) from error
    return None


def resume(vfs: Vfs, path: str, *, read_only: bool) -> None:
    """Finish an exchange, or remove what was never decided. An open does it if there is HALF."""
    if not read_only:
        finish(vfs, path)
    elif order_read(vfs, os.path.join(path, HALF)) is not None:
        raise ReadOnly(
            f"a change of the keys of {path} was interrupted while files moved; open it once for "
            "writing"
        )


def finish(vfs: Vfs, path: str) -> None:
    """Do what the order says, from wherever it stopped. Raises IoFailed, LowDisk, Corrupted."""
    half = os.path.join(path, HALF)
    refuse_link(half)
    found = order_read(vfs, half)
    with io_named(f"changing the keys of {path}"):
        if found is not None:
            order, is_cleared = found
            for folder in (half, os.path.join(path, order.kept)):
                refuse_link(folder)
                refuse_link(os.path.join(folder, LOG))
            # who decided may have died before it was durable; what moved in goes first
            for place in (os.path.join(path, LOG), path) if is_cleared else ():
                vfs.flush_directory(place)
            vfs.flush_directory(half)
            if not is_cleared:
                move_out(vfs, path, os.path.join(path, order.kept))
                vfs.rename(os.path.join(half, READY), os.path.join(half, CLEARED))
                vfs.flush_directory(half)
            move_in(vfs, path, half)
            if order.removes:
                remove_tree(vfs, os.path.join(path, order.kept))
            # `ready` alone would move the new files out again
            for name in (READY, CLEARED):
                if vfs.exists(os.path.join(half, name)):
                    vfs.remove(os.path.join(half, name))
                    vfs.flush_directory(half)
        remove_half(vfs, path)


def move_out(vfs: Vfs, path: str, kept: str) -> None:
    """Move the old files to `kept`, durably."""
    log, kept_log = os.path.join(path, LOG), os.path.join(kept, LOG)
    for folder in (kept, kept_log):
        if not vfs.exists(folder):
            vfs.make_directory(folder)
    vfs.flush_directory(kept)
    vfs.flush_directory(path)
    move_all(vfs, log, kept_log, vfs.list_directory(log))
    for name in UNFINISHED:
        if vfs.exists(os.path.join(path, name)):
            vfs.remove(os.path.join(path, name))
    move_all(vfs, path, kept, FILES)


def move_in(vfs: Vfs, path: str, half: str) -> None:
    """Move the new files to their places, durably."""
    log, half_log = os.path.join(path, LOG), os.path.join(half, LOG)
    move_all(vfs, half_log, log, vfs.list_directory(half_log) if vfs.exists(half_log) else ())
    move_all(vfs, half, path, FILES)


def move_all(vfs: Vfs, source: str, target: str, names: list[str] | tuple[str, ...]) -> None:
    """Move files from one directory to another, those that are still there."""
    for name in names:
        if vfs.exists(os.path.join(source, name)):
            vfs.rename(os.path.join(source, name), os.path.join(target, name))
    vfs.flush_directory(target)
    if vfs.exists(source):
        vfs.flush_directory(source)


def remove_half(vfs: Vfs, path: str) -> None:
    """Remove what was built and not decided, or what is left of what was."""
    remove_tree(vfs, os.path.join(path, HALF))
