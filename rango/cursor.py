"""Queries and the cursors that walk their results.

Terms       query: filter, sort, skip, limit, projection and hint, compiled; a cursor is one run of
            it.
States      Cursor: fresh (options may change) -> running (holds a snapshot) -> over (exhausted or
            closed).
Invariants  A run reads one snapshot, taken at its first fetch, whatever is written meanwhile;
            nothing else of the database is held. The snapshot goes when the cursor is exhausted,
            closed or collected.
Failure     An error while fetching ends the cursor; rewind() starts it afresh.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from rango._ext.filter import Program, compile_filter
from rango._ext.key import key_of
from rango._ext.record import decode_trusted, record_parts
from rango.engine.plan import EVERYTHING, Plan, choose
from rango.engine.projection import Projection, projection_of
from rango.engine.sort import Sort, sort_of, sort_records
from rango.errors import DatabaseClosed, InvalidArgument, NotFound, TransactionError
from rango.ids import node_tag
from rango.limits import FETCH_COUNT_DEFAULT

if TYPE_CHECKING:
    from rango._ext.scan import Scan
    from rango._ext.view import View
    from rango.engine.core import CollectionInfo
    from rango.transaction import Handle, Transaction

Document = dict[str, Any]
SortKeys = str | Sequence[str | tuple[str, int]] | Mapping[str, int]
ProjectionKeys = Mapping[str, Any] | Sequence[str]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def revision_fields(record: bytes) -> Document:
    """The fields that a record's header holds: `_rev`, `_updated_at`, `_source_node`."""
    _, milliseconds, counter, updated_at, _, node, _ = record_parts(record)
    node_id = node.decode()
    return {
        "_rev": f"{milliseconds}-{counter}-{node_tag(node_id)}",
        "_updated_at": _EPOCH + timedelta(milliseconds=updated_at),
        "_source_node": node_id,
    }


def record_document(record: bytes) -> Document:
    """The document in a record."""
    return decode_trusted(record_parts(record)[6])


