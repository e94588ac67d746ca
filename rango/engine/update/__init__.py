"""Updates of documents: compile_update checks one, once; its `apply` changes many documents."""

from rango.engine.update.compiled import (
    ARRAY_PADDING_COUNT_MAX,
    Update,
    apply_update,
    compile_update,
)

__all__ = ["ARRAY_PADDING_COUNT_MAX", "Update", "apply_update", "compile_update"]
