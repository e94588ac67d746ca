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
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from rango._ext.filter import Program
from rango._ext.key import key_of
from rango.engine.filters import collation_given, program_of
from rango.engine.keyed import IndexLike
from rango.engine.plan import Plan, is_single
from rango.engine.planned import planned
from rango.engine.returned import projecting, returner, scanning_entries
from rango.engine.sort import Sort, sort_key, sort_of, sorter_of
from rango.engine.stopping import stop_of
from rango.engine.values import now
from rango.errors import InvalidArgument
from rango.limits import FETCH_COUNT_DEFAULT

if TYPE_CHECKING:
    from rango._ext.collection_info import CollectionInfo
    from rango._ext.entry_scan import EntryScan
    from rango._ext.joined_scan import JoinedScan
    from rango._ext.scan import Scan
    from rango._ext.stop import Stop
    from rango._ext.view import View
    from rango.engine.hint import Hint
    from rango.engine.projection import Projection

Document = dict[str, Any]
SortKeys = str | Sequence[str | tuple[str, int]] | Mapping[str, int]
ProjectionKeys = Mapping[str, Any] | Sequence[str]


MERGED_COUNT_FIRST: Final = 8
"""Records that are first fetched from each of several scans that are merged."""

JOIN_AFTER = 128
"""Keys of an index that are read before a second index is looked at. So many documents cost some
40 us, the start of the second scan 2 us."""

SCANNED: Final = ("scan", "index", "id_range")
"""Plans that are one scan."""

TIME_MS_MAX: Final = 2**31 - 1
"""The largest max_time_ms, milliseconds. MongoDB's limit."""


