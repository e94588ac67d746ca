"""What compiled writes look at in a core."""

from collections.abc import Callable
from typing import Any

from typing_extensions import disjoint_base

from rango._ext.append_lock import AppendLock

@disjoint_base
class CoreState:
    store: Any
    error: Any
    flusher: Any
    times: dict[str, Any]
    clock: Callable[[], int]
    append_lock: AppendLock
    is_read_only: bool
    commits: int
    overlay_entries_max: int
    overlay_bytes_max: int
