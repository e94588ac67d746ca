"""Change streams under PyMongo's names: Collection.watch, Database.watch, ChangeStream.

Terms       event, image, token: see rango/engine/change_events.py and resume_token.py.
States      ChangeStream: open -> closed (close(), an event after which there is nothing to watch,
            or an error).
Invariants  A waiting stream sleeps on a word that processes share; writers wake it when they have
            made something durable, and pay for that only while somebody sleeps.
Failure     ResumeFailed and its kin when it begins; while it runs QueryCancelled, DatabaseClosed,
            ForkedHandle, LogCorrupted, IoFailed (also when the database is latched: nothing more
            will come), and what its pipeline raises.
Sources     PyMongo's ChangeStream; MongoDB manual, "Change Streams"; ADR-0030.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from rango._ext.stop import Stop
from rango._ext.vfs import fork_count
from rango.engine.stopping import scope_stop, stop_check
from rango.errors import (
    DatabaseClosed,
    InvalidArgument,
    InvalidPipeline,
    IoFailed,
    RangoError,
    TokenRejected,
)

if TYPE_CHECKING:
    from rango._ext.shared import Shared
    from rango._ext.view import View
    from rango.engine.resume_token import ResumeToken
    from rango.transaction import Handle

Document = dict[str, Any]

STAGES: Final = (
    "$addFields",
    "$match",
    "$project",
    "$redact",
    "$replaceRoot",
    "$replaceWith",
    "$set",
    "$unset",
)
"""What a pipeline of a change stream may do: make one event of one, or none."""

SLEEP_S: Final = 0.5
"""The longest sleep: a waker may have died between storing and waking."""

SCOPE_SLEEP_S: Final = 0.05
"""The same in a cancel scope, whose cancel() wakes nobody."""

FULL: Final = (None, "default", "updateLookup", "whenAvailable", "required")
BEFORE: Final = (None, "off", "whenAvailable", "required")
IGNORED: Final = ("batch_size", "collation", "comment", "session")
CAMEL_CASE: Final = {
    "fullDocument": "full_document",
    "fullDocumentBeforeChange": "full_document_before_change",
    "resumeAfter": "resume_after",
    "startAfter": "start_after",
    "maxAwaitTimeMS": "max_await_time_ms",
    "showExpandedEvents": "show_expanded_events",
    "batchSize": "batch_size",
}
KNOWN: Final = (
    "full_document",
    "full_document_before_change",
    "resume_after",
    "start_after",
    "start_at",
    "max_await_time_ms",
    "show_expanded_events",
    *IGNORED,
)


def options_of(given: Mapping[str, Any]) -> Document:
    """The keyword arguments of watch(), checked. Raises InvalidArgument."""
    options: Document = {}
    for name, value in given.items():
        known = CAMEL_CASE.get(name, name)
        if known not in KNOWN:
            raise InvalidArgument(f"watch() has no argument {name!r}; it has {', '.join(KNOWN)}")
        options[known] = value
    for name, allowed in (("full_document", FULL), ("full_document_before_change", BEFORE)):
        if options.get(name) not in allowed:
            raise InvalidArgument(
                f"{name} is {options[name]!r}; it must be one of "
                f"{', '.join(repr(each) for each in allowed)}"
            )
    starts = [
        name
        for name in ("resume_after", "start_after", "start_at")
        if options.get(name) is not None
    ]
    if len(starts) > 1:
        raise InvalidArgument(f"give one of {' and '.join(starts)}, not both")
    for name in ("start_at", "max_await_time_ms"):
        value = options.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise InvalidArgument(f"{name} must be an int, not {type(value).__name__}")
    return options


class Filtering:
    """The pipeline of a stream."""

    def __init__(self, handle: Handle, pipeline: object, collation: object) -> None:
        from rango.engine.aggregate import start
        from rango.limits import AGGREGATE_MEMORY_BYTES_MAX

        if not isinstance(pipeline, Sequence) or isinstance(pipeline, str | bytes):
            raise InvalidArgument(f"pipeline must be a list, not {type(pipeline).__name__}")
        for at, stage in enumerate(pipeline):
            name = next(iter(stage), None) if isinstance(stage, Mapping) else None
            if isinstance(stage, Mapping) and len(stage) == 1 and name not in STAGES:
                raise InvalidPipeline(
                    f"stage {at}: {name} is not allowed in a change stream; allowed are "
                    f"{', '.join(STAGES)}",
                    code=20,
                )
        compiled, variables = start.compiled(
            None,
            pipeline,
            collation=collation,
            now_ms=handle.core.clock(),
            inside="watch()",
        )
        environment = start.Environment(
            view=cast("View", None),  # none of these stages looks at the database
            random=refused,
            write=refused,
            encoded=refused,
            check=lambda: None,
        )
        context = start.Context(environment, start.Memory(AGGREGATE_MEMORY_BYTES_MAX), variables)
        self._event: Document = {}
        self._results = compiled.over(self._events(), context)

    def _events(self) -> Iterator[list[Document]]:
        while True:
            yield [self._event]

    def result(self, event: Document) -> Document | None:
        """What the pipeline makes of an event. Raises InvalidPipeline if it loses the token."""
        self._event = event
        for result in next(self._results):
            if result.get("_id") != event["_id"]:
                raise InvalidPipeline(
                    "the pipeline of a change stream must leave `_id` as it is: it is the token "
                    "that the stream is resumed by",
                    code=280,
                )
            return result
        return None


def refused(*_: object) -> NoReturn:
    """Stand where a pipeline would write or draw random bytes."""
    raise AssertionError("a stage of a change stream asked for more than its event")


class ChangeStream:
    """The changes of a collection, or of the whole database, as they become durable.

    `for change in collection.watch(): ...` waits for ever; try_next() does not. It may be closed
    from another thread. It keeps neither a snapshot nor what was not read yet: the log has it.
    """

    __slots__ = (
        "__weakref__",
        "_await_s",
        "_feed",
        "_filtering",
        "_forks",
        "_handle",
        "_is_closed",
        "_is_over",
        "_lock",
        "_name",
        "_shared",
        "_stop",
        "_token",
    )

    def __init__(
        self, handle: Handle, name: str | None, pipeline: object, given: Mapping[str, Any]
    ) -> None:
        from rango.engine.change_events import Wanted
        from rango.engine.feed import Feed
        from rango.engine.resume_token import token_of

        options = options_of(given)
        core = handle.outside("watch()")
        self._handle = handle
        self._name = name
        self._forks = fork_count()
        self._is_closed = False
        self._is_over = False
        self._lock = threading.Lock()
        self._await_s = (options.get("max_await_time_ms") or 0) / 1000
        self._stop: Stop | None = scope_stop.get()
        self._filtering = (
            Filtering(handle, pipeline, options.get("collation")) if pipeline else None
        )
        resumed = options.get("resume_after")
        after = options.get("start_after") if resumed is None else resumed
        token = None if after is None else token_of(after, core.keyring.database_id)
        if token is not None and token.is_end and resumed is not None:
            raise TokenRejected(
                'the stream of this token ended with an "invalidate" event; give the token as '
                "start_after, which begins behind it"
            )
        wanted = Wanted(
            name,
            options.get("full_document") not in (None, "default"),
            options.get("full_document_before_change") or "off",
            bool(options.get("show_expanded_events")),
        )
        self._feed = Feed(
            lambda: handle.core, wanted, token=token, start_at=options.get("start_at")
        )
        self._shared: Shared = core.lock.shared
        self._token: Document | None = None
        handle.streams.add(self)

    def _place(self) -> ChangeStream:
        """Find its place in the log now, and not with the first next(); the stream itself."""
        with self._lock:
            self._feed.place()
        return self

    # --- reading

    def _step(self) -> Document | None:
        """The next event that is durable by now; None if there is none."""
        with self._lock:
            if self._is_closed:
                return None
            try:
                while not self._is_over and (event := self._feed.next()) is not None:
                    self._is_over = event["operationType"] == "invalidate"
                    found = event if self._filtering is None else self._filtering.result(event)
                    if found is not None:
                        return found
            except DatabaseClosed:
                raise
            except Exception:
                self._end(self._feed.safe_token)
                raise
            except BaseException:
                # Ctrl-C in the middle of it: what was read and not returned is read again
                self._feed = self._feed.afresh()
                raise
        return None

    def _wait(self, seconds: float | None) -> Document | None:
        """The next event within so long (None: for ever); None if there is none, or it closed."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            signal = self._shared.watch_signal()
            self._check()
            event = self._step()
            if event is not None:
                return event
            if not self.alive:
                self.close()
                return None
            self._check_latch()
            left = SLEEP_S if end is None else end - time.monotonic()
            if left <= 0:
                return None
            is_scoped = self._stop is not None or scope_stop.get() is not None
            sleep = min(left, SCOPE_SLEEP_S if is_scoped else SLEEP_S)
            self._shared.watch_wait(signal, self._feed.ordinal, sleep)

    def _check(self) -> None:
        """Raise what ends the stream from outside."""
        if self._is_closed:
            return
        if self._handle.is_closed:
            raise DatabaseClosed("the database of this stream was closed; open it again")
        # ForkedHandle in a child, before it waits for a lock that a thread of the parent may have
        _ = self._handle.core.store.reached
        stop_check(self._stop)
        stop_check(scope_stop.get())

    def _check_latch(self) -> None:
        core = self._handle.core
        if core.error is not None:
            raise core.error
        failed = self._shared.failed
        if failed is not None:
            raise IoFailed(
                f"process {failed[1]} could not write or flush (errno {failed[0]}); nothing more "
                "will come: check the disk, then close and open again in all processes"
            )

    def __iter__(self) -> ChangeStream:
        return self

    def __next__(self) -> Document:
        event = self._wait(None)
        if event is None:
            raise StopIteration
        return event

    def next(self) -> Document:
        """The next event; waits for it. Raises StopIteration when the stream is closed."""
        return self.__next__()

    def try_next(self) -> Document | None:
        """The next event, or None if there is none within `max_await_time_ms` (given to watch();
        else it does not wait).
        """
        return self._wait(self._await_s)

    @property
    def resume_token(self) -> Document | None:
        """Where the stream is: behind the event that was returned last, and behind what it passed
        over. Keep it, and give it as resume_after, in any process and after any crash.

        None as long as the commit that the stream begins behind is not on disk yet ("group" and
        "memory" durability).
        """
        if self._is_closed:
            return self._token
        with self._lock:
            self._feed.place()
            token = self._feed.token
        return None if token is None else token.document()

    @property
    def alive(self) -> bool:
        """Whether there may be more events."""
        return not self._is_closed and not self._is_over

    # --- for rango.aio

    @property
    def _is_placed(self) -> bool:
        return self._feed.is_placed

    @property
    def _ordinal(self) -> int:
        """It waits for more than this to be durable."""
        return self._feed.ordinal

    @property
    def _is_ended(self) -> bool:
        return self._is_closed or self._handle.is_closed

    def _batch(self, into: deque[Document | BaseException], count: int) -> None:
        """Put up to so many events that there are into a queue, and what ends the stream behind
        them.
        """
        self._check()
        try:
            while len(into) < count and (event := self._step()) is not None:
                into.append(event)
            if not into and self.alive:
                self._check_latch()
        except RangoError as error:
            into.append(error)

    # --- ending

    def _end(self, token: ResumeToken | None) -> None:
        """Under the lock."""
        if not self._is_closed:
            self._token = None if token is None else token.document()
            self._is_closed = True
            self._feed.close()

    def close(self) -> None:
        """End it, from any thread: who waits in next() gets StopIteration. May be called again."""
        if self._forks != fork_count():
            self._is_closed = True
            return
        with self._lock:
            self._end(self._feed.known_token)
        self._shared.watch_wake()

    def _release(self) -> None:
        """Let the log go because the database closes; who waits gets DatabaseClosed."""
        with self._lock:
            self._feed.close()
        self._shared.watch_wake()

    def __enter__(self) -> ChangeStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def watched(
    handle: Handle, name: str | None, pipeline: object, options: Mapping[str, Any]
) -> ChangeStream:
    """The stream of one collection, or of all, at its place. Collection.watch says how."""
    return ChangeStream(handle, name, pipeline, options)._place()
