"""LZ4 blocks, through the C functions and through the package; hostile blocks are refused."""

from __future__ import annotations

from collections.abc import Iterator

import lz4.block
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rango._ext.compress import compress_bytes, decompress_bytes, direct_set

TEXT = b"the same words again and again, " * 400

# bytes with something to find in them, and bytes without
DATA = st.one_of(
    st.binary(max_size=3000),
    st.lists(st.sampled_from([b"agent", b"memory", b" of ", b"\0\0\0\0", b"1"]), max_size=900).map(
        b"".join
    ),
)


@pytest.fixture(params=[True, False], ids=["direct", "package"], scope="module")
def path(request: pytest.FixtureRequest) -> Iterator[bool]:
    if direct_set(request.param) != request.param:
        pytest.skip("this lz4 hides its C functions")
    yield request.param
    direct_set(True)


@given(data=DATA)
def test_a_block_gives_back_its_bytes(path: bool, data: bytes) -> None:
    block = compress_bytes(data)
    assert block is not None
    assert decompress_bytes(block, len(data)) == data
    assert decompress_bytes(block, len(data) + 100) == data


@given(data=DATA)
def test_the_package_reads_our_blocks_and_we_read_its(path: bool, data: bytes) -> None:
    block = compress_bytes(data)
    assert lz4.block.decompress(block, uncompressed_size=len(data)) == data
    assert decompress_bytes(lz4.block.compress(data, store_size=False), len(data)) == data


@given(data=DATA)
def test_a_small_block_is_one_that_everybody_reads(path: bool, data: bytes) -> None:
    block = compress_bytes(data, small=True)
    assert block is not None
    assert decompress_bytes(block, len(data)) == data
    assert lz4.block.decompress(block, uncompressed_size=len(data)) == data


def test_a_small_block_is_smaller(path: bool) -> None:
    text = b" ".join(b"%d agents" % (n * n % 997) for n in range(4000))
    small, quick = compress_bytes(text, small=True), compress_bytes(text)
    assert small is not None and quick is not None
    assert len(small) < len(quick)
    assert compress_bytes(text, len(small) - 1, small=True) is None


def test_text_shrinks_and_what_does_not_fit_is_refused(path: bool) -> None:
    block = compress_bytes(TEXT)
    assert block is not None
    assert len(block) < len(TEXT) // 20
    assert compress_bytes(TEXT, len(block)) == block
    assert compress_bytes(TEXT, len(block) - 1) is None
    assert compress_bytes(TEXT, 0) is None


def test_less_room_than_the_bytes_need_is_refused(path: bool) -> None:
    block = compress_bytes(TEXT)
    assert block is not None
    assert decompress_bytes(block, len(TEXT) - 1) is None
    assert decompress_bytes(block, 0) is None
    assert decompress_bytes(block, -1) is None


@given(block=st.binary(max_size=300), capacity=st.integers(0, 5000))
def test_hostile_blocks_never_give_more_than_the_room(
    path: bool, block: bytes, capacity: int
) -> None:
    opened = decompress_bytes(block, capacity)
    assert opened is None or len(opened) <= capacity


def test_every_cut_of_a_block_is_refused_or_shorter(path: bool) -> None:
    data = bytes(range(256)) * 3 + TEXT[:500]
    block = compress_bytes(data)
    assert block is not None
    for size in range(len(block)):
        opened = decompress_bytes(block[:size], len(data))
        assert opened is None or (len(opened) < len(data) and data.startswith(opened))