def count_check(name: str, value: object) -> int:
    """`value` if it is a count (or a time, `max_time_ms`); InvalidArgument otherwise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{name} must be an int, not {type(value).__name__}")
    if value < 0:
        raise InvalidArgument(f"{name} is {value}; it must not be negative")
    if name == "max_time_ms" and value > TIME_MS_MAX:
        raise InvalidArgument(f"{name} is at most {TIME_MS_MAX}; leave it out for no limit")
    return value


class Query:
    """What to find and how to return it; `records` and `batches` run it.

    Its parts are checked when it is made.
    """

    __slots__ = (
        "collation",
        "fetch_count",
        "filter",
        "hint",
        "limit",
        "max_time_ms",
        "meta",
        "plan",
        "program",
        "projection",
        "projection_keys",
        "scans",
        "skip",
        "sort",
        "stop",
        "variables",
    )

    def __init__(
        self,
        filter: Mapping[str, Any],
        *,
        let: Mapping[str, Any] | None = None,
        collation: Any = None,
    ) -> None:
        self.filter = filter
        # what most queries do not have is imported where it is met
        self.collation = collation_given(collation)
        self.variables: dict[str, Any] = {}
        if let is not None:
            from rango.engine.variables import variables_of

            self.variables = variables_of(let, self.collation)
        self.program: Program = program_of(
            filter, let=self.variables or None, collation=self.collation
        )
        self.projection_keys: ProjectionKeys | None = None
        self.projection: Projection | None = None
        self.sort: Sort = ()
        self.skip = 0
        self.limit = 0
        self.fetch_count = FETCH_COUNT_DEFAULT
        self.hint: Hint | None = None
        self.meta = False
        self.max_time_ms = 0
        self.stop: Stop | None = None
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
        max_time_ms: int | None = None,
    ) -> Query:
        """Set the options of find(); returns the query."""
        self.project(projection)
        if sort is not None:
            self.sort = sort_of(sort)
        self.skip = count_check("skip", skip)
        self.limit_to(limit)
        self.max_time_ms = count_check("max_time_ms", max_time_ms or 0)
        self.hint_with(hint)
        self.meta = bool(meta)
        return self

    def project(self, projection: ProjectionKeys | None) -> None:
        """Return these fields; None: the whole documents."""
        self.projection_keys = projection
        self.projection = None
        if projection is not None:
            self.projection = projecting()(projection, self.variables, self.collation)

    def hint_with(self, hint: object) -> None:
        """Use this index; None: what the planner chooses."""
        self.hint = None
        if hint is not None:
            from rango.engine.hint import hint_of

            self.hint = hint_of(hint)

    def limit_to(self, limit: object) -> None:
        """Return at most so many; 0: all. A negative limit is PyMongo's for "and in one batch"."""
        if isinstance(limit, int) and limit < 0:
            limit = -limit
        self.limit = count_check("limit", limit)

    def batch(self, count: object) -> None:
        """Fetch so many at a time; 0: the default."""
        self.fetch_count = count_check("batch_size", count) or FETCH_COUNT_DEFAULT

    def collate(self, collation: Any) -> None:
        """Compare strings by this collation; None: by their code points."""
        self.collation = collation_given(collation)
        self.program = program_of(self.filter, let=self.variables or None, collation=self.collation)
        self.project(self.projection_keys)

    def start_clock(self, own: Stop | None = None) -> None:
        """Count the time that the query may take from now. `own` is what may cancel it, besides the
        scope that it starts in.
        """
        self.stop = stop_of(self.max_time_ms, own)

    def choose(self, info: CollectionInfo) -> Plan:
        """The plan for this collection, which is also kept for explain()."""
        if self.hint is None:
            plan = planned(self.program, self.sort, info, self.skip + self.limit)
        else:
            from rango.engine.hint import hinted

            plan = hinted(self.program, self.sort, self.hint, info)
        self.plan = plan
        return plan

    def _scan(
        self, view: View, info: CollectionInfo, plan: Plan, seen: set[bytes] | None = None
    ) -> Scan:
        """The scan of a plan: its intervals in the order of the plan, each document once."""
        program = None if plan.is_exact else self.program
        index: Any = plan.index
        if seen is None and index is not None and index.multikey and not is_single(plan):
            seen = set()
        tree = 0 if index is None else index.tree_id
        scan = view.scan_intervals(info.tree_id, tree, plan.intervals, plan.reverse, program, seen)
        scan.end_with(self.stop)
        self.scans.append(scan)
        return scan

    def _fetching(
        self, own: Scan, view: View, info: CollectionInfo, plan: Plan
    ) -> Scan | JoinedScan | EntryScan:
        """The scan of a plan for documents: intersected with that of its partner if it has one, and
        of entries, where those decide which documents are fetched.
        """
        partner = plan.partner
        if partner is None:
            return self._of_entries(own, plan) if self.narrows(plan) else own
        index: Any = partner.index
        other = view.scan_intervals(
            info.tree_id, index.tree_id, partner.intervals, plan.reverse, None, None
        )
        other.end_with(self.stop)
        self.scans.append(other)
        from rango._ext.joined_scan import JoinedScan

        return JoinedScan(own, other, self.program, plan.reverse, JOIN_AFTER)

    def _found(self, view: View, info: CollectionInfo, plan: Plan) -> Iterator[list[bytes]]:
        """The records that match, in batches, in the order of the plan; not skipped or limited."""
        if plan.kind == "id":
            program = self.program
            record = view.get(info.tree_id, key_of(plan.id_value))
            if record is not None and (program.is_id_only or program.matches(record)):
                yield [record]
        elif plan.kind == "union":
            seen: set[bytes] = set()
            scans = [self._scan(view, info, branch, seen) for branch in plan.branches]
            if plan.is_merged:
                from heapq import merge

                streams = [self._stream(scan) for scan in scans]
                merged = merge(*streams, key=sort_key(self.sort))
                while batch := list(islice(merged, self._wanted(plan))):
                    yield batch
                return
            for scan in scans:
                while batch := scan.next_records(self._wanted(plan)):
                    yield batch
        else:
            only = self._fetching(self._scan(view, info, plan), view, info, plan)
            while batch := only.next_records(self._wanted(plan)):
                yield batch

    def _stream(self, scan: Scan) -> Iterator[bytes]:
        """The records of one of several scans that are merged: few at first, for most are not
        needed.
        """
        count = MERGED_COUNT_FIRST
        while batch := scan.next_records(count):
            yield from batch
            count = min(count * 2, self.fetch_count)

    def _wanted(self, plan: Plan) -> int:
        """How many records to fetch at once: no more than can be returned."""
        if self.limit and plan.is_sorted:
            return min(self.skip + self.limit, self.fetch_count)
        return self.fetch_count

    def records(self, view: View, info: CollectionInfo) -> Iterator[list[bytes]]:
        """The records to return, in batches: matching, sorted, skipped and limited."""
        plan = self.choose(info)
        if self.sort and not plan.is_sorted:
            return self._sorted(view, info, plan)
        found = self._found(view, info, plan)
        return found if not (self.skip or self.limit) else self._cut(found)

    def _sorted(self, view: View, info: CollectionInfo, plan: Plan) -> Iterator[list[bytes]]:
        """What the plan does not give in order, sorted; with a limit only so many are held."""
        count = self.skip + self.limit if self.limit else 0
        sorter = sorter_of(self.sort, count, self.collation, self.stop)
        if plan.kind in SCANNED and plan.partner is None and not self.narrows(plan):
            sorter.add_scan(self._scan(view, info, plan))
        else:
            for batch in self._found(view, info, plan):
                sorter.add_records(batch)
        at = self.skip
        while batch := sorter.records(at, self.fetch_count):
            yield batch
            at += len(batch)

    def _cut(self, found: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
        """What was found, without what is skipped and what is over the limit."""
        skip, limit = self.skip, self.limit
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
        plan = self.choose(info)
        if (
            self.projection is None
            and not (self.meta or self.skip)
            and plan.is_sorted
            and plan.kind in SCANNED
        ):
            return self._plain(view, info, plan, self.variables)
        return self._returned(view, info, plan)

    def _returned(self, view: View, info: CollectionInfo, plan: Plan) -> Iterator[list[Document]]:
        projection = self.projection
        is_plain = not (self.meta or self.skip) and (
            projection is None or not (projection.meta or projection.positional)
        )
        variables = self.variables if projection is None else {"NOW": now(), **self.variables}
        if is_plain and plan.is_sorted and self.is_covered(plan):
            yield from self._covered(view, info, plan)
            return
        if is_plain and plan.is_sorted and plan.kind in SCANNED:
            yield from self._plain(view, info, plan, variables)
            return
        returned = returner(self.projection, self.program, meta=self.meta, variables=variables)
        for batch in self.records(view, info):
            yield [returned(record) for record in batch]

    def plain_scan(self, view: View, info: CollectionInfo) -> Scan | None:
        """The scan that gives just the documents to return, `limit` aside, or None if more than
        that has to be done, or less: entries of an index are asked first. For a caller that decodes
        the documents itself.
        """
        plan = self.choose(info)
        if self.narrows(plan):
            return None
        is_plain = self.projection is None and not (self.meta or self.skip or plan.partner)
        if is_plain and plan.is_sorted and plan.kind in SCANNED:
            return self._scan(view, info, plan)
        return None

    def _plain(
        self, view: View, info: CollectionInfo, plan: Plan, variables: dict[str, Any]
    ) -> Iterator[list[Document]]:
        """Documents in the plan's order, found and decoded without a step of Python each."""
        own = self._scan(view, info, plan)
        projection = self.projection
        if projection is not None:
            own.names, own.is_kept = projection.names, projection.is_inclusion
        batches = self.fetched(self._fetching(own, view, info, plan))
        if projection is None or projection.is_flat:
            return batches
        return ([projection.apply(each, None, variables) for each in batch] for batch in batches)

    def fetched(self, scan: Scan | JoinedScan | EntryScan) -> Iterator[list[Document]]:
        """The documents of a scan up to the limit, in batches."""
        left = self.limit or -1
        while left:
            wanted = self.fetch_count if left < 0 else min(left, self.fetch_count)
            batch = scan.next_documents(wanted)
            if not batch:
                return
            if left > 0:
                left -= len(batch)
            yield batch

    def is_covered(self, plan: Plan) -> bool:
        """Whether the keys of the plan's index hold all that is asked and returned."""
        projection, index = self.projection, plan.index
        if plan.kind != "index" or index is None or projection is None:
            return False
        if not (projection.is_flat and projection.is_inclusion and projection.names):
            return False
        paths = {path for path, _ in index.fields}
        return {*projection.names} <= {*paths, "_id"} and (
            plan.is_exact or keys_decide(self.program, index)
        )

    def _covered(self, view: View, info: CollectionInfo, plan: Plan) -> Iterator[list[Document]]:
        """Documents made of index entries; of records only where an entry does not tell."""
        assert plan.index is not None and self.projection is not None
        names = frozenset(self.projection.names or ())
        paths = [path for path, _ in plan.index.fields]
        shown = tuple(path if path in names else None for path in paths)
        with_id = "_id" in names and "_id" not in paths
        scan = self._entry_scan(view, info, plan, shown, with_id)
        returned = returner(self.projection, self.program)
        left = self.limit or -1
        while left:
            wanted = self.fetch_count if left < 0 else min(left, self.fetch_count)
            batch = scan.next_shown(wanted)
            if not batch:
                return
            if left > 0:
                left -= len(batch)
            yield [returned(each) if isinstance(each, bytes) else each for each in batch]

    def _entry_scan(
        self,
        view: View,
        info: CollectionInfo,
        plan: Plan,
        shown: tuple[str | None, ...] = (),
        with_id: bool = False,
        seen: set[bytes] | None = None,
    ) -> EntryScan:
        """The scan of a plan whose filter is decided by the entries."""
        return self._of_entries(self._scan(view, info, plan, seen), plan, shown, with_id)

    def narrows(self, plan: Plan) -> bool:
        """Whether entries that are within the bounds decide the rest of the filter."""
        index = plan.index
        return (
            plan.kind == "index"
            and index is not None
            and not plan.is_exact
            and plan.partner is None
            and keys_decide(self.program, index)
        )

    def _of_entries(
        self, scan: Scan, plan: Plan, shown: tuple[str | None, ...] = (), with_id: bool = False
    ) -> EntryScan:
        """A scan of a plan that asks its entries first."""
        assert plan.index is not None
        paths = [path for path, _ in plan.index.fields]
        shown = shown or (None,) * len(paths)
        program = None if plan.is_exact else self.program
        names = tuple(
            path if path in shown or (program is not None and "." not in path) else None
            for path in paths
        )
        return scanning_entries()(scan, names, shown, with_id, program)

    def count(self, view: View, info: CollectionInfo) -> int:
        """How many documents match, after skip and up to limit."""
        if self.program.is_always and self.hint is None:
            total = int(view.count(info.tree_id))
        else:
            total = self._count(view, info, self.choose(info))
        total = max(0, total - self.skip)
        return min(total, self.limit) if self.limit else total

    def _count(self, view: View, info: CollectionInfo, plan: Plan) -> int:
        """How many documents match; of keys only, if they decide it."""
        if plan.kind == "id":
            return sum(len(batch) for batch in self._found(view, info, plan))
        seen: set[bytes] | None = set() if plan.kind == "union" else None
        total = 0
        for branch in plan.branches or (plan,):
            index = branch.index
            if index is None:
                total += self._scan(view, info, branch, seen).count()
            elif branch.is_exact:
                total += self._scan(view, info, branch, seen).count_keys()
            elif keys_decide(self.program, index):
                total += self._entry_scan(view, info, branch, seen=seen).count()
            else:
                scan = self._scan(view, info, branch, seen)
                total += self._fetching(scan, view, info, branch).count()
        return total


def keys_decide(program: Program, index: IndexLike) -> bool:
    """Whether a program asks only for top-level fields that the index has."""
    fields = {path for path, _ in index.fields if "." not in path}
    return bool(fields) and program.collation is None and _asks_only(program.normal, fields)


def _asks_only(node: tuple[Any, ...], fields: set[str]) -> bool:
    operator = node[0]
    if operator in ("$and", "$or"):
        return all(_asks_only(part, fields) for part in node[1])
    if operator == "$not":
        return _asks_only(node[1], fields)
    if operator in ("$expr", "$jsonSchema"):
        return False
    return isinstance(node[1], str) and node[1].split(".")[0] in fields
