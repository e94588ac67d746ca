"""The simulator finds every bug that is planted under, beside or inside the engine.

Method      a `Seam` lies between engine and disk and is careless in one way; bugs inside the engine
            replace one function of it. Each runs the ordinary workloads until a violation is found.
Invariants  a checker that finds nothing because it looks at nothing is found here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from rango import bulk
from rango._ext import layout
from rango._ext.seal import nonce_observer_set
from rango.engine import checkpoint, compact, expiry, feed, index, kept_state, recovery
from rango.engine.aggregate.stage import Batches, Context
from rango.engine.aggregate.writes import Out, Writing
from rango.storage import superblock
from rango.storage.base_segment import BaseWriter, remove_given_up
from rango.storage.segment import segment_ids
from tests.crash.disk import Disk, Site
from tests.crash.engine import EngineSubject
from tests.crash.fault_runs import counts_of, enumerate_faults
from tests.crash.faults import every_plan
from tests.crash.report import JUDGED, Report, Violation
from tests.crash.scribe import Scribe
from tests.crash.simulator import Session, enumerate_crashes
from tests.crash.workloads import WORKLOADS

BUDGET = 6_000
SLOTS_END = 8_192


class Seam:
    """Passes every call on. Subclasses forget something."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self.disk, name)

    def kind(self, fd: int) -> str:
        """The class of an open file."""
        return self.disk.handles[fd].file_class


def called_from(module: str, *functions: str) -> bool:
    """Whether the engine's Python code that led here is one of these functions."""
    frame: FrameType | None = sys._getframe(2)
    for _ in range(4):
        if frame is None:
            return False
        if frame.f_globals.get("__name__") == module and frame.f_code.co_name in functions:
            return True
        frame = frame.f_back
    return False


class LogNotFlushed(Seam):
    def flush(self, fd: int) -> None:
        if self.kind(fd) != "segment":
            self.disk.flush(fd)


