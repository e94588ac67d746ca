"""Packed segments in the hands of somebody without the key, and pieces that hold anything."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import lz4.block
import pytest
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

import rango
from rango._ext import layout
from rango._ext.vfs import PythonVfs
from rango.errors import LogCorrupted
from rango.proof import Anchor
from rango.storage.segment import file_view, opened, salvage
from rango.storage.verification import Verification
from tests.reference import packed as twin
from tests.security.attacks import copied
from tests.security.signed_case import KEY, grow, made
from tests.unit.log_case import FOLDER
from tests.unit.packed_case import bodies_of, packed, sealed


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Anchor]]:
    """A database of four segments, all but the last packed, and anchors from before that."""
    path = tmp_path_factory.mktemp("packed") / "db"
    anchors = made(path)
    with rango.open(path, key=KEY) as db:
        grow(db, 500)
        anchors.append(db.anchor())
        assert db.compact("all")["packed"] == 3
        grow(db, 5)
    return path, [*anchors, rango.read_anchor(path)]


@pytest.fixture
def victim(honest: tuple[Path, list[Anchor]], tmp_path: Path) -> tuple[Path, list[Anchor]]:
    return copied(honest[0], tmp_path / "victim"), honest[1]


def kinds(result: Verification) -> list[str]:
    return [each.kind for each in result.findings]


def place(path: Path, segment: int) -> Path:
    return path / "oplog" / f"{segment:016d}.rgo"


def test_an_honest_history_is_proven_without_its_ciphertext(
    honest: tuple[Path, list[Anchor]],
) -> None:
    path, anchors = honest
    result = rango.verify(path)
    assert (result.ok, result.findings, result.tail) == (True, [], 0)
    assert result.signed_ordinal == result.ordinal == anchors[-1].ordinal
    assert (result.segments, result.first, result.commits) == (
        4,
        1,
        result.ordinal - 2,
    )  # two closed frames
    (note,) = result.notes
    assert "3 segments are packed" in note
    for anchor in anchors:
        assert rango.verify(path, anchor=anchor).anchors[0].is_met, anchor
    assert rango.verify(path, anchor=anchors).ok


def test_an_anchor_that_nobody_noted_is_neither_met_nor_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path, key=KEY) as db:
        grow(db, 20)
        anchor = db.anchor()
        grow(db, 20)
        (path / "oplog" / "signatures").unlink()
        db.compact("all")
    result = rango.verify(path, anchor=anchor)
    assert result.ok and not result.anchors[0].is_met
    assert "does not tell" in result.anchors[0].what


def test_the_altered_piece_is_named(victim: tuple[Path, list[Anchor]]) -> None:
    path, anchors = victim
    file = place(path, 3)
    data = file.read_bytes()
    parts = twin.taken_apart(data)
    assert len(parts.pieces) > 2
    at = layout.SEGMENT_HEADER_SIZE
    ends = [entry[1] for entry in parts.table[1:]] + [parts.footer[7] + 1]  # type: ignore[operator]
    for number, piece in enumerate(parts.pieces):
        for inside in (0, 9, 30, len(piece) - 1):
            changed = bytearray(data)
            changed[at + inside] ^= 4
            file.write_bytes(changed)
            result = rango.verify(path, anchor=anchors)
            first, last = parts.table[number][1], ends[number] - 1
            (found,) = result.findings
            assert (found.kind, found.ordinal, found.segment) == ("altered", first, 3)
            assert found.offset == at and f"commits {first} to {last} " in found.what
        at += len(piece)


def test_nothing_behind_the_pieces_can_be_changed(victim: tuple[Path, list[Anchor]]) -> None:
    path, anchors = victim
    file = place(path, 2)
    data = file.read_bytes()
    start = len(data) - sum(map(len, twin.taken_apart(data).pieces))
    chance = random.Random(1)
    for at in [*range(layout.SEGMENT_HEADER_SIZE), *range(len(data) - start, len(data))]:
        changed = bytearray(data)
        changed[at] ^= 1 << chance.randrange(8)
        file.write_bytes(changed)
        assert not rango.verify(path, anchor=anchors[-1]).ok, at
    for size in range(136, len(data), 97):
        file.write_bytes(data[:size])
        assert not rango.verify(path).ok, size


def test_pieces_that_changed_places(victim: tuple[Path, list[Anchor]]) -> None:
    path, _anchors = victim
    file = place(path, 3)
    data = file.read_bytes()
    parts = twin.taken_apart(data)
    one, two = parts.pieces[0], parts.pieces[1]
    rest = data[136 + len(one) + len(two) :]
    file.write_bytes(data[:136] + two + one + rest)
    assert kinds(rango.verify(path)) == ["altered"]
    with rango.open(path, key=KEY) as db:
        assert "log" in [each.kind for each in db.check()]


def test_a_segment_that_was_packed_by_somebody_else(
    victim: tuple[Path, list[Anchor]], tmp_path: Path
) -> None:
    path, anchors = victim
    file = place(path, 2)
    data = bytearray(file.read_bytes())
    public, secret = crypto_sign_seed_keypair(bytes(32))
    parts = twin.taken_apart(bytes(data))
    at = len(data) - 216
    data[at + 112 : at + 144] = public
    message = twin.taken_apart(bytes(data)).message
    data[at + 144 : at + 208] = crypto_sign(message, secret)[:64]
    file.write_bytes(data)
    assert kinds(rango.verify(path)) == ["other-key"]
    # the genuine signature of another segment
    other = place(path, 1).read_bytes()
    data[at + 112 : at + 208] = other[-104:-8]
    file.write_bytes(data)
    assert kinds(rango.verify(path)) == ["signature"]
    assert parts.purged == []
    # the whole of another segment, under this name
    file.write_bytes(other)
    assert not rango.verify(path, anchor=anchors).ok


def test_a_packed_segment_of_a_copy_that_went_another_way(
    victim: tuple[Path, list[Anchor]], tmp_path: Path
) -> None:
    path, _anchors = victim
    other = copied(path, tmp_path / "other")
    for folder, text in ((path, "one"), (other, "other")):
        with rango.open(folder, key=KEY) as db:
            for n in range(40):
                db["notes"].insert_one({"n": n, "text": text * 9})
            assert db.compact("all")["packed"] == 1
            db["notes"].insert_one({"n": -1})
    file = place(path, 4)
    file.write_bytes(place(other, 4).read_bytes())
    assert not rango.verify(path).ok
    with rango.open(path, key=KEY) as db:
        assert "log" in [each.kind for each in db.check()]


# --- pieces that hold anything: somebody who has the key, or a bug, made them


def hostile(content: bytes, change: Callable[[bytearray], object] | None = None) -> bytes | str:
    """What a reader gets of a segment whose second block is made of this content."""
    case = sealed(bodies_of(900, 1), b"k" * 32)
    packed(case)
    parts = twin.taken_apart(bytes(case.data()))
    header = case.log.segments[0]
    key = case.keyring.packed_key(header.id, header.salt, header.epoch)
    block = lz4.block.compress(content, store_size=False)
    opened_bytes = bytearray(struct.pack("<I", len(content)) + block)
    if change is not None:
        change(opened_bytes)
    head = struct.pack("<III", layout.PIECE_MAGIC_VALUE, len(opened_bytes), 1)
    aad = b"\x06" + case.keyring.database_id + struct.pack("<Q", header.id) + head
    nonce, ciphertext = key.seal_bytes(aad, bytes(opened_bytes))
    piece = head + nonce + ciphertext
    table = struct.pack("<I", len(piece)) + bytes(40)
    data = case.data()
    at = 136 + len(parts.pieces[0])
    entry = len(data) - 216 - 44 * (len(parts.table) - 1)
    data[entry : entry + 44] = table
    data[at : at + len(parts.pieces[1])] = piece
    # salvage reads whatever is there, and never fails
    list(salvage(PythonVfs(case.disk), "/db", case.keyring, []))
    vfs = PythonVfs(case.disk)
    try:
        with opened(vfs, f"{FOLDER}/{1:016d}.rgo") as fd:
            found: bytes = file_view(vfs, fd, case.keyring, header).read(fd, 65536, 65536)
            return found
    except LogCorrupted as error:
        return error.what


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def content(count: int, nonces: int, entries: bytes, bodies: bytes = b"") -> bytes:
    return struct.pack("<HQ32s", count, 500, b"c" * 32) + bytes(12 * nonces) + entries + bodies


REFUSED = {
    "empty": b"",
    "cut in the header": bytes(41),
    "nonces are missing": content(3, 2, b""),
    "entries are missing": content(2, 2, b"\x02\x00"),
    "more frames than fit": content(746, 746, b"\x02\x00" * 746),
    "a count beyond all": content(65535, 745, b"\x02\x00" * 745),
    "a body beyond the block": content(1, 1, b"\x02" + varint(65536 - 83), bytes(65536 - 83)),
    "a body beyond the content": content(1, 1, b"\x02" + varint(500), bytes(499)),
    "bytes behind the bodies": content(1, 1, b"\x02" + varint(500), bytes(501)),
    "a varint without an end": content(1, 1, b"\x02" + b"\xff" * 12),
    "a varint of 65 bits": content(1, 1, b"\x0a\x00" + b"\xff" * 9 + b"\x02"),
    "an unknown bit": content(1, 1, b"\x42\x00"),
    "a digest that is cut": content(1, 1, b"\x06\x00" + bytes(31)),
    "a size of all bits": content(1, 1, b"\x02" + varint((1 << 64) - 1)),
    "larger than any content": bytes(layout.CONTENT_SIZE_MAX + 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_content_that_cannot_be_is_refused(name: str) -> None:
    assert "holds no frames that could have been" in str(hostile(REFUSED[name]))


@pytest.mark.parametrize(
    "change",
    [
        lambda opened: opened.__setitem__(slice(0, 4), b"\xff\xff\xff\xff"),
        lambda opened: opened.__setitem__(slice(0, 4), b"\0\0\0\0"),
        lambda opened: opened.__setitem__(slice(0, 1), bytes([opened[0] ^ 1])),
        lambda opened: opened.__delitem__(slice(-3, None)),
        lambda opened: opened.extend(b"more"),
        lambda opened: opened.__setitem__(slice(4, None), b"\xff" * 300),
    ],
)
def test_an_lz4_block_that_gives_another_size_is_refused(
    change: Callable[[bytearray], object],
) -> None:
    good = content(1, 1, b"\x02" + varint(400), b"text " * 80)
    assert isinstance(hostile(good), bytes)
    found = hostile(good, change)
    assert isinstance(found, str) and ("unpack" in found or "no frames" in found)


def test_any_content_ends_in_bytes_or_a_typed_error(seed: int) -> None:
    chance = random.Random(seed)
    made_of = [0, 1, 2, 3, 6, 10, 18, 30, 127, 128, 255]
    outcomes = set()
    for _ in range(150):
        count = chance.choice([0, 1, 2, 5, 40, 745])
        entries = bytes(chance.choices(made_of, k=chance.randrange(4 * count + 8)))
        bodies = bytes(chance.randrange(3_000))
        found = hostile(
            content(count, count - chance.randrange(2) if count else 0, entries, bodies)
        )
        outcomes.add(type(found))
    for _ in range(50):
        size = chance.randrange(600)
        found = hostile(content(1, 1, b"\x02" + varint(size), chance.randbytes(size)))
        outcomes.add(type(found))
    assert outcomes == {bytes, str}
