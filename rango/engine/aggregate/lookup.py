"""$lookup and $graphLookup: documents of other collections.

Invariants  $lookup: the field `as` is always set, to an array. A pipeline that does not mention the
            variables of `let` runs once; one that does runs once for each different set of their
            values, as long as there is room to keep the answers.
            $graphLookup: breadth first, each document once, at the least depth that it is met at.
Failure     InvalidPipeline for a bad specification; LimitExceeded when what is joined to one
            document, or kept between two, is too much.
Sources     MongoDB manual, "$lookup (aggregation)", "$graphLookup (aggregation)".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bson.int64 import Int64

from rango._ext.sizes import sizes_of
from rango.engine.aggregate.join import Join, copied, local_values
from rango.engine.aggregate.keys import group_key
from rango.engine.aggregate.memory import KEPT_SIZE_BYTES, Account, document_size_check, size_of
from rango.engine.aggregate.spec import (
    count_of,
    expression_of,
    field_path,
    invalid,
    names_in,
    text_of,
)
from rango.engine.aggregate.stage import Batches, Context, Document, Names, Scope, Stage
from rango.engine.aggregate.unwind import with_value
from rango.engine.expression.scope import check_variable_written
from rango.engine.filters import program_of
from rango.engine.values import MISSING, shown
from rango.limits import DOCUMENT_SIZE_BYTES_MAX

if TYPE_CHECKING:
    from rango.engine.aggregate.pipeline import Pipeline
    from rango.engine.expression import Expression

LARGE_COUNT = 1000
"""So many joined documents, or more, are weighed against the size of a document."""


class Lookup(Stage):
    """$lookup"""

    name = "$lookup"

    def __init__(self, spec: Mapping[str, Any], scope: Scope) -> None:
        self.spec = spec
        self.collection: str | None = spec.get("from")
        self.collation = scope.collation
        self.target = field_path("$lookup: as", spec["as"]).split(".")
        self.local: list[str] | None = None
        if "localField" in spec:
            self.local = field_path("$lookup: localField", spec["localField"]).split(".")
            field_path("$lookup: foreignField", spec["foreignField"])
        self.let = let_of(spec.get("let", {}), scope)
        self.pipeline: Pipeline | None = None
        if "pipeline" in spec:
            inner = replace(
                scope,
                collection=self.collection,
                variables=scope.variables | set(self.let),
                inside="$lookup",
                depth=scope.depth + 1,
            )
            self.pipeline = scope.compile(spec["pipeline"], inner)
        self.is_correlated = any(_mentions(spec.get("pipeline"), f"$${name}") for name in self.let)

    def run(self, source: Batches, context: Context) -> Batches:
        account = context.memory.account("$lookup")
        join = None
        if self.local is not None and self.collection is not None:
            path = self.spec["foreignField"]
            join = Join(context, self.collection, path, self.collation, account)
        answers = Answers(account)
        for batch in source:
            context.environment.check()
            if join is not None and self.local is not None:
                values = [local_values(document, self.local) for document in batch]
                join.prepare(each for some in values for each in some)
                found = [join.found(each) for each in values]
            else:
                found = [[] for _ in batch]
            joined = []
            for document, some in zip(batch, found, strict=True):
                documents = self._piped(document, some, context, answers)
                if documents:
                    self._size_check(documents)
                joined.append(with_value(document, self.target, documents))
            yield joined

    def _size_check(self, documents: list[Any]) -> None:
        if sizes_of(documents) > DOCUMENT_SIZE_BYTES_MAX:
            document_size_check(self.name, {"": documents})

    def _piped(
        self, document: Document, found: list[Document], context: Context, answers: Answers
    ) -> list[Any]:
        """What the pipeline makes of the documents found, or of the whole collection."""
        pipeline = self.pipeline
        if pipeline is None:
            return [copied(each) for each in found]
        variables = {}
        for name, expression in self.let.items():
            # a variable without a value is missing, not null
            variables[name] = expression.evaluate(document, context.variables)
        inner = context.with_variables(variables)
        if self.local is not None:
            batches = pipeline.over(iter([[copied(each) for each in found]]), inner)
            return collected(batches)
        key = tuple(map(group_key, variables.values())) if self.is_correlated else ()
        known = answers.get(key)
        if known is None:
            known = collected(pipeline.batches(inner))
            answers.keep(key, known)
        return [copied(each) for each in known]

    def reads(self, wanted: Names) -> Names:
        read = names_in(list(self.spec.get("let", {}).values()))
        if wanted is None or read is None:
            return None
        local = frozenset(self.local[:1]) if self.local is not None else frozenset()
        return wanted | read | local | {self.target[0]}

    def passes(self, names: Names) -> bool:
        """Whether these top-level fields are the same after it as before it."""
        return names is not None and self.target[0] not in names

    def explain(self) -> Document:
        if self.pipeline is None:
            return {"$lookup": self.spec}
        stages = [stage.explain() for stage in self.pipeline.stages]
        return {"$lookup": {**self.spec, "pipeline": stages}}


def collected(batches: Batches) -> list[Document]:
    """The documents of a pipeline that become one array. Raises LimitExceeded for too many."""
    documents: list[Document] = []
    size = 0
    for batch in batches:
        documents += batch
        size += sizes_of(batch)
        if size > DOCUMENT_SIZE_BYTES_MAX:
            document_size_check("$lookup", {"": documents})
    return documents


class Answers:
    """What correlated pipelines answered, by the values of their variables."""

    __slots__ = ("account", "known")

    def __init__(self, account: Account) -> None:
        self.account = account
        self.known: dict[Any, list[Document]] = {}

    def get(self, key: Any) -> list[Document] | None:
        """The answer, if it was kept."""
        return self.known.get(key)

    def keep(self, key: Any, answer: list[Document]) -> None:
        """Keep an answer if there is room."""
        size = sum(size_of(each) + KEPT_SIZE_BYTES for each in answer) + KEPT_SIZE_BYTES
        if self.account.has_room(size):
            self.account.charge(size)
            self.known[key] = answer


def _mentions(spec: object, variable: str) -> bool:
    if isinstance(spec, str):
        return spec == variable or spec.startswith(variable + ".")
    if isinstance(spec, Mapping):
        return any(_mentions(each, variable) for each in spec.values())
    return isinstance(spec, list) and any(_mentions(each, variable) for each in spec)


def let_of(spec: object, scope: Scope) -> dict[str, Expression]:
    """The variables of a `let`, compiled. Raises InvalidPipeline, InvalidExpression."""
    if not isinstance(spec, Mapping):
        raise invalid(9, f"let is a document of variables, not {shown(spec)}")
    for name in spec:
        check_variable_written("let", name)
    return {name: expression_of(each, scope) for name, each in spec.items()}


def lookup_stage(spec: object, scope: Scope) -> Stage:
    """$lookup"""
    if not isinstance(spec, Mapping):
        raise invalid(40319, f"$lookup takes a document, not {shown(spec)}")
    known = ("from", "localField", "foreignField", "let", "pipeline", "as")
    for name in spec:
        if name not in known:
            raise invalid(9, f"$lookup has no field {name!r}; it has {', '.join(known)}")
    if "as" not in spec:
        raise invalid(9, "$lookup needs as, the field to put the documents into")
    text_of("$lookup: as", spec["as"], 9)
    if ("localField" in spec) != ("foreignField" in spec):
        raise invalid(9, "$lookup needs localField and foreignField together")
    if "pipeline" not in spec and "localField" not in spec:
        raise invalid(9, "$lookup needs a pipeline, or localField and foreignField")
    if "let" in spec and "pipeline" not in spec:
        raise invalid(9, "$lookup: let is for a pipeline, and there is none")
    if "from" in spec:
        text_of("$lookup: from", spec["from"], 40321)
    elif "localField" in spec or not _is_documents(spec["pipeline"]):
        raise invalid(9, "$lookup needs from, or a pipeline that begins with $documents")
    return Lookup(spec, scope)


def _is_documents(pipeline: object) -> bool:
    first = pipeline[0] if isinstance(pipeline, list) and pipeline else None
    return isinstance(first, Mapping) and "$documents" in first


class GraphLookup(Stage):
    """$graphLookup"""

    name = "$graphLookup"

    def __init__(self, spec: Mapping[str, Any], scope: Scope) -> None:
        self.spec = spec
        self.collection: str = spec["from"]
        self.collation = scope.collation
        self.start = expression_of(spec["startWith"], scope)
        self.link_from = field_path("$graphLookup: connectFromField", spec["connectFromField"])
        self.link_to = field_path("$graphLookup: connectToField", spec["connectToField"])
        self.target = field_path("$graphLookup: as", spec["as"]).split(".")
        self.depth_max: int | None = None
        if "maxDepth" in spec:
            self.depth_max = count_of("$graphLookup: maxDepth", spec["maxDepth"], 40101)
        self.depth_field: list[str] | None = None
        if "depthField" in spec:
            path = text_of("$graphLookup: depthField", spec["depthField"], 40103)
            self.depth_field = field_path("$graphLookup: depthField", path).split(".")
        self.filter = spec.get("restrictSearchWithMatch", {})
        if not isinstance(self.filter, Mapping):
            raise invalid(40185, "$graphLookup: restrictSearchWithMatch is a filter")
        program_of(self.filter, collation=scope.collation)

    def run(self, source: Batches, context: Context) -> Batches:
        account = context.memory.account("$graphLookup")
        join = Join(
            context, self.collection, self.link_to, self.collation, account, dict(self.filter)
        )
        for batch in source:
            context.environment.check()
            yield [
                with_value(document, self.target, self._reached(document, context, join))
                for document in batch
            ]

    def _reached(self, document: Document, context: Context, join: Join) -> list[Document]:
        start = self.start.evaluate(document, context.variables)
        values = start if isinstance(start, list) else [None if start is MISSING else start]
        parts = self.link_from.split(".")
        account = context.memory.account("$graphLookup")
        reached: dict[Any, Document] = {}
        asked: set[Any] = set()
        depth = 0
        while values and (self.depth_max is None or depth <= self.depth_max):
            context.environment.check()
            join.prepare(values)
            asked.update(map(join.key_of, values))
            following = []
            for each in join.found(values):
                key = group_key(each["_id"])
                if key in reached:
                    continue
                found = copied(each)
                if self.depth_field is not None:
                    found = with_value(found, self.depth_field, Int64(depth))
                account.charge(size_of(found) + KEPT_SIZE_BYTES)
                reached[key] = found
                following.append(each)
            fresh = {
                join.key_of(value): value
                for each in following
                for value in local_values_or_none(each, parts)
            }
            values = [value for key, value in fresh.items() if key not in asked]
            depth += 1
        documents = list(reached.values())
        if len(documents) >= LARGE_COUNT:
            document_size_check("$graphLookup", {"": documents})
        return documents

    def reads(self, wanted: Names) -> Names:
        read = names_in(self.spec["startWith"])
        return None if wanted is None or read is None else wanted | read | {self.target[0]}


def local_values_or_none(document: Document, parts: list[str]) -> list[Any]:
    """The values to go on with; a document without any is an end."""
    values = local_values(document, parts)
    return [] if values == [None] else values


def graph_lookup_stage(spec: object, scope: Scope) -> Stage:
    """$graphLookup"""
    if not isinstance(spec, Mapping):
        raise invalid(40327, f"$graphLookup takes a document, not {shown(spec)}")
    needed = ("from", "startWith", "connectFromField", "connectToField", "as")
    known = (*needed, "maxDepth", "depthField", "restrictSearchWithMatch")
    for name in spec:
        if name not in known:
            raise invalid(40104, f"$graphLookup has no field {name!r}; it has {', '.join(known)}")
    for name in needed:
        if name not in spec:
            raise invalid(40105, f"$graphLookup needs the field {name!r}")
    for name in ("from", "connectFromField", "connectToField", "as"):
        text_of(f"$graphLookup: {name}", spec[name], 40103)
    return GraphLookup(spec, scope)
