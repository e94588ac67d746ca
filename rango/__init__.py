"""Rango: a durable, encrypted document store that lives inside your program.

    import rango
    with rango.open("./my-data", passphrase="correct horse") as db:
        rid = db["memory"].insert_one({"kind": "summary"}).inserted_id
        db["memory"].find_one(rid)

The names below are all there is to know; the rest is found from a Database. They load at their
first use, so that `import rango` alone costs a command-line tool next to nothing.
"""

from __future__ import annotations

# not typing's: it alone takes as long to load as the interpreter to start
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from rango import aio as aio
    from rango import doctor as doctor
    from rango import errors as errors
    from rango import extended_json as extended_json
    from rango import transfer as transfer
    from rango.bulk import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
    from rango.cancel import CancelScope, cancel_scope
    from rango.collection import Collection
    from rango.cursor import Cursor
    from rango.database import Database, connect, open
    from rango.errors import RangoError
    from rango.indexes import IndexModel
    from rango.keys import rekey
    from rango.log import read_log
    from rango.proof import Anchor, read_anchor, verify
    from rango.rescue import replay, restore, salvage, verify_backup
    from rango.results import ReturnDocument
    from rango.snapshot import Snapshot
    from rango.watch import ChangeStream

__version__: Final = "0.1.0"

ASCENDING: Final = 1
"""The direction of a sort or an index that rises."""
DESCENDING: Final = -1
"""The direction of a sort or an index that falls."""

__all__ = [
    "ASCENDING",
    "DESCENDING",
    "Anchor",
    "CancelScope",
    "ChangeStream",
    "Collection",
    "Cursor",
    "Database",
    "DeleteMany",
    "DeleteOne",
    "IndexModel",
    "InsertOne",
    "RangoError",
    "ReplaceOne",
    "ReturnDocument",
    "Snapshot",
    "UpdateMany",
    "UpdateOne",
    "__version__",
    "aio",
    "cancel_scope",
    "connect",
    "doctor",
    "errors",
    "extended_json",
    "open",
    "read_anchor",
    "read_log",
    "rekey",
    "replay",
    "restore",
    "salvage",
    "transfer",
    "verify",
    "verify_backup",
]

_PLACES: Final = {
    "Anchor": "rango.proof",
    "CancelScope": "rango.cancel",
    "ChangeStream": "rango.watch",
    "Collection": "rango.collection",
    "Cursor": "rango.cursor",
    "Database": "rango.database",
    "DeleteMany": "rango.bulk",
    "DeleteOne": "rango.bulk",
    "InsertOne": "rango.bulk",
    "IndexModel": "rango.indexes",
    "RangoError": "rango.errors",
    "ReplaceOne": "rango.bulk",
    "ReturnDocument": "rango.results",
    "Snapshot": "rango.snapshot",
    "UpdateMany": "rango.bulk",
    "UpdateOne": "rango.bulk",
    "cancel_scope": "rango.cancel",
    "connect": "rango.database",
    "open": "rango.database",
    "read_anchor": "rango.proof",
    "read_log": "rango.log",
    "rekey": "rango.keys",
    "replay": "rango.rescue",
    "restore": "rango.rescue",
    "salvage": "rango.rescue",
    "verify": "rango.proof",
    "verify_backup": "rango.rescue",
}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use (PEP 562)."""
    from importlib import import_module

    if name in {"aio", "doctor", "errors", "extended_json", "transfer"}:
        return import_module(f"rango.{name}")
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'rango' has no attribute {name!r}")
    value = getattr(import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
