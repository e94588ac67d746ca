"""Counters and times of one open database. `db.stats()` shows them, rango.exporters exports them.

Terms       histogram: how many operations took how long; its buckets are powers of two of 1.024
            microseconds.
Invariants  Plain integers without a lock: threads that count at the same instant may lose a count,
            which is the price of costing next to nothing. They start at zero when the database is
            opened and are not stored. A point read by `_id` is neither counted nor timed. One
            insert_one in INSERT_SAMPLE is timed, and one find in FIND_SAMPLE, and then counts for
            as many in the times; all of them are if what is slow is logged.
"""

from __future__ import annotations

from typing import Final

from rango._ext.histogram import Histogram

INSERT_SAMPLE: Final = 64
"""Looks at the clock would be a part of an insert's price."""

FIND_SAMPLE: Final = 8
"""The same for a find, which takes longer."""

OPERATIONS: Final = (
    "find",
    "count",
    "distinct",
    "aggregate",
    "insert",
    "update",
    "delete",
    "bulk_write",
)
"""What a handle times."""

NEVER: Final = 1 << 63
"""Nanoseconds: no operation is so slow."""


class Metrics:
    """How many operations this handle has done, and how long they took."""

    COUNTERS: Final = (
        "conflicts",
        "deletes",
        "inserts",
        "queries",
        "transactions",
        "transactions_aborted",
        "updates",
    )
    __slots__ = (*COUNTERS, "find_sample", "insert_sample", "slow_ns", "times")

    def __init__(self, slow_ns: int = NEVER) -> None:
        self.inserts = 0  # documents inserted, upserts included
        self.updates = 0  # documents changed by update_* and replace_one
        self.deletes = 0  # documents deleted
        self.queries = (
            0  # cursors started, counts and distincts; point reads by _id are not counted
        )
        self.transactions = 0  # db.transaction() blocks committed
        self.transactions_aborted = 0  # db.transaction() blocks that ended without a commit
        self.conflicts = 0  # transactions refused with Conflict
        self.times = {name: Histogram() for name in OPERATIONS}
        self.find_sample = FIND_SAMPLE if slow_ns == NEVER else 1
        self.insert_sample = INSERT_SAMPLE if slow_ns == NEVER else 1
        self.slow_ns = slow_ns  # from when on an operation is logged as slow

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""
        return {name: getattr(self, name) for name in self.COUNTERS}
