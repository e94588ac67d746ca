"""Rollbacks through crashes: all of one is there, or nothing; an index that was lost comes after.

Invariants  I-1: the earlier documents, collections and indexes come back in one commit. Only an
            index that a collection has lost is built behind it, in commits of its own, as
            create_index does.
"""

from __future__ import annotations

from tests.crash.ledger import State
from tests.crash.pasts import change
from tests.crash.scribe import Changes, Scribe, gone
from tests.crash.simulator import Session


def roll_back(scribe: Scribe, ordinal: int, then: State) -> None:
    """Go back to the state `then`, which was there as of the commit `ordinal`."""
    now = scribe.ledger.now
    changes: Changes = {key: None for key in now.keys() - then.keys()}
    changes |= {key: value for key, value in then.items() if now.get(key) != value}
    # those of a collection that comes back are made with it
    late = {
        key: changes.pop(key)
        for key in [*changes]
        if key[0] == "#index" and changes[key] is not None and ("#collection", key[1]) in now
    }
    if changes:
        scribe.ledger.attempt(changes)
    for key, value in late.items():
        # one commit announces it, some fill it, one makes it ready
        scribe.ledger.attempt({})
        scribe.ledger.attempt({key: value})
    scribe.database.rollback(to=ordinal)
    if changes or late:
        scribe.acknowledge()


def rollbacks(session: Session) -> None:
    """Far and near rollbacks, and rollbacks of rollbacks, among changes, drops, indexes,
    checkpoints and reopenings.
    """
    from tests.crash.workloads import document

    scribe, rng = Scribe(session), session.rng
    marks: list[tuple[int, State]] = []
    for n in range(40):
        action = rng.randrange(9)
        keys = scribe.ids("a")
        if action < 5 or len(keys) < 4:
            change(scribe, rng, n, action)
        elif action == 5:
            scribe.transaction({("a", rng.choice(keys)): None, ("b", n): document(rng, n, 300)})
        elif action == 6 and ("#index", "a", "n_1") in scribe.ledger.now:
            scribe.drop_index("a", "n_1")
        elif action == 6:
            scribe.create_index("a", "n")
        elif action == 7 and gone(scribe.ledger.now, "b"):
            scribe.drop("b")
        else:
            scribe.drop("a")
        marks.append((scribe.database._handle.core.view().ordinal, scribe.ledger.now))
        if n % 4 == 3:
            roll_back(scribe, *rng.choice(marks))
            scribe.verify()
        if n % 5 == 2:
            scribe.checkpoint()
        if n % 11 == 10:
            scribe.reopen()
    scribe.verify()
