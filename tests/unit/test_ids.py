"""rango.ids: ids rise, revisions compare as numbers, the clock never goes back."""

from __future__ import annotations

import itertools
import uuid
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rango.errors import InvalidArgument, InvalidName, LimitExceeded
from rango.ids import (
    COUNTER_MAX,
    HybridLogicalClock,
    Revision,
    UuidGenerator,
    generate_node_id,
    node_id_check,
    node_tag,
    revision_parse,
    siphash_1_3,
)
from rango.limits import CLOCK_DRIFT_MS_MAX, NODE_ID_SIZE_BYTES_MAX

TAGS = {
    "hello": "e037",
    "node-a": "9239",
    "node-b": "95fe",
    "node-1": "1991",
    "cli-node": "f60f",
    "default-node": "d554",
    "python-node": "320b",
    "governance-runtime": "bfb8",
    "": "3040",
}


def zeros(size: int) -> bytes:
    return bytes(size)


def ones(size: int) -> bytes:
    return b"\xff" * size


@pytest.mark.parametrize(("node", "tag"), TAGS.items())
def test_tags_are_those_of_the_original(node: str, tag: str) -> None:
    assert node_tag(node) == tag


def test_siphash_gives_rusts_value() -> None:
    assert siphash_1_3(b"hello\xff") == 16156531084128653017


def test_uuid_has_version_variant_and_milliseconds() -> None:
    made = UuidGenerator(lambda: 0x017F22E279B0, ones)()
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == 0x017F22E279B0
    assert made == uuid.UUID(str(made))


def test_uuid_layout_is_fixed_by_its_sources() -> None:
    assert str(UuidGenerator(lambda: 1, zeros)()) == "00000000-0001-7000-8000-000000000000"
    assert str(UuidGenerator(lambda: 1, ones)()) == "00000000-0001-77ff-bfff-ffffffffffff"


@given(st.lists(st.integers(0, 1 << 40), min_size=2, max_size=50), st.randoms())
def test_uuids_rise_whatever_the_clock_does(times: list[int], random: Random) -> None:
    ticks = iter(times)
    generator = UuidGenerator(lambda: next(ticks), random.randbytes)
    made = [generator() for _ in times]
    assert all(first < second for first, second in itertools.pairwise(made))


def test_uuid_counter_overflow_borrows_the_next_millisecond() -> None:
    generator = UuidGenerator(lambda: 5, ones)
    first = generator()
    generator._counter = (1 << 42) - 1
    second = generator()
    assert second.int >> 80 == 6
    assert first < second


@pytest.mark.parametrize("now", [-1, 1 << 48])
def test_uuid_refuses_a_clock_out_of_range(now: int) -> None:
    with pytest.raises(InvalidArgument, match="milliseconds"):
        UuidGenerator(lambda: now, zeros)()


def test_node_id_comes_from_the_entropy() -> None:
    assert generate_node_id(lambda size: b"\xba\xad\xf0\x0d"[:size]) == "node-baadf00d"


@pytest.mark.parametrize("bad", ["", "a\0b", "\ud800"])
def test_node_id_refused(bad: str) -> None:
    with pytest.raises(InvalidName):
        node_id_check(bad)


def test_node_id_limits() -> None:
    assert node_id_check("é" * 100) == "é" * 100
    with pytest.raises(LimitExceeded) as caught:
        node_id_check("é" * 100 + "x")
    assert (caught.value.limit, caught.value.value) == ("NODE_ID_SIZE_BYTES_MAX", 201)
    assert NODE_ID_SIZE_BYTES_MAX == 200
    with pytest.raises(InvalidArgument):
        node_id_check(7)  # type: ignore[arg-type]


def test_revision_text_and_back() -> None:
    revision = Revision(1_700_000_000_000, 3, "node-a")
    assert str(revision) == "1700000000000-3-9239"
    assert Revision.parse(str(revision), "node-a") == revision
    with pytest.raises(InvalidArgument, match="9239"):
        Revision.parse(str(revision), "node-b")


