"""The source of a pipeline: the query that its first stages become.

Terms       leading stages: those that the query answers instead of the pipeline.
Invariants  A query returns what its leading stages would, from the documents of the snapshot. What
            sorts in memory inside of a query is only ever the first few (TOP_COUNT_MAX): a longer
            sort is the pipeline's, which bounds its memory.
Failure     NotFound for a hint that names no index, when it runs.
Sources     rango/engine/query.py; ADR-0016.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from rango._ext.columns import NAMES_COUNT_MAX, next_columns, next_fields
from rango._ext.filter import Program
from rango._ext.normal import HEADER_NAMES
from rango.engine.aggregate.order import Limit, Skip, SortStage
from rango.engine.aggregate.shape import Match
from rango.engine.aggregate.stage import BATCH_COUNT, Batch, Batches, Context, Names, Stage
from rango.engine.explain import summary
from rango.engine.hint import Hint
from rango.engine.query import Query
from rango.engine.values import MISSING

if TYPE_CHECKING:
    from rango._ext.collection_info import CollectionInfo
    from rango._ext.scan import Scan

Document = dict[str, Any]

TOP_COUNT_MAX: Final = 1000
"""The largest limit with which a query may sort in memory."""

COLUMN_BATCH_COUNT: Final = 1024
"""Documents whose columns are decoded at a time."""


def collection_info(context: Context, collection: str) -> CollectionInfo | None:
    """What the snapshot knows of a collection; None if it does not exist."""
    info: CollectionInfo | None = context.environment.view.catalog.collections.get(collection)
    return info


def open_query(program: Program) -> Query:
    """A query that runs a program."""
    query = Query({})
    query.program = program
    return query


def documents_of(
    context: Context, collection: str, query: Query, names: Names = None
) -> Iterator[Batch]:
    """The documents of a query in batches; only these top-level fields unless None."""
    info = collection_info(context, collection)
    if info is None:
        return
    view = context.environment.view
    query.stop = context.environment.stop
    try:
        scan = None
        if names is not None and len(names) <= NAMES_COUNT_MAX:
            scan = query.plain_scan(view, info)
        if scan is None or names is None:
            if names and not any(map(_is_special, names)):
                query.project({"_id": 0} | dict.fromkeys(sorted(names), 1))
            yield from query.batches(view, info)
            return
        wanted = tuple(names)
        left = query.limit or sys.maxsize
        while left and (batch := next_fields(scan, min(left, BATCH_COUNT), wanted)):
            left -= len(batch)
            yield batch
    finally:
        for each in query.scans:
            each.close()


def _is_special(name: str) -> bool:
    """Whether a projection would take this name for more than a top-level field."""
    return name in HEADER_NAMES or not name or name.startswith("$") or "." in name


def columns_of(
    context: Context, collection: str, query: Query, names: tuple[str, ...]
) -> Iterator[list[list[Any]]] | None:
    """The values of some top-level fields, in batches of one list for each; None if the query
    has more to do than to scan. MISSING where a document has no such field.
    """
    info = collection_info(context, collection)
    if info is None or not 0 < len(names) <= NAMES_COUNT_MAX or query.limit:
        return None
    query.stop = context.environment.stop
    scan = query.plain_scan(context.environment.view, info)
    return None if scan is None else _columns(scan, names)


def _columns(scan: Scan, names: tuple[str, ...]) -> Iterator[list[list[Any]]]:
    try:
        while (columns := next_columns(scan, COLUMN_BATCH_COUNT, names, MISSING))[0]:
            yield columns
    finally:
        scan.close()


class Source:
    """The leading stages of a pipeline, taken from its front."""

    def __init__(self, stages: list[Stage]) -> None:
        self.match: Match | None = None
        self.sort: SortStage | None = None
        self.skip = 0
        self.limit = 0
        self.is_empty = False
        self.hint: Hint | None = None
        self.names: Names = None
        at = 0
        if at < len(stages) and isinstance(stages[at], Match):
            match = stages[at]
            assert isinstance(match, Match)
            self.match = match
            at += 1
        if at < len(stages):
            sort = stages[at]
            if isinstance(sort, SortStage) and sort.collation is None:
                self.sort = sort
                self.limit = sort.limit
                at += 1
        while at < len(stages) and self._takes(stages[at]):
            at += 1
        self.taken = stages[:at]
        self.left = stages[at:]

    def _takes(self, stage: Stage) -> bool:
        """Take a $skip or $limit: a query skips first and limits then."""
        if isinstance(stage, Limit):
            self.limit = min(self.limit, stage.limit) if self.limit else stage.limit
            return True
        if isinstance(stage, Skip):
            self.skip += stage.skip
            if self.limit:
                self.limit = max(0, self.limit - stage.skip)
                self.is_empty = self.is_empty or self.limit == 0
            return True
        return False

    def query(self, context: Context) -> Query:
        """The query for one run."""
        query = open_query(self._program(context))
        query.skip = self.skip
        query.limit = self.limit
        query.hint = self.hint
        if self.sort is not None:
            query.sort = self.sort.sort
        return query

    def _program(self, context: Context) -> Program:
        if self.match is None:
            return Match({}).program({})
        return self.match.program(context.variables)

    def batches(self, context: Context, collection: str) -> Batches:
        """The documents that leave the leading stages."""
        if self.is_empty:
            return iter(())
        query = self.query(context)
        sort = self.sort
        if sort is None or 0 < self.limit + self.skip <= TOP_COUNT_MAX:
            return documents_of(context, collection, query, self.names)
        info = collection_info(context, collection)
        if info is None or query.choose(info).is_sorted:
            return documents_of(context, collection, query, self.names)
        # too many to sort inside of the query: the pipeline does, and answers for the memory
        query.sort, query.skip, query.limit = (), 0, 0
        names = None if self.names is None else sort.reads(self.names)
        batches = documents_of(context, collection, query, names)
        limit = self.limit + self.skip if self.limit else 0
        batches = SortStage(sort.spec, sort.sort, None, limit).run(batches, context)
        return Skip(self.skip).run(batches, context) if self.skip else batches

    def columns(
        self, context: Context, collection: str, names: tuple[str, ...]
    ) -> Iterator[list[list[Any]]] | None:
        """As columns_of, if the query answers all leading stages."""
        if self.sort is not None or self.is_empty:
            return None
        return columns_of(context, collection, self.query(context), names)

    def count(self, context: Context, collection: str) -> int:
        """How many documents leave the leading stages."""
        info = collection_info(context, collection)
        if self.is_empty or info is None:
            return 0
        query = self.query(context)
        query.sort = ()
        query.stop = context.environment.stop
        return query.count(context.environment.view, info)

    def explain(self, context: Context, collection: str) -> Document:
        """The query and its plan, without running it."""
        query = self.query(context)
        info = collection_info(context, collection)
        shown: Document = {"filter": dict(self.match.spec) if self.match is not None else {}}
        if self.sort is not None:
            shown["sort"] = self.sort.spec
        if self.skip:
            shown["skip"] = self.skip
        if self.limit or self.is_empty:
            shown["limit"] = self.limit
        if self.names is not None:
            shown["fields"] = sorted(self.names)
        if info is not None:
            shown["plan"] = summary(query, query.choose(info), "find")
        return {"$cursor": shown}
