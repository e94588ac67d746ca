"""What a change stream has told must outlive a power cut, and so must its tokens.

Invariants  an event that was handed out is a promise as good as a flush: the ledger takes it for
            one. After a crash every token of a commit that is there is one to go on from, and gives
            what was told behind it.
"""

from __future__ import annotations

from typing import Any

from rango.database import Database
from rango.errors import ResumeFailed
from tests.crash.disk import Disk
from tests.crash.engine import EngineSubject
from tests.crash.ledger import Ledger, State
from tests.crash.scribe import Scribe
from tests.crash.simulator import Session


class Watched(EngineSubject):
    """Judges tokens, too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ledger: Ledger | None = None
        self.told: list[tuple[int, dict[str, Any], Any]] = []
        """(number of the commit, token, `_id` of its document)."""
        self.found: State = {}

    def observe(self, database: Database) -> State:
        self.found = super().observe(database)
        return self.found

    def verify(self, database: Database, disk: Disk) -> list[str]:
        findings = super().verify(database, disk)
        ledger = self.ledger
        number = None if ledger is None else ledger.match(self.found, 0, len(ledger.models) - 1)
        if number is None:
            return findings
        told = [each for each in self.told if each[0] <= number]
        for at in {0, len(told) // 2, len(told) - 2, len(told) - 1} & set(range(len(told))):
            try:
                stream = database["a"].watch(resume_after=told[at][1])
            except ResumeFailed as error:
                findings.append(f"the token of commit {told[at][0]} of {number}: {error}")
                continue
            expected = [key for _number, _token, key in told[at + 1 :]]
            rest = [each["documentKey"]["_id"] for each in iter(stream.try_next, None)]
            if rest[: len(expected)] != expected:
                findings.append(f"behind commit {told[at][0]} there is {rest}, not {expected}")
        return findings


def watching(session: Session) -> None:
    """Inserts with durability "memory", and a stream that looks after each of them."""
    subject = session.subject
    assert isinstance(subject, Watched)
    scribe, rng = Scribe(session, is_durable=False), session.rng
    subject.ledger = session.ledger
    # a subject serves many runs, each with a database of its own
    subject.told.clear()
    stream: Any = scribe.database["a"].watch()
    numbers: dict[int, int] = {}

    def look() -> None:
        while (event := stream.try_next()) is not None:
            key = event["documentKey"]["_id"]
            subject.told.append((numbers[key], event["_id"], key))
            # what was told is durable
            session.ledger.acknowledge(numbers[key])

    for n in range(70):
        scribe.insert("a", {"_id": n, "text": "x" * rng.randrange(400)})
        numbers[n] = len(session.ledger.starts)
        look()
        action = rng.randrange(12)
        if action == 0:
            scribe.flush()
        elif action == 1:
            scribe.checkpoint()
        elif action == 2:
            token = stream.resume_token
            stream.close()
            scribe.reopen()
            stream = scribe.database["a"].watch(resume_after=token)
        look()
    scribe.flush()
    look()
    stream.close()
    scribe.verify()
