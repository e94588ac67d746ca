"""What several unit suites open their databases with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.pair_case import Pair

SECRETS: list[dict[str, Any]] = [{}, {"key": b"k" * 32}]


@pytest.fixture(params=SECRETS, ids=["plain", "sealed"])
def secret(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of a plain database, and of an encrypted one."""
    chosen: dict[str, Any] = request.param
    return chosen


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Opens cores on one directory; what is open at the end is closed."""
    made = Pair(tmp_path / "db")
    yield made
    for core in made.cores:
        if not core.is_closed:
            core.release()
