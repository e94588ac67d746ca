"""Patterns that make backtracking engines run for ever, on strings of 50 kB.

Nightly (`RANGO_PROFILE=nightly`) all of them must end inside a second in all for each string.
"""

from __future__ import annotations

import os
import time

import pytest

from rango._ext.record import encode
from rango.engine.filters import program_of
from rango.errors import InvalidFilter, LimitExceeded
from tests.evil import EVIL_PATTERNS, SUBJECTS

SECONDS_MAX = 1.0


@pytest.mark.parametrize("subject", SUBJECTS, ids=("letters", "pairs", "text"))
def test_two_hundred_evil_patterns_end_in_an_answer_or_a_typed_error(subject: bytes) -> None:
    document = encode({"a": subject.decode()})
    assert len(set(EVIL_PATTERNS)) == 200
    answers: list[bool | str] = []
    start = time.perf_counter()
    for pattern in EVIL_PATTERNS:
        try:
            answers.append(program_of({"a": {"$regex": pattern}}).matches_bson(document))
        except (InvalidFilter, LimitExceeded) as error:
            answers.append(type(error).__name__)
    seconds = time.perf_counter() - start
    print(f"\nregex: 200 patterns on {len(subject):,} bytes in {seconds * 1e3:.0f} ms")
    assert answers.count(True) > 20
    assert answers.count(False) > 20
    assert answers.count("InvalidFilter") == 4
    assert answers.count("LimitExceeded") < 20
    if os.environ.get("RANGO_PROFILE") == "nightly":
        assert seconds < SECONDS_MAX
