"""The documents that every benchmark works on: n of them, the same for the same seed.

About 380 bytes each as BSON. One agent has about 50 of them; `importance` is uniform, so that
`>= 0.99` is 1 % and `>= 0.8` is 20 %; `_id`s and dates rise with their number.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any, Final

Document = dict[str, Any]

KEY: Final = bytes(range(32))
COLLECTION: Final = "agent_memory"
START: Final = datetime(2025, 1, 1, tzinfo=UTC)
ID_FIRST: Final = 0x65000000
CONTENT_SIZE: Final = 150
DOCUMENTS_PER_AGENT: Final = 50
BATCH_SIZE_MAX: Final = 1000
KINDS: Final = ("fact", "plan", "note", "event", "summary")
WORDS: Final = (
    "agent", "answer", "budget", "calendar", "context", "customer", "decision", "deploy",
    "email", "error", "failure", "invoice", "meeting", "memory", "message", "planner",
    "preference", "project", "question", "release", "retry", "schedule", "summary", "ticket",
    "window",
)  # fmt: skip


class Workload:
    """`count` documents, and as many fresh ones after them as anybody asks for."""

    def __init__(self, count: int, seed: int = 1) -> None:
        self.count = count
        self.agents = max(1, count // DOCUMENTS_PER_AGENT)
        self.batch_size = min(BATCH_SIZE_MAX, max(1, count // 5))
        self._random = random.Random(seed)
        self._made = 0
        self.documents = self.take(count)
        self.ids: list[str] = [document["_id"] for document in self.documents]

    def take(self, count: int) -> list[Document]:
        """The next `count` documents."""
        return [self._document() for _ in range(count)]

    def sample_ids(self, count: int, seed: int) -> list[str]:
        """`count` of the first documents' _ids, at random, perhaps several times the same."""
        return random.Random(seed).choices(self.ids, k=count)

    def sample_agents(self, count: int, seed: int) -> list[str]:
        """`count` agents at random."""
        chance = random.Random(seed)
        return [_agent(chance.randrange(self.agents)) for _ in range(count)]

    def _document(self) -> Document:
        chance = self._random
        number = self._made
        self._made += 1
        words = " ".join(chance.choices(WORDS, k=CONTENT_SIZE // 4))
        return {
            "_id": f"{ID_FIRST + number // 10:08x}{chance.getrandbits(64):016x}",
            "agent_id": _agent(chance.randrange(self.agents)),
            "kind": chance.choice(KINDS),
            "content": words[:CONTENT_SIZE],
            "importance": round(chance.random(), 6) % 1,
            "created_at": START + timedelta(seconds=number, milliseconds=chance.randrange(1000)),
            "tags": chance.sample(WORDS, 3),
            "meta": {
                "session": f"s-{chance.randrange(1_000_000):06d}",
                "step": chance.randrange(1000),
            },
        }


def _agent(number: int) -> str:
    return f"agent-{number:05d}"
