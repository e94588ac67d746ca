"""Finds whose plan is known, each in one call from Python."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, final

from rango._ext.collection_info import CollectionInfo
from rango._ext.core_state import CoreState
from rango._ext.filter import Program
from rango._ext.points import Points
from rango._ext.scan import Scan
from rango._ext.stop import Stop
from rango.metrics import Metrics

@final
class Prepared: ...

@final
class Unprepared:
    @property
    def by_path(self) -> bool: ...
    @property
    def filter(self) -> dict[str, Any] | bytes: ...
    @property
    def sort(self) -> Any: ...
    @property
    def has_limit(self) -> bool: ...
    @property
    def projection(self) -> dict[str, Any] | None: ...
    def refuse(self, catalog: object) -> None: ...
    def prepare(
        self,
        catalog: object,
        info: CollectionInfo,
        marks: tuple[int, ...],
        *,
        index_tree: int,
        intervals: Sequence[tuple[Any, ...]] | Points,
        reverse: bool,
        is_unique: bool,
        program: Program | None,
        names: frozenset[str] | None,
        is_kept: bool,
    ) -> None: ...

@final
class PreparedFinds:
    def __init__(
        self,
        core: CoreState,
        metrics: Metrics,
        *,
        transactions: ContextVar[Any],
        scope: ContextVar[Any],
        plain: frozenset[type],
    ) -> None: ...
    def find(
        self, name: str, filter: object, projection: object, options: Mapping[str, object]
    ) -> list[dict[str, Any]] | Unprepared | None: ...
    def scan(
        self, name: str, filter: object, options: Mapping[str, object], stop: Stop | None
    ) -> Scan | Unprepared | None: ...
