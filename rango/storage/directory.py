"""The directory of a database as a whole: removing one that is nobody's yet, or nobody's any more.

Terms       half: a directory in which a database is being made; it has no order or name yet.
Invariants  Only `oplog` is below it; what else is there are files. Nothing outside is touched.
Failure     OSError of the disk passes through; what is left can be removed again.
Sources     storage/segment.py (names); ADR-0024.
"""

from __future__ import annotations

import os
from typing import Final

from rango._ext.vfs import Vfs

LOG: Final = "oplog"
"""The directory of the segments, below that of the database."""


def remove_tree(vfs: Vfs, folder: str, *, is_durable: bool = True) -> None:
    """Remove a directory of database files; nothing happens if there is none."""
    if not vfs.exists(folder):
        return
    for place in (os.path.join(folder, LOG), folder):
        if not vfs.exists(place):
            continue
        for name in vfs.list_directory(place):
            vfs.remove(os.path.join(place, name))
        if is_durable:
            vfs.flush_directory(place)
        vfs.remove(place)
        if is_durable:
            vfs.flush_directory(os.path.dirname(place))
