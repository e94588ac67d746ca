"""What every suite shares: seeds, hypothesis profiles, pytest's options, and how many cases ran.

Options     --randomly-seed S   random order and random cases (pytest-randomly); printed first
            --minutes M         how long a long suite may go on (fixture `minutes`; 0: short form)
            --require-corpus    an absent corpus fails instead of skipping
Profiles    RANGO_PROFILE=push (100 examples, default), short (20: slow builds) or nightly (as many
            as fit into the minutes, at most 10,000) for hypothesis
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest

SHORT_EXAMPLES, PUSH_EXAMPLES, NIGHTLY_EXAMPLES = 20, 100, 10_000
# of a stateful test, on a busy machine; the next round takes another seed
EXAMPLES_PER_MINUTE = 300
CASES = pytest.StashKey[Counter[str]]()

hypothesis.settings.register_profile(
    "push",
    max_examples=PUSH_EXAMPLES,
    deadline=None,
    print_blob=True,
    # sanitizer runs and a busy machine are slow, not wrong
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "short", hypothesis.settings.get_profile("push"), max_examples=SHORT_EXAMPLES
)
hypothesis.settings.register_profile("nightly", hypothesis.settings.get_profile("push"))
hypothesis.settings.load_profile(os.environ.get("RANGO_PROFILE", "push"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Rango's own options."""
    group = parser.getgroup("rango")
    group.addoption("--minutes", type=float, default=0.0, help="how long a long suite may go on")
    group.addoption("--require-corpus", action="store_true", help="an absent corpus fails")


def pytest_configure(config: pytest.Config) -> None:
    """Hand --require-corpus to tests/corpus.py, which reads the environment."""
    config.stash[CASES] = Counter()
    if os.environ.get("RANGO_PROFILE") == "nightly":
        wanted = int(config.getoption("--minutes") * EXAMPLES_PER_MINUTE)
        examples = max(PUSH_EXAMPLES, min(wanted, NIGHTLY_EXAMPLES))
        hypothesis.settings.register_profile(
            "timed", hypothesis.settings.get_profile("push"), max_examples=examples
        )
        hypothesis.settings.load_profile("timed")
    if config.getoption("--require-corpus"):
        os.environ["RANGO_REQUIRE_CORPUS"] = "1"


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run: every source of chance in a test starts from it."""
    return int(request.config.getoption("randomly_seed"))


@pytest.fixture(scope="session")
def minutes(request: pytest.FixtureRequest) -> float:
    """How long a long suite may go on; 0 in `ci test`."""
    return float(request.config.getoption("--minutes"))


@pytest.fixture
def count_cases(request: pytest.FixtureRequest) -> Callable[[str, int], None]:
    """`count_cases(what, n)`: n cases of this kind ran; the sums are printed at the end."""

    def count(what: str, number: int) -> None:
        request.config.stash[CASES][what] += number

    return count


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What a worker of pytest-xdist counted goes to the process that prints it."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["cases"] = dict(session.config.stash[CASES])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker counted; one that crashed has nothing."""
    node.config.stash[CASES].update(getattr(node, "workeroutput", {}).get("cases", {}))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the cases of each suite: tests by folder, and what the tests counted themselves."""
    tests: Counter[str] = Counter()
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            tests["/".join(report.nodeid.split("/")[:2])] += 1
    for folder, number in sorted(tests.items()):
        terminalreporter.write_line(f"[cases] {folder}: {number} tests")
    for what, number in sorted(config.stash[CASES].items()):
        terminalreporter.write_line(f"[cases] {what}: {number}")
