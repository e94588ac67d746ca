"""Which commit a moment means: an ordinal, a revision, a time, or the name of a snapshot.

Terms       moment: what Database.at is asked for. revision, ordinal: see the glossary.
Invariants  Revisions never fall from commit to commit of one log: a clock that goes back leaves
            the milliseconds where they were and moves the counter. So both searches are bisections
            that read one commit at each step. The time of a commit is that of its last revision:
            the greatest time that any clock had said until then.
            A commit without a revision (it makes, renames or drops collections, indexes or
            settings, or all of it was purged) has no time: it counts with the next that has one.
Failure     NotFound: the moment lies in the future, or nobody gave that name. HistoryGone: it lies
            before the oldest commit that is left.
Sources     architecture section 8 (History); ADR-0028.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from rango._ext import layout
from rango._ext.record import record_parts
from rango.engine.mutation import MUTATION, mutations, value_of
from rango.engine.named import ordinal_named
from rango.errors import HistoryGone, NotFound
from rango.storage.base_segment import base_statement

if TYPE_CHECKING:
    from rango._ext.view import View
    from rango.engine.core import Core
    from rango.storage.oplog import Oplog

REVISED = (layout.MUTATION_INSERT, layout.MUTATION_REPLACE, layout.MUTATION_DELETE)
COUNTER_MAX = (1 << 16) - 1

Revision = tuple[int, int]


class Moment(NamedTuple):
    """One of the four, checked."""

    ordinal: int | None = None
    revision: Revision | None = None
    """(milliseconds, counter)."""
    ms: int | None = None
    """Milliseconds since the epoch."""
    name: str | None = None


def ordinal_of(core: Core, log: Oplog, seen: View, moment: Moment) -> int:
    """The number of the last commit at or before a moment. Raises NotFound, HistoryGone."""
    if moment.ordinal is not None:
        return moment.ordinal
    if moment.name is not None:
        return ordinal_named(seen, moment.name)
    if moment.revision is not None:
        return last_at(log, seen.ordinal, moment.revision)
    assert moment.ms is not None
    now = core.clock()
    if moment.ms > now:
        raise NotFound(
            f"that time is {(moment.ms - now) / 1000:.3f} s ahead of this machine's clock; ask "
            "for one that has passed"
        )
    return last_by(log, seen.ordinal, (moment.ms, COUNTER_MAX))


def last_at(log: Oplog, newest: int, revision: Revision) -> int:
    """The commit that wrote a revision, else the last one before."""
    found = last_begun(log, newest, revision)
    is_last = first_from(log, found + 1, newest)[1] is None
    if is_last and revision > last_of(log, found):
        raise NotFound("that revision is later than every commit; ask for an earlier one")
    return found


def last_by(log: Oplog, newest: int, revision: Revision) -> int:
    """The last commit whose revisions are all at or before this one."""
    found = last_begun(log, newest, revision)
    # only the last one that began in time can have ended too late
    if found > log.start().ordinal and last_of(log, found) > revision:
        return last_begun(log, found - 1, revision)
    return found


def last_begun(log: Oplog, newest: int, revision: Revision) -> int:
    """The last commit up to `newest` whose first revision is at or before this one."""
    lower, upper = log.start().ordinal, newest
    # what the log begins with may be the last state by then
    is_any = lower == 0 or (log.base is not None and base_revision(log) <= revision)
    while lower < upper:
        middle = (lower + upper + 1) // 2
        ordinal, first = first_from(log, middle, upper)
        if first is not None and first <= revision:
            lower, is_any = ordinal, True
        else:
            upper = middle - 1
    if not is_any:
        raise HistoryGone(
            f"the oplog begins behind commit {lower}, which was later; ask for a later time, or "
            "restore a backup of that time",
            lower,
        )
    return lower


def first_from(log: Oplog, ordinal: int, upper: int) -> tuple[int, Revision | None]:
    """The first commit from `ordinal` to `upper` that has a revision, and its first one."""
    while ordinal <= upper:
        number, body = body_of(log, ordinal)
        if number > upper:
            break
        for revision in revisions(body):
            return number, revision
        ordinal = number + 1
    return ordinal, None


def last_of(log: Oplog, ordinal: int) -> Revision:
    """The greatest revision of a commit; (0, 0) if it has none."""
    if log.base is not None and ordinal <= log.start().ordinal:
        return base_revision(log)
    return max(revisions(body_of(log, ordinal)[1]), default=(0, 0))


def base_revision(log: Oplog) -> Revision:
    """The greatest revision of the state where the log begins."""
    said = base_statement(log)
    return said["hlc_ms"], said["hlc_counter"]


def body_of(log: Oplog, ordinal: int) -> tuple[int, bytes]:
    """The number and body of a commit; nothing of a closed frame."""
    try:
        return log.commit_of(ordinal)
    except NotFound:
        return ordinal, b""


def revisions(body: bytes) -> Iterator[Revision]:
    """The revisions of a commit, in order."""
    for mutation in mutations(body):
        _size, op, tree, key_size = MUTATION.unpack_from(mutation)
        if op in REVISED and tree != layout.TREE_CATALOG and key_size:
            _flags, ms, counter, *_rest = record_parts(value_of(mutation, key_size))
            yield ms, counter
