"""Cursors: they walk the results of a query.

Terms       query: see rango.engine.query; a cursor is one run of it.
States      Cursor: fresh (options may change) -> running (holds a snapshot) -> over (exhausted or
            closed).
Invariants  A run reads one snapshot, taken at its first fetch, whatever is written meanwhile;
            nothing else of the database is held. The snapshot goes when the cursor is exhausted,
            closed or collected.
Failure     An error while fetching ends the cursor; rewind() starts it afresh.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, cast, overload

from bson.objectid import ObjectId

from rango._ext.scan import Scan
from rango._ext.stop import Stop
from rango.engine.query import (
    Document,
    ProjectionKeys,
    Query,
    SortKeys,
    count_check,
)
from rango.engine.sort import sort_of
from rango.errors import DatabaseClosed, InvalidArgument, TransactionError
from rango.models import D
from rango.names import path_check
from rango.timing import noted, perf_counter_ns

if TYPE_CHECKING:
    from rango._ext.prepared import Unprepared
    from rango.transaction import Handle, Transaction


# Types of an `_id` that mean equality and nothing else, so that a point read or write may skip the
# compiler of filters.
POINT_TYPES: Final = frozenset((str, int, float, bytes, uuid.UUID, ObjectId))


def filter_of(filter: object) -> Mapping[str, Any]:
    """The filter that find() was given: a mapping, None for all documents, or else an `_id`."""
    if type(filter) is dict:
        return filter
    if filter is None:
        return {}
    return filter if isinstance(filter, Mapping) else {"_id": filter}


def filter_check(filter: object) -> Mapping[str, Any]:
    """A filter of a write, which must be spelled out; InvalidArgument otherwise."""
    if not isinstance(filter, Mapping):
        raise InvalidArgument(
            f"filter must be a dict such as {{'_id': ...}}, not {type(filter).__name__}"
        )
    return filter


def asked_of(filter: Mapping[str, Any]) -> dict[str, Any] | None:
    """A filter that the caller cannot change any more, if a copy at the top makes it one."""
    if type(filter) is not dict or len(filter) > 1:
        return None
    if any([type(value) not in POINT_TYPES for value in filter.values()]):
        return None
    return filter.copy()


def is_simple(query: Query) -> bool:
    """Whether it is a filter, a sort and a limit only."""
    return (query.hint, query.collation, query.projection) == (None, None, None) and not (
        query.skip or query.meta or query.variables
    )


class Cursor(Generic[D]):
    """The documents that a find() matches, fetched as they are asked for.

    Iterate over it, or call to_list(). sort, skip, limit, projection, hint and batch_size may be
    called until the first fetch and return the cursor, so that they chain.
    """

    __slots__ = (
        "_asked",
        "_batches",
        "_buffer",
        "_handle",
        "_is_over",
        "_name",
        "_query",
        "_returned",
        "_spent_ns",
        "_started_ns",
        "_stop",
        "_transaction",
        "_weight",
    )

    def __init__(self, handle: Handle, name: str, query: Query) -> None:
        self._handle = handle
        self._name = name
        self._query = query
        self._asked = asked_of(query.filter)
        self._batches: Iterator[list[Document]] | None = None
        self._buffer: list[Document] = []  # the batch in hand, its next document last
        self._transaction: Transaction | None = None
        self._is_over = False
        self._stop = Stop()
        self._weight = 0  # how many finds it stands for in the times; 0: it is not timed
        self._started_ns = 0
        self._spent_ns = 0
        self._returned = 0

    def _fresh(self) -> Query:
        if self._batches is not None or self._is_over:
            raise InvalidArgument(
                "a cursor's options cannot change after its first fetch; use rewind() or clone()"
            )
        return self._query

    def sort(self, key_or_list: SortKeys, direction: int | None = None) -> Self:
        """Order by a field (`"a", -1`) or several (`[("a", 1), ("b", -1)]`); 1 rises, -1 falls."""
        self._fresh().sort = sort_of(key_or_list, direction)
        return self

    def skip(self, count: int) -> Self:
        """Leave out the first `count` documents."""
        self._fresh().skip = count_check("skip", count)
        return self

    def limit(self, count: int) -> Self:
        """Return at most `count` documents; 0 means all. A negative one counts as its value."""
        self._fresh().limit_to(count)
        return self

    def projection(self, projection: ProjectionKeys | None) -> Cursor[Document]:
        """Return only, or all but, the fields named: `{"a": 1}`, `["a"]`, `{"a": 0}`.

        The documents are dictionaries then, whatever the collection's model.
        """
        self._fresh().project(projection)
        return cast("Cursor[Document]", self)

    def collation(self, collation: Any) -> Self:
        """Compare strings as `{"locale": "en", "strength": 2}` says; None: by code points."""
        self._fresh().collate(collation)
        return self

    def max_time_ms(self, max_time_ms: int | None) -> Self:
        """Raise Timeout once the query has run so long; None or 0: never."""
        self._fresh().max_time_ms = count_check("max_time_ms", max_time_ms or 0)
        return self

    def comment(self, comment: Any) -> Self:  # noqa: ARG002
        """Accepted and ignored."""
        self._fresh()
        return self

    def allow_disk_use(self, allow_disk_use: bool) -> Self:  # noqa: ARG002
        """Accepted and ignored: a sort in memory is bounded by SORT_SIZE_BYTES_MAX."""
        self._fresh()
        return self

    def where(self, code: Any) -> Self:  # noqa: ARG002
        """Refused: there is no JavaScript. Raises InvalidArgument."""
        raise InvalidArgument("there is no JavaScript here; use $expr in the filter")

    def min(self, spec: Any) -> Self:  # noqa: ARG002
        """Refused: bounds are given by the filter. Raises InvalidArgument."""
        raise InvalidArgument('bounds of an index are given by the filter: {"a": {"$gte": 1}}')

    def max(self, spec: Any) -> Self:  # noqa: ARG002
        """Refused: bounds are given by the filter. Raises InvalidArgument."""
        raise InvalidArgument('bounds of an index are given by the filter: {"a": {"$lt": 9}}')

    def hint(self, index: object) -> Self:
        """Use this index, named or given by its keys; None lets the planner choose.

        The first fetch raises NotFound if there is none.
        """
        self._fresh().hint_with(index)
        return self

    def batch_size(self, count: int) -> Self:
        """Fetch `count` documents at a time. 0 means the default."""
        self._fresh().batch(count)
        return self

    def distinct(self, key: str) -> list[Any]:
        """The different values of a field in the documents that match; sort, skip and limit do not
        count. See Collection.distinct().
        """
        query = self._query.copy()
        query.sort, query.skip, query.limit = (), 0, 0
        path_check(key)
        view, _ = self._handle.view()
        info = view.catalog.collections.get(self._name)
        query.start_clock()
        if info is None:
            return []
        from rango.engine.distinct import distinct_values

        return distinct_values(query, view, info, key)

    @overload
    def __getitem__(self, index: int) -> D: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> D | Self:
        """`cursor[2:5]` is skip(2).limit(3); `cursor[2]` is that document, or IndexError."""
        query = self._fresh()
        if isinstance(index, slice):
            start, stop = index.start or 0, index.stop
            if index.step is not None or start < 0 or (stop is not None and stop < start):
                raise IndexError(f"a cursor is cut as [start:stop] with 0 <= start, not {index}")
            if stop is not None and stop == start:
                self._is_over = True
            query.skip, query.limit = start, 0 if stop is None else stop - start
            return self
        if isinstance(index, bool) or not isinstance(index, int):
            raise InvalidArgument(f"a cursor is indexed by an int or a slice, not {index!r:.60}")
        if index < 0:
            raise IndexError("a cursor has no negative indexes; reverse the sort")
        other = query.copy()
        other.skip, other.limit = query.skip + index, 1
        found = self._copy(other).to_list()
        if not found:
            raise IndexError(f"the cursor has no document {index}")
        return found[0]

    def _start(self) -> Iterator[list[Document]]:
        query, metrics = self._query, self._handle.metrics
        query.scans.clear()
        if not metrics.queries % metrics.find_sample:
            self._weight = metrics.find_sample
            self._started_ns = perf_counter_ns()
        query.start_clock(self._stop)
        finds, unprepared = self._handle.prepared_finds, None
        if finds is not None and self._asked is not None and is_simple(query):
            options = {"sort": query.sort or None, "limit": query.limit}
            found = finds.scan(self._name, self._asked, options, query.stop)
            if isinstance(found, Scan):
                metrics.queries += 1
                query.scans.append(found)
                return query.fetched(found)
            unprepared = found
        return self._planned(unprepared)

    def _planned(self, unprepared: Unprepared | None) -> Iterator[list[Document]]:
        """The batches of a plan made now, which may be kept."""
        view, self._transaction = self._handle.view()
        self._handle.metrics.queries += 1
        info = view.catalog.collections.get(self._name)
        if info is None:
            return iter(())
        batches = self._query.batches(view, info)
        if unprepared is not None:
            from rango.engine.preparing import prepare

            prepare(unprepared, view.catalog, info)
        return batches

    def _go_on(self) -> None:
        if self._stop.is_cancelled:
            self._stop.check()
        if self._weight:
            self._started_ns = perf_counter_ns()

    def _fetch(self) -> list[Document]:
        """The next batch; empty at the end."""
        if self._is_over:
            return []
        if self._handle.is_closed:
            self.close()
            raise DatabaseClosed("the database of this cursor was closed; open it again")
        if self._transaction is not None:
            if self._transaction.is_over:
                self.close()
                raise TransactionError(
                    "the transaction that this cursor reads is over; use rewind() to read again"
                )
            self._transaction.check()
        try:
            if self._batches is None:
                self._batches = self._start()
            else:
                self._go_on()
            self._handle.core.view()  # ForkedHandle, whatever this run still has in memory
            for batch in self._batches:
                if batch:
                    if self._weight:
                        self._returned += len(batch)
                        self._spent_ns += perf_counter_ns() - self._started_ns
                    return batch
        except BaseException:
            self.close()
            raise
        if self._weight:
            self._spent_ns += perf_counter_ns() - self._started_ns
        self.close()
        return []

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> D:
        buffer = self._buffer
        if not buffer:
            batch = self._fetch()
            if not batch:
                raise StopIteration
            batch.reverse()
            self._buffer = buffer = batch
        # a cast would be a call for each document
        return buffer.pop()  # type: ignore[return-value]

    def next(self) -> D:
        """The next document. Raises StopIteration at the end."""
        return self.__next__()

    def to_list(self, length: int | None = None) -> list[D]:
        """The documents that are left, at most `length` of them, as a list."""
        return cast("list[D]", self._documents(length))

    def _documents(self, length: int | None) -> list[Document]:
        """The same, as dictionaries."""
        left = -1 if length is None else count_check("length", length)
        buffer = self._buffer
        buffer.reverse()
        documents = buffer
        self._buffer = []
        while (left < 0 or len(documents) < left) and (batch := self._fetch()):
            documents += batch
        if 0 <= left < len(documents):
            self._buffer = documents[: left - len(documents) - 1 : -1]
            del documents[left:]
        return documents

    @property
    def alive(self) -> bool:
        """Whether there may be more documents."""
        return bool(self._buffer) or not self._is_over

    def rewind(self) -> Self:
        """Start again from the first document, on a new snapshot."""
        self.close()
        self._is_over = False
        self._transaction = None
        self._stop = Stop()
        return self

    def clone(self) -> Self:
        """A new cursor with the same options, not started."""
        return self._copy(self._query.copy())

    def _copy(self, query: Query) -> Self:
        """A cursor for a copy of the query, whose filter the caller may have changed since."""
        other = self._like(query)
        other._asked = self._asked
        return other

    def _like(self, query: Query) -> Self:
        """A cursor of the same kind."""
        return type(self)(self._handle, self._name, query)

    def _made(self, document: Document) -> D:
        """What is handed out for a document."""
        return cast("D", document)

    def explain(self) -> Document:
        """Run the query and tell how. The cursor is not moved.

        `plan`        "id", "id_range", "index", "union" or "scan"; `index` its name; `intersects`
                      that of another one whose keys a long scan is compared with; `class`
                      its class in the planner's rule (docs/explanation/planning.md); `direction`
        `bounds`      of each field of the index, readable; `exact`: they decide, so no filter runs
        `covered`     whether the index alone answers
        `sort`        "index": the keys come in that order, "merge": of several intervals,
                      "memory", or None
        `keys_examined`, `docs_examined`, `returned`
        `queryPlanner`   `winningPlan` as a tree of stages under MongoDB's names, `rejectedPlans`
        with their classes; `executionStats` the counters under MongoDB's names
        """
        from rango.engine.explain import explained

        view, _ = self._handle.view()
        info = view.catalog.collections.get(self._name)
        return explained(self._query.copy(), view, info)

    def cancel(self) -> None:
        """End it from any thread: the fetch that runs, or the next, raises QueryCancelled.

        It may return one more batch that was in hand. It is over then; rewind() starts it afresh.
        """
        self._stop.cancel()
        self._buffer = []

    def close(self) -> None:
        """Let the snapshot go: no more documents until rewind(). May be called again."""
        self._is_over = True
        self._buffer = []
        self._batches = None
        if self._spent_ns:
            self._note()
        for scan in self._query.scans:
            scan.close()
        self._query.scans.clear()

    def _note(self) -> None:
        """Say how long it took."""
        noted(
            self._handle,
            "find",
            self._spent_ns,
            self._name,
            self._query,
            weight=self._weight,
            returned=self._returned,
        )
        self._weight = self._spent_ns = self._returned = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
