"""The test suites: where each lies, how long it may take, and whether it has to exist.

A suite is a folder of tests/. `python3 ci nightly` runs those with `is_long` again and again until
the minutes are over: each round is `pytest <folder> --minutes <left> --seed <seed>`; a suite that
can use the time by itself (crash) does, the others end early and the next round takes the next
seed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Suite:
    """One folder of tests."""

    name: str
    minutes: float  # the limit in `ci test`; a suite that passes it is ended and failed
    is_required: bool = True
    is_long: bool = False
    needs_corpus: bool = False
    is_parallel: bool = False
    """Its tests may run beside each other: none of them counts on having the machine to itself."""

    @property
    def folder(self) -> str:
        """Where its tests lie."""
        return f"tests/{self.name}"


SUITES = (
    Suite("tidy", 2),
    Suite("unit", 10, is_parallel=True),
    Suite("property", 5, is_long=True, is_parallel=True),
    Suite("conformance", 6, needs_corpus=True),
    Suite("crash", 10, is_long=True, is_parallel=True),
    Suite("race", 5, is_long=True),
    Suite("security", 6, is_parallel=True),
    Suite("docs", 3),
    Suite("typing", 2),
    Suite("interop", 2, is_required=False),
    Suite("fuzz", 2, is_required=False, is_long=True),
    Suite("soak", 2, is_required=False, is_long=True),
)
PUSH_SUITES = tuple(suite for suite in SUITES if suite.name != "soak")
