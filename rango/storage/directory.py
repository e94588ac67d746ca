"""The directory of a database as a whole: removing one that is nobody's yet, or nobody's any more.

Terms       half: a directory in which a database is being made; it has no order or name yet.
Invariants  Only `oplog` is below it; what else is there are files. Nothing outside is touched: a
            link in the place of a directory is not followed.
Failure     OSError of the disk passes through; what is left can be removed again. A link there:
            Corrupted.
Sources     storage/segment.py (names); ADR-0024.
"""

from __future__ import annotations

import os
from typing import Final

from rango._ext.vfs import Vfs
from rango.errors import Corrupted

LOG: Final = "oplog"
"""The directory of the segments, below that of the database."""


def refuse_link(folder: str) -> None:
    """Raise Corrupted if somebody put a link where Rango makes a directory."""
    if os.path.islink(folder):
        raise Corrupted(folder, "this is a link where Rango makes a directory; remove the link")


def remove_tree(vfs: Vfs, folder: str, *, is_durable: bool = True) -> None:
    """Remove a directory of database files; nothing happens if there is none."""
    places = (os.path.join(folder, LOG), folder)
    for place in reversed(places):
        refuse_link(place)
    if not vfs.exists(folder):
        return
    for place in places:
        if not vfs.exists(place):
            continue
        for name in vfs.list_directory(place):
            vfs.remove(os.path.join(place, name))
        if is_durable:
            vfs.flush_directory(place)
        vfs.remove(place)
        if is_durable:
            vfs.flush_directory(os.path.dirname(place))