def count_check(name: str, value: object) -> int:
    """`value` if it is a count; InvalidArgument otherwise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{name} must be an int, not {type(value).__name__}")
    if value < 0:
        raise InvalidArgument(f"{name} is {value}; it must not be negative")
    return value


def filter_of(filter: object) -> Mapping[str, Any]:
    """The filter that find() was given: a mapping, None for all documents, or else an `_id`."""
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


def may_repeat(plan: Plan) -> bool:
    """Whether two intervals of the plan can hold keys of one document, as those of an array can."""
    return plan.index is not None and plan.index.multikey and len(plan.intervals) > 1


def unseen(records: list[bytes], seen: set[bytes]) -> list[bytes]:
    """The records whose documents were not met before; they are added to `seen`."""
    fresh = []
    for record in records:
        key = key_of(record_document(record)["_id"])
        if key not in seen:
            seen.add(key)
            fresh.append(record)
    return fresh


class Query:
    """What to find and how to return it; `records` and `batches` run it.

    Its parts are checked when it is made.
    """

    __slots__ = (
        "fetch_count",
        "hint",
        "limit",
        "meta",
        "plan",
        "program",
        "projection",
        "scans",
        "skip",
        "sort",
    )

    def __init__(self, filter: Mapping[str, Any]) -> None:
        self.program: Program = compile_filter(filter)
        self.projection: Projection | None = None
        self.sort: Sort = ()
        self.skip = 0
        self.limit = 0
        self.fetch_count = FETCH_COUNT_DEFAULT
        self.hint: str | None = None
        self.meta = False
        self.plan: Plan | None = None
        self.scans: list[Scan] = []

    def copy(self) -> Query:
        """The same query, not run yet."""
        other = Query.__new__(Query)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other.plan = None
        other.scans = []
        return other

    def options(
        self,
        *,
        projection: ProjectionKeys | None = None,
        sort: SortKeys | None = None,
        skip: int = 0,
        limit: int = 0,
        hint: object = None,
        meta: bool = False,
    ) -> Query:
        """Set the options of find(); returns the query."""
        if projection is not None:
            self.projection = projection_of(projection)
        if sort is not None:
            self.sort = sort_of(sort)
        self.skip = count_check("skip", skip)
        self.limit = count_check("limit", limit)
        self.hint = None if hint is None else index_name(hint)
        self.meta = bool(meta)
        return self

    def _choose(self, info: CollectionInfo) -> Plan:
        """The plan for this collection, which is also kept for explain()."""
        program, hint = self.program, self.hint
        if hint is None:
            plan = choose(program, self.sort, info.indexes, self.limit)
        elif hint == "_id_":
            plan = choose(program, self.sort)
        else:
            plan = self._hinted(info, hint)
        self.plan = plan
        return plan

    def _hinted(self, info: CollectionInfo, hint: str) -> Plan:
        index = next((each for each in info.indexes if each.name == hint), None)
        if index is None:
            raise NotFound(
                f"hint: collection {info.name!r} has no index {hint!r}; list_indexes() names them"
            )
        plan = choose(self.program, self.sort, (index,), limit=1)
        if plan.index is None and plan.kind != "id":
            # every document has an entry, so the whole index answers any filter
            return Plan("index", EVERYTHING, index, is_sorted=not self.sort)
        return plan

    def _scan(self, view: View, info: CollectionInfo, plan: Plan) -> Iterator[Scan]:
        """The scans of a plan, one for each interval, in the order of the plan."""
        program = None if self.program.is_always else self.program
        for lower, upper in reversed(plan.intervals) if plan.reverse else plan.intervals:
            if plan.index is None:
                scan = view.scan(info.tree_id, lower, upper, plan.reverse, program)
            else:
                index: Any = plan.index
                scan = view.index_scan(
                    index.tree_id, info.tree_id, lower, upper, plan.reverse, program, index.multikey
                )
            self.scans.append(scan)
            yield scan

    def _found(self, view: View, info: CollectionInfo, plan: Plan) -> Iterator[list[bytes]]:
        """The records that match, in batches, in the order of the plan; not skipped or limited."""
        if plan.kind == "id":
            program = self.program
            record = view.get(info.tree_id, key_of(plan.id_value))
            if record is not None and (program.is_id_only or program.matches(record)):
                yield [record]
            return
        seen: set[bytes] | None = set() if may_repeat(plan) else None
        for scan in self._scan(view, info, plan):
            while batch := scan.next_records(self._wanted(plan)):
                yield batch if seen is None else unseen(batch, seen)

    def _wanted(self, plan: Plan) -> int:
        """How many records to fetch at once: no more than can be returned."""
        if self.limit and plan.is_sorted:
            return min(self.skip + self.limit, self.fetch_count)
        return self.fetch_count

    def records(self, view: View, info: CollectionInfo) -> Iterator[list[bytes]]:
        """The records to return, in batches: matching, sorted, skipped and limited."""
        plan = self._choose(info)
        found = self._found(view, info, plan)
        return found if not (self.sort or self.skip or self.limit) else self._ordered(found, plan)

    def _ordered(self, found: Iterator[list[bytes]], plan: Plan) -> Iterator[list[bytes]]:
        skip, limit = self.skip, self.limit
        if not plan.is_sorted:
            matching = (record for batch in found for record in batch)
            ordered = sort_records(matching, self.sort, skip + limit if limit else 0)
            for at in range(skip, len(ordered), self.fetch_count):
                yield list(ordered[at : at + self.fetch_count])
            return
        left = limit
        for batch in found:
            if skip >= len(batch):
                skip -= len(batch)
                continue
            chosen = batch[skip:] if skip else batch
            skip = 0
            if not limit:
                yield chosen
                continue
            yield chosen[:left]
            left -= len(chosen)
            if left <= 0:
                return

    def batches(self, view: View, info: CollectionInfo) -> Iterator[list[Document]]:
        """The documents to return, in batches."""
        plan = self._choose(info)
        is_plain = self.projection is None and not (self.meta or self.skip)
        if is_plain and plan.is_sorted and plan.kind != "id" and not may_repeat(plan):
            yield from self._plain(view, info, plan)
            return
        for batch in self.records(view, info):
            yield [self._returned(record) for record in batch]

    def _plain(self, view: View, info: CollectionInfo, plan: Plan) -> Iterator[list[Document]]:
        """Whole documents in the plan's order, found and decoded without a step of Python each."""
        left = self.limit or -1
        for scan in self._scan(view, info, plan):
            while left:
                wanted = self.fetch_count if left < 0 else min(left, self.fetch_count)
                batch = scan.next_documents(wanted)
                if not batch:
                    break
                if left > 0:
                    left -= len(batch)
                yield batch

    def count(self, view: View, info: CollectionInfo) -> int:
        """How many documents match, after skip and up to limit."""
        if self.program.is_always:
            total = int(view.count(info.tree_id))
        else:
            plan = self._choose(info)
            if plan.kind == "id" or may_repeat(plan):
                total = sum(len(batch) for batch in self._found(view, info, plan))
            else:
                total = sum(scan.count() for scan in self._scan(view, info, plan))
        total = max(0, total - self.skip)
        return min(total, self.limit) if self.limit else total

    def _returned(self, record: bytes) -> Document:
        """The document as it is returned: projected, with the header's fields if asked for."""
        document = record_document(record)
        projection = self.projection
        has_header = self.meta or (projection is not None and projection.meta)
        header = revision_fields(record) if has_header else {}
        if projection is not None:
            for name in projection.meta:
                document[name] = header[name]
            document = projection.apply(document)
        if self.meta:
            document.update(header)
        return document


def index_name(hint: object) -> str:
    """The name of the index that a hint names: the name itself, or that of keys like [("a", 1)]."""
    if isinstance(hint, str):
        return hint
    if isinstance(hint, Mapping):
        hint = list(hint.items())
    keys: Sequence[Any] = hint if isinstance(hint, Sequence) else ()
    if keys and all(isinstance(each, Sequence) and len(each) == 2 for each in keys):
        if [each[0] for each in keys] == ["_id"]:
            return "_id_"
        return "_".join(f"{each[0]}_{each[1]}" for each in keys)
    raise InvalidArgument(f'hint must be an index name or keys like [("a", 1)], not {hint!r}')


