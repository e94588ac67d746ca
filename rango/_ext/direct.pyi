"""Writes of one document, each in one call from Python."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, final

from rango._ext.core_state import CoreState
from rango._ext.point_reads import PointReader
from rango.metrics import Metrics

@final
class DirectWrites:
    def __init__(
        self,
        core: CoreState,
        metrics: Metrics,
        actor: bytes,
        *,
        catch_up: Callable[[Any], None],
        transactions: ContextVar[Any],
        scope: ContextVar[Any],
        reserved: tuple[str, ...],
        id_types: frozenset[type],
        calm_entries: int,
        calm_bytes: int,
        waits: bool,
        inserted: Callable[[Any], Any],
        updated: tuple[Any, ...],
        deleted: tuple[Any, ...],
    ) -> None: ...
    def insert(self, name: str, document: object) -> Any: ...
    def insert_bson(self, name: str, bson: bytes) -> bool: ...
    def update(self, name: str, filter: object, update: object) -> int: ...
    def delete(self, name: str, filter: object) -> int: ...

class DirectWriter(PointReader):
    def insert_one(
        self,
        document: Any,
        bypass_document_validation: object = None,
        *,
        comment: object = None,
        session: None = None,
    ) -> Any: ...
    def update_one(
        self,
        filter: Any,
        update: Any,
        upsert: bool = False,
        bypass_document_validation: object = None,
        *,
        array_filters: Any = None,
        collation: object = None,
        hint: object = None,
        let: Any = None,
        sort: Any = None,
        max_time_ms: int | None = None,
        comment: object = None,
        session: None = None,
    ) -> Any: ...
    def delete_one(
        self,
        filter: Any,
        collation: object = None,
        hint: object = None,
        *,
        let: Any = None,
        max_time_ms: int | None = None,
        comment: object = None,
        session: None = None,
    ) -> Any: ...
