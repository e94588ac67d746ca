"""Reading the past: the part of Database that gives out Snapshots of earlier commits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rango.errors import InvalidArgument
from rango.ids import revision_parse

if TYPE_CHECKING:
    from rango.engine.moment import Moment
    from rango.snapshot import Snapshot
    from rango.transaction import Handle

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TimeTravel:
    """What a Database can say of its past."""

    __slots__ = ()
    _handle: Handle

    def at(
        self,
        moment: int | str | datetime,
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> Snapshot:
        """The whole database as it was: `with db.at(ordinal) as past: past["notes"].find(...)`

        `moment`: the number of a commit; a revision (`_rev`, as text): the commit that wrote it; a
        datetime (without a zone: UTC): the last commit whose revisions were all written by then; or
        the name of a snapshot. Where no commit is that very one, the last one before. A clock that
        was set back counts as having stood still until it had caught up. A commit that only makes,
        renames or drops collections or indexes has no time of its own: it counts with the next that
        has one.

        What happened since the last checkpoint costs a replay of a part of it; further back the
        oplog is replayed from the nearest state that the data file still has, with
        `progress(done, total)` in commits; a cancel scope can end it. Documents that were purged
        are absent. Raises NotFound if the moment has not come yet or nobody gave that name,
        HistoryGone if the oplog does not reach back that far, LogCorrupted.
        """
        from rango.engine.past import view_at
        from rango.snapshot import Snapshot

        asked = moment_of(moment)
        if progress is not None and not callable(progress):
            raise InvalidArgument(f"progress must be a function, not {type(progress).__name__}")
        handle = self._handle
        return Snapshot(handle, view_at(handle.core, handle.committed(), asked, progress))

    def create_snapshot(self, name: str, *, note: str | None = None) -> dict[str, Any]:
        """Name the newest commit, for at(): `db.create_snapshot("before-cleanup")`

        Returns `name ordinal at node note`. The name is a commit itself: it survives restarts,
        backups and a data file that is lost, and every process sees it. It copies nothing and pins
        nothing. Raises InvalidName if the name is taken or cannot be one, TransactionError in a
        transaction.
        """
        from rango.engine.named import create

        core = self._handle.outside("create_snapshot()")
        return create(core, name, note, self._handle.actor)

    def snapshots(self) -> list[dict[str, Any]]:
        """The snapshots that have a name, oldest commit first: `name ordinal at node note`."""
        from rango.engine.named import listed

        return listed(self._handle.view()[0])

    def drop_snapshot(self, name: str) -> None:
        """Take the name of a snapshot back; the history stays.

        Raises NotFound if there is no such name, TransactionError in a transaction.
        """
        from rango.engine.named import drop

        drop(self._handle.outside("drop_snapshot()"), name, self._handle.actor)


def moment_of(moment: object) -> Moment:
    """What is asked for, checked. Raises InvalidArgument."""
    from rango.engine.moment import Moment
    from rango.engine.named import NAME

    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return Moment(ms=(aware - EPOCH) // timedelta(milliseconds=1))
    if isinstance(moment, str) and NAME.fullmatch(moment):
        return Moment(name=moment)
    if isinstance(moment, str):
        return Moment(revision=revision_parse(moment)[:2])
    if isinstance(moment, bool) or not isinstance(moment, int):
        raise InvalidArgument(
            "a moment is the number of a commit, a revision, a datetime or the name of a "
            "snapshot, not "
            f"{type(moment).__name__}"
        )
    if moment < 0:
        raise InvalidArgument(f"a commit has a number from 0 on, not {moment}")
    return Moment(ordinal=moment)
