"""Rango for asyncio: the same names, awaited.

    async with await rango.aio.open("./my-data") as db:
        await db["memory"].insert_one({"kind": "summary"})
        async for document in db["memory"].find({"kind": "summary"}):
            ...

Loaded at its first use: `import rango` alone does not load asyncio. docs/howto/asyncio.md has more.
"""

from __future__ import annotations

from rango.aio.collection import AsyncCollection
from rango.aio.cursor import AsyncCommandCursor, AsyncCursor
from rango.aio.database import AsyncDatabase, connect, open, rekey, verify
from rango.aio.offload import outcome_of
from rango.aio.snapshot import AsyncSnapshot
from rango.aio.transaction import AsyncTransaction
from rango.aio.watch import AsyncChangeStream

__all__ = [
    "AsyncChangeStream",
    "AsyncCollection",
    "AsyncCommandCursor",
    "AsyncCursor",
    "AsyncDatabase",
    "AsyncSnapshot",
    "AsyncTransaction",
    "connect",
    "open",
    "outcome_of",
    "rekey",
    "verify",
]
