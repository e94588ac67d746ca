"""One segment of a log walked without its key: how far its chain holds, and what breaks it.

Terms       finding, head: see storage/verification.py. Sealed: a later segment goes on from this
            one, so all of it was durable. Claim: what a frame says was durable (I-11).
Invariants  I-11: behind what was proven durable (by a later segment, a claim, a signature) the end
            of a log may be torn, or half written by somebody at this moment; that is no finding.
            What is found is believed once it was found at the same place twice: somebody may have
            written between two readings.
Failure     whatever the bytes are, the answer is an Outcome. A read that fails: IoFailed.
Sources     architecture sections 4 (Chain) and 6; ADR-0031.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

from rango._ext.chain_walk import ChainWalk
from rango._ext.layout import SEGMENT_HEADER_SIZE
from rango._ext.seal import SealKey
from rango._ext.segment import SegmentHeader
from rango._ext.vfs import Vfs

CHUNK_SIZE: Final = 8 * 1024 * 1024
TRIES: Final = 10
ORDINAL_MAX: Final = (1 << 64) - 1

FindingKind = Literal[
    "altered",
    "cut",
    "damaged",
    "inserted",
    "interval",
    "keys",
    "other-database",
    "other-history",
    "other-key",
    "purge",
    "reordered",
    "rolled-back",
    "signature",
    "truncated",
]


class Broken(NamedTuple):
    """Something that an honest history does not have, and the first place where it shows."""

    kind: FindingKind
    """What it looks like; docs/howto/prove-history.md lists the kinds."""
    ordinal: int
    """The first commit that it concerns; 0: none in particular."""
    segment: int
    """The segment, 0: none."""
    offset: int
    """Bytes from the start of the segment's file."""
    what: str
    """For people."""


class Outcome(NamedTuple):
    """What the walk of one segment came to."""

    ordinal: int
    """Of the last whole commit that the chain leads to."""
    chain: bytes
    offset: int
    tail: int
    """Ordinals behind that which are there but not proven: half written, or torn."""
    commits: int
    frames: int
    seen: tuple[tuple[int, bytes], ...]
    """The chain values at the ordinals that were asked for."""
    purged: tuple[int, ...]
    purges: bytes
    """The digest of what a purge left here."""
    broken: Broken | None


class Place(NamedTuple):
    """The segment that is walked, and what is known of it."""

    vfs: Vfs
    fd: int
    header: SegmentHeader
    key: SealKey | None
    successor: SegmentHeader | None
    """The one that goes on from it, which says where it ends."""
    is_sealed: bool
    proven: int
    """The greatest ordinal that is known to have been durable."""
    asked: list[int]
    """Ordinals whose chain values are wanted, sorted."""


def walk_twice(place: Place, tell: Callable[[int], object]) -> Outcome:
    """Walk a segment; what is broken is believed when it is found at the same place again."""
    outcome = walk(place, tell)
    for _ in range(TRIES):
        if outcome.broken is None:
            break
        again = walk(place, tell)
        if again.broken == outcome.broken:
            break
        outcome = again
    return outcome


def walk(place: Place, tell: Callable[[int], object]) -> Outcome:
    """Walk a segment once. `tell` is told the offset now and then."""
    header = place.header
    chain = ChainWalk(
        place.vfs,
        place.fd,
        place.key,
        header.database_id,
        header.id,
        SEGMENT_HEADER_SIZE,
        header.first_ordinal - 1,
        header.chain,
    )
    if place.successor is not None:
        chain.limit = place.successor.predecessor_end
    seen = []
    purged: list[int] = []
    purges = blake2b(digest_size=32)
    at = bisect_right(place.asked, chain.ordinal)
    while not chain.is_ended:
        until = place.asked[at] if at < len(place.asked) else ORDINAL_MAX
        chain.walk(CHUNK_SIZE, until)
        for offset, ordinal, digest in chain.purges_take():
            purged.append(ordinal)
            purges.update(offset.to_bytes(8, "little") + digest)
        if chain.ordinal == until:
            seen.append((until, chain.chain))
            at += 1
        tell(chain.offset)
    broken = judged(place, chain)
    # of a frame that nothing vouches for it is not known whether all of it is there
    is_torn = broken is None and chain.why == "chain"
    return Outcome(
        chain.before_ordinal if is_torn else chain.end_ordinal,
        chain.before_chain if is_torn else chain.end_chain,
        chain.before_offset if is_torn else chain.end_offset,
        chain.ordinal - (chain.before_ordinal if is_torn else chain.end_ordinal),
        chain.commits,
        chain.frames,
        tuple(seen),
        tuple(purged),
        purges.digest(),
        broken,
    )


def judged(place: Place, chain: ChainWalk) -> Broken | None:
    """What it means that the walk stopped where it did."""
    expected = chain.ordinal + 1
    follows = place.successor
    if follows is not None and chain.why == "" and chain.end_offset == chain.offset == chain.limit:
        if chain.ordinal != follows.first_ordinal - 1 or chain.end_chain == follows.chain:
            return None  # how far the one leads to the other is for the caller
        what = (
            f"commit {chain.ordinal} was altered, or segment {follows.id} was put in another's"
            " place: the one does not lead to the other"
        )
        return Broken("altered", chain.ordinal, place.header.id, chain.last_offset, what)
    # the frame before counts for the chain value that the one here does not have
    suspect = chain.ordinal if chain.why == "chain" and chain.frames else expected
    # an end with nothing behind it is for the caller, who knows what should follow
    if follows is None and chain.why == "nothing" and not chain.claim(0):
        return None
    if not place.is_sealed and suspect > place.proven and not chain.claim(suspect):
        return None
    return named(place.header.id, chain, expected)


def named(segment: int, chain: ChainWalk, expected: int) -> Broken:
    """The name of what is wrong where the walk stopped."""
    why, at, found = chain.why, chain.bad_offset, chain.bad_ordinal
    ordinal = expected
    kind: FindingKind = "altered"
    what = f"commit {expected} was altered"
    if why == "chain" and chain.frames:
        ordinal, at = chain.ordinal, chain.last_offset
        what = (
            f"commit {ordinal} was altered, or {expected} and what follows was put in the place of"
            " others: the one does not lead to the other"
        )
    elif why == "purged":
        kind = "purge"
        what = f"commit {expected} is marked as purged, and the purge table does not know it"
    elif why == "ordinal" and found < expected:
        kind, what = "inserted", f"commit {found} is here (again) where {expected} should be"
    elif why == "ordinal" and chain.find(expected) is not None:
        kind, what = "reordered", f"commit {found} comes before {expected}"
    elif why == "ordinal":
        kind, what = "cut", f"commits {expected} to {found - 1} were cut out"
    elif why == "nothing" and chain.frames and chain.find(expected) is not None:
        ordinal, at = chain.ordinal, chain.last_offset
        what = f"commit {ordinal} was altered, or something was put between it and {expected}"
    elif why == "nothing":
        kind = "damaged"
        what = f"commit {expected} is damaged or was cut out: there is no frame here"
    elif not why:
        kind, at = "cut", chain.offset
        what = f"the segment should go on, or end elsewhere, after commit {chain.ordinal}"
    return Broken(kind, ordinal, segment, at, what)
