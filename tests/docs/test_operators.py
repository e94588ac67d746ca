"""The page on filters names every operator that there is."""

from __future__ import annotations

import re

import pytest

from ci.environment import ROOT
from rango.engine.aggregate import pipeline
from rango.engine.expression import FAMILIES
from rango.engine.filters import program_of
from rango.errors import InvalidFilter

PAGE = (ROOT / "docs" / "reference" / "filter.md").read_text(encoding="utf-8")


def names(text: str) -> set[str]:
    """Every operator that a text names."""
    return set(re.findall(r"\$[a-zA-Z]\w*", text))


def test_every_operator_of_filters_is_named() -> None:
    known: set[str] = set()
    for filter in ({"a": {"$foo": 1}}, {"$foo": 1}):
        with pytest.raises(InvalidFilter) as caught:
            program_of(filter)
        known |= names(str(caught.value).split("known", 1)[1])
    assert len(known) > 20
    assert not known - names(PAGE)


def test_every_stage_is_named() -> None:
    assert not {*pipeline.STAGES, *pipeline.REFUSED} - names(PAGE)


def test_every_expression_is_named() -> None:
    known = {name for family in FAMILIES for name in family.OPERATORS}
    assert not known - names(PAGE)
