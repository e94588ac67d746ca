"""Updates of documents: compile_update checks one, once; its `apply` changes many documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rango.engine.update.compiled import KNOWN, PlainSet, Update, compile_operators
from rango.engine.update.refusal import FAILED_TO_PARSE, IMMUTABLE_FIELD, refusal
from rango.engine.update.tree import ARRAY_PADDING_COUNT_MAX
from rango.engine.values import shown

if TYPE_CHECKING:
    from rango.engine.update.pipeline import PipelineUpdate

__all__ = [
    "ARRAY_PADDING_COUNT_MAX",
    "IMMUTABLE_FIELD",
    "KNOWN",
    "Update",
    "apply_update",
    "compile_update",
    "refusal",
]


def apply_update(document: dict[str, Any], update: Any) -> dict[str, Any]:
    """compile_update(update).apply(document)."""
    return compile_update(update).apply(document)


def compile_update(
    update: object,
    *,
    array_filters: object = None,
    variables: Mapping[str, Any] | None = None,
    collation: Any = None,
) -> Update | PlainSet | PipelineUpdate:
    """Check an update: a mapping of operators, or a pipeline.

    InvalidUpdate names the operator or path that is not understood.
    """
    if update and (type(update) is dict or isinstance(update, Mapping)):
        return compile_operators(update, array_filters=array_filters, collation=collation)
    if isinstance(update, list | tuple) and update:
        # loaded at its first use: most updates need no expressions
        from rango.engine.update.pipeline import compile_pipeline

        return compile_pipeline(
            update, array_filters=array_filters, variables=variables, collation=collation
        )
    if isinstance(update, Mapping | list | tuple):
        raise refusal(
            FAILED_TO_PARSE, "an update is empty; name at least one operator, such as $set"
        )
    raise refusal(
        FAILED_TO_PARSE,
        "an update is a mapping of operators or a list of stages, "
        f"not {type(update).__name__}: {shown(update)}",
    )
