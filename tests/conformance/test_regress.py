"""Recorded statements and answers of documentdb (MIT), an independent implementation of MongoDB's
query, update and aggregation language, against Rango.

It is not the last word: where it and MongoDB's documentation differ, regress/ledger.json says so.
Every disagreement in a file that was reviewed has its reason there. A file that is new is run too;
what it disagrees with is printed, to be reviewed.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.conformance.regress import sql
from tests.conformance.regress.ledger import Ledger
from tests.conformance.regress.runner import Outcome, run_file
from tests.conformance.regress.transcript import transcript_of
from tests.corpus import corpus_path

SHOWN_MAX = 40


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """Every statement of every file."""
    paths = sorted(corpus_path("documentdb-regress").glob("*.out"))
    return [outcome for path in paths for outcome in run_file(path)]


def explained(outcomes: list[Outcome]) -> tuple[Counter[str], list[Outcome]]:
    """How many disagreements each reason explains, and those that none does."""
    ledger = Ledger()
    reasons: Counter[str] = Counter()
    unexplained = []
    for outcome in outcomes:
        if outcome.kind == "differs":
            reason = ledger.reason(outcome.case, outcome.text, outcome.detail)
            if reason is None:
                unexplained.append(outcome)
            else:
                reasons[reason] += 1
    return reasons, unexplained


def test_every_disagreement_is_explained(
    outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger()
    kinds = Counter(outcome.kind for outcome in outcomes)
    reasons, unexplained = explained(outcomes)
    files = {outcome.case.partition(":")[0] for outcome in outcomes}
    with capsys.disabled():
        print(
            f"\n[corpus] documentdb-regress: {len(files)} files, {kinds['agrees']} cases agree, "
            f"{sum(reasons.values())} are explained, {len(unexplained)} are not; "
            f"{kinds['no case']} statements are no cases"
        )
        for reason, count in reasons.most_common():
            print(f"  explained {count:5} {reason}: {ledger.reasons[reason]}")
        for reason, count in Counter(
            outcome.detail for outcome in outcomes if outcome.kind == "no case"
        ).most_common():
            print(f"  no case   {count:5} {reason}")
        for outcome in unexplained[:SHOWN_MAX]:
            print(f"  unexplained {outcome.case}: {outcome.detail}")
    known = [each for each in unexplained if each.case.partition(":")[0] in ledger.reviewed]
    assert [each.case for each in known] == []


def test_every_file_of_the_ledger_gives_cases(outcomes: list[Outcome]) -> None:
    giving = {each.case.partition(":")[0] for each in outcomes if each.kind != "no case"}
    present = {path.name for path in corpus_path("documentdb-regress").glob("*.out")}
    assert (Ledger().reviewed & present) - giving == set()


def test_no_entry_of_the_ledger_is_out_of_date(outcomes: list[Outcome]) -> None:
    ledger = Ledger()
    present = {each.case.partition(":")[0] for each in outcomes}
    differing = {each.case for each in outcomes if each.kind == "differs"}
    listed = {case for case in ledger.cases if case.partition(":")[0] in present}
    assert listed - differing == set()
    used = {rule.reason for rule in ledger.rules} | set(ledger.cases.values())
    assert set(ledger.reasons) == used


def test_a_transcript_is_cut_into_statements_and_answers(tmp_path: Path) -> None:
    path = tmp_path / "a.out"
    path.write_text(
        "-- a comment\n"
        'SELECT f(\'{ "a": "x;y" }\'); -- behind\n'
        "NOTICE:  creating collection\n"
        " f | g \n"
        "---------------------------------------------------------------------\n"
        ' { "a" : 1 } | t\n'
        "(1 row)\n"
        "\n"
        "BEGIN; SELECT g(\n  1);\n"
        "ERROR:  no\n"
        "CONTEXT:  of it\n"
        "SET a TO on;\n"
    )
    statements = transcript_of(path).statements
    assert [each.text for each in statements] == [
        'SELECT f(\'{ "a": "x;y" }\');',
        "BEGIN;",
        "SELECT g(\n  1);",
        "SET a TO on;",
    ]
    assert statements[0].answer.columns == ["f", "g"]
    assert statements[0].answer.lines == [' { "a" : 1 } | t']
    assert [each.answer.error for each in statements] == [None, None, "no", None]


def test_sql_is_read_as_a_tree() -> None:
    query = sql.parse(
        "SELECT document FROM api.collection('db', 'c') WHERE document @@ '{}' AND "
        "document @= '{\"a\": 1}'::bson ORDER BY object_id DESC LIMIT 3;"
    )
    assert query.source == sql.Call("collection", [sql.Literal("db"), sql.Literal("c")])
    assert query.where.sign == "and"
    assert query.where.right.sign == "@="
    assert query.order == [(sql.Name("object_id"), -1)]
    assert query.limit == 3


@pytest.mark.parametrize("text", ["SELECT 1 FROM a, b", "SELECT a FROM b GROUP BY c", "SELECT ("])
def test_sql_that_is_not_read_is_no_case(text: str) -> None:
    with pytest.raises(sql.NotACase):
        sql.parse(text)
