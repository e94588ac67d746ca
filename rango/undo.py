"""What a Database can say of the differences between two of its states, and undo."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, cast

from rango.errors import InvalidArgument
from rango.limits import ROLLBACK_CHANGES_MAX
from rango.time_travel import TimeTravel, moment_of

if TYPE_CHECKING:
    from rango._ext.view import View
    from rango.difference import Changes, Rollback
    from rango.snapshot import Held, Snapshot
    from rango.transaction import Handle


class Undo(TimeTravel):
    """The part of Database that compares states."""

    __slots__ = ()

    def diff(
        self,
        a: Snapshot | int | str | datetime,
        b: Snapshot | int | str | datetime | None = None,
        *,
        collections: Iterable[str] | None = None,
    ) -> Changes:
        """What is not the same in two states: `for change in db.diff(past): ...`

        `a` and `b` are Snapshots of this database or what at() takes: the number of a commit, a
        revision, a datetime, the name of a snapshot. Without `b` the later state is the present
        (without what a running transaction has written). First come the collections and indexes
        that were dropped, renamed and created, then documents that were inserted, changed and
        deleted, by collection name and `_id`: see Change. It costs what changed, not what there is.

        A collection is followed through a rename. One that was dropped and created again is said to
        be so, and its documents are compared by `_id`. Those that were written again unchanged do
        not differ. `collections`: only these, by their earlier or later name. Raises
        InvalidArgument, DatabaseClosed (a snapshot was closed), and what at() raises; close() or
        exhaust what it returns.
        """
        from rango.difference import Changes, names_asked

        names = names_asked(collections)
        before = view_of(self._handle, a)
        return Changes(
            before, self._handle.committed() if b is None else view_of(self._handle, b), names
        )

    def rollback(
        self,
        to: Snapshot | int | str | datetime,
        *,
        dry_run: bool = False,
        collections: Iterable[str] | None = None,
        limit: int = ROLLBACK_CHANGES_MAX,
    ) -> Rollback:
        """Go back to an earlier state: `db.rollback("before-cleanup")`

        `to` is a Snapshot or what at() takes. What differs is written as new versions in one
        commit: all of it or nothing, whatever crashes. The history stays, and `rollback(to=
        result.before)` takes it back. Indexes that were not there then go; those that a collection
        lost are built right afterwards, in commits of their own. Other writers wait meanwhile.

        Stays as it is: limits, names of snapshots, and what was purged. Documents that had expired
        come back, and expire again. `dry_run`: writes nothing, and returns the same.
        `collections`: only these, by their name then or now. Raises LimitExceeded (more documents
        than `limit`, or bytes than one commit takes), Conflict (a purge came between; do it again),
        DatabaseBusy, ReadOnly, LowDisk, IoFailed, QueryCancelled (a cancel scope), TransactionError
        in a transaction, and what at() raises: nothing was written then. DuplicateKey: an index
        that had to be built afterwards met what somebody else wrote.
        """
        from rango.difference import names_asked, rolled_back
        from rango.engine import rollback as engine
        from rango.engine.moment import Moment
        from rango.engine.past import view_at

        core = self._handle.outside("rollback()")
        names = names_asked(collections)
        if type(limit) is not int or limit < 0:
            raise InvalidArgument(f"limit is a number of documents, not {limit!r}")
        purges = engine.purge_count(self._handle.committed())
        then = view_of(self._handle, to)
        if engine.purge_count(then) != purges:
            # a snapshot from before a purge still shows what was purged
            then = view_at(core, self._handle.committed(), Moment(ordinal=then.ordinal))
        done = engine.rollback(core, then, names, limit, dry_run, purges, self._handle.actor)
        return rolled_back(done, dry_run)


def view_of(handle: Handle, moment: object) -> View:
    """The view of a Snapshot, or of what at() takes. Raises InvalidArgument, DatabaseClosed."""
    from rango.engine.past import view_at
    from rango.snapshot import Snapshot

    if not isinstance(moment, Snapshot):
        return view_at(handle.core, handle.committed(), moment_of(moment))
    held = cast("Held", moment._handle.core)
    if not held.is_of(handle):
        raise InvalidArgument("that is a snapshot of another database")
    return held.view()
