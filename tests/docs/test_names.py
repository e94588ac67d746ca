"""The map of the API and the page on filters name whatever there is, and examples use it."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

import rango
from ci.environment import ROOT
from rango import aio
from rango.aggregation import CommandCursor
from rango.cursor import Cursor
from rango.engine.aggregate.columns import ACCUMULATORS
from rango.engine.update import KNOWN
from tests.docs.test_docs import PAGES as ALL_PAGES
from tests.docs.test_docs import blocks

REFERENCE = ROOT / "docs" / "reference"
PAGES = "".join(
    (REFERENCE / page).read_text(encoding="utf-8")
    for page in ("api.md", "projection.md", "aggregation.md")
)
FILTERS = (REFERENCE / "filter.md").read_text(encoding="utf-8")


@cache
def used(is_async: bool) -> frozenset[str]:
    """The names that examples of all pages use: within coroutines, or anywhere else."""
    found: set[str] = set()
    for page in ALL_PAGES:
        for _, code in blocks(page, "python"):
            tree = ast.parse(code)
            coroutines = [each for each in ast.walk(tree) if isinstance(each, ast.AsyncFunctionDef)]
            within = {id(each) for coroutine in coroutines for each in ast.walk(coroutine)}
            for each in ast.walk(tree):
                if isinstance(each, ast.Attribute) and (id(each) in within) == is_async:
                    found.add(each.attr)
                elif isinstance(each, ast.ImportFrom):
                    found |= {alias.name for alias in each.names}
    return frozenset(found)


def test_every_name_of_the_modules_has_an_example() -> None:
    names = used(False) | used(True)
    # what is only returned, never named by a caller
    returned = {"AsyncCommandCursor", "AsyncTransaction"}
    for module in (rango, aio, rango.transfer, rango.extended_json):
        missing = set(module.__all__) - names - returned
        assert not missing, f"{module.__name__}: {sorted(missing)}"


@pytest.mark.parametrize(
    "kind",
    [
        *(
            rango.Database,
            rango.Snapshot,
            rango.Collection,
            Cursor,
            CommandCursor,
            rango.ChangeStream,
            aio.AsyncSnapshot,
            aio.AsyncChangeStream,
        ),
        *(aio.AsyncDatabase, aio.AsyncCollection, aio.AsyncCursor, aio.AsyncCommandCursor),
    ],
    ids=lambda kind: kind.__name__,
)
def test_every_public_name_has_an_example(kind: type) -> None:
    names = used(kind.__name__.startswith("Async"))
    assert [name for name in dir(kind) if name[0] != "_" and name not in names] == []


@pytest.mark.parametrize(
    "kind",
    [rango.Database, rango.Snapshot, rango.Collection, Cursor, CommandCursor, rango.ChangeStream],
    ids=lambda kind: kind.__name__,
)
def test_every_public_name_is_on_the_map(kind: type) -> None:
    public = [name for name in dir(kind) if not name.startswith("_")]
    assert len(public) >= 5
    assert [name for name in public if not re.search(rf"`(?:\w+\.)*{name}\b", PAGES)] == []


def test_every_update_operator_and_accumulator_is_named() -> None:
    named = {*re.findall(r"\$[a-zA-Z]\w*", FILTERS)}
    assert not {*KNOWN, *ACCUMULATORS} - named