class LogFlushedLate(Seam):
    """Acknowledged before the flush: it comes with the next commit."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.late: int | None = None

    def write(self, fd: int, data: bytes, offset: int) -> int:
        if self.late in self.disk.handles and self.late is not None:
            self.disk.flush(self.late)
        self.late = None
        return self.disk.write(fd, data, offset)

    def flush(self, fd: int) -> None:
        if self.kind(fd) == "segment":
            self.late = fd
        else:
            self.disk.flush(fd)


class PagesNotFlushed(Seam):
    """The slot is flushed, but not what it names: flush and write are swapped."""

    is_slot = False

    def write(self, fd: int, data: bytes, offset: int) -> int:
        self.is_slot = self.kind(fd) == "data" and offset < SLOTS_END
        return self.disk.write(fd, data, offset)

    def flush(self, fd: int) -> None:
        if self.kind(fd) != "data" or self.is_slot:
            self.disk.flush(fd)


class SlotNotFlushed(PagesNotFlushed):
    def flush(self, fd: int) -> None:
        if self.kind(fd) != "data" or not self.is_slot:
            self.disk.flush(fd)


class DirectoryNotFlushed(Seam):
    def flush_directory(self, path: str) -> None:
        return None


class KeysNotFlushed(Seam):
    def flush(self, fd: int) -> None:
        if not self.kind(fd).startswith("keys"):
            self.disk.flush(fd)


class SegmentNamedBeforeItsFlush(Seam):
    """Two calls swapped: rename, then flush of the new segment."""

    late: int | None = None

    def flush(self, fd: int) -> None:
        if self.kind(fd) == "segment.new":
            self.late = fd
        else:
            self.disk.flush(fd)

    def rename(self, source: str, target: str) -> None:
        self.disk.rename(source, target)


class ShortWriteTakenForWhole(Seam):
    def write(self, fd: int, data: bytes, offset: int) -> int:
        done = len(data) - 32 if self.kind(fd) == "segment" and len(data) > 600 else len(data)
        self.disk.write(fd, data[:done], offset)
        return len(data)


class TailNotFlushed(Seam):
    """I-17 broken: what a dead process left in the cache is believed to be durable."""

    def flush(self, fd: int) -> None:
        if not called_from("rango.storage.oplog", "_settle"):
            self.disk.flush(fd)


class TailNotWrittenAgain(Seam):
    """I-17 broken: a failed flush marked the tail clean, and recovery only flushes it."""

    def write(self, fd: int, data: bytes, offset: int) -> int:
        if called_from("rango.storage.oplog", "_settle", "_copy"):
            return len(data)
        return self.disk.write(fd, data, offset)


class SlotAheadOfTheLog(Seam):
    """I-18 broken: a checkpoint does not wait for the log."""

    def flush(self, fd: int) -> None:
        if self.kind(fd) == "data" or not called_from("rango.engine.checkpoint", "run", "adopt"):
            self.disk.flush(fd)


class OneSlotOnly(Seam):
    """Both generations are written to the same place."""

    def write(self, fd: int, data: bytes, offset: int) -> int:
        if self.kind(fd) == "data" and offset == SLOTS_END // 2:
            offset = 0
        return self.disk.write(fd, data, offset)


class FailedFlushIgnored(Seam):
    def flush(self, fd: int) -> None:
        try:
            self.disk.flush(fd)
        except OSError:
            return


class FailedFlushRepeated(Seam):
    def flush(self, fd: int) -> None:
        try:
            self.disk.flush(fd)
        except OSError:
            self.disk.flush(fd)


class DecisionOnlyInTheCache(Seam):
    """Files move on the word of an order that a killed process may have left in the cache."""

    def flush_directory(self, path: str) -> None:
        if not (path.endswith("/rekey") and called_from("rango.engine.rekey", "finish")):
            self.disk.flush_directory(path)


class MovesNotFlushed(Seam):
    """The old files' names are gone for good before the new ones' are there."""

    def flush_directory(self, path: str) -> None:
        if not called_from("rango.engine.rekey", "move_in", "move_all"):
            self.disk.flush_directory(path)


class SealedAgainNotFlushed(Seam):
    def flush(self, fd: int) -> None:
        if not called_from("rango.storage.reseal", "end"):
            self.disk.flush(fd)


class BaseNotFlushed(Seam):
    """What is to take the place of the history may be in the cache only."""

    def flush(self, fd: int) -> None:
        if not called_from("rango.storage.base_segment", "finish"):
            self.disk.flush(fd)


class RemovedBeforeTheBaseHasItsName(Seam):
    """The rename and the removals may reach the disk in any order."""

    def flush_directory(self, path: str) -> None:
        if not called_from("rango.storage.base_segment", "commit"):
            self.disk.flush_directory(path)


SEAMS: dict[type[Seam], str] = {
    LogNotFlushed: "inserts",
    LogFlushedLate: "inserts",
    PagesNotFlushed: "checkpoints",
    SlotNotFlushed: "checkpoints",
    DirectoryNotFlushed: "inserts",
    KeysNotFlushed: "inserts",
    SegmentNamedBeforeItsFlush: "inserts",
    ShortWriteTakenForWhole: "changes",
    TailNotFlushed: "changes",
    SlotAheadOfTheLog: "memory",
    OneSlotOnly: "checkpoints",
    DecisionOnlyInTheCache: "rekeys",
    MovesNotFlushed: "rekeys",
    SealedAgainNotFlushed: "rekeys",
}


def crash_until_found(workload: str, seed: int, **options: Any) -> Report:
    """Several seeds, until something is found."""
    report = Report(workload, seed)
    for turn in range(10):
        _, make = WORKLOADS[workload]
        subject = make()
        for name, value in options.items():
            setattr(subject, name, value)
        try:
            report = enumerate_crashes(
                WORKLOADS[workload][0], subject, budget=BUDGET, seed=seed + turn
            )
        except JUDGED as error:
            report = Report(workload, seed)
            report.violations = [error]  # type: ignore[list-item]
        if report.violations:
            print(str(report.violations[0])[:400])
            break
    return report


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.__name__)
def test_a_careless_seam_is_found(seam: type[Seam], seed: int) -> None:
    assert crash_until_found(SEAMS[seam], seed, wrap=seam).violations


@pytest.mark.parametrize("seam", [FailedFlushIgnored, FailedFlushRepeated, TailNotWrittenAgain])
def test_a_failed_flush_that_is_taken_lightly_is_found(seam: type[Seam], seed: int) -> None:
    workload, make = WORKLOADS["changes"]
    flushes = {k: n for k, n in counts_of(workload, make(), seed).items() if k[0] == "flush"}
    plans = every_plan(flushes, sticky=False)
    subject = EngineSubject(wrap=seam)
    assert enumerate_faults(workload, subject, plans, seed=seed).violations


def unchecked(data: bytes, number: int, path: str, keyring: Any) -> Any:
    """Reads a slot of a plain database without looking at its tag."""

    class Key:
        def open_bytes(self, _aad: bytes, _nonce: bytes, sealed: bytes) -> bytes:
            return sealed[:-16]

    class Keyring:
        database_id = keyring.database_id
        epoch = keyring.epoch

        def superblock_key(self, _epoch: int) -> Key:
            return Key()

    return SLOT_UNPACK(data, number, path, Keyring())  # type: ignore[arg-type]


SLOT_UNPACK = superblock.slot_unpack


def without_last_commit(replay: Callable[..., bool]) -> Callable[..., bool]:
    """Recovery that stops one commit too early when there is a tail of several."""

    class Log:
        def __init__(self, log: Any) -> None:
            self.log = log

        def __getattr__(self, name: str) -> Any:
            return getattr(self.log, name)

        def replay(self, *mark: Any) -> Any:
            for commits in self.log.replay(*mark):
                yield commits[:-1] if len(commits) > 1 else commits

    def careless(store: Any, log: Any, *rest: Any, **options: Any) -> bool:
        return replay(store, Log(log), *rest, **options)

    return careless


def test_a_tag_that_is_not_checked_is_found(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(superblock, "slot_unpack", unchecked)
    assert crash_until_found("checkpoints", seed, key=None).violations


def test_units_given_out_too_early_are_found(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """I-2 broken: after opening, the pages of the other slot's generation count as free."""
    monkeypatch.setattr(checkpoint, "keep_fallback", lambda _core: None)
    assert crash_until_found("turnovers", seed).violations


