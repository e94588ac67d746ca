"""SQLCipher by sqlcipher3: as SQLite here, every page encrypted with AES-256-CBC and an HMAC."""

from __future__ import annotations

from typing import Any

from sqlcipher3 import dbapi2

from asv_benchmarks.benchmarks.workload import KEY
from asv_benchmarks.peers.sqlite_store import SqliteStore


class SqlcipherStore(SqliteStore):
    """A raw key, so that opening stretches none."""

    name = "sqlcipher-json"
    short = "sqlcipher"
    module = "sqlcipher3.dbapi2"

    def connected(self) -> Any:
        connection: Any = dbapi2.connect(
            str(self.folder / "db.sqlite"), isolation_level=None, timeout=30
        )
        connection.execute(f"PRAGMA key = \"x'{KEY.hex()}'\"")
        return connection
