"""Counters of one open database, by operation. `db.stats()["operations"]` shows them.

They are plain integers without a lock: threads that count at the same instant may lose a count,
which is the price of costing a point read next to nothing. They start at zero when the database is
opened and are not stored.
"""

from __future__ import annotations


class Metrics:
    """How many operations this handle has done."""

    __slots__ = (
        "conflicts",
        "deletes",
        "inserts",
        "queries",
        "transactions",
        "transactions_aborted",
        "updates",
    )

    def __init__(self) -> None:
        self.inserts = 0  # documents inserted, upserts included
        self.updates = 0  # documents changed by update_* and replace_one
        self.deletes = 0  # documents deleted
        self.queries = (
            0  # cursors started, counts and distincts; point reads by _id are not counted
        )
        self.transactions = 0  # db.transaction() blocks committed
        self.transactions_aborted = 0  # db.transaction() blocks that ended without a commit
        self.conflicts = 0  # transactions refused with Conflict

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""
        return {name: getattr(self, name) for name in self.__slots__}
