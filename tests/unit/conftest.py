"""What several unit suites open their databases with."""

from __future__ import annotations

from typing import Any

import pytest

SECRETS: list[dict[str, Any]] = [{}, {"key": b"k" * 32}]


@pytest.fixture(params=SECRETS, ids=["plain", "sealed"])
def secret(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of a plain database, and of an encrypted one."""
    chosen: dict[str, Any] = request.param
    return chosen
