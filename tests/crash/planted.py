"""Bugs that are planted under, beside or inside the engine, and the search for them.

Terms       seam: a disk that does one thing wrong, between the engine and the simulated disk.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from tests.crash.disk import Disk, Site
from tests.crash.report import JUDGED, Report
from tests.crash.simulator import enumerate_crashes
from tests.crash.workloads import WORKLOADS

BUDGET = 6_000
SECOND_MAX = 8
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


class PackedNotFlushed(Seam):
    """What takes the place of a segment may be in the cache only."""

    def flush(self, fd: int) -> None:
        if not called_from("rango.storage.pack", "segment_pack"):
            self.disk.flush(fd)


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
    PackedNotFlushed: "packings",
}


class EverySite(set[Site]):
    """No kill for its own sake: those that crashes branch into are enough here."""

    def __contains__(self, site: object) -> bool:
        return True


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
                WORKLOADS[workload][0],
                subject,
                # most are found soon, with one seed or the next
                budget=min(BUDGET, 500 * 2**turn),
                seed=seed + turn,
                # few need a kill
                killed=set() if turn % 2 else EverySite(),
                second_max=SECOND_MAX,
                violations_max=1,
            )
        except JUDGED as error:
            report = Report(workload, seed)
            report.violations = [error]  # type: ignore[list-item]
        if report.violations:
            print(str(report.violations[0])[:400])
            break
    return report
