"""The simulator finds every bug that is planted under, beside or inside the engine.

Method      a `Seam` lies between engine and disk and is careless in one way; bugs inside the engine
            replace one function of it. Each runs the ordinary workloads until a violation is found.
Invariants  a checker that finds nothing because it looks at nothing is found here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rango import bulk
from rango._ext import layout
from rango._ext.seal import nonce_observer_set
from rango._ext.view import View
from rango.engine import (
    checkpoint,
    compact,
    diff,
    expiry,
    feed,
    index,
    kept,
    kept_state,
    recovery,
    rollback,
)
from rango.engine.aggregate.stage import Batches, Context
from rango.engine.aggregate.writes import Out, Writing
from rango.engine.core import Core
from rango.storage import superblock
from rango.storage.base_segment import BaseWriter, remove_given_up
from rango.storage.segment import segment_ids
from tests.crash.engine import EngineSubject
from tests.crash.fault_runs import counts_of, enumerate_faults
from tests.crash.faults import every_plan
from tests.crash.planted import (
    SEAMS,
    BaseNotFlushed,
    EverySite,
    FailedFlushIgnored,
    FailedFlushRepeated,
    RemovedBeforeTheBaseHasItsName,
    Seam,
    TailNotWrittenAgain,
    crash_until_found,
)
from tests.crash.report import JUDGED, Report, Violation
from tests.crash.scribe import Scribe
from tests.crash.simulator import Session, enumerate_crashes
from tests.crash.workloads import WORKLOADS


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
                one_compaction,
                subject,
                budget=900,
                seed=seed + turn,
                killed=EverySite(),
                violations_max=1,
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
            enumerate_crashes(
                WORKLOADS["inserts"][0], subject, budget=300, seed=seed, killed=EverySite()
            )
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


def test_kept_roots_whose_pages_are_given_out_are_found(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    def protect(core: Core) -> kept.Protected:
        return kept.Protected(kept.listed_by(core.store.pager, core.slot), True)

    monkeypatch.setattr(kept, "protect", protect)
    monkeypatch.setattr(kept, "protect_slots", lambda *_arguments, **_options: None)
    assert crash_until_found("named snapshots", seed).violations


def test_a_rollback_of_several_commits_is_found(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    whole = rollback.rollback

    def one_by_one(
        core: Core, then: View, _names: object, limit: int, is_dry: bool, purges: int, actor: bytes
    ) -> rollback.Done:
        """One collection at a time."""
        for pair in diff.pairs(core.view(), then):
            whole(core, then, frozenset([pair.name]), limit, is_dry, purges, actor)
        return whole(core, then, None, limit, is_dry, purges, actor)

    monkeypatch.setattr(rollback, "rollback", one_by_one)
    assert crash_until_found("rollbacks", seed).violations
