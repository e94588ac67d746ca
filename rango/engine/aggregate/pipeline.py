"""Pipelines: stages compiled, optimised, and run.

Terms       leading stages: those that become the query of the source (source.py); writer: a $out or
            $merge at the end, which is run by `write` and returns no documents.
Invariants  A pipeline is checked as a whole before anything runs. It is immutable and may be run
            any number of times; a run reads the snapshot of its environment and nothing else.
Failure     InvalidPipeline, InvalidFilter and InvalidExpression while compiling, with a note that
            says which stage it was.
Sources     MongoDB manual, "Aggregation Pipeline"; ADR-0016.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rango.engine.aggregate import (
    bucket,
    combine,
    fill,
    group,
    lookup,
    order,
    shape,
    unwind,
    window,
    writes,
)
from rango.engine.aggregate.group import Group
from rango.engine.aggregate.optimise import optimised
from rango.engine.aggregate.order import Count
from rango.engine.aggregate.source import Source
from rango.engine.aggregate.spec import invalid
from rango.engine.aggregate.stage import Batches, Context, Document, Names, Scope, Stage
from rango.engine.aggregate.writes import Writing
from rango.engine.numbers import integer
from rango.engine.values import shown, type_name
from rango.errors import RangoError
from rango.limits import PIPELINE_DEPTH_MAX, PIPELINE_STAGES_MAX

Compiler = Callable[[object, Scope], Stage | list[Stage]]

STAGES: Final[Mapping[str, Compiler]] = {
    "$addFields": shape.add_fields_stage,
    "$bucket": bucket.bucket_stage,
    "$bucketAuto": bucket.bucket_auto_stage,
    "$count": order.count_stage,
    "$densify": fill.densify_stage,
    "$documents": combine.documents_stage,
    "$facet": combine.facet_stage,
    "$fill": fill.fill_stages,
    "$graphLookup": lookup.graph_lookup_stage,
    "$group": group.group_stage,
    "$limit": order.limit_stage,
    "$lookup": lookup.lookup_stage,
    "$match": shape.match_stage,
    "$merge": writes.merge_stage,
    "$out": writes.out_stage,
    "$project": shape.project_stage,
    "$redact": shape.redact_stage,
    "$replaceRoot": shape.replace_root_stage,
    "$replaceWith": shape.replace_with_stage,
    "$sample": order.sample_stage,
    "$set": shape.set_stage,
    "$setWindowFields": window.window_stage,
    "$skip": order.skip_stage,
    "$sort": order.sort_stage,
    "$sortByCount": group.sort_by_count_stages,
    "$unionWith": combine.union_stage,
    "$unset": shape.unset_stage,
    "$unwind": unwind.unwind_stage,
}

REFUSED: Final[Mapping[str, str]] = {
    "$changeStream": "changes are read from the log",
    "$collStats": "use db.stats()",
    "$currentOp": "there is no server whose operations could be listed",
    "$geoNear": "there are no geospatial indexes",
    "$indexStats": "use list_indexes() and explain()",
    "$listLocalSessions": "there are no sessions",
    "$listSessions": "there are no sessions",
    "$planCacheStats": "plans are not cached",
    "$search": "there is no search server",
    "$searchMeta": "there is no search server",
    "$vectorSearch": "there is no search server",
}


SOURCELESS: Final = ("", "$lookup", "$unionWith")
"""Where a pipeline without a collection has nothing to read but its own documents."""


class Pipeline:
    """A compiled pipeline on a collection, or (None) on what is handed to it."""

    __slots__ = ("collection", "source", "stages", "writer")

    def __init__(self, collection: str | None, stages: list[Stage], writer: Writing | None) -> None:
        self.collection = collection
        self.stages = stages
        self.writer = writer
        self.source = Source(stages if collection is not None else [])
        if collection is not None:
            self.source.names = needed(self.source.left, None)

    @property
    def stage_names(self) -> list[str]:
        """The names of the stages, in order."""
        return [stage.name for stage in self.stages]

    def batches(self, context: Context) -> Batches:
        """The documents of the collection, through all stages."""
        if self.collection is None:
            return self.over(iter(()), context)
        left = self.source.left
        if left and (counted := counting(left[0])) is not None:
            total = self.source.count(context, self.collection)
            return through(left[1:], counted(total), context)
        if left and isinstance(left[0], Group) and left[0].fields is not None:
            columns = self.source.columns(context, self.collection, left[0].fields)
            if columns is not None:
                return through(left[1:], left[0].run_columns(columns, context), context)
        return through(left, self.source.batches(context, self.collection), context)

    def over(self, source: Batches, context: Context) -> Batches:
        """Documents that are handed to it, through all stages."""
        return through(self.stages, source, context)

    def reads(self, wanted: Names) -> Names:
        """The top-level fields that it must be handed."""
        return needed(self.stages, wanted)

    def explain(self, context: Context) -> list[Document]:
        """The stages as they run."""
        shown_stages = []
        left = self.stages
        if self.collection is not None:
            shown_stages.append(self.source.explain(context, self.collection))
            left = self.source.left
        shown_stages += [stage.explain() for stage in left]
        if self.writer is not None:
            shown_stages.append(self.writer.explain())
        return shown_stages


def through(stages: list[Stage], batches: Batches, context: Context) -> Batches:
    """Batches through some stages."""
    for stage in stages:
        batches = stage.run(batches, context)
    return batches


def needed(stages: list[Stage], wanted: Names) -> Names:
    """The top-level fields that the stages must be handed so that `wanted` are right after them."""
    for stage in reversed(stages):
        wanted = stage.reads(wanted)
    return wanted


def counting(stage: Stage) -> Callable[[int], Batches] | None:
    """The answer of a stage to the number of documents, if it needs nothing else of them."""
    if isinstance(stage, Count):
        return stage.counted
    if isinstance(stage, Group) and stage.is_constant:
        steps = [(column.name, column.step) for column in stage.columns]
        if all(step is not None for _, step in steps):
            return lambda total: _one_group(stage, steps, total)
    return None


def _one_group(stage: Group, steps: list[tuple[str, int | None]], total: int) -> Batches:
    if total:
        answer = {"_id": stage.constant_id}
        for name, step in steps:
            answer[name] = integer((step or 0) * total, False)
        yield [answer]


def compile_pipeline(spec: object, scope: Scope) -> Pipeline:
    """Check, compile and optimise a pipeline. Raises InvalidPipeline and its kin."""
    if not isinstance(spec, list):
        raise invalid(14, f"a pipeline is a list of stages, not {shown(spec)} ({type_name(spec)})")
    if len(spec) > PIPELINE_STAGES_MAX:
        raise invalid(
            7749501, f"a pipeline has at most {PIPELINE_STAGES_MAX} stages, not {len(spec)}"
        )
    if scope.depth > PIPELINE_DEPTH_MAX:
        raise invalid(
            232, f"pipelines are nested at most {PIPELINE_DEPTH_MAX} deep; take one level away"
        )
    if scope.collection is None and scope.inside in SOURCELESS and not _is_documents(spec):
        raise invalid(73, "a pipeline without a collection begins with $documents")
    stages: list[Stage] = []
    writer: Writing | None = None
    for at, each in enumerate(spec):
        if writer is not None:
            raise invalid(40601, f"{writer.name} must be the last stage; it is stage {at - 1}")
        name, compiled = _compiled(at, each, scope)
        if name == "$documents" and at:
            raise invalid(40602, f"$documents must be the first stage; it is stage {at}")
        if isinstance(compiled, Writing):
            writer = compiled
        elif isinstance(compiled, list):
            stages += compiled
        else:
            stages.append(compiled)
    return Pipeline(scope.collection, optimised(stages), writer)


def _is_documents(spec: list[Any]) -> bool:
    return bool(spec) and isinstance(spec[0], Mapping) and "$documents" in spec[0]


def _compiled(at: int, spec: object, scope: Scope) -> tuple[str, Stage | list[Stage]]:
    if not isinstance(spec, Mapping):
        raise invalid(14, f"a stage is a document such as {{'$match': ...}}, not {shown(spec)}")
    if len(spec) != 1:
        raise invalid(
            40323, f"stage {at} has {len(spec)} fields ({shown(list(spec))}); a stage has just one"
        )
    name, operand = next(iter(spec.items()))
    if name in REFUSED:
        raise invalid(40324, f"stage {at}: {name} does not exist here: {REFUSED[name]}")
    compiler = STAGES.get(name)
    if compiler is None:
        raise invalid(
            40324, f"stage {at}: unknown stage {name!r}; known are {', '.join(sorted(STAGES))}"
        )
    if scope.inside and name in ("$out", "$merge"):
        code = 40600 if scope.inside == "$facet" else 51047
        raise invalid(code, f"{name} is not allowed inside of {scope.inside}")
    try:
        return name, compiler(operand, scope)
    except RangoError as error:
        error.add_note(f"it is stage {at} ({name}) of the pipeline; nothing has run")
        raise
