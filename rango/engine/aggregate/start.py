"""The door of the package: a pipeline and its variables, from what a caller gives.

Invariants  What is compiled is a copy of what was given, as BSON holds it: later changes of the
            caller's dictionaries do not reach it.
Failure     InvalidPipeline, InvalidFilter, InvalidExpression, InvalidDocument, LimitExceeded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rango.engine.aggregate.lookup import let_of
from rango.engine.aggregate.memory import Memory
from rango.engine.aggregate.pipeline import Pipeline, compile_pipeline
from rango.engine.aggregate.spec import invalid
from rango.engine.aggregate.stage import Context, Environment, Scope
from rango.engine.collation import collation_of
from rango.engine.expression.places import provided
from rango.engine.hint import Hint
from rango.engine.values import date_of_ms, normalised, shown
from rango.errors import InvalidDocument

__all__ = ["Context", "Environment", "Memory", "Pipeline", "compiled"]


def compiled(
    collection: str | None,
    pipeline: Sequence[Any],
    *,
    let: object = None,
    collation: object = None,
    hint: Hint | None = None,
    now_ms: int = 0,
    inside: str = "",
) -> tuple[Pipeline, dict[str, Any]]:
    """A pipeline, and the values of its variables for one run. `inside`: what hands it documents,
    if it has no collection.
    """
    try:
        stages = normalised(list(pipeline))
        let = normalised({} if let is None else let)
    except InvalidDocument as error:
        raise invalid(14, f"the pipeline holds what BSON cannot: {error}") from None
    now = date_of_ms(now_ms)
    folding = collation_of(collation)
    variables: dict[str, Any] = {"NOW": now}
    if not isinstance(let, Mapping):
        raise invalid(14, f"let is a document of variables, not {shown(let)}")
    variables |= {
        name: expression.evaluate({}, {"NOW": now})
        for name, expression in let_of(
            let, Scope(collection, compile_pipeline, collation=folding)
        ).items()
    }
    names = frozenset(name for name in variables if name != "NOW")
    scope = Scope(collection, compile_pipeline, names, folding, inside)
    made = compile_pipeline(stages, scope)
    made.source.hint = hint
    return made, provided(variables) if names else variables