class Cursor:
    """The documents that a find() matches, fetched as they are asked for.

    Iterate over it, or call to_list(). sort, skip, limit, projection, hint and batch_size may be
    called until the first fetch and return the cursor, so that they chain.
    """

    __slots__ = ("_batches", "_buffer", "_handle", "_is_over", "_name", "_query", "_transaction")

    def __init__(self, handle: Handle, name: str, query: Query) -> None:
        self._handle = handle
        self._name = name
        self._query = query
        self._batches: Iterator[list[Document]] | None = None
        self._buffer: list[Document] = []  # the batch in hand, its next document last
        self._transaction: Transaction | None = None
        self._is_over = False

    def _fresh(self) -> Query:
        if self._batches is not None or self._is_over:
            raise InvalidArgument(
                "a cursor's options cannot change after its first fetch; use rewind() or clone()"
            )
        return self._query

    def sort(self, key_or_list: SortKeys, direction: int | None = None) -> Cursor:
        """Order by a field (`"a", -1`) or several (`[("a", 1), ("b", -1)]`); 1 rises, -1 falls."""
        self._fresh().sort = sort_of(key_or_list, direction)
        return self

    def skip(self, count: int) -> Cursor:
        """Leave out the first `count` documents."""
        self._fresh().skip = count_check("skip", count)
        return self

    def limit(self, count: int) -> Cursor:
        """Return at most `count` documents; 0 means all."""
        self._fresh().limit = count_check("limit", count)
        return self

    def projection(self, projection: ProjectionKeys | None) -> Cursor:
        """Return only, or all but, the fields named: `{"a": 1}`, `["a"]`, `{"a": 0}`."""
        self._fresh().projection = None if projection is None else projection_of(projection)
        return self

    def hint(self, index: object) -> Cursor:
        """Use this index, named or given by its keys; None lets the planner choose.

        The first fetch raises NotFound if there is none.
        """
        self._fresh().hint = None if index is None else index_name(index)
        return self

    def batch_size(self, count: int) -> Cursor:
        """Fetch `count` documents at a time. 0 means the default."""
        self._fresh().fetch_count = count_check("batch_size", count) or FETCH_COUNT_DEFAULT
        return self

    def _start(self) -> Iterator[list[Document]]:
        view, self._transaction = self._handle.view()
        self._handle.metrics.queries += 1
        info = view.catalog.collections.get(self._name)
        self._query.scans.clear()
        return iter(()) if info is None else self._query.batches(view, info)

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
        if self._batches is None:
            self._batches = self._start()
        try:
            self._handle.core.view()  # ForkedHandle, whatever this run still has in memory
            for batch in self._batches:
                if batch:
                    return batch
        except BaseException:
            self.close()
            raise
        self.close()
        return []

    def __iter__(self) -> Cursor:
        return self

    def __next__(self) -> Document:
        buffer = self._buffer
        if not buffer:
            batch = self._fetch()
            if not batch:
                raise StopIteration
            batch.reverse()
            self._buffer = buffer = batch
        return buffer.pop()

    def next(self) -> Document:
        """The next document. Raises StopIteration at the end."""
        return self.__next__()

    def to_list(self, length: int | None = None) -> list[Document]:
        """The documents that are left, at most `length` of them, as a list."""
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

    def rewind(self) -> Cursor:
        """Start again from the first document, on a new snapshot."""
        self.close()
        self._is_over = False
        self._transaction = None
        return self

    def clone(self) -> Cursor:
        """A new cursor with the same options, not started."""
        return Cursor(self._handle, self._name, self._query.copy())

    def explain(self) -> Document:
        """Run the query and tell how: the plan, and how many keys, records and pages it looked at.

        Keys: `plan` ("id", "id_range", "index" or "scan"), `index` (its name or None), `intervals`
        (of encoded keys, as hex), `sort` ("index": the keys come in that order, "memory", or None),
        `keys_examined`, `records_examined`, `returned`. The cursor is not moved.
        """
        query = self._query.copy()
        view, _ = self._handle.view()
        info = view.catalog.collections.get(self._name)
        returned = 0 if info is None else sum(len(batch) for batch in query.batches(view, info))
        plan = query.plan
        by_id = plan is not None and plan.kind == "id"
        if not query.sort or by_id:
            sort = None
        else:
            sort = "index" if plan is not None and plan.is_sorted else "memory"
        return {
            "plan": "scan" if plan is None else plan.kind,
            "index": None if plan is None or plan.index is None else plan.index.name,
            "intervals": [] if plan is None else plan.explain()["intervals"],
            "sort": sort,
            "keys_examined": 1 if by_id else sum(scan.keys_examined for scan in query.scans),
            "records_examined": (
                returned if by_id else sum(scan.records_examined for scan in query.scans)
            ),
            "returned": returned,
        }

    def close(self) -> None:
        """Let the snapshot go: no more documents until rewind(). May be called again."""
        self._is_over = True
        self._buffer = []
        self._batches = None
        for scan in self._query.scans:
            scan.close()
        self._query.scans.clear()

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
