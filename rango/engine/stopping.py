"""What ends an operation early: `max_time_ms`, and the cancel scope around it.

Terms       stop: see rango/_ext/stop.pyx; None: nothing can end the operation.
Invariants  A read counts its time from its first fetch, a write from its call, so that waiting for
            other writers counts. Whoever works a batch at a time looks at the stop between two;
            scans and sorts look by themselves (rango/_ext/scan.pyx, order.pyx). A write of one
            commit that is stopped has written nothing.
Failure     Timeout, QueryCancelled.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from rango._ext.stop import Stop

scope_stop: Final[ContextVar[Stop | None]] = ContextVar("rango_cancel_scope", default=None)
"""That of the innermost cancel scope which the running code is in."""


def stop_of(max_time_ms: int, own: Stop | None = None) -> Stop | None:
    """The stop of an operation that starts now; `own` if the caller means to cancel it.

    Raises QueryCancelled if the scope was cancelled before.
    """
    outer = scope_stop.get()
    if own is None:
        if outer is None and not max_time_ms:
            return None
        own = Stop()
    own.start(max_time_ms, outer)
    return own


def stop_check(stop: Stop | None) -> None:
    """Raise Timeout or QueryCancelled if the operation must end."""
    if stop is not None:
        stop.check()
