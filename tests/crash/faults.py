"""Fault plans: which call of a disk fails, how, and how often.

Terms       once: only the N-th matching call. Sticky: that one and every later one, until `lift`.
            Short: a write that does part of its work and says so.
Invariants  a plan never changes what is durable except by what it reports: a failed flush drops the
            dirty data, and the next flush of the same file succeeds (fsyncgate).
Sources     reliability facts 2.1 (S5, S6).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.crash.disk import Fault

WRITING = frozenset(
    {"write", "flush", "truncate", "create", "rename", "remove", "flush_directory"}
    | {"make_directory"}
)
READING = frozenset({"open", "read", "lock"})

# What each kind of call may answer. 0 is a short write or read.
ERRORS: dict[str, tuple[int, ...]] = {
    "write": (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINTR, 0),
    "flush": (errno.EIO, errno.ENOSPC),
    "truncate": (errno.EIO, errno.ENOSPC),
    "create": (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EROFS),
    "open": (errno.EIO, errno.EMFILE, errno.EACCES),
    "read": (errno.EIO, errno.EINTR, 0),
    "lock": (errno.ENOLCK,),
    "rename": (errno.EIO, errno.ENOSPC),
    "remove": (errno.EIO,),
    "flush_directory": (errno.EIO,),
    "make_directory": (errno.EIO, errno.ENOSPC),
}


@dataclass
class FaultPlan:
    """Fails the N-th call that matches `kinds` (and `classes`); N counts from 1.

    `performed` lets a failing call do its work before it fails, `evicted` makes a failed flush show
    the old content afterwards (the clean page was dropped and read again).
    """

    at: int
    error: int = errno.EIO
    kinds: frozenset[str] = WRITING
    classes: frozenset[str] | None = None
    sticky: bool = False
    performed: bool = False
    evicted: bool = False
    seen: int = 0
    fired: list[tuple[str, str]] = field(default_factory=list)
    is_lifted: bool = False

    def consult(self, kind: str, file_class: str, size: int) -> Fault | None:
        """The fault that this call meets, if any."""
        if not self._is_due(kind, file_class):
            return None
        if self.error not in ERRORS[kind]:
            # A sticky plan over several kinds: what this call cannot answer is EIO or nothing.
            if self.error in (0, errno.EINTR):
                return None
            return self._fault(kind, file_class, errno.EIO, size)
        if self.sticky and self.error == errno.EINTR and len(self.fired) > 2:
            return None  # an interrupted call succeeds when it is repeated, in the end
        return self._fault(kind, file_class, self.error, size)

    def _is_due(self, kind: str, file_class: str) -> bool:
        if self.is_lifted or kind not in self.kinds:
            return False
        if self.classes is not None and file_class not in self.classes:
            return False
        self.seen += 1
        return self.seen == self.at or (self.sticky and self.seen > self.at)

    def _fault(self, kind: str, file_class: str, error: int, size: int) -> Fault | None:
        if error == 0 and size < 2:
            return None
        self.fired.append((kind, file_class))
        # How much of a failing write reaches the page cache is anybody's guess: vary it.
        done = size // 2 if error == 0 or self.at % 2 else 0
        if error == errno.EINTR:
            done = 0
        return Fault(error, done, self.performed and error != errno.EINTR, self.evicted)

    def lift(self) -> None:
        """The disk is well again."""
        self.is_lifted = True

    def __str__(self) -> str:
        name = errno.errorcode.get(self.error, "short")
        parts = [f"call {self.at}", name, "sticky" if self.sticky else "once"]
        parts += ["performed"] if self.performed else []
        parts += ["evicted"] if self.evicted else []
        parts += [f"on {sorted(self.classes)}"] if self.classes else []
        return " ".join([*parts, f"({'/'.join(sorted(self.kinds))})"])


Counts = dict[tuple[str, str], int]
"""How often a workload makes each (kind of call, class of file); class "" means any."""


def every_plan(counts: Counts, *, sticky: bool, step: int = 1) -> Iterator[FaultPlan]:
    """One plan for each call and each error that it can answer, as if nothing else failed."""
    for (kind, file_class), count in sorted(counts.items()):
        classes = frozenset({file_class}) if file_class else None
        manners: list[tuple[int, bool, bool]] = [(e, False, False) for e in ERRORS.get(kind, ())]
        if kind == "flush":
            manners.append((errno.EIO, False, True))
        if kind in ("write", "rename", "remove", "truncate"):
            manners.append((errno.EIO, True, False))
        for at in range(1, count + 1, step):
            for error, performed, evicted in manners:
                yield FaultPlan(
                    at,
                    error,
                    frozenset({kind}),
                    classes,
                    sticky=sticky,
                    performed=performed,
                    evicted=evicted,
                )
