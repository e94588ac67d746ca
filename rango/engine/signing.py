"""The database signs the head of its log: at checkpoint, at close, for an anchor.

Terms       head, signature: see storage/signatures.py.
Invariants  What is signed is durable, and its chain value is that of this process, which has
            verified every tag on the way. Ends of segments are signed with the next head. Signing
            never fails a checkpoint or a close: what it has to say is a finding.
Failure     no space, or an error of the disk: a finding; the next head covers what this one would
            have.
Sources     architecture section 4 (Chain); ADR-0031.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rango.events import WARNING, emit
from rango.storage.segment import io_named
from rango.storage.signatures import (
    Kind,
    Link,
    Signature,
    append,
    last_ordinal,
    lines_of,
    signatures_path,
    signed,
    thin,
)

if TYPE_CHECKING:
    from rango.engine.core import Core


def head_signed(core: Core, ordinal: int, chain: bytes, kind: Kind = "head") -> Signature:
    """The signed head for this ordinal, which is durable."""
    keyring = core.keyring
    return signed(
        kind,
        keyring.database_id,
        ordinal,
        chain,
        core.clock(),
        keyring.verify_key,
        keyring.sign,
    )


def sign(core: Core, ordinal: int, chain: bytes) -> None:
    """Sign this head, and the ends of segments since the last one. Under the checkpoint lock."""
    path = signatures_path(core.log.directory)
    try:
        last = last_ordinal(core.vfs, path)
        if ordinal <= last:
            return
        ends = [
            (each.first_ordinal - 1, each.chain)
            for each in core.log.segments
            if last < each.first_ordinal - 1 < ordinal
        ]
        heads = [head_signed(core, *head) for head in [*ends, (ordinal, chain)]]
        append(core.vfs, path, [each.line for each in heads])
        thin(core.vfs, path, {each.first_ordinal - 1 for each in core.log.segments})
    except OSError as error:
        if (finding := f"the head of the log was not signed: {error}") not in core.findings:
            core.findings.append(finding)
        emit(
            "engine",
            WARNING,
            "unsigned",
            "the head of the log was not signed",
            path=core.path,
            ordinal=ordinal,
            error=type(error).__name__,
        )


def sign_end(core: Core) -> None:
    """Sign the end of the log. Under the checkpoint lock and the append lock; it is durable."""
    _segment, _offset, ordinal, chain = core.store.appender.mark()
    sign(core, ordinal, chain)


def sign_purge(core: Core, segment_id: int, digest: bytes) -> None:
    """Sign what a purge leaves in a segment, durably: before that takes its place.

    Under the checkpoint lock. Raises LowDisk, IoFailed: then the purge stops here.
    """
    said = head_signed(core, segment_id, digest, "purge")
    path = signatures_path(core.log.directory)
    with io_named("signing what is purged"):
        append(core.vfs, path, [said.line], is_durable=True)


def sign_base(core: Core, ordinal: int, chain: bytes) -> None:
    """Sign that the history up to here is given up, durably: before that happens.

    Under the checkpoint lock. Raises LowDisk, IoFailed: then nothing may be given up.
    """
    said = head_signed(core, ordinal, chain, "base")
    path = signatures_path(core.log.directory)
    with io_named("signing where the history begins"):
        append(core.vfs, path, [said.line], is_durable=True)


def sign_now(core: Core) -> Signature:
    """The signed head of everything that was committed so far; kept in the file, too.

    Raises ReadOnly, DatabaseBusy, IoFailed.
    """
    try:
        core.append_lock_take()
        _segment, _offset, ordinal, chain = core.store.appender.mark()
    finally:
        core.append_lock.drop()
    core.store.appender.flush(ordinal)
    core.store.publish()
    with core.checkpoint_lock:
        sign(core, ordinal, chain)
    return head_signed(core, ordinal, chain)


def links_carried(core: Core, link: Link) -> list[str]:
    """The lines of links for the log under the new keys: the new one, behind those before it."""
    path = signatures_path(core.log.directory)
    with io_named("reading the signatures"):
        before = [each.said for each in lines_of(core.vfs, path) if isinstance(each.said, Link)]
    return [each.line for each in (*before, link)]
