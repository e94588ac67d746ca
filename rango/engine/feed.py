"""What a change stream reads: the events behind a place of the log, up to what is durable.

Terms       event, image, position: see engine/change_events.py; mark: storage/oplog.py; token:
            engine/resume_token.py. Visible: what readers see; it may be more than what is durable
            where durability is "group" or "memory".
Invariants  An event is handed out when its commit is durable, whatever the durability, so no token
            ever names what a power cut takes back. Events come in the order of the log, each once
            for a token, whoever asks and whenever.
            Nothing is pinned: the log is read a piece at a time, as fast as events are taken.
States      unplaced (the ordinal or the token is known) --place()--> placed --next()--> placed ...
Failure     ResumeFailed and its kin. What purges and other processes do to the log meanwhile is
            met by reading again with fresh headers, once.
Sources     architecture sections 3 and 7; storage-notes scenario 7; ADR-0030.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from rango._ext.layout import MUTATION_INSERT, SEGMENT_HEADER_SIZE
from rango._ext.record import decode
from rango.engine.change_events import Teller, Wanted
from rango.engine.kept_state import definitions_of
from rango.engine.mutation import mutations
from rango.engine.resume_token import ALL, ResumeToken
from rango.errors import HistoryLost, InvalidArgument, LogCorrupted, NotFound, TokenDiverged
from rango.storage.log_stream import LogStream, ReadCommit, nearest_mark, oldest_ordinal
from rango.storage.oplog import LogMark, Oplog

if TYPE_CHECKING:
    from rango._ext.shared import Shared
    from rango.engine.core import Core

Document = dict[str, Any]

_marks: WeakKeyDictionary[Core, LogMark] = WeakKeyDictionary()
"""How far some stream of each core has come: another one may begin there."""


def words(core: Core) -> Shared | None:
    """The words that say how far the log is; None of a reader that nobody else is beside."""
    shared = core.lock.shared
    return shared if core.store.appender is not None or shared.is_ready else None


def durable_ordinal(core: Core) -> int:
    """The last ordinal that no power cut takes back."""
    if (shared := words(core)) is not None:
        return shared.durable
    # what the log itself proves
    end = core.log.end
    return core.store.current.ordinal if end is None else end.durable


def visible_ordinal(core: Core) -> int:
    """The last ordinal that readers see."""
    shared = words(core)
    return core.store.current.ordinal if shared is None else shared.visible


def written_ordinal(core: Core) -> int:
    """The last ordinal of the log."""
    if (shared := words(core)) is not None:
        return shared.appended
    end = core.log.end
    return core.store.current.ordinal if end is None else end.mark.ordinal


class Feed:
    """The events of one stream. One thread at a time."""

    def __init__(
        self,
        core_of: Callable[[], Core],
        wanted: Wanted,
        *,
        token: ResumeToken | None = None,
        start_at: int | None = None,
    ) -> None:
        """Behind `token`, from the commit `start_at` on, or (neither) behind what is visible now.

        Raises InvalidArgument for an ordinal that is still to come.
        """
        core = core_of()
        self._core_of = core_of
        self._wanted = wanted
        self._given = token
        written = written_ordinal(core)
        if start_at is not None and not 1 <= start_at <= written + 1:
            raise InvalidArgument(
                f"start_at is {start_at}; it must be from 1 to {written + 1}, the next commit"
            )
        self._from = visible_ordinal(core) if start_at is None else start_at - 1
        self._stream: LogStream | None = None
        self._teller: Teller
        self._pending: deque[ReadCommit] = deque()
        self._commit: ReadCommit | None = None
        self._events: Iterator[tuple[int, bool, Document]] | None = None
        self._behind = (0, False)
        self._durable = 0
        self._token = self._safe = token

    # --- placing

    def place(self) -> None:
        """Find the place in the log. Raises ResumeFailed and its kin, LogCorrupted, IoFailed."""
        if self._stream is not None:
            return
        core = self._core_of()
        try:
            self._place(core, core.log)
        except (LogCorrupted, NotFound):
            # somebody rewrote or removed segments, or rotated the keys, between two readings
            core.store.look()
            try:
                self._place(core, Oplog.open(core.vfs, core.path, core.keyring))
            except NotFound as error:
                raise lost(core, self._from if self._given is None else self._given.ordinal) from (
                    error
                )

    def _place(self, core: Core, log: Oplog) -> None:
        ordinal = self._from if self._given is None else self._given.ordinal
        written = written_ordinal(core)
        if ordinal > written:
            raise TokenDiverged(
                f"the log ends with commit {written}, the token is of commit {ordinal}: an older "
                "backup was restored; read what is there and watch without a token"
            )
        is_within = self._given is not None and self._given.position != ALL
        before = ordinal - 1 if is_within else ordinal
        stream = LogStream(log, nearest_mark(log, before, known_marks(core)))
        commit = stream.reach(ordinal)
        named = ordinal
        if self._given is not None:
            self._check(self._given, stream.mark, commit)
            if not is_within:
                commit = None
        elif stream.mark.ordinal == ordinal:
            commit = None
        # else start_at is in the middle of a commit of several frames, which is told
        if commit is not None:
            named = commit.first_ordinal - 1
        definitions = definitions_at(core, log, named, [stream.mark, *known_marks(core)])
        self._teller = Teller(self._core_of, os.path.basename(core.path), self._wanted, definitions)
        if self._given is None and commit is None:
            self._token = token_in(core, (ordinal, ALL, False), stream.mark.chain[:8])
        if commit is not None:
            self._pending.append(commit)
            if self._given is not None:
                self._behind = self._given.position, self._given.is_end
        self._stream = stream

    def _check(self, token: ResumeToken, mark: LogMark, commit: ReadCommit | None) -> None:
        """The log must have the token's commit."""
        is_same = mark.ordinal == token.ordinal and mark.chain[:8] == token.proof
        if is_same and token.position != ALL:
            count = -1 if commit is None else sum(1 for _ in mutations(commit.body))
            is_same = token.position <= count
        if not is_same:
            raise TokenDiverged(
                f"commit {token.ordinal} of this log is another one than the token's: an older "
                "backup was restored and written to, or the keys were replaced, since then; read "
                "what is there and watch without a token"
            )

    # --- reading

    def next(self) -> Document | None:
        """The next event, its token as `_id`; None: there is no more that is durable."""
        self.place()
        self._safe = self._token
        while True:
            if self._commit is not None and self._events is not None:
                found = next(self._events, None)
                commit = self._commit
                position, is_end = (ALL, False) if found is None else found[:2]
                place = commit.ordinal, position, is_end
                self._token = token_in(self._core_of(), place, commit.proof)
                if found is not None:
                    return {"_id": self._token.document(), **found[2]}
                self._commit = self._events = None
            if not self._pending:
                self._pending.extend(self._read())
                if not self._pending:
                    return None
            if self._pending[0].ordinal > self._durable:
                self._durable = durable_ordinal(self._core_of())
                if self._pending[0].ordinal > self._durable:
                    return None
            self._commit = self._pending.popleft()
            self._events = self._teller.events(self._commit, self._behind)
            self._behind = (0, False)

    def _read(self) -> list[ReadCommit]:
        core, stream = self._core_of(), self._stream
        assert stream is not None
        self._durable = ordinal = durable_ordinal(core)
        if stream.mark.ordinal >= ordinal:
            return []
        segment = core.lock.shared.segment
        try:
            found = stream.read(ordinal, segment)
        except (LogCorrupted, NotFound):
            core.store.look()
            fresh = Oplog.open(core.vfs, core.path, core.keyring)
            stream.close()
            self._stream = stream = LogStream(fresh, stream.mark)
            try:
                found = stream.read(ordinal, segment)
            except NotFound as error:
                raise lost(core, stream.mark.ordinal) from error
        _marks[core] = stream.mark
        return found

    @property
    def token(self) -> ResumeToken | None:
        """Behind what was handed out, and what was passed over. None: the commit that the stream
        begins behind is not durable yet.
        """
        if self.known_token is None:
            self._durable = durable_ordinal(self._core_of())
        return self.known_token

    @property
    def known_token(self) -> ResumeToken | None:
        """The same without another look at what is durable."""
        token = self._token
        is_sure = token is None or token is self._given or token.ordinal <= self._durable
        return token if is_sure else None

    @property
    def safe_token(self) -> ResumeToken | None:
        """The token in front of what the last next() did, or tried to do."""
        return self._safe

    @property
    def is_placed(self) -> bool:
        """Whether place() was done."""
        return self._stream is not None

    def afresh(self) -> Feed:
        """Another one that begins in front of what the last next() did, or tried to do."""
        self.close()
        feed = Feed(self._core_of, self._wanted, token=self._safe)
        feed._from = self._from
        return feed

    @property
    def ordinal(self) -> int:
        """What more than this is durable is to be read."""
        return self._from if self._stream is None else self._stream.mark.ordinal

    def close(self) -> None:
        """Let the log go. May be called again."""
        if self._stream is not None:
            self._stream.close()


