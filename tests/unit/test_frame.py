"""Frame headers, what a tag binds, and the chain, against the readable twin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rango._ext.frame import aad_pack, chain_step, header_pack, header_unpack
from tests.reference import frame as twin

U64 = st.integers(min_value=0, max_value=2**64 - 1)
HEADERS = st.builds(
    lambda size, kind, ordinals, previous, nonce: (size, kind, *ordinals, previous, nonce),
    st.integers(min_value=0, max_value=65536 - 84),
    st.integers(min_value=1, max_value=3),
    st.lists(U64, min_size=3, max_size=3, unique=True).map(
        lambda three: (max(three), sorted(three)[1], min(three))
    ),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=12, max_size=12),
)


@given(HEADERS)
def test_header_survives_packing_and_equals_the_twin(
    fields: tuple[int, int, int, int, int, bytes, bytes],
) -> None:
    packed = header_pack(*fields)
    assert header_unpack(packed) == fields
    frame = twin.frame_of(packed + bytes(fields[0] + 16), 0)
    assert frame is not None
    assert (len(frame.raw) - 84, *frame[1:7]) == fields


@given(HEADERS, st.integers(min_value=0, max_value=68 * 8 - 1))
def test_any_flipped_bit_is_no_header(
    fields: tuple[int, int, int, int, int, bytes, bytes], bit: int
) -> None:
    packed = bytearray(header_pack(*fields))
    packed[bit // 8] ^= 1 << bit % 8
    assert header_unpack(bytes(packed)) is None


@given(st.binary(max_size=200))
def test_random_bytes_read_as_the_twin_reads_them(data: bytes) -> None:
    assert header_unpack(data) is None
    assert twin.frame_of(data, 0) is None


@pytest.mark.parametrize(
    "fields",
    [
        (65536 - 83, 2, 5, 5, 4),  # does not fit into a block
        (10, 0, 5, 5, 4),
        (10, 4, 5, 5, 4),
        (10, 2, 5, 6, 4),  # first ordinal after its own
        (10, 2, 5, 5, 5),  # claims its own durability
    ],
)
def test_impossible_fields_are_no_header(fields: tuple[int, int, int, int, int]) -> None:
    assert header_unpack(header_pack(*fields, b"p" * 16, b"n" * 12)) is None


def test_a_short_header_is_none() -> None:
    packed = header_pack(0, 3, 1, 1, 0, bytes(16), bytes(12))
    assert all(header_unpack(packed[:size]) is None for size in range(68))


def test_aad_names_the_place_and_the_header_but_not_the_nonce() -> None:
    one = header_pack(7, 2, 9, 9, 8, b"p" * 16, b"n" * 12)
    other = header_pack(7, 2, 9, 9, 8, b"p" * 16, b"m" * 12)
    aad = aad_pack(b"d" * 16, 3, 136, one)
    assert (
        aad
        == bytes([3])
        + b"d" * 16
        + (3).to_bytes(8, "little")
        + (136).to_bytes(8, "little")
        + one[8:56]
    )
    assert aad == aad_pack(b"d" * 16, 3, 136, other)
    assert aad != aad_pack(b"d" * 16, 4, 136, one)
    assert aad != aad_pack(b"d" * 16, 3, 144, one)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_chain_equals_the_twin(chain: bytes, raw: bytes) -> None:
    assert chain_step(chain, raw) == twin.chain_of(chain, raw)


def test_doors_refuse_wrong_sizes() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        header_pack(1, 2, 1, 1, 0, b"", bytes(12))
    with pytest.raises(ValueError, match="32 bytes"):
        chain_step(b"", b"x")
    with pytest.raises(ValueError, match="68"):
        aad_pack(bytes(16), 1, 136, b"")
