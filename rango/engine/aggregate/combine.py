"""$facet, $unionWith, $documents: several pipelines, or documents from elsewhere.

Invariants  $facet reads its source once: each of its pipelines is given a batch in turn, and a
            pause (see stage.py) tells it that there is no more for now. What they return is one
            document, so it obeys the limit of one.
Sources     MongoDB manual, "$facet (aggregation)", "$unionWith (aggregation)", "$documents".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from rango.engine.aggregate.memory import document_size_check
from rango.engine.aggregate.spec import expression_of, invalid
from rango.engine.aggregate.stage import (
    Batch,
    Batches,
    Context,
    Document,
    Names,
    Scope,
    Stage,
    in_batches,
)
from rango.engine.values import shown, type_name
from rango.errors import ExpressionFailed

if TYPE_CHECKING:
    from rango.engine.aggregate.pipeline import Pipeline

NOT_IN_FACET: Final = ("$facet", "$out", "$merge", "$documents")


class Facet(Stage):
    """$facet"""

    name = "$facet"

    def __init__(self, spec: Any, pipelines: Mapping[str, Pipeline]) -> None:
        self.spec = spec
        self.pipelines = pipelines

    def run(self, source: Batches, context: Context) -> Batches:
        account = context.memory.account("$facet")
        feeds: dict[str, Feed] = {}
        answer: Document = {}
        running: dict[str, Batches] = {}
        for name, pipeline in self.pipelines.items():
            feeds[name] = Feed()
            running[name] = pipeline.over(iter(feeds[name]), context)
            answer[name] = []

        def drain(name: str) -> None:
            """Take what a pipeline has until it pauses or ends."""
            for batch in running[name]:
                if not batch and feeds[name].is_waiting:
                    return
                account.charge_documents(batch)
                answer[name] += batch
            del running[name]

        for batch in source:
            if not batch:
                yield batch
                continue
            for name in list(running):
                feeds[name].give(batch)
                drain(name)
            if not running:
                break
        for name in list(running):
            feeds[name].end()
            drain(name)
        document_size_check("$facet", answer)
        yield [answer]

    def reads(self, wanted: Names) -> Names:
        found: frozenset[str] = frozenset()
        for pipeline in self.pipelines.values():
            names = pipeline.reads(None)
            if names is None:
                return None
            found |= names
        return found

    def explain(self) -> Document:
        return {
            "$facet": {
                name: [stage.explain() for stage in pipeline.stages]
                for name, pipeline in self.pipelines.items()
            }
        }


class Feed:
    """The source of one pipeline of a $facet: pauses whenever what it was given is used up."""

    __slots__ = ("_batch", "_is_over", "is_waiting")

    def __init__(self) -> None:
        self._batch: Batch = []
        self._is_over = False
        self.is_waiting = False

    def give(self, batch: Batch) -> None:
        """The next batch."""
        self._batch = batch
        self.is_waiting = False

    def end(self) -> None:
        """There are no more."""
        self._is_over = True
        self.is_waiting = False

    def __iter__(self) -> Iterator[Batch]:
        while not self._is_over:
            batch, self._batch = self._batch, []
            if not batch:
                self.is_waiting = True
            yield batch


def facet_stage(spec: object, scope: Scope) -> Stage:
    """$facet"""
    if not isinstance(spec, Mapping) or not spec:
        raise invalid(40169, f"$facet takes a document of pipelines, not {shown(spec)}")
    pipelines = {}
    for name, each in spec.items():
        if name.startswith("$") or "." in name or not name:
            raise invalid(40236, f"$facet: {name!r} is no name of a field")
        if not isinstance(each, list):
            raise invalid(40170, f"$facet: {name!r} takes a pipeline (a list), not {shown(each)}")
        for stage in each:
            first = next(iter(stage), None) if isinstance(stage, Mapping) else None
            if first in NOT_IN_FACET:
                raise invalid(40600, f"{first} is not allowed inside of $facet ({name!r})")
        inner = replace(scope, collection=None, inside="$facet", depth=scope.depth + 1)
        pipelines[name] = scope.compile(each, inner)
    return Facet(spec, pipelines)


class UnionWith(Stage):
    """$unionWith"""

    name = "$unionWith"

    def __init__(self, spec: Any, pipeline: Pipeline) -> None:
        self.spec = spec
        self.pipeline = pipeline

    def run(self, source: Batches, context: Context) -> Batches:
        yield from source
        yield from self.pipeline.batches(context)

    def reads(self, wanted: Names) -> Names:
        return wanted

    def explain(self) -> Document:
        return {
            "$unionWith": {
                "coll": self.pipeline.collection,
                "pipeline": [stage.explain() for stage in self.pipeline.stages],
            }
        }


def union_stage(spec: object, scope: Scope) -> Stage:
    """$unionWith"""
    if isinstance(spec, str):
        spec = {"coll": spec}
    if not isinstance(spec, Mapping):
        raise invalid(9, f"$unionWith takes a collection's name or a document, not {shown(spec)}")
    for name in spec:
        if name not in ("coll", "pipeline"):
            raise invalid(40415, f"$unionWith has no field {name!r}; it has coll, pipeline")
    collection = spec.get("coll")
    pipeline = spec.get("pipeline", [])
    if not isinstance(pipeline, list):
        raise invalid(14, f"$unionWith: the pipeline is a list, not {shown(pipeline)}")
    if "coll" in spec and (not isinstance(collection, str) or not collection):
        raise invalid(14, f"$unionWith: coll is a collection's name, not {shown(collection)}")
    if collection is None and not pipeline:
        raise invalid(9, "$unionWith needs coll, or a pipeline that begins with $documents")
    inner = replace(scope, collection=collection, inside="$unionWith", depth=scope.depth + 1)
    return UnionWith(spec, scope.compile(pipeline, inner))


class Documents(Stage):
    """$documents: a source of its own."""

    name = "$documents"

    def __init__(self, spec: Any, scope: Scope) -> None:
        self.spec = spec
        self.expression = expression_of(spec, scope)

    def run(self, source: Batches, context: Context) -> Batches:
        values = self.expression.evaluate({}, context.variables)
        if not isinstance(values, list):
            raise ExpressionFailed(
                f"$documents takes an array of documents, not {shown(values)}", code=5858203
            )
        for each in values:
            if not isinstance(each, dict):
                raise ExpressionFailed(
                    f"$documents holds documents, not {shown(each)} ({type_name(each)})",
                    code=40228,
                )
        yield from in_batches(values)


def documents_stage(spec: object, scope: Scope) -> Stage:
    """$documents"""
    if scope.collection is not None or scope.inside == "$facet":
        raise invalid(
            40602,
            "$documents is the first stage of a pipeline without a collection: "
            "db.aggregate([{'$documents': [...]}])",
        )
    return Documents(spec, scope)
