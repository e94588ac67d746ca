"""The map of the API and the page on filters name whatever there is."""

from __future__ import annotations

import re

import pytest

import rango
from ci.environment import ROOT
from rango.aggregation import CommandCursor
from rango.cursor import Cursor
from rango.engine.aggregate.columns import ACCUMULATORS
from rango.engine.update import KNOWN

REFERENCE = ROOT / "docs" / "reference"
PAGES = "".join(
    (REFERENCE / page).read_text(encoding="utf-8")
    for page in ("api.md", "projection.md", "aggregation.md")
)
FILTERS = (REFERENCE / "filter.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "kind",
    [rango.Database, rango.Collection, Cursor, CommandCursor],
    ids=lambda kind: kind.__name__,
)
def test_every_public_name_is_on_the_map(kind: type) -> None:
    public = [name for name in dir(kind) if not name.startswith("_")]
    assert len(public) > 5
    assert [name for name in public if not re.search(rf"`(?:\w+\.)*{name}\b", PAGES)] == []


def test_every_update_operator_and_accumulator_is_named() -> None:
    named = {*re.findall(r"\$[a-zA-Z]\w*", FILTERS)}
    assert not {*KNOWN, *ACCUMULATORS} - named
