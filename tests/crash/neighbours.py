"""Several users of one database on a simulated disk, as several processes are: power cuts and I/O
errors while they write, checkpoint, come, go and die beside each other.

Terms       neighbour: one user, with a core, descriptors and a place in the table of its own; all
            share the words that stand for the mapped lock file. Crowd: all neighbours, behaving as
            one database whose statements are carried out by one of them after the other.
Invariants  I-16, I-17, I-18: whoever carried a statement out, what was acknowledged survives, and
            each neighbour sees what all the others did.
Sources     architecture section 3.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from rango.database import Database
from rango.engine.core import _cores
from tests.crash.disk import Disk
from tests.crash.engine import EngineSubject
from tests.crash.scribe import Scribe
from tests.crash.simulator import Session


class Crowd:
    """Neighbours that take turns. What is asked of the crowd, the next one is asked."""

    def __init__(self, join: Callable[[], Database], count: int, seed: int) -> None:
        self.join = join
        self.random = random.Random(seed)
        self.members: list[Database] = []
        try:
            for _ in range(count):
                self.members.append(join())
        except BaseException:
            self.close()
            raise

    @property
    def turn(self) -> Database:
        """Whose turn it is."""
        return self.random.choice(self.members)

    def __getitem__(self, name: str) -> Any:
        return self.turn[name]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.turn, name)

    def swap(self) -> None:
        """One goes as it should, and another one comes."""
        self.members.pop(self.random.randrange(len(self.members))).close()
        self.members.append(self.join())

    def lose(self) -> None:
        """One dies where it stands: its descriptors go, the words stay as they are."""
        lost = self.members.pop(self.random.randrange(len(self.members)))
        core = lost._handle.core
        core.is_closed = True
        _cores.pop(core.key, None)
        core.store.appender.close()
        core.store.pager.close()
        core.follower.close()
        core.vfs.close(core.lock._fd)
        core.lock._fd = -1
        self.members.append(self.join())

    def close(self) -> None:
        """Everybody goes, in any order; all are closed whatever the first ones raise."""
        self.random.shuffle(self.members)
        failed: Exception | None = None
        while self.members:
            try:
                self.members.pop().close()
            except EngineSubject.failures as error:
                failed = error
        if failed is not None:
            raise failed


class Neighbours(EngineSubject):
    """A database that three users have open."""

    def __init__(self, *, count: int = 3, **bounds: Any) -> None:
        super().__init__(**bounds)
        self.count = count
        self.opened = 0

    def open(self, disk: Disk) -> Any:
        disk.is_shared = True
        self.opened += 1
        return Crowd(lambda: super(Neighbours, self).open(disk), self.count, self.opened)


def neighbours(session: Session) -> None:
    """Anything, carried out by anybody; one comes and goes, one dies."""
    scribe, rng = Scribe(session), session.rng
    for n in range(60):
        turn(scribe, rng, n)
    scribe.verify()
    scribe.reopen()
    scribe.verify()


def neighbours_in_memory(session: Session) -> None:
    """The same with durability "memory": a flush by one of them covers what the others did."""
    scribe, rng = Scribe(session, is_durable=False), session.rng
    for n in range(60):
        turn(scribe, rng, n)
        if n % 9 == 8:
            scribe.flush()
    scribe.verify()


def turn(scribe: Scribe, rng: random.Random, n: int) -> None:
    """One statement, or one of what only happens among neighbours."""
    crowd: Any = scribe.database
    keys = scribe.ids("a")
    action = rng.randrange(12)
    if action < 6 or len(keys) < 4:
        text = "".join(rng.choices("abcdef", k=rng.choice((20, 300, 3_000))))
        scribe.insert("a", {"_id": n, "n": rng.randrange(9), "text": text})
    elif action == 6:
        scribe.update("a", rng.choice(keys), {"n": n})
    elif action == 7:
        wanted: dict[Any, Any] = {("a", keys[0]): None}
        wanted |= {("b", 10 * n + i): {"_id": 10 * n + i, "n": n} for i in range(3)}
        scribe.ledger.attempt(wanted | {("#collection", "b"): True})
        member = crowd.turn
        with member.transaction():
            member["a"].delete_one({"_id": keys[0]})
            member["b"].insert_many([each for each in wanted.values() if each is not None])
        scribe.acknowledge()
    elif action == 8:
        scribe.checkpoint()
    elif action == 9 and ("#index", "a", "n_1") not in scribe.ledger.now:
        scribe.create_index("a", "n")
    elif action == 10:
        crowd.swap()
    else:
        crowd.lose()
