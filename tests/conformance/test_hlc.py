"""The hybrid logical clock against a published history, whose physical clock goes back."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from rango.errors import LimitExceeded
from rango.ids import HybridLogicalClock
from tests.corpus import corpus_path

CountCases = Callable[[str, int], None]


def test_history_with_a_clock_that_goes_back(count_cases: CountCases) -> None:
    history = json.loads(corpus_path("hlc", "hlc_history.json").read_text())
    clock = HybridLogicalClock()
    for step in history["steps"]:
        if step["event"] == "recv":
            milliseconds, counter = step["remote"]
            clock.receive(milliseconds, counter, step["physical"])
        assert list(clock.tick(step["physical"])) == step["expect"], step
    assert len(history["steps"]) == 8
    count_cases("hlc history steps", len(history["steps"]))


def test_offsets_accepted_and_refused(count_cases: CountCases) -> None:
    examples = json.loads(corpus_path("hlc", "hlc_history.json").read_text())[
        "offset_rule_examples"
    ]
    for example in examples:
        clock = HybridLogicalClock((1000, 3))
        ahead, limit = example["remote_ahead_ms"], example["max_offset_ms"]
        if example["expect"] == "accept":
            assert clock.receive(1000 + ahead, 0, 1000, limit) == (1000 + ahead, 0)
        else:
            with pytest.raises(LimitExceeded):
                clock.receive(1000 + ahead, 0, 1000, limit)
            assert clock.latest == (1000, 3)
    assert len(examples) == 2
    count_cases("hlc offset rules", len(examples))
