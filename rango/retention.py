"""How much of the past a database keeps: Database.compact.

Terms       keep point, base segment: see the glossary.
Failure     InvalidArgument for a keep point that is none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from rango.errors import InvalidArgument

if TYPE_CHECKING:
    from rango.engine.compact import Keep
    from rango.transaction import Handle

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NOW: Final = "now"
ALL: Final = "all"


class Retention:
    """What a Database can give up."""

    __slots__ = ()

    _handle: Handle

    def compact(
        self,
        keep: str | int | datetime | timedelta,
        *,
        dry_run: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> dict[str, Any]:
        """Give up the history before a point, for good, and pack the rest; the documents stay as
        they are.

        `keep`  what is kept: "now" (no history at all), "all" (all of it), a datetime or a
                timedelta (the state then and all that came after), an ordinal (the state after that
                commit and all that came after), a negative number (so many of the last commits), or
                the name of a snapshot (it and all that came after; for one with the name "now" or
                "all" give its ordinal)

        The log is cut between two segments, so more may be kept than was asked for; each call
        begins a segment, where a later one can cut. What is kept is compressed (packed), once: to
        about a quarter; it is read as before, somewhat slower. `dry_run` only says what would go.
        Reads and writes go on meanwhile. Returns {"ordinal" (everything up to this commit is one
        state now), "commits", "segments", "bytes" (what went), "oldest" (since when, or None),
        "snapshots" (the names of those that end: at() raises HistoryGone for them), "base_bytes"
        (what keeps that state), "packed" (how many segments), "packed_bytes_before" and
        "packed_bytes_after" (of their files), "data_bytes" (what the data file gave back),
        "is_done" (False if no history went)}.

        Raises InvalidArgument, NotFound (nobody gave that name), HistoryGone (that snapshot is gone
        already), TransactionError inside a transaction, ReadOnly, LowDisk (nothing went),
        LogCorrupted (a segment that is to be packed is damaged: it stays), IoFailed.
        """
        from rango.engine.compact import compact

        core = self._handle.outside("compact()")
        return compact(core, _point(keep, core.clock()), dry_run=dry_run, progress=progress)


def _point(keep: object, now: int) -> Keep:
    """The keep point as the engine knows it."""
    from rango.engine.compact import Keep
    from rango.engine.named import NAME

    if keep == NOW:
        return Keep(is_now=True)
    if keep == ALL:
        return Keep(is_all=True)
    if isinstance(keep, str) and NAME.fullmatch(keep):
        return Keep(name=keep)
    if isinstance(keep, int) and not isinstance(keep, bool):
        return Keep(ordinal=keep) if keep >= 0 else Keep(commits=-keep)
    if isinstance(keep, timedelta):
        if keep < timedelta(0):
            raise InvalidArgument(f"keep is {keep!r}; how long to look back is not negative")
        back = keep // timedelta(milliseconds=1)
        return Keep(ms=now - back) if back else Keep(is_now=True)
    if isinstance(keep, datetime):
        # as everywhere, a datetime without a zone is UTC
        aware = keep if keep.tzinfo is not None else keep.replace(tzinfo=UTC)
        return Keep(ms=(aware - EPOCH) // timedelta(milliseconds=1))
    raise InvalidArgument(
        f"keep is {keep!r}; it must be 'now', 'all', a datetime, a timedelta, an ordinal, minus a "
        "number of commits or the name of a snapshot"
    )
