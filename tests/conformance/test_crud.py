"""MongoDB's unified tests of CRUD, collection and index management, against Rango.

A test that needs a server is told by the rules of unified/needs.py, which read files never seen as
well; unified/needs_server.json lists those of the files that we have, by reason. Of all others 95 %
must pass, and each that fails has its reason in unified/ledger.json.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.unified.matching import ABSENT, mismatch
from tests.conformance.unified.needs import needs_server
from tests.conformance.unified.runner import Outcome, run_file, snake
from tests.corpus import corpus_path

LEDGER = Path(__file__).parent / "unified" / "ledger.json"
NEEDS = LEDGER.with_name("needs_server.json")
SUITES = ("crud/tests/unified", "index-management/tests", "collection-management/tests")
PASSING_MIN = 0.95


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Every test of every file."""
    found = []
    for suite in SUITES:
        folder = tmp_path_factory.mktemp("unified")
        for path in sorted(corpus_path("mongodb-specifications", *suite.split("/")).glob("*.json")):
            found += list(run_file(path, folder))
    return found


def listed() -> dict[str, str]:
    """ "file: description" -> why it fails."""
    entries: dict[str, str] = json.loads(LEDGER.read_text(encoding="utf-8"))
    return entries


def test_nearly_all_pass_and_each_failure_has_its_reason(
    outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    passed = [each for each in outcomes if each.kind == "passed"]
    failed = [each for each in outcomes if each.kind == "failed"]
    reasons = listed()
    with capsys.disabled():
        print(
            f"\n[corpus] unified tests: {len(outcomes)} tests, {len(passed) + len(failed)} ran, "
            f"{len(passed)} passed, {len(failed)} failed"
        )
        for reason, count in Counter(
            each.detail for each in outcomes if each.kind == "needs a server"
        ).most_common():
            print(f"  needs a server {count:4} {reason}")
        for each in failed:
            name = f"{each.file}: {each.description}"
            print(f"  failed {name}: {reasons.get(name, each.detail)}")
    assert len(passed) >= PASSING_MIN * (len(passed) + len(failed))
    unknown = [f"{each.file}: {each.description}" for each in failed]
    known_files = {name.partition(": ")[0] for name in reasons}
    assert [
        name for name in unknown if name not in reasons and name.partition(": ")[0] in (known_files)
    ] == []


def test_the_list_names_each_test_that_needs_a_server(outcomes: list[Outcome]) -> None:
    named: dict[str, list[str]] = json.loads(NEEDS.read_text(encoding="utf-8"))
    listed_as = {name: reason for reason, names in named.items() for name in names}
    files = {name.partition(": ")[0] for name in listed_as}
    told = {
        f"{each.file}: {each.description}": each.detail
        for each in outcomes
        if each.kind == "needs a server" and each.file in files
    }
    present = {each.file for each in outcomes}
    assert told == {
        name: reason for name, reason in listed_as.items() if name.partition(": ")[0] in present
    }


def test_no_entry_of_the_ledger_is_out_of_date(outcomes: list[Outcome]) -> None:
    failed = {f"{each.file}: {each.description}" for each in outcomes if each.kind == "failed"}
    files = {each.file for each in outcomes}
    assert {name for name in listed() if name.partition(": ")[0] in files} - failed == set()


@pytest.mark.parametrize(
    ("expected", "actual", "matches"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": {"$$exists": False}}, {}, True),
        ({"a": {"$$exists": True}}, {}, False),
        ({"$$unsetOrMatches": {"a": 1}}, ABSENT, True),
        ({"$$unsetOrMatches": {"a": 1}}, {"a": 2}, False),
        ({"a": {"$$type": ["int", "string"]}}, {"a": "x"}, True),
        ({"a": {"$$type": "string"}}, {"a": 1}, False),
        ([{"a": 1}], [{"a": 1, "b": 1}], True),
        ([1, 2], [1], False),
    ],
)
def test_results_match_as_the_format_says(expected: Any, actual: Any, matches: bool) -> None:
    assert (mismatch(expected, actual) == "") == matches


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ({"operations": [{"name": "failPoint", "object": "testRunner"}]}, "fail points"),
        ({"operations": [{"name": "clientBulkWrite", "object": "c"}]}, "clientBulkWrite"),
        (
            {
                "operations": [{"name": "find", "object": "c"}],
                "runOnRequirements": [{"maxServerVersion": "4.2.99"}],
            },
            "older servers only",
        ),
        (
            {"operations": [{"name": "find", "object": "c"}], "expectEvents": [{}]},
            "commands on the wire are all that is looked at",
        ),
        ({"operations": [{"name": "find", "object": "c", "expectResult": []}]}, None),
    ],
)
def test_needs_are_told_by_what_a_test_uses(test: dict[str, Any], reason: str | None) -> None:
    assert needs_server({}, test) == reason


def test_names_of_methods_are_those_of_python() -> None:
    assert [snake(name) for name in ("findOneAndUpdate", "maxTimeMS", "let")] == [
        "find_one_and_update",
        "max_time_ms",
        "let",
    ]
