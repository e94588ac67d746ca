"""Taking over a few foreign commits in one compiled call: see near.pyx."""

from types import TracebackType
from typing import final

from rango._ext.segment_scan import Scanner
from rango._ext.store import Store

@final
class Near:
    @property
    def count(self) -> int: ...
    def __enter__(self) -> Near: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def serve(self, store: Store) -> None: ...
    def approach(self, scanner: Scanner | None, keys: int) -> None: ...
    def read_all(self, store: Store, keys: int) -> bool: ...

def follow_commit(store: Store, body: bytes, first_ordinal: int, ordinal: int) -> None: ...
