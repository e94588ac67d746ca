"""Is this log the one that the database's own key has signed? For anybody, without the data key.

Terms       head, base, link, signature: see storage/signatures.py. Anchor: a signed head that was
            kept elsewhere. Finding: something that an honest history does not have. Interval: the
            commits behind the last head that fits, up to one that does not.
Invariants  No lock is taken, nothing is written, no secret is needed; memory is bounded. Beside
            somebody who writes a prefix is read. What is claimed is exactly this: the first bad
            frame for damage and naive editing; the first bad interval for somebody who rebuilt the
            chain without the signing key; nothing for what no signature covers; truncation and
            rollback of the whole directory against an anchor only.
            Not covered: zeros between frames; salt, epoch and tag of headers (opening finds those).
Layout      none of its own: segments, frames, signatures.
Failure     findings in a Verification. NotADatabase when there is nothing to verify; KeysCorrupted
            when the public key cannot be read and no anchor says it; IoFailed.
Sources     architecture section 4 (Chain); ADR-0031.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from rango._ext.frame import header_unpack
from rango._ext.layout import (
    FORMAT_VERSION,
    FRAME_HEADER_SIZE,
    KEY_SIZE,
    SEGMENT_BASE,
    SEGMENT_HEADER_SIZE,
    SEGMENT_PACKED,
    SEGMENT_PURGED,
    SEGMENT_VERSION,
    TAG_SIZE,
)
from rango._ext.seal import PLAIN, Entropy
from rango._ext.segment import SegmentHeader, segment_path
from rango._ext.vfs import Vfs
from rango.errors import NotADatabase
from rango.storage.packed_proof import packed_notes, packed_outcome
from rango.storage.segment import CHAIN_START, header_bytes, holds_frames, opened, segment_ids
from rango.storage.segment_walk import Broken, FindingKind, Outcome, Place, walk_twice
from rango.storage.signatures import Link, Signature
from rango.storage.vouchers import Vouchers, keys_state

TRIES: Final = 5
UNTOLD: Final = "a packed segment does not tell the chain value there"
FEATURES_KNOWN: Final = SEGMENT_PURGED | SEGMENT_BASE | SEGMENT_PACKED
PURGED_MAX: Final = 10_000
"""Purged commits that are listed by their ordinals, at most."""

Progress = Callable[[int, int], object]


class AnchorAnswer(NamedTuple):
    """What became of an anchor."""

    ordinal: int
    is_met: bool
    what: str


@dataclass(slots=True)
class Verification:
    """What is known of a history, and what speaks against it."""

    database_id: str = ""
    public_key: str = ""
    is_key_sealed: bool = True
    """False: a plain database; whoever reads its files has the signing key."""
    first: int = 1
    """The ordinal with which the log begins."""
    ordinal: int = 0
    """The last commit that the chain leads to."""
    chain: str = ""
    """The chain value there, in hex."""
    signed_ordinal: int = 0
    """The last commit that a signature covers; what is behind it anybody could have written."""
    signatures: int = 0
    """Heads that fit."""
    segments: int = 0
    commits: int = 0
    frames: int = 0
    size: int = 0
    """Bytes of log that were read."""
    purged: list[int] = field(default_factory=list)
    """Ordinals of the frames that a purge has changed, the first 10,000 of them."""
    tail: int = 0
    """Frames at the end that are half written, or torn by a crash."""
    anchors: list[AnchorAnswer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is not wrong but worth knowing."""
    findings: list[Broken] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing speaks against this history. What `signed_ordinal` does not cover is unproven."""
        return not self.findings


def verify(
    vfs: Vfs, path: str, anchors: Sequence[Signature] = (), progress: Progress | None = None
) -> Verification:
    """Walk the log of the database in `path`. See the module for what it claims and raises."""
    folder = os.path.join(path, "oplog")
    if not vfs.exists(folder):
        raise NotADatabase(f"{path} is not a Rango database: there is no oplog")
    before, _problem = keys_state(vfs, path)
    result = Verifier(vfs, path, anchors, progress).run()
    for _ in range(TRIES):
        after, _problem = keys_state(vfs, path)
        if (before and before.verify_key) == (after and after.verify_key):
            break
        # the root key was changed meanwhile: that was another log
        before, result = after, Verifier(vfs, path, anchors, progress).run()
    return result


class Verifier:
    """One walk of a whole log."""

    def __init__(
        self, vfs: Vfs, path: str, anchors: Sequence[Signature], progress: Progress | None
    ) -> None:
        self.vfs = vfs
        self.path = path
        self.folder = os.path.join(path, "oplog")
        self.progress = progress
        self.result = Verification()
        self.vouchers = Vouchers(vfs, path, anchors, self.find)
        self.met: set[tuple[int, bytes]] = set()
        self.last_met = 0
        self.is_doubted = False
        """A head did not fit: those behind it will not either."""
        self.proven = 0
        self.is_cut_short = False
        self.size_all = 0
        self.headers: dict[int, bytes] = {}
        self.packed: list[tuple[int, int]] = []
        """First and last ordinal of each packed segment that is as signed."""
        self.seen: set[int] = set()
        """Ordinals of heads that the walk has come to."""

    def run(self) -> Verification:
        """Do all of it."""
        result, vouchers = self.result, self.vouchers
        result.database_id, result.public_key = vouchers.database_id.hex(), vouchers.key.hex()
        result.is_key_sealed = vouchers.is_key_sealed
        result.notes += vouchers.notes
        self.walk_all()
        self.judge_end()
        self.judge_anchors()
        result.notes += packed_notes(len(self.packed), is_walked=not result.is_key_sealed)
        return result

    def find(self, kind: FindingKind, ordinal: int, segment: int, offset: int, what: str) -> None:
        """Add a finding, once."""
        found = Broken(kind, ordinal, segment, offset, what)
        if found not in self.result.findings:
            self.result.findings.append(found)

    # --- the walk

    def walk_all(self) -> None:
        """Every segment in its order, with those that come meanwhile."""
        self.proven = max(self.vouchers.heads, default=0)
        asked = sorted(self.vouchers.heads)
        before: SegmentHeader | None = None
        outcome: Outcome | None = None
        header = self.next_header(self.oldest() - 1)
        if header is None:
            if not self.vouchers.heads and not self.result.findings:
                # a creation that was cut off leaves this, too
                raise NotADatabase(f"{self.path}: there is no log yet, and nothing was signed")
            self.find("cut", 1, 0, 0, "there is no segment with a header: the log is gone")
            self.is_cut_short = True
            return
        self.size_all = sum(self.size_of(each) for each in segment_ids(self.vfs, self.folder))
        while header is not None:
            if not self.header_fits(header):
                self.is_cut_short = True
                return
            self.cross(before, outcome, header)
            if header.features & SEGMENT_BASE:
                # its frames are a state, no history: what vouches for it is the signature
                outcome = self.base_outcome(header)
                before, header = header, self.next_header(header.id)
                continue
            with opened(self.vfs, segment_path(self.folder, header.id)) as fd:
                successor = self.next_header(header.id)
                outcome = self.walk_segment(fd, header, successor, asked)
                if successor is None and (successor := self.next_header(header.id)) is not None:
                    # somebody rolled while this one was walked
                    outcome = self.walk_segment(fd, header, successor, asked)
            self.take(header, outcome)
            before, header = header, successor

    def oldest(self) -> int:
        """The segment with which the log begins: the last base, or the first one there is."""
        ids = segment_ids(self.vfs, self.folder)
        bases = [
            each
            for each in ids
            for header in [SegmentHeader.unpack_unproven(header_bytes(self.vfs, self.folder, each))]
            if header is not None and header.features & SEGMENT_BASE
        ]
        return max(bases, default=ids[0] if ids else 1)

    def base_outcome(self, header: SegmentHeader) -> Outcome:
        """A base leads to where the history goes on."""
        result, start = self.result, header.first_ordinal - 1
        result.segments += 1
        result.size += header.predecessor_end
        result.ordinal, result.chain = start, header.chain.hex()
        return Outcome(start, header.chain, 0, 0, 0, 0, (), (), b"", None)

    def size_of(self, segment_id: int) -> int:
        """Bytes of a segment file, for progress."""
        with opened(self.vfs, segment_path(self.folder, segment_id)) as fd:
            return self.vfs.size(fd)

    def next_header(self, after: int) -> SegmentHeader | None:
        """The header of the first segment behind that one; files without a header are put aside."""
        for segment_id in segment_ids(self.vfs, self.folder):
            if segment_id <= after:
                continue
            data = header_bytes(self.vfs, self.folder, segment_id)
            header: SegmentHeader | None = SegmentHeader.unpack_unproven(data)
            if header is None:
                self.judge_void(segment_id)
                continue
            if header.id != segment_id:
                what = f"this file is segment {header.id}, copied or renamed"
                self.find("inserted", header.first_ordinal, segment_id, 0, what)
                continue
            self.headers[segment_id] = data
            return header
        return None

    def header_fits(self, header: SegmentHeader) -> bool:
        """Whether a header is one that this Rango reads, and of this database."""
        data, first = self.headers[header.id], header.first_ordinal
        version = int.from_bytes(data[SEGMENT_VERSION : SEGMENT_VERSION + 4], "little")
        if version != FORMAT_VERSION or header.features & ~FEATURES_KNOWN:
            what = (
                f"the header says format {version} and features {header.features:#x}: altered, or"
                " written by a newer Rango; then update"
            )
            self.find("damaged", first, header.id, 0, what)
            return False
        if header.database_id != self.vouchers.database_id:
            what = f"this segment is of another database, {header.database_id.hex()}"
            self.find("other-database", first, header.id, 0, what)
        elif not self.result.is_key_sealed and data[-TAG_SIZE:] != plain_mac(data):
            self.find("altered", first, header.id, 0, "the segment's header was altered")
        return True

    def walk_segment(
        self, fd: int, header: SegmentHeader, successor: SegmentHeader | None, asked: list[int]
    ) -> Outcome:
        """One segment; what goes on from it says where it ends."""
        is_sealed, follows, proven = False, None, self.proven
        if successor is not None:
            is_sealed, proven = True, max(proven, successor.first_ordinal - 1)
            if successor.predecessor == header.id:
                follows = successor
        # tags of a plain database need no key
        key = None if self.result.is_key_sealed else PLAIN.key(bytes(KEY_SIZE), Entropy())
        place = Place(self.vfs, fd, header, key, follows, is_sealed, proven, asked)
        outcome = packed_outcome(place, self.vouchers.key, self.tell, self.packed)
        return walk_twice(place, self.tell) if outcome is None else outcome

    def tell(self, offset: int) -> None:
        """Report progress, in bytes."""
        if self.progress is not None:
            self.progress(min(self.result.size + offset, self.size_all), self.size_all)

    def cross(
        self, before: SegmentHeader | None, outcome: Outcome | None, header: SegmentHeader
    ) -> None:
        """Does this segment go on where the one before ended?"""
        start = header.first_ordinal - 1
        if before is None or outcome is None:
            self.begin(header)
            return
        if header.predecessor != before.id:
            what = (
                f"segment {header.predecessor}, from which this one goes on, is missing or"
                f" damaged: commits {outcome.ordinal + 1} to {start}"
            )
            self.find("cut", outcome.ordinal + 1, header.id, 0, what)
        elif before.features & SEGMENT_BASE:
            if (before.first_ordinal, before.chain) != (header.first_ordinal, header.chain):
                what = f"this segment does not go on from the base, which ends with {start}"
                self.find("cut", outcome.ordinal + 1, header.id, 0, what)
        elif outcome.broken is None:
            if (outcome.ordinal, outcome.offset) == (start, header.predecessor_end):
                return
            what = (
                f"this segment goes on after commit {start}, the one before ends with"
                f" {outcome.ordinal}"
            )
            self.find("cut", outcome.ordinal + 1, header.id, 0, what)
        self.compare(start, header.chain)

    def begin(self, header: SegmentHeader) -> None:
        """The oldest segment: the beginning of the history, or what a base vouches for."""
        start = header.first_ordinal - 1
        self.result.first = header.first_ordinal
        if start == 0:
            if header.chain != CHAIN_START or header.predecessor:
                self.find("altered", 1, header.id, 0, "the segment's header was altered")
            return
        if not self.vouchers.has_base(start, header.chain):
            what = f"commits 1 to {start} are missing, and nothing signed says that they were"
            self.find("cut", 1, header.id, 0, f"{what} given up")
        self.compare(start, header.chain)

    def take(self, header: SegmentHeader, outcome: Outcome) -> None:
        """Count what was walked, and compare it with what was signed."""
        result = self.result
        result.segments += 1
        result.commits += outcome.commits
        result.frames += outcome.frames
        result.size += outcome.offset
        result.ordinal, result.chain = outcome.ordinal, outcome.chain.hex()
        result.tail = outcome.tail
        result.purged += outcome.purged[: PURGED_MAX - len(result.purged)]
        broken = outcome.broken
        if broken is not None:
            result.findings.append(self.settled(broken, dict(outcome.seen)))
        for ordinal, chain in outcome.seen:
            # that a frame does not lead on is said already; its signature would say so again
            if broken is None or ordinal < broken.ordinal:
                self.compare(ordinal, chain)
        if broken is None and not self.is_purge_signed(header.id, outcome):
            first = outcome.purged[0]
            what = f"no signature says that commit {first} and others here were purged like this"
            self.find("purge", first, header.id, SEGMENT_HEADER_SIZE, what)
        self.is_cut_short = outcome.broken is not None
        if self.packed and self.packed[-1][1] == outcome.ordinal:
            # who packed it has signed that as well
            self.met.add((outcome.ordinal, outcome.chain))
            result.signed_ordinal = self.last_met = outcome.ordinal

    def settled(self, broken: Broken, seen: dict[int, bytes]) -> Broken:
        """If a signature fits the first of two frames that do not follow, it is the second."""
        chain = seen.get(broken.ordinal)
        heads = self.vouchers.heads.get(broken.ordinal, [])
        if broken.kind != "altered" or chain not in [head_chain(each) for each in heads]:
            return broken
        ordinal = broken.ordinal + 1
        what = f"commit {ordinal} was altered, or put in another's place"
        return broken._replace(ordinal=ordinal, what=what)

    def is_purge_signed(self, segment_id: int, outcome: Outcome) -> bool:
        """Whether what was purged of a segment is what the key has signed of it."""
        if not outcome.purged or (segment_id, outcome.purges) in self.vouchers.purges:
            return True
        # it may have come meanwhile: the signature is there first
        self.vouchers.learn_more()
        return (segment_id, outcome.purges) in self.vouchers.purges

    def compare(self, ordinal: int, chain: bytes) -> None:
        """The chain value that was found, and those that were signed."""
        heads = self.vouchers.heads.get(ordinal, [])
        self.seen.add(ordinal)
        fitting = [each for each in heads if head_chain(each) == chain]
        for each in fitting:
            self.met.add((ordinal, head_chain(each)))
        if fitting:
            self.result.signatures += len(fitting)
            self.result.signed_ordinal = self.last_met = ordinal
            self.is_doubted = False
            if len(fitting) < len([each for each in heads if not self.vouchers.is_outside(each)]):
                what = "the key has signed two histories that differ here: a copy was written to"
                self.find("other-history", ordinal, 0, 0, f"{what} elsewhere")
        elif heads and not self.is_doubted:
            self.is_doubted = True
            if all(self.vouchers.is_outside(each) for each in heads):
                return  # judge_anchors says so
            what = (
                f"somewhere in the commits {self.last_met + 1} to {ordinal} the history was"
                " altered, and the chain rebuilt by somebody without the signing key"
            )
            self.find("interval", self.last_met + 1, 0, 0, what)

    # --- the end

    def judge_void(self, segment_id: int) -> None:
        """A file without a header: an honest crash leaves no frame in it."""
        with opened(self.vfs, segment_path(self.folder, segment_id)) as fd:
            found = holds_frames(self.vfs, fd, 1)
            if found is None:
                return
            stored = header_unpack(self.vfs.read(fd, FRAME_HEADER_SIZE, found))
        ordinal = 0 if stored is None else stored[2]
        self.find("damaged", ordinal, segment_id, 0, "the segment's header is damaged or altered")

    def judge_end(self) -> None:
        """The log must reach what was signed."""
        result = self.result
        if self.progress is not None and self.size_all:
            self.progress(self.size_all, self.size_all)
        if not result.is_key_sealed:
            result.notes.append(
                "the database is not encrypted: whoever reads its files has the signing key, and"
                " signatures prove nothing against them"
            )
        last = self.vouchers.signed_ordinal
        if result.ordinal < last and not self.is_cut_short:
            what = f"the log ends with commit {result.ordinal}, but {last} was signed: it was cut"
            self.find("truncated", result.ordinal + 1, 0, 0, what)

    def judge_anchors(self) -> None:
        """What became of each anchor."""
        for anchor in self.vouchers.anchors:
            if anchor.database_id != self.vouchers.database_id:
                self.answer(anchor, False, "it is of another database")
            elif anchor.public_key == self.vouchers.key:
                self.judge_anchor(anchor)
            else:
                self.judge_old_anchor(anchor)

    def answer(self, anchor: Signature, is_met: bool, what: str) -> None:
        """Note what became of an anchor."""
        self.result.anchors.append(AnchorAnswer(anchor.ordinal, is_met, what))

    def judge_anchor(self, anchor: Signature) -> None:
        """An anchor of the key that counts now."""
        result, ordinal = self.result, anchor.ordinal
        if (ordinal, anchor.chain) in self.met:
            self.answer(anchor, True, "the history is the one that it names")
        elif ordinal < result.first - 1:
            self.answer(anchor, True, "what it names was given up, and a signature says so")
        elif ordinal > result.ordinal and not self.is_cut_short:
            what = (
                f"the log ends with commit {result.ordinal}, the anchor has seen {ordinal}: the"
                " log was cut, or the directory is an older copy"
            )
            self.find("rolled-back", result.ordinal + 1, 0, 0, what)
            self.answer(anchor, False, "the log does not reach it")
        elif ordinal > result.ordinal or self.is_passed_over(ordinal):
            is_untold = any(first <= ordinal < last for first, last in self.packed)
            self.answer(anchor, False, UNTOLD if is_untold else "what it names is damaged")
        else:
            what = (
                f"the commits {self.last_met_before(ordinal) + 1} to {ordinal} are not those that"
                " the anchor has seen: altered, or a copy that went another way"
            )
            self.find("other-history", self.last_met_before(ordinal) + 1, 0, 0, what)
            self.answer(anchor, False, "the history is another one")

    def is_passed_over(self, ordinal: int) -> bool:
        """Whether the walk left this one out because of damage before it in its segment."""
        return ordinal not in self.seen

    def last_met_before(self, ordinal: int) -> int:
        """The last ordinal before this one at which something signed fits."""
        return max((each for each, _chain in self.met if each < ordinal), default=0)

    def judge_old_anchor(self, anchor: Signature) -> None:
        """An anchor from before the root key was changed: the link vouches for what was before."""
        link = next(
            (each for each in self.vouchers.links if each.old_key == anchor.public_key), None
        )
        if link is None:
            self.answer(anchor, False, "its key is not the database's")
        elif anchor.ordinal > link.ordinal or (
            anchor.ordinal == link.ordinal and anchor.chain != link.old_chain
        ):
            what = (
                f"the keys were changed after commit {link.ordinal}, but the anchor has seen"
                f" {anchor.ordinal} under the old ones: a copy went another way"
            )
            self.find("other-history", link.ordinal, 0, 0, what)
            self.answer(anchor, False, "the history is another one")
        else:
            self.answer(
                anchor,
                True,
                f"its key has signed the change of keys after commit {link.ordinal}, which vouches"
                " for what was before; the old files, if they were kept, can be compared with it",
            )


def head_chain(head: Signature | Link) -> bytes:
    """The chain value that a head names."""
    return head.new_chain if isinstance(head, Link) else head.chain


def plain_mac(data: bytes) -> bytes:
    """What stands at the end of a segment header of a plain database."""
    return blake2b(data[:-TAG_SIZE], digest_size=TAG_SIZE, person=b"rango header mac").digest()
