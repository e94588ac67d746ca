"""What is counted, as a program for the emulated board: each operation between two marks.

Run inside the emulator only: `python -m operations FOLDER` prints the names of the operations, one
a line with how often each was done; the marks (count.c) are where their instructions are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import rango

COUNT = 1000
AGENTS = 20
START = datetime(2025, 1, 1, tzinfo=UTC)


def document(number: int) -> dict[str, Any]:
    """About 380 bytes, as in the workload of the benchmarks, without anything random."""
    return {
        "_id": f"{0x65000000 + number:024x}",
        "agent_id": f"agent-{number % AGENTS:05d}",
        "kind": "fact",
        "content": ("agent answer budget calendar context " * 4)[:150],
        "importance": number % 1000 / 1000,
        "created_at": START + timedelta(seconds=number),
        "tags": ["memory", "plan", "ticket"],
        "meta": {"session": f"s-{number:06d}", "step": number % 1000},
    }


def mark() -> None:
    """The system call that the counter waits for."""
    os.getpgid(0)


def counted(name: str, work: Callable[[Any], object], arguments: list[Any]) -> None:
    """Do the work once in vain, so that caches and programs are there, then between marks."""
    work(arguments[0])
    mark()
    for argument in arguments[1:]:
        work(argument)
    mark()
    print(name, len(arguments) - 1)


def main(folder: str) -> None:
    """Every operation."""
    with rango.open(folder, key=bytes(range(32)), durability="memory") as db:
        memory = db["agent_memory"]
        memory.create_index("agent_id")
        memory.insert_many([document(number) for number in range(COUNT)])
        db.checkpoint()
        ids = [document(number * 7 % COUNT)["_id"] for number in range(201)]
        agents = [f"agent-{number % AGENTS:05d}" for number in range(21)]
        fresh = [document(COUNT + number) for number in range(101)]
        counted("nothing", lambda _: None, ids)
        counted("find_one", lambda each: memory.find_one({"_id": each}), ids)
        counted("insert_one", memory.insert_one, fresh)
        counted("scan of 1,000", lambda _: memory.find_many({"importance": {"$gt": 2}}), ids[:21])
        counted("index to 50", lambda each: memory.find_many({"agent_id": each}), agents)
        counted(
            "update_one",
            lambda each: memory.update_one({"_id": each}, {"$set": {"importance": 0.5}}),
            ids[:101],
        )


if __name__ == "__main__":
    main(sys.argv[1])