def test_a_replay_that_loses_a_commit_is_found(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(recovery, "replay", without_last_commit(recovery.replay))
    assert crash_until_found("inserts", seed).violations


def test_an_index_without_its_entries_is_found(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(index, "fill", lambda *_arguments: None)
    assert crash_until_found("indexes", seed).violations


def test_an_out_that_empties_its_target_first_is_found(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    def careless(self: Out, batches: Batches, context: Context) -> None:
        context.environment.write(lambda txn: self.work(txn, iter(()), context))
        Writing.write(self, batches, context)

    monkeypatch.setattr(Out, "write", careless)
    assert crash_until_found("$out", seed).violations


def test_requests_of_a_bulk_write_that_do_not_come_together_are_found(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(bulk, "INSERT_BATCH_COUNT_MAX", 1)
    assert crash_until_found("bulk_write", seed).violations


class EverySite(set[Site]):
    """No kill for its own sake: those that crashes branch into are enough here."""

    def __contains__(self, site: object) -> bool:
        return True


def one_compaction(session: Session) -> None:
    """So short that most subsets of what is pending are tried at each place."""
    scribe = Scribe(session)
    for n in range(6):
        scribe.insert("a", {"_id": n, "text": "x" * 9_000})
    scribe.delete("a", [2])
    scribe.checkpoint()
    scribe.insert("a", {"_id": 9})
    scribe.compact("now")
    scribe.insert("a", {"_id": 10})


def compacted(seed: int, **options: Any) -> Report:
    """Crashes of one compaction, several seeds, until something is found."""
    report = Report("one compaction", seed)
    for turn in range(6):
        subject = EngineSubject(**options)
        try:
            report = enumerate_crashes(
                one_compaction, subject, budget=900, seed=seed + turn, killed=EverySite()
            )
        except JUDGED as error:
            report = Report("one compaction", seed)
            report.violations.append(Violation(0, None, f"raised {error!r}", "start"))
        if report.violations:
            return report
    return report


def test_nothing_is_found_in_an_honest_compaction(seed: int) -> None:
    report = enumerate_crashes(
        one_compaction, EngineSubject(), budget=900, seed=seed, killed=EverySite()
    )
    assert not report.violations, str(report)


@pytest.mark.parametrize("seam", [BaseNotFlushed, RemovedBeforeTheBaseHasItsName])
def test_a_careless_compaction_is_found(seam: type[Seam], seed: int) -> None:
    assert compacted(seed, wrap=seam).violations


def test_history_that_an_older_slot_still_needs_is_found(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(compact, "move_slots", lambda *_: None)
    assert compacted(seed).violations


def test_a_base_without_tombstones_is_found(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    def careless(view: Any, tree: int) -> Any:
        for mutation in record_mutations(view, tree):
            if mutation[layout.MUTATION_OP] == layout.MUTATION_INSERT:
                yield mutation

    record_mutations = kept_state.record_mutations
    monkeypatch.setattr(kept_state, "record_mutations", careless)
    assert compacted(seed).violations


def test_history_that_is_removed_before_there_is_a_base_is_found(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    def careless(self: BaseWriter) -> int:
        log = self._folder
        last = self._header.id
        ids = [each for each in segment_ids(self._vfs, log) if each < last]
        remove_given_up(self._vfs, log, ids)
        return finish(self)

    finish = BaseWriter.finish
    monkeypatch.setattr(BaseWriter, "finish", careless)
    assert compacted(seed).violations


def test_an_index_that_is_ready_before_it_is_filled_is_found(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(index, "BUILDING", index.READY)
    assert crash_until_found("index builds", seed).violations


def test_documents_that_end_one_at_a_time_are_found(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Expiry promises commits of many: a crash between two documents must not be seen."""
    expire_some = expiry.expire_some

    def careless(*arguments: Any) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(expiry, "EXPIRE_RECORDS", 1)
            return expire_some(*arguments)

    monkeypatch.setattr(expiry, "expire_some", careless)
    assert crash_until_found("expiry", seed).violations


def test_a_nonce_that_is_used_again_is_found(seed: int) -> None:
    """I-6: across all the histories that crashes branch into, no pair may come twice."""

    def repeats(draw: Callable[[int], bytes] | None) -> int:
        seen: set[tuple[bytes, bytes]] = set()
        twice = 0

        def look(fingerprint: bytes, nonce: bytes) -> None:
            nonlocal twice
            twice += (fingerprint, nonce) in seen
            seen.add((fingerprint, nonce))

        subject = EngineSubject()
        if draw is not None:
            subject.draw = draw
        nonce_observer_set(look)
        try:
            enumerate_crashes(WORKLOADS["inserts"][0], subject, budget=300, seed=seed)
        finally:
            nonce_observer_set(None)
        assert len(seen) > 1_000 or twice
        return twice

    assert repeats(None) == 0
    assert repeats(lambda size: b"\7" * size) > 0


def test_events_that_are_told_before_they_are_durable_are_found(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(feed, "durable_ordinal", feed.written_ordinal)
    assert crash_until_found("watching", seed).violations
