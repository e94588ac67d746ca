"""Documents that end by themselves: what an index with expire_after_s says is over is deleted.

Terms       due: the earliest date that the index holds of a document is at least expire_after_s
            ago. A value that is not a date never is.
Invariants  Deleting is an ordinary logged mutation (I-7, I-8), found through the index, under the
            append lock, EXPIRE_RECORDS at a time: writers go on in between, and a document that was
            given a later date meanwhile stays. Readers never expire anything.
            A purge that had to wait (engine/purge.py) is tried again in each round as well.
States      the thread: off (no index ends documents, no purge waits) -> waiting (interval_s, longer
            after a failure, or until it is stopped) -> expiring -> waiting; over when it is
            stopped, its core is collected, closed or latched.
Failure     There is nobody to raise to here. Every failure is logged (logger "rango.expiry"), a
            finding of the core, and shown by stats() until a round succeeds. IoFailed and Corrupted
            are latched in the core, and the thread is over. After any other RangoError it tries
            again, after twice the time at each failure, at most RETRY_S_MAX. What is no RangoError
            ends the thread through threading.excepthook, and a successor tries again as late.
Sources     MongoDB manual, "TTL Indexes".
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from bson.datetime_ms import DatetimeMS

from rango._ext.collection_info import CollectionInfo, IndexInfo
from rango._ext.key import key_of
from rango.engine.settings import is_purging
from rango.errors import (
    Corrupted,
    DatabaseBusy,
    DatabaseClosed,
    ForkedHandle,
    IoFailed,
    NotFound,
    RangoError,
)

if TYPE_CHECKING:
    from rango.engine.core import Core

EXPIRE_RECORDS: Final = 500
"""Documents that one commit deletes: about as long as other writers wait for a fill."""

STOP_WAIT_S: Final = 5.0
"""How long close() waits for a round that is under way; it ends at its next commit anyway."""

RETRY_S_MAX: Final = 600.0
"""The longest wait after failures, seconds; the interval itself, if that is longer."""

DATES: Final = key_of(DatetimeMS(-(1 << 40)))[:1]
"""The class byte of dates: nothing else is looked at."""


def expiring(info: CollectionInfo) -> list[IndexInfo]:
    """The indexes that end documents."""
    return [index for index in info.ready if index.expire_after_s is not None]


def has_expiring(core: Core) -> bool:
    """Whether any index ends documents."""
    return any(expiring(info) for info in core.store.head.catalog.collections.values())


def expire(core: Core, now_ms: int, stopping: threading.Event | None = None) -> int:
    """Delete every document that is due; how many there were. Raises what a delete raises, if
    there is any.
    """
    deleted = 0
    for name, info in sorted(core.collections().items()):
        for index in expiring(info):
            while count := expire_some(core, name, index.name, now_ms):
                deleted += count
                if stopping is not None and stopping.is_set():
                    return deleted
    return deleted


def expire_some(core: Core, name: str, index_name: str, now_ms: int) -> int:
    """One commit: the first EXPIRE_RECORDS that are due by one index; 0 if none is."""
    if not due_in(core, name, index_name, now_ms):
        return 0
    txn = core.begin()
    try:
        txn.lock()
        view = txn.view
        info = view.catalog.collections.get(name)
        index = None if info is None else index_of(info, index_name)
        if info is None or index is None or index.expire_after_s is None:
            return 0
        scan = view.index_scan(
            index.tree_id, info.tree_id, DATES, upper_of(index, now_ms), False, None, True
        )
        records = scan.next_records(EXPIRE_RECORDS)
        scan.close()
        for record in records:
            txn.delete(info, record)
        txn.commit()
    finally:
        txn.abort()
    return len(records)


def due_in(core: Core, name: str, index_name: str, now_ms: int) -> bool:
    """Whether anything is due, without the append lock: mostly nothing is."""
    view = core.view()
    info = view.catalog.collections.get(name)
    index = None if info is None else index_of(info, index_name)
    if info is None or index is None or index.expire_after_s is None:
        return False
    scan = view.index_scan(
        index.tree_id, info.tree_id, DATES, upper_of(index, now_ms), False, None, True
    )
    is_any = bool(scan.next_records(1))
    scan.close()
    return is_any


def index_of(info: CollectionInfo, name: str) -> IndexInfo | None:
    """The index of that name, if it still ends documents."""
    return next((index for index in expiring(info) if index.name == name), None)


def upper_of(index: IndexInfo, now_ms: int) -> bytes:
    """Index keys below this one are dates that are due."""
    assert index.expire_after_s is not None
    return key_of(DatetimeMS(now_ms - 1000 * index.expire_after_s + 1))


def remark(core: Core, finding: str) -> None:
    """A finding, once: a disk that stays full would add one each round."""
    if finding not in core.findings:
        core.findings.append(finding)


class Expirer:
    """What expires in the background, and its thread. Owned by its core; stops with it."""

    def __init__(self, core: Core) -> None:
        self._core = weakref.ref(core)
        self._interval_s = core.options.ttl_interval_s
        self._stopping = threading.Event()
        # reentrant: a handle that is collected in here may stop it
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._rounds = 0
        self._deleted = 0
        self._failures = 0
        self._error: str | None = None

    def start(self) -> None:
        """Work in the background from now on, if anything can be due or a purge waits."""
        core = self._core()
        if core is None or not self._interval_s:
            return
        if has_expiring(core) or is_purging(core):
            with self._lock:
                if self._thread is None:
                    self._launch()

    def stop(self) -> None:
        """End the thread; what is still due is deleted by the next one that opens."""
        with self._lock:
            self._stopping.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_WAIT_S)

    def stats(self) -> dict[str, Any]:
        """What it did, and the error that it waits to try again after, or ended with."""
        thread = self._thread
        return {
            "running": thread is not None and thread.is_alive(),
            "rounds": self._rounds,
            "deleted": self._deleted,
            "failures": self._failures,
            "error": self._error,
        }

    def _launch(self) -> None:
        if not self._stopping.is_set():
            self._thread = threading.Thread(target=self._run, name="rango-expirer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        is_over = False
        try:
            while not self._stopping.wait(self._wait_s()):
                core = self._core()
                if core is None or core.error is not None or not self._round(core):
                    break
                del core
            is_over = True
        finally:
            if not is_over:
                self._hand_over(sys.exc_info()[1])

    def _wait_s(self) -> float:
        """How long until the next round."""
        longest = max(RETRY_S_MAX, self._interval_s)
        return float(min(self._interval_s * 2.0 ** min(self._failures, 30), longest))

    def _round(self, core: Core) -> bool:
        """Expire once; whether to go on."""
        try:
            if core.expiry_lock.take(0):
                # else another process does it
                try:
                    self._deleted += expire(core, core.clock(), self._stopping)
                finally:
                    core.expiry_lock.drop()
            if not self._stopping.is_set():
                # imported here: few databases ever purge
                from rango.engine import purge

                purge.resume(core, self._go_on)
        except (DatabaseClosed, ForkedHandle):
            return False
        except (IoFailed, Corrupted) as error:
            core.latch(error)
            self._fail(core, error)
            return False
        except NotFound:
            # the collection was dropped or renamed in between
            return True
        except RangoError as error:
            self._fail(core, error)
            return True
        self._rounds += 1
        self._failures = 0
        self._error = None
        return True

    def _go_on(self, _done: int, _total: int) -> None:
        """Not beyond close(): another process may work on the same files then."""
        if self._stopping.is_set():
            raise DatabaseBusy("the database is being closed; the next open goes on")

    def _fail(self, core: Core | None, error: BaseException | None) -> None:
        """Say everywhere that documents stay which are due."""
        self._failures += 1
        self._error = f"{type(error).__name__}: {error}"
        finding = f"documents that are due were not deleted: {error}"
        if core is not None:
            remark(core, finding)
        # imported when it is needed: it would be a part of the price of every start
        import logging

        logging.getLogger("rango.expiry").error("%s (%s)", finding, type(error).__name__)

    def _hand_over(self, error: BaseException | None) -> None:
        """Another thread goes on after this one, which an unexpected error ends."""
        self._fail(self._core(), error)
        with self._lock:
            self._launch()
