"""The money model of this suite, and threads that report what they raise.

Method      after ZODB's racetest: a model says how to begin, what one step is, and what must hold
            in every snapshot.
"""

from __future__ import annotations

import faulthandler
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from rango.database import Database
from rango.errors import Conflict
from tests.engine_case import present

ACCOUNTS = 24
START = 100
TOTAL = ACCOUNTS * START
HANG_S = 60.0

Step = Callable[[], None]


def together(*works: Step) -> None:
    """Run every function in a thread of its own; the first error of any of them is raised here."""
    errors: list[BaseException] = []

    def guarded(work: Step) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)
            raise

    previous, threading.excepthook = threading.excepthook, lambda _args: None
    try:
        threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + HANG_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            faulthandler.dump_traceback(all_threads=True)
            raise AssertionError(f"a thread hangs; errors so far: {errors}")
    finally:
        threading.excepthook = previous
    if errors:
        raise errors[0]


def begin(db: Database) -> None:
    """Accounts with the same balance, indexed by it."""
    db["accounts"].insert_many([{"_id": at, "balance": START} for at in range(ACCOUNTS)])
    db["accounts"].create_index("balance")


def move(db: Database, chance: random.Random) -> bool:
    """One step: take from one account, give to another, in a transaction; False if it lost."""
    source, target = chance.sample(range(ACCOUNTS), 2)
    amount = chance.randrange(1, 20)
    accounts = db["accounts"]
    try:
        with db.transaction():
            if chance.random() < 0.5:
                accounts.update_one({"_id": source}, {"$inc": {"balance": -amount}})
                accounts.update_one({"_id": target}, {"$inc": {"balance": amount}})
                return True
            before = {
                at: present(accounts.find_one({"_id": at}))["balance"] for at in (source, target)
            }
            accounts.replace_one({"_id": source}, {"balance": before[source] - amount})
            accounts.replace_one({"_id": target}, {"balance": before[target] + amount})
    except Conflict:
        return False
    return True


def mover(db: Database, chance: random.Random, steps: int) -> Step:
    """A writer that goes on until it has made so many steps."""

    def work() -> None:
        done = 0
        while done < steps:
            done += move(db, chance)

    return work


def balances_hold(documents: list[dict[str, Any]]) -> None:
    """The invariant, over the documents of one snapshot."""
    assert len(documents) == ACCOUNTS
    assert {document["_id"] for document in documents} == set(range(ACCOUNTS))
    assert sum(document["balance"] for document in documents) == TOTAL


def ordered(documents: list[dict[str, Any]]) -> None:
    """What an index scan adds: the order of the index."""
    values = [document["balance"] for document in documents]
    assert values == sorted(values)
