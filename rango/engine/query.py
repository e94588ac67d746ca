"""Queries: what to find and how to return it, and the running of the plan.

Terms       query: filter, sort, skip, limit, projection and hint, compiled; see rango.engine.plan
            for what a plan is.
States      Query: made -> options set -> run (`plan` and `scans` tell how). One run at a time; a
            copy is another query.
Invariants  A run reads the View that it is given and nothing else, so what it returns is a state
            of the committed history (and of the transaction whose view it is).
Failure     InvalidFilter and its kin when it is made; NotFound when run with a hint that names no
            index. An error while fetching ends the run.
Sources     rango.engine.plan; ADR-0011.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from rango._ext.filter import Program, compile_filter
from rango._ext.key import key_of
from rango._ext.record import decode_trusted, record_parts
from rango.engine.plan import EVERYTHING, Plan, choose
from rango.engine.projection import Projection, projection_of
from rango.engine.sort import Sort, sort_of, sort_records
from rango.errors import InvalidArgument, NotFound
from rango.ids import node_tag
from rango.limits import FETCH_COUNT_DEFAULT

if TYPE_CHECKING:
    from rango._ext.collection_info import CollectionInfo
    from rango._ext.scan import Scan
    from rango._ext.view import View

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

    def _scan(self, view: View, info: CollectionInfo, plan: Plan) -> Scan:
        """The scan of a plan: its intervals in the order of the plan, each document once."""
        program = None if self.program.is_always else self.program
        index: Any = plan.index
        seen: set[bytes] | None = set() if index is not None and index.multikey else None
        tree = 0 if index is None else index.tree_id
        scan = view.scan_intervals(info.tree_id, tree, plan.intervals, plan.reverse, program, seen)
        self.scans.append(scan)
        return scan

    def _found(self, view: View, info: CollectionInfo, plan: Plan) -> Iterator[list[bytes]]:
        """The records that match, in batches, in the order of the plan; not skipped or limited."""
        if plan.kind == "id":
            program = self.program
            record = view.get(info.tree_id, key_of(plan.id_value))
            if record is not None and (program.is_id_only or program.matches(record)):
                yield [record]
            return
        scan = self._scan(view, info, plan)
        while batch := scan.next_records(self._wanted(plan)):
            yield batch

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
        if is_plain and plan.is_sorted and plan.kind != "id":
            yield from self._plain(view, info, plan)
            return
        for batch in self.records(view, info):
            yield [self._returned(record) for record in batch]

    def _plain(self, view: View, info: CollectionInfo, plan: Plan) -> Iterator[list[Document]]:
        """Whole documents in the plan's order, found and decoded without a step of Python each."""
        left = self.limit or -1
        scan = self._scan(view, info, plan)
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
            if plan.kind == "id":
                total = sum(len(batch) for batch in self._found(view, info, plan))
            else:
                total = self._scan(view, info, plan).count()
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
