"""A matrix of attacks on the log by somebody without the key: each is named, with and without an
anchor, and nothing is claimed of honest histories.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

import rango
from rango.engine.signing import sign_base
from rango.proof import Anchor
from rango.storage.signatures import signed
from rango.storage.verification import Verification
from tests.security.attacks import (
    FIELDS,
    Segment,
    chain_all_anew,
    copied,
    renumbered,
    replace_key,
    segments_of,
    signatures,
    write_signatures,
)
from tests.security.signed_case import KEY, grow, made

OTHER_KEY = bytes(32)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Anchor]]:
    path = tmp_path_factory.mktemp("honest") / "db"
    return path, made(path)


@pytest.fixture
def victim(honest: tuple[Path, list[Anchor]], tmp_path: Path) -> tuple[Path, list[Anchor]]:
    return copied(honest[0], tmp_path / "victim"), honest[1]


def kinds(result: Verification) -> list[str]:
    return [each.kind for each in result.findings]


def test_an_honest_history_is_proven_to_its_end(honest: tuple[Path, list[Anchor]]) -> None:
    path, anchors = honest
    result = rango.verify(path)
    assert (result.ok, result.findings, result.notes, result.tail) == (True, [], [], 0)
    assert result.signed_ordinal == result.ordinal == anchors[-1].ordinal
    assert (result.segments, result.first) == (3, 1)
    for anchor in anchors:
        assert rango.verify(path, anchor=anchor).anchors[0].is_met
    assert rango.verify(path, anchor=anchors).ok


@pytest.mark.parametrize("is_checked", [False, True], ids=["naive", "check mended"])
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("ordinal", [1, 30, 64])
def test_a_flipped_bit_is_found_in_its_commit(
    victim: tuple[Path, list[Anchor]], field: str, ordinal: int, is_checked: bool
) -> None:
    path, anchors = victim
    if is_checked and field in ("magic", "check"):
        is_checked = False  # nothing to mend
    segment = next(each for each in reversed(segments_of(path)) if each.first_ordinal <= ordinal)
    segment.patch(ordinal, FIELDS[field], is_checked=is_checked)
    for anchor in (None, anchors[-1]):
        result = rango.verify(path, anchor=anchor)
        assert not result.ok
        found = result.findings[0]
        number = int(segment.path.stem)
        # a frame that does not follow the one before speaks against both
        near = range(ordinal - 1 if field == "previous" else ordinal, ordinal + 2)
        assert (found.segment, found.ordinal in near) == (number, True), found
        places = [segment.offsets[segment.index(each)] for each in near if each]
        assert found.offset in places, (found, places)


def test_the_last_commit_is_covered_too(victim: tuple[Path, list[Anchor]]) -> None:
    path, anchors = victim
    segment = segments_of(path)[-1]
    last = anchors[-1].ordinal
    segment.patch(last, FIELDS["tag"], is_checked=False)
    assert kinds(rango.verify(path)) == ["interval"]
    assert rango.verify(path).findings[0].ordinal <= last
    assert kinds(rango.verify(path, anchor=anchors[-1])) == ["interval", "other-history"]


# --- frames that go, come, move


def test_a_commit_is_cut_out(victim: tuple[Path, list[Anchor]]) -> None:
    segment = segments_of(victim[0])[1]
    del segment.frames[5]
    segment.write()
    found = rango.verify(victim[0]).findings[0]
    assert (found.kind, found.ordinal) == ("cut", segment.first_ordinal + 5)
    assert (found.segment, found.offset) == (2, segment.offsets[5])


def test_a_commit_is_there_twice(victim: tuple[Path, list[Anchor]]) -> None:
    segment = segments_of(victim[0])[1]
    segment.frames.insert(6, segment.frames[5])
    segment.write()
    found = rango.verify(victim[0]).findings[0]
    assert (found.kind, found.ordinal) == ("inserted", segment.first_ordinal + 6)


def test_two_commits_change_places(victim: tuple[Path, list[Anchor]]) -> None:
    segment = segments_of(victim[0])[1]
    segment.frames[5:7] = reversed(segment.frames[5:7])
    segment.write()
    found = rango.verify(victim[0]).findings[0]
    assert (found.kind, found.ordinal) == ("reordered", segment.first_ordinal + 5)


def test_a_commit_is_made_up(victim: tuple[Path, list[Anchor]]) -> None:
    segment = segments_of(victim[0])[1]
    ordinal = segment.first_ordinal + 5
    segment.frames.insert(5, renumbered(segment.frames[5], ordinal))
    segment.write()
    found = rango.verify(victim[0]).findings[0]
    assert (found.kind, found.ordinal in (ordinal, ordinal + 1)) == ("inserted", True)


@pytest.mark.parametrize("is_fork", [False, True], ids=["of another database", "of a fork"])
def test_a_foreign_commit_is_spliced_in(
    victim: tuple[Path, list[Anchor]], tmp_path: Path, is_fork: bool
) -> None:
    path = victim[0]
    other = tmp_path / "other"
    if is_fork:
        segments = segments_of(copied(path, other))
        with rango.open(other, key=KEY) as db:
            grow(db, 30)
        at = segments[-1].first_ordinal + len(segments[-1].frames)
        with rango.open(path, key=KEY) as db:
            grow(db, 30)
    else:
        made(other)
        at = 60
    source, target = segments_of(other)[-1], segments_of(path)[-1]
    target.frames[target.index(at + 3)] = source.frames[source.index(at + 3)]
    target.write()
    found = rango.verify(path).findings[0]
    assert (found.segment, found.ordinal in (at + 2, at + 3)) == (3, True), found


# --- segments


@pytest.mark.parametrize("gone", [0, 1])
def test_a_segment_is_gone(victim: tuple[Path, list[Anchor]], gone: int) -> None:
    path = victim[0]
    segments = segments_of(path)
    segments[gone].path.unlink()
    found = rango.verify(path).findings[0]
    assert (found.kind, found.ordinal) == ("cut", segments[gone].first_ordinal)


def test_the_last_segment_is_gone(victim: tuple[Path, list[Anchor]]) -> None:
    path, anchors = victim
    segments = segments_of(path)
    segments[-1].path.unlink()
    assert kinds(rango.verify(path)) == ["truncated"]
    assert rango.verify(path).findings[0].ordinal == segments[-1].first_ordinal
    assert kinds(rango.verify(path, anchor=anchors[-1])) == ["truncated", "rolled-back"]


def test_all_segments_are_gone(victim: tuple[Path, list[Anchor]]) -> None:
    for segment in segments_of(victim[0]):
        segment.path.unlink()
    assert kinds(rango.verify(victim[0])) == ["cut"]


def test_a_segment_has_the_name_of_another(victim: tuple[Path, list[Anchor]]) -> None:
    first, second, _third = (each.path for each in segments_of(victim[0]))
    second.write_bytes(first.read_bytes())
    assert {"inserted", "cut"} <= set(kinds(rango.verify(victim[0])))


def test_a_segment_of_another_database(victim: tuple[Path, list[Anchor]], tmp_path: Path) -> None:
    made(tmp_path / "other")
    theirs = segments_of(tmp_path / "other")[1].path.read_bytes()
    segments_of(victim[0])[1].path.write_bytes(theirs)
    result = rango.verify(victim[0])
    assert "other-database" in kinds(result)
    assert result.findings[0].segment in (1, 2)


@pytest.mark.parametrize("place", [0, 8, 12, 16, 32, 40, 48, 56, 64, 90])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_flipped_bit_of_a_segment_header(
    victim: tuple[Path, list[Anchor]], at: int, place: int
) -> None:
    segment = segments_of(victim[0])[at]
    data = bytearray(segment.path.read_bytes())
    # of the features one that nobody knows: the first says that there are purged commits
    data[place] ^= 4 if place == 12 else 2
    segment.path.write_bytes(data)
    result = rango.verify(victim[0])
    if place == 48 and at == 0:
        assert result.ok  # where a predecessor ended, in a segment that has none
        return
    assert result.findings[0].segment in (at, at + 1), result.findings


# --- the end


def cut_behind(path: Path, ordinal: int) -> None:
    """The log as it was when this was its last commit; zeros behind it."""
    for segment in segments_of(path):
        if segment.first_ordinal > ordinal:
            segment.path.unlink()
        elif segment.first_ordinal + len(segment.frames) > ordinal:
            segment.frames = segment.frames[: segment.index(ordinal) + 1]
            segment.write()


def test_the_tail_is_cut(victim: tuple[Path, list[Anchor]]) -> None:
    path, anchors = victim
    cut_behind(path, 50)
    result = rango.verify(path)
    assert (kinds(result), result.ordinal) == (["truncated"], 50)
    assert result.findings[0].ordinal == 51
    assert kinds(rango.verify(path, anchor=anchors[-1])) == ["truncated", "rolled-back"]


def test_a_cut_with_its_signatures_shows_against_an_anchor_only(
    victim: tuple[Path, list[Anchor]],
) -> None:
    path, anchors = victim
    cut_behind(path, anchors[1].ordinal)
    lines = [each for each in signatures(path) if int(each.split()[3]) <= anchors[1].ordinal]
    write_signatures(path, lines)
    result = rango.verify(path)
    assert (result.ok, result.ordinal) == (True, anchors[1].ordinal)
    assert rango.verify(path, anchor=anchors[:2]).ok
    found = rango.verify(path, anchor=anchors[2])
    assert kinds(found) == ["rolled-back"]
    assert found.findings[0].ordinal == anchors[1].ordinal + 1


def test_a_directory_that_is_put_back_shows_against_an_anchor_only(tmp_path: Path) -> None:
    path = tmp_path / "db"
    made(path)
    old = copied(path, tmp_path / "old")
    with rango.open(path, key=KEY) as db:
        grow(db, 10)
        anchor = db.anchor()
    assert rango.verify(old).ok
    result = rango.verify(old, anchor=str(anchor))
    assert (kinds(result), result.ok) == (["rolled-back"], False)
    assert not result.anchors[0].is_met


def test_a_copy_that_went_another_way(tmp_path: Path) -> None:
    path = tmp_path / "db"
    anchors = made(path)
    fork = copied(path, tmp_path / "fork")
    for each in (path, fork):
        with rango.open(each, key=KEY) as db:
            grow(db, 10)
    theirs = rango.read_anchor(fork)
    assert rango.verify(fork).ok
    result = rango.verify(path, anchor=[theirs, *anchors])
    assert kinds(result) == ["other-history"]
    assert result.findings[0].ordinal == anchors[-1].ordinal + 1
    assert [each.is_met for each in result.anchors] == [False, True, True, True, True]


def test_signatures_of_two_histories_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "db"
    made(path)
    fork = copied(path, tmp_path / "fork")
    for each in (path, fork):
        with rango.open(each, key=KEY) as db:
            grow(db, 10)
    write_signatures(path, [*signatures(path), signatures(fork)[-1]])
    assert "other-history" in kinds(rango.verify(path))


# --- the chain rebuilt by somebody without the signing key


def rebuilt(path: Path, ordinal: int) -> None:
    """Commit `ordinal` has another content, and everything else fits again."""
    segments = segments_of(path)
    segment = next(each for each in reversed(segments) if each.first_ordinal <= ordinal)
    at = segment.index(ordinal)
    raw = bytearray(segment.frames[at])
    raw[FIELDS["ciphertext"]] ^= 0xFF
    segment.frames[at] = bytes(raw)
    chain_all_anew(segments)


def test_a_rebuilt_chain_does_not_fit_its_signatures(victim: tuple[Path, list[Anchor]]) -> None:
    path, anchors = victim
    rebuilt(path, 30)
    result = rango.verify(path)
    assert kinds(result) == ["interval"]
    # behind the last head that fits, up to the first that does not
    assert result.signed_ordinal < 30
    assert result.findings[0].ordinal == result.signed_ordinal + 1
    assert f"to {anchors[1].ordinal} " in result.findings[0].what


def test_a_rebuilt_chain_without_signatures_is_unsigned(victim: tuple[Path, list[Anchor]]) -> None:
    path, anchors = victim
    rebuilt(path, 30)
    write_signatures(path, [each for each in signatures(path) if int(each.split()[3]) < 30])
    result = rango.verify(path)
    assert (result.ok, result.signed_ordinal) == (True, anchors[0].ordinal)
    assert result.ordinal > result.signed_ordinal
    found = rango.verify(path, anchor=anchors[-1])
    assert kinds(found) == ["other-history"]
    assert found.findings[0].ordinal == anchors[0].ordinal + 1


@pytest.mark.parametrize("change", ["drop", "swap", "add"])
def test_a_rebuilt_chain_of_other_commits(victim: tuple[Path, list[Anchor]], change: str) -> None:
    path, anchors = victim
    segments = segments_of(path)
    frames = segments[1].frames
    if change == "drop":
        del frames[7]
    elif change == "swap":
        frames[7:9] = reversed(frames[7:9])
    else:
        frames.insert(7, frames[8])
    chain_all_anew(segments)
    assert "interval" in kinds(rango.verify(path))
    assert not rango.verify(path, anchor=anchors[-1]).ok


def test_no_signatures_at_all(victim: tuple[Path, list[Anchor]]) -> None:
    path, anchors = victim
    (path / "oplog" / "signatures").unlink()
    result = rango.verify(path)
    assert (result.ok, result.signed_ordinal, result.signatures) == (True, 0, 0)
    assert rango.verify(path, anchor=anchors[-1]).signed_ordinal == anchors[-1].ordinal


# --- another key


def test_another_public_key_in_the_keys_file(victim: tuple[Path, list[Anchor]]) -> None:
    path, anchors = victim
    verify_key, _signing = crypto_sign_seed_keypair(OTHER_KEY)
    replace_key(path, verify_key)
    assert "other-key" in kinds(rango.verify(path))
    result = rango.verify(path, anchor=anchors[-1])
    # with the anchor's key all of it is genuine still
    assert (kinds(result), result.signed_ordinal) == (["other-key"], anchors[-1].ordinal)


def test_everything_signed_with_another_key_shows_against_an_anchor_only(
    victim: tuple[Path, list[Anchor]],
) -> None:
    path, anchors = victim
    rebuilt(path, 30)
    verify_key, signing = crypto_sign_seed_keypair(OTHER_KEY)
    replace_key(path, verify_key)
    chain = last_chain(segments_of(path))
    head = signed(
        "head",
        bytes.fromhex(anchors[0].database_id),
        anchors[-1].ordinal,
        chain,
        anchors[0].ms,
        verify_key,
        lambda data: crypto_sign(data, signing)[:64],
    )
    write_signatures(path, [head.line])
    result = rango.verify(path)
    assert (result.ok, result.public_key) == (True, verify_key.hex())
    assert "other-key" in kinds(rango.verify(path, anchor=anchors[-1]))


def last_chain(segments: list[Segment]) -> bytes:
    """The chain value at the end of a log."""
    return segments[-1].chain_anew(bytes(segments[-1].header[64:96]))


def test_an_anchor_of_another_database(victim: tuple[Path, list[Anchor]], tmp_path: Path) -> None:
    theirs = made(tmp_path / "other")[-1]
    assert kinds(rango.verify(victim[0], anchor=theirs)) == ["other-database"]


# --- the signatures themselves


def test_a_changed_signature(victim: tuple[Path, list[Anchor]]) -> None:
    path = victim[0]
    lines = signatures(path)
    for word in range(2, 8):
        words = lines[1].split()
        words[word] = words[word][:-1] + ("0" if words[word][-1] != "0" else "1")
        write_signatures(path, [lines[0], " ".join(words), *lines[2:]])
        result = rango.verify(path)
        assert set(kinds(result)) <= {"signature", "other-key"} and result.findings, word
        assert result.signed_ordinal == result.ordinal


def test_a_torn_line_is_no_signature(victim: tuple[Path, list[Anchor]]) -> None:
    path = victim[0]
    lines = signatures(path)
    write_signatures(path, [lines[0], lines[1][:-7], "\0" * 300, "head 2 of another time", *lines])
    result = rango.verify(path)
    assert (result.ok, len(result.notes), result.signed_ordinal) == (True, 1, result.ordinal)


def test_a_purge_that_nobody_signed(victim: tuple[Path, list[Anchor]]) -> None:
    path = victim[0]
    segment = segments_of(path)[1]
    at = 5
    raw, offset = segment.frames[at], segment.offsets[at]
    segment.patch(segment.first_ordinal + at, FIELDS["flags"], is_checked=True)
    assert kinds(rango.verify(path)) == ["purge"]
    # with a table, so that the chain closes
    import hashlib

    end = segment.offsets[-1] + (len(segment.frames[-1]) + 7) // 8 * 8
    data = segment.path.read_bytes()[:end]
    data += offset.to_bytes(8, "little") + hashlib.blake2b(raw, digest_size=32).digest()
    data += bytes(8) + (1).to_bytes(4, "little") + b"GRPU"
    segment.path.write_bytes(data)
    result = rango.verify(path)
    assert (kinds(result), result.purged) == (["purge"], [segment.first_ordinal + at])
    assert result.findings[0].ordinal == segment.first_ordinal + at


# --- a plain database: tags need no key


def test_a_plain_database_names_the_very_commit(tmp_path: Path) -> None:
    path = tmp_path / "db"
    made(path, None)
    result = rango.verify(path)
    assert (result.ok, result.is_key_sealed, len(result.notes)) == (True, False, 1)
    segment = segments_of(path)[1]
    for field in ("nonce", "ciphertext", "tag", "durable", "previous"):
        target = copied(path, tmp_path / field)
        Segment(target / "oplog" / segment.path.name).patch(30, FIELDS[field], is_checked=True)
        found = rango.verify(target).findings[0]
        assert (found.ordinal, found.segment, found.offset) == (
            30,
            2,
            segment.offsets[segment.index(30)],
        ), (field, found)


# --- a log that begins later


@pytest.mark.parametrize("is_signed", [True, False])
def test_a_history_that_was_given_up_begins_where_the_key_says(
    victim: tuple[Path, list[Anchor]], is_signed: bool
) -> None:
    """A base segment stands for what came before (docs/reference/format.md)."""
    path, anchors = victim
    first, second, _third = segments_of(path)
    start, chain = second.first_ordinal - 1, bytes(second.header[64:96])
    if is_signed:
        with rango.open(path, key=KEY) as db:
            sign_base(db._handle.core, start, chain)
    header = bytearray(first.header)
    header[12] = 2  # a base
    header[48:64] = len(header).to_bytes(8, "little") + second.first_ordinal.to_bytes(8, "little")
    header[64:96] = chain
    first.path.write_bytes(header)
    result = rango.verify(path, anchor=anchors)
    if not is_signed:
        assert kinds(result)[0] == "cut"
        return
    assert (result.ok, result.findings, result.first) == (True, [], start + 1)
    assert result.signed_ordinal == result.ordinal
    assert [each.is_met for each in result.anchors] == [True] * 4
    # older segments that a crash has left do not count
    (path / "oplog" / "0000000000000000.rgo").write_bytes(first.header)
    assert rango.verify(path).ok
    header[70] ^= 1
    first.path.write_bytes(header)
    assert {"cut"} <= set(kinds(rango.verify(path)))
