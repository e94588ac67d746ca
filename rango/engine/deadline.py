"""How long an operation may take: `max_time_ms`, and the moment when it is over.

Terms       deadline: nanoseconds of the monotonic clock; 0: none.
Invariants  A read counts from its first fetch, a write from its call, so that waiting for other
            writers counts. Whoever works a batch at a time looks at the deadline between two; scans
            look by themselves (rango/_ext/scan.pyx). A write that is stopped has written nothing.
Failure     Timeout, with MongoDB's code of a time limit.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import Final

from rango.errors import Timeout

TIME_EXPIRED: Final = 50
"""MongoDB's code: MaxTimeMSExpired."""


def deadline_of(max_time_ms: int) -> int:
    """When the time is over if it starts now; 0 for 0."""
    return monotonic_ns() + 1_000_000 * max_time_ms if max_time_ms else 0


def deadline_check(deadline_ns: int, advice: str = "give it more time") -> None:
    """Raise Timeout if the time is over."""
    if deadline_ns and monotonic_ns() > deadline_ns:
        raise Timeout(f"it took longer than its max_time_ms; {advice}", code=TIME_EXPIRED)
