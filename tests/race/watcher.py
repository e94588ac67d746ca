"""One process of test_watching.py: follows a database from a token on until it is killed.

    python -m tests.race.watcher DIRECTORY FILE

Each event is one line of the file, its token first: whoever comes next goes on behind the last
whole line.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import rango
from rango.extended_json import dumps, loads
from tests.race.worker import KEY


def last_token(path: str) -> str | None:
    """The token of the last whole line; what a kill cut short is taken away."""
    with open(path, "a+b") as file:
        file.seek(0)
        data = file.read()
        end = data.rfind(b"\n") + 1
        file.truncate(end)
    lines = data[:end].splitlines()
    return str(loads(lines[-1])["_id"]["_data"]) if lines else None


def main(directory: str, path: str) -> None:
    """Follow it for ever."""
    token = last_token(path)
    out = os.open(path, os.O_WRONLY | os.O_APPEND)
    start: dict[str, Any] = {"start_at": 1} if token is None else {"resume_after": token}
    with rango.open(directory, key=KEY, read_only=True) as db:
        stream = db.watch(
            full_document="required",
            full_document_before_change="required",
            show_expanded_events=True,
            **start,
        )
        for event in stream:
            os.write(out, dumps(event, mode="canonical").encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
