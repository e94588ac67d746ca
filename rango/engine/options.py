"""How a database is opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from rango._ext.seal import Entropy
from rango._ext.vfs import Vfs
from rango.storage.keyring import Secret


class OpenOptions(NamedTuple):
    """What `rango.open` was asked for, checked.

    Clock, entropy and ids are the only sources of their kind (I-12).
    """

    path: str
    secret: Secret | None
    node_id: str | None
    durability: str
    group_delay_ms: int
    read_only: bool
    create: bool
    cache_size: int
    clock: Callable[[], int]
    entropy: Entropy
    ids: Callable[[], Any]
    vfs: Vfs
    ttl_interval_s: float = 0
    segment_size_max: int = 0
    overlay_entries_max: int = 0
    overlay_bytes_max: int = 0
    root_gap: int = 0
    """Bytes of log between two kept roots, at the least (engine/kept.py)."""
    page_size: int = 0
    cache_is_given: bool = True
    """False: a size that the database itself was given (engine/settings.py) counts instead."""


def identity(options: OpenOptions) -> object:
    """What tells one database directory from another inside this process."""
    try:
        status = os.stat(options.path)
    except OSError:
        return (id(options.vfs), os.path.abspath(options.path))
    return (id(options.vfs), status.st_dev, status.st_ino)
