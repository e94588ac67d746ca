"""Updates by a pipeline: stages whose result takes the place of the document.

Terms       stage: a function from a document and variables to another document.
Invariants  The document that is given is never changed. `_id` stays: it comes back, in front, if a
            stage took it away, and no stage can change it. `$$NOW` is one time for all documents.
Failure     InvalidUpdate names the stage that cannot be in an update, InvalidPipeline and
            InvalidExpression what is wrong in one; ExpressionFailed passes through. The document is
            as it was.
Sources     MongoDB manual, "Updates with Aggregation Pipeline".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rango.engine.aggregate.fields import additions_of, exclusion_of, projection_of
from rango.engine.aggregate.spec import expression_of
from rango.engine.expression.places import provided
from rango.engine.update.compiled import keep_id
from rango.engine.update.paths import RESERVED
from rango.engine.update.refusal import BAD_VALUE, FAILED_TO_PARSE, INVALID_OPTIONS, refusal
from rango.engine.values import MISSING, shown

Document = dict[str, Any]
Stage = Callable[[Document, dict[str, Any]], Document]

STAGES: Final = ("$addFields", "$set", "$project", "$unset", "$replaceRoot", "$replaceWith")
NO_DOCUMENT: Final = 40228
UNKNOWN_STAGE: Final = 40323
NO_NEW_ROOT: Final = 40231
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class PipelineUpdate:
    """A checked update by a pipeline."""

    __slots__ = ("_let", "_stages", "needs_position")

    def __init__(self, stages: list[Stage], let: dict[str, Any]) -> None:
        self._stages = stages
        self._let = provided(let) if let else let
        self.needs_position = False

    def apply(
        self,
        document: Document,
        *,
        position: int | None = None,  # noqa: ARG002 - the arguments of Update.apply
        is_insert: bool = False,
        now_ms: Callable[[], int] | None = None,
    ) -> Document:
        """The changed document; may be another object although nothing changed."""
        variables = self._let
        if now_ms is not None:
            variables = {**variables, "NOW": _EPOCH + timedelta(milliseconds=now_ms())}
        changed = document
        for stage in self._stages:
            changed = stage(changed, variables)
        if changed is document:
            return document
        if not RESERVED.isdisjoint(changed):
            name = min(RESERVED.intersection(changed))
            raise refusal(BAD_VALUE, f"{name!r} is kept by Rango and cannot be updated")
        if "_id" not in changed and "_id" in document:
            return {"_id": document["_id"], **changed}
        return keep_id(document, dict(changed), may_be_new=is_insert)


@dataclass(frozen=True, slots=True)
class _Known:
    """What its expressions may use; see aggregate/spec.py."""

    variables: frozenset[str]
    collation: Any


def compile_pipeline(
    pipeline: Sequence[Any],
    *,
    array_filters: object = None,
    variables: Mapping[str, Any] | None = None,
    collation: Any = None,
) -> PipelineUpdate:
    """Check an update that is a pipeline; `variables` are the values of `let`."""
    if array_filters:
        raise refusal(
            FAILED_TO_PARSE, "array_filters cannot be given with a pipeline; use $map and $cond"
        )
    values = dict(variables or {})
    known = _Known(frozenset(values), collation)
    return PipelineUpdate([_stage(stage, known) for stage in pipeline], values)


def _stage(stage: Any, known: _Known) -> Stage:
    if not isinstance(stage, Mapping) or len(stage) != 1:
        raise refusal(
            UNKNOWN_STAGE, f"a stage of a pipeline is a mapping with one field, not {shown(stage)}"
        )
    ((name, spec),) = stage.items()
    if name not in STAGES:
        raise refusal(
            INVALID_OPTIONS, f"{shown(name)} cannot be in an update; use {', '.join(STAGES)}"
        )
    if name in ("$addFields", "$set"):
        return additions_of(name, spec, known).build
    if name == "$project":
        return projection_of(name, spec, known).build
    if name == "$unset":
        return exclusion_of(name, spec).build
    if name == "$replaceRoot":
        if not isinstance(spec, Mapping) or list(spec) != ["newRoot"]:
            raise refusal(
                NO_NEW_ROOT, f"$replaceRoot needs {{'newRoot': an expression}}, not {shown(spec)}"
            )
        spec = spec["newRoot"]
    return _replacing(name, spec, known)


def _replacing(name: str, spec: Any, known: _Known) -> Stage:
    expression = expression_of(spec, known)

    def stage(document: Document, variables: dict[str, Any]) -> Document:
        value = expression.evaluate(document, variables)
        if not isinstance(value, dict):
            found = "nothing" if value is MISSING else shown(value)
            raise refusal(
                NO_DOCUMENT, f"{name}: a document has to come out of {shown(spec)}, not {found}"
            )
        return value

    return stage