def test_revisions_compare_as_numbers_and_by_the_full_node() -> None:
    assert Revision(9, 0, "b") < Revision(10, 0, "a")
    assert Revision(10, 9, "b") < Revision(10, 10, "a")
    assert Revision(10, 10, "a") < Revision(10, 10, "b")


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "1",
        "1-2",
        "x-2-9239",
        "1-x-9239",
        "-1-2-9239",
        "1-65536-9239",
        f"{1 << 64}-0-9239",
        "1 -0-9239",
        "+1-0-9239",
        "1_0-0-9239",
        "\u0661-0-9239",
    ],
)
def test_revision_parse_refuses(bad: str) -> None:
    with pytest.raises(InvalidArgument):
        revision_parse(bad)


def test_revision_parse_takes_foreign_tags() -> None:
    assert revision_parse("18446744073709551615-65535-a-b") == ((1 << 64) - 1, COUNTER_MAX, "a-b")
    with pytest.raises(InvalidArgument):
        revision_parse(5)  # type: ignore[arg-type]


@given(st.integers(0, (1 << 64) - 1), st.integers(0, COUNTER_MAX), st.text(max_size=20))
def test_every_revision_reads_back(milliseconds: int, counter: int, node: str) -> None:
    node = node.encode("utf-8", "ignore").decode()
    revision = Revision(milliseconds, counter, node)
    assert Revision.parse(str(revision), node) == revision


def test_clock_counts_within_a_millisecond_and_resets() -> None:
    clock = HybridLogicalClock()
    assert [clock.tick(5), clock.tick(5), clock.tick(6)] == [(5, 0), (5, 1), (6, 0)]


def test_clock_starts_after_its_floor() -> None:
    clock = HybridLogicalClock((100, 7))
    assert clock.tick(50) == (100, 8)
    clock.raise_floor(90, 3)
    assert clock.latest == (100, 8)
    clock.raise_floor(100, 9)
    assert clock.tick(100) == (100, 10)


def test_clock_counter_overflow_moves_the_milliseconds() -> None:
    clock = HybridLogicalClock((100, COUNTER_MAX))
    assert clock.tick(100) == (101, 0)
    assert clock.tick(100) == (101, 1)


def test_clock_refuses_drift_and_stays() -> None:
    clock = HybridLogicalClock((100, 7))
    with pytest.raises(LimitExceeded) as caught:
        clock.receive(1000 + CLOCK_DRIFT_MS_MAX + 1, 0, 1000)
    assert caught.value.limit == "CLOCK_DRIFT_MS_MAX"
    assert clock.latest == (100, 7)
    assert clock.receive(1000 + CLOCK_DRIFT_MS_MAX, 0, 1000) == (1000 + CLOCK_DRIFT_MS_MAX, 0)


def test_clock_refuses_numbers_that_are_none() -> None:
    clock = HybridLogicalClock()
    for milliseconds, counter in ((-1, 0), (5, -1), (5, COUNTER_MAX + 1)):
        with pytest.raises(InvalidArgument):
            clock.receive(milliseconds, counter, 5)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("tick"), st.integers(0, 1000)),
            st.tuples(
                st.just("receive"),
                st.integers(0, 1000),
                st.integers(0, 2000),
                st.integers(0, COUNTER_MAX),
            ),
            st.tuples(st.just("restart"), st.just(0)),
        )
    )
)
def test_ticks_rise_over_everything(steps: list[tuple[object, ...]]) -> None:
    clock = HybridLogicalClock()
    greatest = (0, 0)
    for step in steps:
        match step:
            case ("tick", int(now)):
                made = clock.tick(now)
                assert made > greatest
                greatest = made
            case ("receive", int(now), int(milliseconds), int(counter)):
                clock.receive(milliseconds, counter, now)
                assert clock.latest >= (milliseconds, counter)
                assert clock.latest > greatest
                greatest = clock.latest
            case _:
                clock = HybridLogicalClock(clock.latest)
