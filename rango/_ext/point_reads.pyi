"""The read of one document by its `_id`, in one call from Python."""

from contextvars import ContextVar
from typing import Any, final

from rango._ext.core_state import CoreState

@final
class PointReads:
    def __init__(
        self, core: CoreState, transactions: ContextVar[Any], id_types: frozenset[type]
    ) -> None: ...
    def find(self, name: str, filter: object) -> Any: ...
