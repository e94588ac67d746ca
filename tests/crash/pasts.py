"""Named snapshots through crashes: what a name shows is what was there when it was given.

Terms       state: that of engine.py, and ("#past", name) -> all documents as of the name's commit.
Invariants  I-1, I-16: a name is there with the commit that it stands for, or not at all; what it
            shows never changes, whatever is written, checkpointed, rebuilt or cut off afterwards.
"""

from __future__ import annotations

from random import Random

from rango.database import Database
from rango.engine.moment import Moment
from rango.engine.past import view_at
from tests.crash.engine import EngineSubject
from tests.crash.ledger import State
from tests.crash.scribe import Scribe
from tests.crash.simulator import Session


class Pasts(EngineSubject):
    """A database that is asked for every past that has a name."""

    def observe(self, database: Database) -> State:
        state = super().observe(database)
        core = database._handle.core
        for each in database.snapshots():
            view = view_at(core, core.view(), Moment(name=each["name"]))
            documents: State = {}
            for name, info in view.catalog.collections.items():
                if not name.startswith("system."):
                    scan = view.scan(info.tree_id, None, None, False, None)
                    while found := scan.next_documents(1000):
                        documents.update({(name, each["_id"]): each for each in found})
                    assert view.count(info.tree_id) == sum(key[0] == name for key in documents)
            state["#past", each["name"]] = documents
        return state


def name_now(scribe: Scribe, name: str) -> None:
    """Give a name to what is there."""
    documents = {key: value for key, value in scribe.ledger.now.items() if key[0][0] != "#"}
    scribe.ledger.attempt({("#past", name): documents})
    scribe.database.create_snapshot(name)
    scribe.acknowledge()


def forget_name(scribe: Scribe, name: str) -> None:
    """Take a name back."""
    scribe.ledger.attempt({("#past", name): None})
    scribe.database.drop_snapshot(name)
    scribe.acknowledge()


def change(scribe: Scribe, rng: Random, n: int, action: int) -> None:
    """Below 3, or with few documents: some more. 3: some fewer. 4: one changed."""
    from tests.crash.workloads import document

    keys = scribe.ids("a")
    if action < 3 or len(keys) < 4:
        scribe.insert_many("a", [document(rng, f"{n}-{m}", 150) for m in range(4)])
    elif action == 3:
        scribe.delete("a", rng.sample(keys, 3))
    else:
        scribe.update("a", rng.choice(keys), {"n": n})


def pasts(session: Session) -> None:
    """Names given and taken back among changes, drops, checkpoints and reopenings."""
    from tests.crash.workloads import document

    scribe, rng = Scribe(session), session.rng
    names: list[str] = []
    for n in range(36):
        action = rng.randrange(8)
        keys = scribe.ids("a")
        if action < 5 or len(keys) < 4:
            change(scribe, rng, n, action)
        elif action == 5 and names:
            forget_name(scribe, names.pop(rng.randrange(len(names))))
        elif action == 6:
            scribe.insert("b", document(rng, n, 300))
        else:
            scribe.drop("a")
        if n % 3 == 1:
            names.append(f"name-{n}")
            name_now(scribe, names[-1])
        if n % 5 == 2:
            scribe.checkpoint()
        if n % 11 == 10:
            scribe.reopen()
    scribe.verify()
