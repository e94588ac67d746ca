"""One flipped bit anywhere: the answer is the truth, or a typed error that names the place.

Method      a database of about 100 KB with two generations, an index, overflow pages and five
            segments is a value in memory; one bit of one byte is flipped, the database is opened,
            every document is read by scan, by `_id` and by index, and check() runs.
            `RANGO_EXHAUSTIVE=1` takes every byte (minutes); else a stride whose start follows the
            seed, so that many runs see every byte.
Invariants  I-4, I-5, I-11, I-18.
Unnoticed   only what nothing vouches for: padding of images and frames, units that neither slot
            reaches. The test knows those places from the layout and accepts no other.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest

from tests.engine_case import FOLDER, flipped
from tests.security.damage import DATA, Case, build, class_mistakes, judge, live_bytes

FLIPS = 400
"""Of each file class and mode, without RANGO_EXHAUSTIVE."""
SECONDS_MAX = 5.0
"""A database of this size answers in 3 ms; longer than this counts as hanging."""


@pytest.fixture(scope="module", params=["key", "plain"])
def case(request: pytest.FixtureRequest) -> Case:
    """An encrypted and a plain database."""
    return build(request.param)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["closed", "crashed"])
@pytest.mark.parametrize("kind", ["data.rango", "oplog", "keys", "lock"])
def test_a_flipped_bit_is_never_answered_wrongly(
    case: Case, state: str, kind: str, seed: int, count_cases: Callable[[str, int], None]
) -> None:
    """A bit rots, or somebody flips it. Defends I-4, I-11, I-18.

    Of a database that was not closed, the frames that no later frame or slot claims to be durable
    cannot be told from a write that a crash cut short: there the answer is a prefix of the history,
    and the loss is reported and kept aside.
    """
    chance = random.Random(f"{seed} {case.mode} {state} {kind}")
    folder = case.closed if state == "closed" else case.crashed
    names = [name for name in folder if name.startswith(kind)]
    places = [(name, at) for name in names for at in range(len(folder[name]))]
    if os.environ.get("RANGO_EXHAUSTIVE") != "1":
        places = places[chance.randrange(len(places) // FLIPS + 1) :: len(places) // FLIPS + 1]
    live = live_bytes(folder, case)
    wrong: list[str] = []
    for name, at in places:
        bits = 1 << chance.randrange(8)
        started = time.monotonic()
        outcome = judge(flipped(folder, name, at, bits), case, read_only=chance.random() < 0.3)
        where = f"{name}:{at} ^ {bits:#x}"
        if time.monotonic() - started > SECONDS_MAX:
            wrong.append(f"{where}: took {time.monotonic() - started:.1f} s")
        if outcome.wrong and not (state == "crashed" and is_prefix(case, outcome.content)):
            wrong.append(f"{where}: answered {outcome.wrong[0]}")
        if at in live.get(name, ()) and not outcome.is_noticed:
            wrong.append(f"{where}: not noticed")
        if kind != "lock":
            wrong += [f"{where}: {each}" for each in class_mistakes(outcome, name)]
    assert not wrong, f"{len(wrong)} of {len(places)}:\n" + "\n".join(wrong[:20])
    count_cases("tampering: flipped bits", len(places))


def is_prefix(case: Case, content: object) -> bool:
    """Whether this was the content after some commit."""
    return any(state == content for state in case.states.values())


def test_an_untouched_database_passes_this_judge(case: Case) -> None:
    """The judge itself: no finding, no error, no wrong answer, and most of the bytes are live."""
    for folder in (case.closed, case.crashed):
        outcome = judge(folder, case)
        assert not (outcome.is_noticed or outcome.wrong)
        live = live_bytes(folder, case)
        assert len(live[DATA]) > 20_000
        assert sum(len(live[name]) for name in case.segments) > 35_000
    assert not any(name.startswith(FOLDER) for name in case.closed)
