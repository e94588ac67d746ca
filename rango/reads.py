"""The reads of a collection under PyMongo's names.

Invariants  A read sees one snapshot of the database, whatever is written meanwhile.
Failure     Arguments are checked before anything is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, overload

from rango._ext.point_reads import PointReader
from rango.cursor import POINT_TYPES, Cursor, filter_of
from rango.engine.query import (
    Document,
    ProjectionKeys,
    Query,
    count_check,
)
from rango.engine.sort import sort_of
from rango.errors import InvalidArgument
from rango.models import D
from rango.names import path_check
from rango.timing import noted, perf_counter_ns

if TYPE_CHECKING:
    from typing import Unpack

    from rango._ext.prepared import Unprepared
    from rango.engine.explain import Operation
    from rango.option_types import CountOptions, FindOptions
    from rango.transaction import Handle

REFUSED: Final[Mapping[str, str]] = {
    "min": 'bounds of an index are given by the filter: {"a": {"$gte": 1}}',
    "max": 'bounds of an index are given by the filter: {"a": {"$lt": 9}}',
    "return_key": "name the fields of the index in the projection, which reads the index alone",
    "show_record_id": "records have no number; `_id` names them",
    "oplog_replay": "there is no oplog to replay",
    "max_scan": "use max_time_ms",
    "snapshot": "every cursor reads a snapshot",
}


KNOWN: Final = frozenset(
    {
        "allow_disk_use", "allow_partial_results", "batch_size", "collation", "comment", "hint",
        "let", "limit", "max_time_ms", "meta", "no_cursor_timeout", "session", "skip", "sort",
    }
)  # fmt: skip
"""The names of FindOptions, without those that are refused."""

PLAIN: Final = frozenset({"sort", "limit"})


class CollectionReads(PointReader, Generic[D]):
    """The methods of a Collection that read. Their options are those of FindOptions."""

    __slots__ = ()
    if TYPE_CHECKING:
        _handle: Handle
        _name: str

        @overload  # type: ignore[override]
        def find_one(
            self, filter: Any = None, projection: None = None, **options: Unpack[FindOptions]
        ) -> D | None: ...
        @overload
        def find_one(
            self, filter: Any, projection: ProjectionKeys, **options: Unpack[FindOptions]
        ) -> Document | None: ...
        @overload
        def find_one(
            self, filter: Any = None, *, projection: ProjectionKeys, **options: Unpack[FindOptions]
        ) -> Document | None: ...
        # The method itself is PointReader's: a read by `_id` is one compiled call.
        def find_one(self, filter: Any = None, projection: Any = None, **options: Any) -> Any: ...

    def _find_one(
        self, filter: Any, projection: ProjectionKeys | None, options: FindOptions
    ) -> Any:
        """find_one() where it is no read by `_id` alone, or an unusual one."""
        value = (
            filter["_id"]
            if type(filter) is dict and len(filter) == 1 and "_id" in filter
            else filter
        )
        if type(value) in POINT_TYPES and not (projection or options):
            # in a transaction, or from a page that another process reused meanwhile: this pins
            return self._handle.view()[0].find_named(self._name, value)
        options["limit"] = 1
        documents = self._listed(filter, projection, options)
        return documents[0] if documents else None

    def _listed(
        self, filter: Any, projection: ProjectionKeys | None, options: FindOptions
    ) -> list[Document]:
        """The documents of a query, without a cursor around them."""
        finds = self._handle.prepared_finds
        if finds is None:
            return self._run(query_of(filter, projection, options))
        found = finds.find(self._name, filter, projection, options)
        if isinstance(found, list):
            return found
        return self._run(query_of(filter, projection, options), found)

    def _run(self, query: Query, unprepared: Unprepared | None = None) -> list[Document]:
        """The documents of a query, whose plan may be kept."""
        view, _ = self._handle.view()
        metrics = self._handle.metrics
        weight = 0 if metrics.queries % metrics.find_sample else metrics.find_sample
        metrics.queries += 1
        info = view.catalog.collections.get(self._name)
        query.start_clock()
        documents: list[Document] = []
        if info is None:
            return documents
        started = perf_counter_ns() if weight else 0
        try:
            for batch in query.batches(view, info):
                if documents:
                    documents += batch
                else:
                    documents = batch
        finally:
            if weight:
                spent = perf_counter_ns() - started
                count = len(documents)
                noted(self._handle, "find", spent, self._name, query, weight=weight, returned=count)
            for scan in query.scans:
                scan.close()
        if unprepared is not None:
            from rango.engine.preparing import prepare

            prepare(unprepared, view.catalog, info)
        return documents

    @overload
    def find(
        self, filter: Any = None, projection: None = None, **options: Unpack[FindOptions]
    ) -> Cursor[D]: ...
    @overload
    def find(
        self, filter: Any, projection: ProjectionKeys, **options: Unpack[FindOptions]
    ) -> Cursor[Document]: ...
    @overload
    def find(
        self, filter: Any = None, *, projection: ProjectionKeys, **options: Unpack[FindOptions]
    ) -> Cursor[Document]: ...
    def find(
        self,
        filter: Any = None,
        projection: ProjectionKeys | None = None,
        **options: Unpack[FindOptions],
    ) -> Any:
        """A lazy cursor over the documents that match: nothing is read before the first is needed.

        `projection`  fields to return (`{"a": 1}`, `["a"]`) or to leave out (`{"a": 0}`),
        `$slice`, `$elemMatch`, `"a.$"` and computed fields; see docs/reference/projection.md
        `sort`        `[("a", 1), ("b", -1)]`; without it the order is that of `_id` or of the
        index used
        `skip`, `limit`  counts; limit 0 means all
        `hint`        the name or the keys of the index to use
        `collation`, `let`, `max_time_ms`, `batch_size`  as in PyMongo
        `meta`        also return `_rev`, `_updated_at` and `_source_node` (a projection may name
        them as well)

        With a projection the cursor gives dictionaries, whatever the collection's model.

        `comment`, `allow_disk_use`, `no_cursor_timeout`, `allow_partial_results` and `session` are
        accepted and ignored. Raises InvalidFilter, InvalidArgument now; NotFound at the first
        fetch if `hint` names no index, Timeout and LimitExceeded while it is read.
        """
        return Cursor(self._handle, self._name, query_of(filter, projection, options))

    @overload
    def find_many(
        self, filter: Any = None, projection: None = None, **options: Unpack[FindOptions]
    ) -> list[D]: ...
    @overload
    def find_many(
        self, filter: Any, projection: ProjectionKeys, **options: Unpack[FindOptions]
    ) -> list[Document]: ...
    @overload
    def find_many(
        self, filter: Any = None, *, projection: ProjectionKeys, **options: Unpack[FindOptions]
    ) -> list[Document]: ...
    def find_many(
        self,
        filter: Any = None,
        projection: ProjectionKeys | None = None,
        **options: Unpack[FindOptions],
    ) -> Any:
        """The documents that match, as a list. Arguments as in find()."""
        return self._listed(filter, projection, options)

    def count_documents(
        self, filter: Any, *, skip: int = 0, limit: int = 0, **options: Unpack[CountOptions]
    ) -> int:
        """How many documents match. `{}` is answered without looking at any."""
        if filter == {} and not (skip or limit or options):
            return self.estimated_document_count()
        count_check("limit", limit)
        query = query_of(filter, None, {"skip": skip, "limit": limit, **options})
        view, _ = self._handle.view()
        self._handle.metrics.queries += 1
        info = view.catalog.collections.get(self._name)
        query.start_clock()
        if info is None:
            return 0
        started = perf_counter_ns()
        count = query.count(view, info)
        noted(self._handle, "count", perf_counter_ns() - started, self._name, query)
        return count

    def estimated_document_count(self, comment: Any = None, **options: Any) -> int:  # noqa: ARG002
        """How many documents there are, at once. It is exact here; the name is PyMongo's."""
        view, _ = self._handle.view()
        info = view.catalog.collections.get(self._name)
        return 0 if info is None else view.count(info.tree_id)

    def explain(
        self,
        filter: Any = None,
        projection: ProjectionKeys | None = None,
        command: Operation = "find",
        **options: Unpack[FindOptions],
    ) -> Document:
        """How a command would read: the query runs on a snapshot, and nothing is changed.

        `command` is "find", "count" (count_documents), "update" (update_one, update_many: which
        documents they change) or "delete"; for one document give `limit=1`. The other arguments
        are those of find(), the answer that of Cursor.explain(). Raises InvalidFilter,
        InvalidArgument.
        """
        from rango.engine.explain import OPERATIONS, explained

        if command not in OPERATIONS:
            raise InvalidArgument(
                f"explain() has no command {command!r:.100}; known are {', '.join(OPERATIONS)}"
            )
        query = query_of(filter, projection, options)
        view, _ = self._handle.view()
        query.start_clock()
        return explained(query, view, view.catalog.collections.get(self._name), command)

    def distinct(self, key: str, filter: Any = None, **options: Unpack[CountOptions]) -> list[Any]:
        """The different values of a field in the documents that match.

        `key` is a dotted path; an array counts as its elements, one level. Values that compare as
        equal are one value, the first that was met; null counts, a missing field does not. The
        values come in order of first appearance.
        """
        path_check(key)
        query = query_of(filter, None, dict(options))
        view, _ = self._handle.view()
        self._handle.metrics.queries += 1
        info = view.catalog.collections.get(self._name)
        query.start_clock()
        if info is None:
            return []
        from rango.engine.distinct import distinct_values

        started = perf_counter_ns()
        values = distinct_values(query, view, info, key)
        noted(self._handle, "distinct", perf_counter_ns() - started, self._name, query)
        return values

    def history(self, id: Any) -> Iterator[Document]:
        """Every version of the document with this `_id`, newest first, deletions included.

        A lazy iterator over dicts, whatever the collection's model: "ordinal" (of the commit),
        "kind" (insert, replace, delete), "_rev", "at" (a datetime), "node", "document" (None of a
        deletion), and against the version before, by dotted path, "set" (new values) and
        "removed". Nothing for an `_id` that there never was, or that was purged; a purge meanwhile
        ends it with {"ordinal", "kind": "purged"}.

        It reads one commit of the oplog for each version, however long the log is. In a
        transaction it shows what is committed as of its snapshot. Raises InvalidDocument (no `_id`)
        now; LogCorrupted, IoFailed, DatabaseClosed while it is read.
        """
        from rango.history import history

        return history(self._handle, self._name, id)


def query_of(filter: Any, projection: ProjectionKeys | None, options: Mapping[str, Any]) -> Query:
    """The query of find() and its kin; InvalidArgument for options that there are not."""
    if not options:
        query = Query(filter_of(filter))
        if projection is not None:
            query.project(projection)
        return query
    if projection is None and options.keys() <= PLAIN:
        # most calls: the checks below would take as long as finding ten documents by an index
        query = Query(filter_of(filter))
        if (sort := options.get("sort")) is not None:
            query.sort = sort_of(sort)
        query.limit_to(options.get("limit", 0))
        return query
    for name, value in options.items():
        if name in REFUSED and value not in (None, False):
            raise InvalidArgument(f"find() has no {name}: {REFUSED[name]}")
        if name not in REFUSED and name not in KNOWN:
            raise InvalidArgument(f"find() has no option {name!r}")
    query = Query(
        filter_of(filter), let=options.get("let"), collation=options.get("collation")
    ).options(
        projection=projection,
        sort=options.get("sort"),
        skip=options.get("skip", 0),
        limit=options.get("limit", 0),
        hint=options.get("hint"),
        meta=options.get("meta", False),
        max_time_ms=options.get("max_time_ms"),
    )
    query.batch(options.get("batch_size", 0))
    return query
