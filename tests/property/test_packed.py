"""Any log gives itself back from its packed segment: bytes, commits, and single commits."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tests.reference import packed as twin
from tests.unit.log_case import LogCase, StubKeyring
from tests.unit.packed_case import original, packed, shown

SIZES = st.one_of(
    st.integers(0, 700),
    st.sampled_from([0, 1, 32_768, 32_769, 65_451, 65_452, 65_453, 131_072]),
    st.integers(0, 140_000),
)
STEPS = st.lists(
    st.tuples(SIZES, st.sampled_from(["text", "noise"]), st.sampled_from(["", "flush", "close"])),
    min_size=1,
    max_size=40,
)


@given(STEPS, st.booleans(), st.integers(0, 1 << 30))
def test_what_is_packed_comes_back(
    steps: list[tuple[int, str, str]], is_sealed: bool, seed: int
) -> None:
    chance = random.Random(seed)
    case = LogCase(StubKeyring(b"k" * 32 if is_sealed else None))
    appender = case.create()
    for size, kind, after in steps:
        noise = chance.randbytes(size)
        appender.append_bytes(
            noise if kind == "noise" else (b"so it goes " * (size // 11 + 1))[:size]
        )
        if after == "flush":
            appender.flush()
        elif after == "close":
            appender.append_closed()
            appender.close()
            appender = case.reopen()
    appender.roll_over()
    appender.append_bytes(b"in the next segment")
    appender.flush()
    appender.close()
    case.open()
    before, commits = original(case), case.commits()
    asked = sorted(chance.sample(range(1, 60), 5))
    if packed(case, asked=asked) is None:
        # a few frames are not worth table and footer; or noise that fills whole blocks
        assert len(case.data()) < 1024 or any(kind == "noise" for _size, kind, _after in steps)
        return
    assert shown(case) == before
    header = case.log.segments[0]
    keys = (header.id, header.salt, header.epoch)
    data = bytes(case.data())
    frame_key, piece_key = case.keyring.segment_key(*keys), case.keyring.packed_key(*keys)
    assert twin.unpacked(data, frame_key, piece_key) == before
    assert case.commits() == commits
    for ordinal, _lsn, body, first in commits:
        assert case.log.read_commit(ordinal) == case.log.read_commit(first) == body