def token_in(core: Core, place: tuple[int, int, bool], proof: bytes) -> ResumeToken:
    """The token of a place: (ordinal, position, whether it is the end)."""
    return ResumeToken(*place, proof, core.keyring.database_id[:8])


def lost(core: Core, ordinal: int) -> HistoryLost:
    """The error of a stream that compaction has left behind."""
    first = oldest_ordinal(core.log)
    return HistoryLost(
        f"the stream is behind commit {ordinal}, but the log has given up what came before commit "
        f"{first}; read what is there and watch without a token"
    )


def known_marks(core: Core) -> list[LogMark]:
    """Places in the log that this process knows."""
    marks = []
    slot = core.slot
    if slot is not None:
        marks.append(LogMark(slot.log_segment, slot.log_offset, slot.ordinal, slot.chain))
    if (mark := _marks.get(core)) is not None:
        marks.append(mark)
    return marks


def definitions_at(
    core: Core, log: Oplog, ordinal: int, known: list[LogMark]
) -> dict[int, Document]:
    """The definitions as of a commit, by tree.

    They are those of now, less what came since; only what was changed or dropped since then is
    looked for further back.
    """
    view = core.store.current
    found: dict[int, bytes] = dict(view.catalog.definitions)
    sought: set[int] = set()
    if view.ordinal > ordinal:
        stream = LogStream(log, nearest_mark(log, ordinal, known))
        stream.reach(ordinal)
        met: set[int] = set()
        for op, tree, _definition in stream.definitions(view.ordinal):
            if tree in met:
                continue
            met.add(tree)
            found.pop(tree, None)
            if op != MUTATION_INSERT:
                sought.add(tree)
        found.update(older_definitions(log, ordinal, sought))
    return {tree: decode(definition) for tree, definition in found.items()}


def older_definitions(log: Oplog, ordinal: int, trees: set[int]) -> dict[int, bytes]:
    """The last definition of each tree that the log has up to a commit."""
    found: dict[int, bytes] = {}
    for header in reversed([each for each in log.segments if each.first_ordinal <= ordinal]):
        if not trees - found.keys():
            break
        end = next(
            (each.first_ordinal - 1 for each in log.segments if each.predecessor == header.id),
            ordinal,
        )
        start = LogMark(header.id, SEGMENT_HEADER_SIZE, header.first_ordinal - 1, header.chain)
        here: dict[int, bytes] = {}
        for _op, tree, definition in LogStream(log, start).definitions(min(end, ordinal)):
            if tree in trees:
                here[tree] = definition
        found = here | found
    if log.base is not None and trees - found.keys():
        kept = {tree: each for tree, each in definitions_of(log) if tree in trees}
        found = kept | found
    return found
