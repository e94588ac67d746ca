"""A workload that packs the history, purges and gives up parts of it, and packs again.

Invariants  I-1: packing changes no answer, wherever it is cut short; the log alone still rebuilds
            everything, through packed segments.
"""

from __future__ import annotations

from typing import Any

from tests.crash.scribe import Scribe
from tests.crash.simulator import Session


def text_of(key: int, size: int) -> dict[str, Any]:
    """A document that compresses as texts do."""
    return {"_id": key, "n": key, "text": f"so it goes, {key} times; " * (size // 24)}


def packings(session: Session) -> None:
    """History is packed, purged, packed again and in part given up, among writes and reopenings."""
    scribe, rng = Scribe(session), session.rng
    for n in range(20):
        scribe.insert("a", text_of(n, rng.choice((60, 500, 9_000, 80_000))))
    scribe.create_index("a", "n")
    assert scribe.compact("all")["packed"]
    scribe.verify()
    for n in range(20, 26):
        scribe.insert("a", text_of(n, rng.choice((100, 3_000))))
        scribe.update("a", rng.choice(scribe.ids("a")), {"n": -n})
    middle = scribe.database.stats()["ordinal"]
    scribe.delete("a", [5])
    scribe.purge("a", [6])
    scribe.insert("b", text_of(1, 9_000))
    assert scribe.compact("all")["packed"]
    scribe.reopen()
    scribe.insert("a", text_of(40, 60))
    scribe.compact(middle)
    scribe.verify()
    scribe.purge("a", [7, 40])
    scribe.update("b", 1, {"n": -1})
    scribe.compact("all")
    scribe.verify()
