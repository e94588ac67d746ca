"""Run a transcript: each statement that can be read is a case.

Terms       outcome: agrees, differs (with what), or is no case (with the reason).
            case id: file:line of the statement.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rango
from tests.conformance.regress import evaluate, judge, sql
from tests.conformance.regress.first_last import first_or_last
from tests.conformance.regress.functions import Table, has_double_names, value_of
from tests.conformance.regress.seeds import seeds
from tests.conformance.regress.sql import NotACase
from tests.conformance.regress.transcript import Statement, transcript_of
from tests.conformance.regress.world import World

DISTINCT = re.compile(
    r"bson_distinct_unwind\(document, \$3\).*collection\(\$1, \$2\)(?P<filter>.*WHERE)?",
    re.DOTALL | re.IGNORECASE,
)
PREPARE = re.compile(r"prepare\s+(\w+)\s*(\([^)]*\))?\s+as\s+(.*)", re.DOTALL | re.IGNORECASE)
EXECUTE = re.compile(r"execute\s+(\w+)\s*(\(.*\))?\s*;", re.DOTALL | re.IGNORECASE)
OPERATOR = re.compile(r"operator\s*\(\s*(?:\w+\.)?([^\w\s)]+)\s*\)", re.IGNORECASE)
LOOP = re.compile(
    r"FOR \w+ IN 1\.\.(?P<count>\d+) LOOP\s+PERFORM documentdb_api\.insert_one\("
    r"'(?P<database>\w+)', '(?P<name>\w+)', '(?P<document>[^']*)'\);\s+END LOOP"
)
# of ours, whatever they are about: never an answer
BROKEN = (TypeError, AttributeError, ValueError, LookupError, RuntimeError, ArithmeticError)
ABORTED = "current transaction is aborted"
SERVER_WORDS = frozenset(
    (
        *("set", "reset", "explain", "analyze", "create", "drop", "alter", "do"),
        *(
            "abort",
            "vacuum",
            "show",
            "declare",
            "fetch",
            "close",
            "grant",
            "revoke",
            "copy",
            "truncate",
        ),
        *("insert", "update", "delete", "values", "deallocate", "prepare", "start", "savepoint"),
    )
)


@dataclass
class Outcome:
    """One statement."""

    case: str
    text: str
    kind: str
    detail: str = ""


def run_file(path: Path) -> Iterator[Outcome]:
    """The outcomes of a transcript, in order."""
    transcript = transcript_of(path)
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        for (database, name), documents in seeds(transcript.statements).items():
            world.changed(database, name).insert_many(documents)
        for statement in transcript.statements:
            kind, detail = run(world, statement)
            yield Outcome(f"{path.name}:{statement.line}", statement.text, kind, detail)


def run(world: World, statement: Statement) -> tuple[str, str]:
    """("agrees" | "differs" | "no case", detail)."""
    text = statement.text
    word = re.split(r"\W", text.lower() + " ", maxsplit=1)[0]
    if text.startswith("\\") or not word:
        return "no case", "a command of psql"
    if word in ("begin", "commit", "end", "rollback", "rolback", "abort"):
        _transaction(world, word)
        return "no case", "transactions of the session"
    if statement.answer.error and "invalid input syntax JSON" in statement.answer.error:
        return "no case", "text that is not Extended JSON there"
    if statement.answer.error and statement.answer.error.startswith(ABORTED):
        return "no case", "a statement in an aborted transaction"
    # What a statement did that failed there, or half failed, would make all that follow differ.
    world.statement()
    try:
        kind, detail = _run(world, word, statement)
    except NotACase as error:
        kind, detail = "no case", str(error)
    if kind == "differs" and _is_double(statement):
        kind, detail = "no case", "a field twice in one document, which a dict cannot hold"
    if kind == "differs" and any(
        f"{quote}{name}{quote}" in text for name in world.sharded for quote in "'\""
    ):
        detail = f"on a sharded collection: {detail}"
    is_failure = statement.answer.error is not None or (
        kind == "differs" and "writeErrors" in "".join(statement.answer.lines)
    )
    if is_failure:
        world.take_back()
    else:
        world.keep()
    if statement.answer.error and world.is_in_transaction:
        world.has_failed = True
    return kind, detail


def _transaction(world: World, word: str) -> None:
    if word == "begin":
        world.begin()
    elif word in ("commit", "end"):
        world.commit()
    else:
        world.rollback()


def _run(world: World, word: str, statement: Statement) -> tuple[str, str]:
    text = statement.text
    if word == "prepare":
        found = PREPARE.match(text)
        if found:
            world.prepared[found[1].lower()] = found[3]
        raise NotACase("statements of PostgreSQL: PREPARE")
    loop = LOOP.search(text)
    if word == "do" and loop:
        documents = [value_of(loop["document"]) for _ in range(int(loop["count"]))]
        world.changed(loop["database"], loop["name"]).insert_many(documents)
    if word in SERVER_WORDS:
        raise NotACase(f"statements of PostgreSQL: {word.upper()}")
    error: BaseException | None = None
    table: Table | None = None
    try:
        table = _table(world, word, text)
    except (rango.RangoError, AssertionError) as failed:
        error = failed
    except BROKEN as broken:
        return "differs", f"not there or broken: {type(broken).__name__}: {broken}"[:300]
    return _judged(statement, table, error)


def _table(world: World, word: str, text: str) -> Table:
    if word == "execute":
        found = EXECUTE.match(text)
        if not found or found[1].lower() not in world.prepared:
            raise NotACase("statements of PostgreSQL: EXECUTE")
        prepared = world.prepared[found[1].lower()]
        call = sql.parse(f"SELECT f{found[2] or '()'}").items[0][0]
        given = [evaluate.expression(world, each, {}) for each in call.arguments]
        shape = DISTINCT.search(prepared)
        if not shape:
            raise NotACase("statements of PostgreSQL: EXECUTE")
        query = evaluate.value_of_argument(given[3]) if shape["filter"] else {}
        values = world.collection(given[0], given[1]).distinct(given[2], query)
        return Table(["answer"], [({"values": values, "ok": 1.0},)], True)
    table = first_or_last(world, text)
    if table is not None:
        return table
    tree = sql.parse(OPERATOR.sub(lambda found: found[1], text))
    return evaluate.answer_to(world, tree)


def _judged(
    statement: Statement, table: Table | None, error: BaseException | None
) -> tuple[str, str]:
    answer = statement.answer
    if answer.error is not None:
        if error is not None or (table is not None and _failed(table)):
            return "agrees", ""
        return "differs", f"an error is expected ({answer.error}), found {_short(table)}"[:400]
    if error is not None:
        return "differs", f"{type(error).__name__}: {error}"[:400]
    if table is None or not answer.is_table:
        raise NotACase("an answer that is not a table")
    found = judge.disagreement(answer, table)
    if found is None:
        return "agrees", ""
    return "differs", found[:600]


def _is_double(statement: Statement) -> bool:
    for literal in re.findall(r"'((?:[^']|'')*)'", statement.text):
        try:
            if literal.lstrip()[:1] in ("{", "[") and has_double_names(literal):
                return True
        except ValueError:
            continue
    return False


def _failed(table: Table) -> bool:
    """True for the answer of a command whose writes failed: there an error of the statement."""
    return any(
        isinstance(part, dict) and bool(part.get("writeErrors"))
        for line in table.lines
        for value in line
        for part in (value if isinstance(value, tuple) else (value,))
    )


def _short(table: Table | None) -> Any:
    return [] if table is None else table.lines[:2]
