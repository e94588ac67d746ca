"""Figures of an open core, as `db.stats()` shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rango.errors import DatabaseClosed

if TYPE_CHECKING:
    from rango.engine.core import Core


def figures(core: Core) -> dict[str, Any]:
    """Numbers about files, memory and work so far."""
    store = core.store
    appender = store.appender
    return {
        "path": core.path,
        "node_id": core.node_id,
        "encrypted": core.keyring.is_encrypted,
        "crypto_provider": core.keyring.provider.name,
        "read_only": core.is_read_only,
        "durability": core.durability,
        "ordinal": store.head.ordinal,
        "durable": appender.durable if appender is not None else store.head.ordinal,
        "generation": store.head.generation_number,
        "overlay_entries": store.overlay_count,
        "overlay_bytes": store.overlay_bytes,
        "checkpoints": core.checkpoints,
        "commits": core.commits,
        "flushes": appender.flush_count if appender is not None else 0,
        "data_bytes": data_bytes(core),
        "pages": store.pager.stats(),
        "expiry": core.expirer.stats(),
        "findings": list(core.findings),
        "times": {name: histogram.as_dict() for name, histogram in core.times.items()},
    }


def data_bytes(core: Core) -> int:
    """The size of the data file."""
    if core.data_fd < 0:
        return 0
    try:
        return core.vfs.size(core.data_fd)
    except OSError:
        if core.is_closed:
            raise DatabaseClosed("this database was closed; open it again") from None
        raise
