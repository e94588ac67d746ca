"""Databases for the tests of the public API: on the engine, and on its twin of dictionaries."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango.database import Database
from rango.ids import UuidGenerator
from rango.transaction import Handle
from tests.reference.fake_core import FakeCore

START_MS = 1_700_000_000_000


def ticking() -> Callable[[], int]:
    """A clock that moves by a millisecond at each reading."""
    counter = itertools.count(START_MS)
    return lambda: next(counter)


def fake_database() -> Database:
    """A database on the twin."""
    clock = ticking()
    core: Any = FakeCore(clock)
    return Database(Handle(core, "twin", UuidGenerator(clock, os.urandom)))


def engine_database(path: Path, **options: Any) -> Database:
    """A database on the engine; "memory", because no flush is of interest here."""
    return rango.open(path, **{"durability": "memory", "node_id": "node-a", **options})


@pytest.fixture(params=["twin", "engine"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database, once of each kind."""
    if request.param == "twin":
        database = fake_database()
    else:
        database = engine_database(tmp_path / "db", clock=ticking())
    yield database
    database.close()
