"""Which stores there are; each is imported only when it is asked for."""

from __future__ import annotations

import importlib
from typing import Final

from asv_benchmarks.peers.store import Store

STORES: Final = {
    "rango": ("rango_store", "RangoStore"),
    "lmdb": ("lmdb_store", "LmdbStore"),
    "sqlite": ("sqlite_store", "SqliteStore"),
    "sqlcipher": ("sqlcipher_store", "SqlcipherStore"),
    "plyvel": ("key_value_stores", "PlyvelStore"),
    "rocksdict": ("key_value_stores", "RocksdictStore"),
    "apsw": ("apsw_store", "ApswStore"),
    "mongomock": ("document_stores", "MongomockStore"),
    "montydb": ("document_stores", "MontyStore"),
    "tinydb": ("tiny_store", "TinyStore"),
    "floor-log": ("floors", "LogFloor"),
    "floor-dict": ("floors", "DictFloor"),
}


def store_class(short: str) -> type[Store]:
    """The class behind a short name."""
    module, name = STORES[short]
    found: type[Store] = getattr(importlib.import_module(f"asv_benchmarks.peers.{module}"), name)
    return found
