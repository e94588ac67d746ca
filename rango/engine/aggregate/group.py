"""$group, $sortByCount: documents with an equal `_id` become one.

Terms       group number: see accumulators.py.
Invariants  Groups come in the order in which they are first met, and `_id` is the value that was
            met first. A missing `_id` is null. A constant `_id` makes one group, or none without
            documents. A field of the answer that has no value is null.
Failure     InvalidPipeline for a bad specification; LimitExceeded beyond the bound on memory.
Sources     MongoDB manual, "$group (aggregation)".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rango.engine.aggregate.accumulators import Accumulator
from rango.engine.aggregate.columns import Column, columns_of, plain_field
from rango.engine.aggregate.keys import PLAIN, Key, group_keys
from rango.engine.aggregate.memory import KEPT_SIZE_BYTES, Account, size_of
from rango.engine.aggregate.order import SortStage
from rango.engine.aggregate.spec import expression_of, invalid, names_in
from rango.engine.aggregate.stage import (
    BATCH_COUNT,
    Batch,
    Batches,
    Context,
    Document,
    Names,
    Scope,
    Stage,
)
from rango.engine.values import MISSING, shown

Numbering = Callable[[Batch], list[int]]
"""A function from documents to their group numbers."""


class Groups:
    """The groups of one run: their `_id`s and the numbers of those."""

    __slots__ = ("account", "each_bytes", "ids", "numbers")

    def __init__(self, account: Account, each_bytes: int) -> None:
        self.account = account
        self.each_bytes = each_bytes
        self.ids: list[Any] = []
        self.numbers: dict[Any, int] = {}

    def new(self, key: Any, id_value: Any) -> int:
        """The number of a group that is met for the first time. Raises LimitExceeded."""
        number = self.numbers[key] = len(self.ids)
        self.ids.append(id_value)
        self.account.charge(size_of(id_value) + self.each_bytes)
        return number

    def numbered(self, values: Sequence[Any]) -> list[int]:
        """The number of the group of each of some values that are their own keys."""
        known = self.numbers
        for value in values:
            if value not in known:
                self.new(value, value)
        return [known[value] for value in values]


def by_field(groups: Groups, name: str, key_of: Key) -> Numbering:
    """Numbers by one top-level field, which needs no expression."""
    known = groups.numbers

    def number(batch: Batch) -> list[int]:
        found = []
        for document in batch:
            value = document.get(name)
            key = value if type(value) in PLAIN else key_of(value)
            at = known.get(key)
            found.append(groups.new(key, value) if at is None else at)
        return found

    return number


def by_value(groups: Groups, value_of: Callable[[Document], Any], key_of: Key) -> Numbering:
    """Numbers by any value that is computed from a document."""
    known = groups.numbers

    def number(batch: Batch) -> list[int]:
        found = []
        for document in batch:
            value = value_of(document)
            if value is MISSING:
                value = None
            key = value if type(value) in PLAIN else key_of(value)
            at = known.get(key)
            found.append(groups.new(key, value) if at is None else at)
        return found

    return number


def by_fields(
    groups: Groups, parts: Sequence[tuple[str, Callable[[Document], Any]]], key_of: Key
) -> Numbering:
    """Numbers by a document of expressions: the document is made once for each group."""
    known = groups.numbers
    names = [name for name, _ in parts]
    values_of = [value_of for _, value_of in parts]

    def number(batch: Batch) -> list[int]:
        found = []
        for document in batch:
            values = [value_of(document) for value_of in values_of]
            key = tuple([each if type(each) in PLAIN else key_of(each) for each in values])
            at = known.get(key)
            if at is None:
                pairs = zip(names, values, strict=True)
                at = groups.new(key, {name: each for name, each in pairs if each is not MISSING})
            found.append(at)
        return found

    return number


class Group(Stage):
    """$group"""

    name = "$group"

    def __init__(
        self, spec: Any, id_spec: Any, columns: Sequence[Column], scope: Scope, name: str = "$group"
    ) -> None:
        self.spec = spec
        self.title = name
        self.id_spec = id_spec
        self.columns = columns
        self.key_of: Key = group_keys(scope.collation)
        self._plain = scope.collation is None
        self._parts: list[tuple[str, Any]] | None = None
        if isinstance(id_spec, Mapping) and id_spec and not _is_operator(id_spec):
            self._parts = [(name, expression_of(each, scope)) for name, each in id_spec.items()]
        self._id = expression_of(id_spec, scope)

    @property
    def is_constant(self) -> bool:
        """Does every document belong to the same group?"""
        return self._id.is_constant

    @property
    def constant_id(self) -> Any:
        """The `_id` of that group."""
        return None if self._id.value is MISSING else self._id.value

    @property
    def field(self) -> str | None:
        """The top-level field that makes the groups, if it is just one."""
        return plain_field(self.id_spec) if self._plain else None

    def _numbering(self, groups: Groups, variables: dict[str, Any]) -> Numbering:
        if self.field is not None:
            return by_field(groups, self.field, self.key_of)
        if self._parts is not None and self._plain:
            parts = [
                (name, lambda document, of=each.evaluate: of(document, variables))
                for name, each in self._parts
            ]
            return by_fields(groups, parts, self.key_of)
        evaluate = self._id.evaluate
        key_of = self.key_of
        if not self._plain:
            return by_folded(groups, lambda document: evaluate(document, variables), key_of)
        return by_value(groups, lambda document: evaluate(document, variables), key_of)

    @property
    def fields(self) -> tuple[str, ...] | None:
        """The top-level fields that are all it reads, as they are; None if it computes something.

        The first one makes the groups.
        """
        if self.field is None:
            return None
        names = [self.field]
        for column in self.columns:
            if column.field is None and column.step is None:
                return None
            if column.field is not None and column.field not in names:
                names.append(column.field)
        return tuple(names)

    def run_columns(self, source: Iterator[list[list[Any]]], context: Context) -> Batches:
        """The same as run, on the columns of `fields` instead of documents."""
        account = context.memory.account(self.title)
        columns = [column.open(account, context)[0] for column in self.columns]
        groups = Groups(account, KEPT_SIZE_BYTES * (1 + len(columns)))
        known, key_of = groups.numbers, self.key_of
        names = self.fields or ()
        places = [names.index(column.field) if column.field else 0 for column in self.columns]
        for values in source:
            context.environment.check()
            if PLAIN.issuperset(map(type, values[0])):
                numbers = groups.numbered(values[0])
            else:
                numbers = []
                for each in values[0]:
                    value = None if each is MISSING else each
                    key = value if type(value) in PLAIN else key_of(value)
                    at = known.get(key)
                    numbers.append(groups.new(key, value) if at is None else at)
            for accumulator, place in zip(columns, places, strict=True):
                accumulator.grow(len(groups.ids))
                accumulator.add(numbers, values[place])
        yield from self._answers(groups, columns)

    def run(self, source: Batches, context: Context) -> Batches:
        account = context.memory.account(self.title)
        columns = [column.open(account, context) for column in self.columns]
        groups = Groups(account, KEPT_SIZE_BYTES * (1 + len(columns)))
        number = self._numbering(groups, context.variables)
        check = context.environment.check
        for batch in source:
            if not batch:
                yield batch
                continue
            check()
            numbers = number(batch)
            count = len(groups.ids)
            for accumulator, inputs in columns:
                accumulator.grow(count)
                accumulator.add(numbers, inputs(batch))
        yield from self._answers(groups, [accumulator for accumulator, _ in columns])

    def _answers(self, groups: Groups, columns: Sequence[Accumulator]) -> Batches:
        names = [column.name for column in self.columns]
        results = [accumulator.result for accumulator in columns]
        return answers(range(len(groups.ids)), groups.ids, names, results)

    def reads(self, wanted: Names) -> Names:
        found = names_in(self.id_spec)
        for column in self.columns:
            if found is None or column.reads is None:
                return None
            found |= column.reads
        return found

    def explain(self) -> Document:
        return {self.title: self.spec}


def by_folded(groups: Groups, value_of: Callable[[Document], Any], key_of: Key) -> Numbering:
    """Numbers under a collation, where a string is not its own key."""

    def number(batch: Batch) -> list[int]:
        found = []
        for document in batch:
            value = value_of(document)
            value = None if value is MISSING else value
            key = key_of(value)
            at = groups.numbers.get(key)
            found.append(groups.new(key, value) if at is None else at)
        return found

    return number


def answers(
    numbers: Sequence[int],
    ids: Sequence[Any],
    names: Sequence[str],
    results: Sequence[Callable[[int], Any]],
) -> Batches:
    """One document for each group, in batches."""
    for at in range(0, len(numbers), BATCH_COUNT):
        batch = []
        for number in numbers[at : at + BATCH_COUNT]:
            document = {"_id": ids[number]}
            for name, result in zip(names, results, strict=True):
                value = result(number)
                document[name] = None if value is MISSING else value
            batch.append(document)
        yield batch


def _is_operator(spec: Mapping[str, Any]) -> bool:
    return next(iter(spec)).startswith("$")


def group_stage(spec: object, scope: Scope) -> Stage:
    """$group"""
    if not isinstance(spec, Mapping):
        raise invalid(15947, f"$group takes a document, not {shown(spec)}")
    if "_id" not in spec:
        raise invalid(15955, "$group needs an _id; null makes one group of all documents")
    rest = {name: each for name, each in spec.items() if name != "_id"}
    return Group(spec, spec["_id"], columns_of("$group", rest, scope), scope)


def sort_by_count_stages(spec: object, scope: Scope) -> list[Stage]:
    """$sortByCount: $group and $sort."""
    is_path = isinstance(spec, str) and spec.startswith("$")
    if not is_path and not (isinstance(spec, Mapping) and spec and _is_operator(spec)):
        code = 40149 if isinstance(spec, str) else 40148 if not isinstance(spec, Mapping) else 40147
        raise invalid(code, f"$sortByCount takes a path or an expression, not {shown(spec)}")
    columns = columns_of("$sortByCount", {"count": {"$sum": 1}}, scope)
    group = Group({"_id": spec, "count": {"$sum": 1}}, spec, columns, scope, "$group")
    return [group, SortStage({"count": -1}, (("count", -1),), scope.collation)]
