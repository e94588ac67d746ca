"""$sort, $skip, $limit, $sample, $count: which documents go on, and in which order.

Invariants  A sort keeps the order of equal documents. With a limit behind it, a sort keeps only so
            many documents. A limit asks for nothing more once it is full.
Sources     MongoDB manual, "$sort (aggregation)", "$sample (aggregation)".
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping
from itertools import count
from typing import Any

from bson.code import Code

from rango.engine.aggregate.keys import sort_key
from rango.engine.aggregate.memory import KEPT_SIZE_BYTES, size_of
from rango.engine.aggregate.spec import (
    count_of,
    field_path,
    invalid,
    mapping_of,
    number_as,
    whole_of,
)
from rango.engine.aggregate.stage import Batches, Context, Names, Scope, Stage, in_batches
from rango.engine.sort import SORT_FIELDS_MAX, Sort
from rango.engine.values import shown


def sort_spec(name: str, spec: object) -> Sort:
    """The normal form of a sort in a pipeline. Raises InvalidPipeline."""
    if not isinstance(spec, Mapping):
        raise invalid(15973, f"{name} takes a document of fields and directions, {shown(spec)}")
    if not spec:
        raise invalid(15976, f"{name} needs at least one field")
    fields = []
    for path, direction in spec.items():
        if isinstance(direction, Mapping):
            raise invalid(
                17312, f"{name}: {path!r} is sorted by {shown(direction)}; only 1 and -1 exist here"
            )
        number = None if isinstance(direction, bool) else whole_of(direction)
        if number not in (1, -1):
            raise invalid(
                15975, f"{name}: the direction of {path!r} is 1 or -1, {shown(direction)}"
            )
        fields.append((field_path(name, path), number))
    if len(fields) > SORT_FIELDS_MAX:
        raise invalid(13103, f"{name} has at most {SORT_FIELDS_MAX} fields, not {len(fields)}")
    return tuple(fields)


class SortStage(Stage):
    """$sort; `limit` is that of a $limit behind it, 0 without one."""

    name = "$sort"

    def __init__(self, spec: Any, sort: Sort, collation: Any, limit: int = 0) -> None:
        self.spec = spec
        self.sort = sort
        self.collation = collation
        self.limit = limit
        self.key = sort_key(sort, collation)

    def run(self, source: Batches, context: Context) -> Batches:
        account = context.memory.account("$sort")
        if self.limit:
            yield from self._top(source, context)
            return
        key = self.key
        documents = []
        for batch in source:
            if not batch:
                yield batch
                continue
            context.environment.check()
            account.charge_documents(batch)
            documents += batch
        # the keys first, so that there are places to stop; the rest is one call
        keyed: list[bytes] = []
        for batch in in_batches(documents):
            context.environment.check()
            keyed += map(key, batch)
        documents = [documents[at] for at in sorted(range(len(keyed)), key=keyed.__getitem__)]
        yield from in_batches(documents)

    def _top(self, source: Batches, context: Context) -> Batches:
        """The first `limit`: a heap whose top is the worst of those kept."""
        account, key, limit = context.memory.account("$sort"), self.key, self.limit
        kept: list[tuple[_Falling, int, Any]] = []
        arrival = count()
        for batch in source:
            if not batch:
                yield batch
                continue
            context.environment.check()
            for document in batch:
                found = key(document)
                if len(kept) < limit:
                    account.charge(size_of(document) + KEPT_SIZE_BYTES)
                    heapq.heappush(kept, (_Falling(found), -next(arrival), document))
                elif found < kept[0][0].key:
                    old = heapq.heapreplace(kept, (_Falling(found), -next(arrival), document))
                    account.charge(size_of(document) - size_of(old[2]))
        kept.sort(key=lambda each: (each[0].key, -each[1]))
        yield from in_batches([document for _, _, document in kept])

    def reads(self, wanted: Names) -> Names:
        return None if wanted is None else wanted | {path.split(".")[0] for path, _ in self.sort}

    def explain(self) -> dict[str, Any]:
        if not self.limit:
            return {"$sort": self.spec}
        return {"$sort": {"sortKey": self.spec, "limit": self.limit}}


class _Falling:
    """A key that compares the other way round, for a heap that keeps its greatest on top."""

    __slots__ = ("key",)

    def __init__(self, key: bytes) -> None:
        self.key = key

    def __lt__(self, other: _Falling) -> bool:
        return self.key > other.key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Falling) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class Limit(Stage):
    """$limit"""

    name = "$limit"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.spec = number_as(limit)

    def run(self, source: Batches, context: Context) -> Batches:
        left = self.limit
        for batch in source:
            if len(batch) >= left:
                yield batch[:left]
                return
            left -= len(batch)
            yield batch

    def reads(self, wanted: Names) -> Names:
        return wanted


class Skip(Stage):
    """$skip"""

    name = "$skip"

    def __init__(self, skip: int) -> None:
        self.skip = skip
        self.spec = number_as(skip)

    def run(self, source: Batches, context: Context) -> Batches:
        left = self.skip
        for batch in source:
            if left >= len(batch):
                left -= len(batch)
                yield []
            else:
                yield batch[left:] if left else batch
                left = 0

    def reads(self, wanted: Names) -> Names:
        return wanted


class Sample(Stage):
    """$sample: so many documents, each as likely as any other, in random order."""

    name = "$sample"

    def __init__(self, size: int) -> None:
        self.size = size
        self.spec = {"size": number_as(size)}

    def run(self, source: Batches, context: Context) -> Batches:
        account = context.memory.account("$sample")
        chance = random.Random(context.environment.random(16))
        kept: list[Any] = []
        met = 0
        for batch in source:
            if not batch:
                yield batch
                continue
            context.environment.check()
            for document in batch:
                met += 1
                if len(kept) < self.size:
                    account.charge(size_of(document) + KEPT_SIZE_BYTES)
                    kept.append(document)
                elif (at := chance.randrange(met)) < self.size:
                    account.charge(size_of(document) - size_of(kept[at]))
                    kept[at] = document
        chance.shuffle(kept)
        yield from in_batches(kept)

    def reads(self, wanted: Names) -> Names:
        return wanted


class Count(Stage):
    """$count: one document with the number of documents, none if there are none."""

    name = "$count"

    def __init__(self, field: str) -> None:
        self.field = field
        self.spec = field

    def run(self, source: Batches, context: Context) -> Batches:
        total = 0
        for batch in source:
            if not batch:
                yield batch
            total += len(batch)
        yield from self.counted(total)

    def counted(self, total: int) -> Batches:
        """The answer for a total."""
        if total:
            yield [{self.field: number_as(total)}]

    def reads(self, wanted: Names) -> Names:
        return frozenset()


def sort_stage(spec: object, scope: Scope) -> Stage:
    """$sort"""
    return SortStage(spec, sort_spec("$sort", spec), scope.collation)


def limit_stage(spec: object, scope: Scope) -> Stage:
    """$limit"""
    number = whole_of(spec)
    if number is not None and number <= 0:
        raise invalid(15958, f"$limit is a positive number, not {shown(spec)}")
    return Limit(count_of("$limit", spec, 2107201, 1))


def skip_stage(spec: object, scope: Scope) -> Stage:
    """$skip"""
    return Skip(count_of("$skip", spec, 5107200))


def sample_stage(spec: object, scope: Scope) -> Stage:
    """$sample"""
    options = mapping_of("$sample", spec, 28745)
    for key in options:
        if key != "size":
            raise invalid(28748, f"$sample has no field {key!r}; it has size")
    if "size" not in options:
        raise invalid(28749, "$sample needs a size")
    return Sample(count_of("$sample: size", options["size"], 28747, 1))


def count_stage(spec: object, scope: Scope) -> Stage:
    """$count"""
    if not isinstance(spec, str) or isinstance(spec, Code):
        raise invalid(40156, f"$count names the field of the answer by a string, not {shown(spec)}")
    if not spec:
        raise invalid(40157, "$count: the name of the field is empty")
    if spec.startswith("$"):
        raise invalid(40158, f"$count: the name {spec!r} must not start with $")
    if "\0" in spec:
        raise invalid(40159, "$count: the name holds a NUL")
    if "." in spec:
        raise invalid(40160, f"$count: the name {spec!r} must not have a dot")
    return Count(spec)
