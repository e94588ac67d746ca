"""A store that goes on from a generation: see jump.pyx."""

from collections.abc import Callable
from typing import Any

from rango._ext.store import Store
from rango._ext.view import Generation

def store_jump(
    store: Store, generation: Generation, catalog_of: Callable[[dict[int, int]], Any]
) -> None: ...
