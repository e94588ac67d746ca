"""The read of one document by its `_id`, in one call from Python."""

from contextvars import ContextVar
from typing import Any, final

from typing_extensions import disjoint_base

from rango._ext.core_state import CoreState

@final
class PointReads:
    def __init__(
        self, core: CoreState, transactions: ContextVar[Any], id_types: frozenset[type]
    ) -> None: ...
    def find(self, name: str, filter: object) -> Any: ...
    def close(self) -> None: ...

@disjoint_base
class PointReader:
    _handle: Any
    _name: str
    def __init__(self, handle: Any, name: str) -> None: ...
    def find_one(self, filter: Any = None, projection: Any = None, **options: Any) -> Any: ...
