"""verify() on honest histories, whatever happened to them; signatures, anchors, and the twin."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import rango
from rango.errors import (
    InvalidArgument,
    IoFailed,
    NotADatabase,
    NotFound,
    ReadOnly,
    TransactionError,
)
from rango.proof import Anchor, anchors_of
from rango.storage import signatures
from rango.storage.signatures import Link, Signature, line_read
from rango.storage.verification import Verification
from tests.reference.verification import twin_verify
from tests.security.attacks import ordinal_of, segments_of

KEY = bytes(range(32))


def proven(path: Path, anchor: Anchor | None = None) -> Verification:
    """verify(), which finds nothing."""
    result = rango.verify(path, anchor=anchor)
    assert result.ok, result.findings
    return result


def grow(db: rango.Database, count: int, text: str = "tea") -> None:
    for number in range(count):
        db["notes"].insert_one({"n": number, "text": text})


# --- honest histories


def test_checkpoint_and_close_sign(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path, key=KEY) as db:
        grow(db, 3)
        assert proven(path).signed_ordinal == 0
        db.checkpoint()
        at_checkpoint = db.stats()["ordinal"]
        assert proven(path).signed_ordinal == at_checkpoint
        grow(db, 3)
        result = proven(path)
        assert (result.signed_ordinal, result.ordinal) == (at_checkpoint, at_checkpoint + 3)
    result = proven(path)
    # the closed frame, too
    assert result.signed_ordinal == result.ordinal == at_checkpoint + 4
    lines = (path / "oplog" / "signatures").read_text()
    with rango.open(path, key=KEY) as db:
        assert len(list(db["notes"].find({}))) == 6
    assert (path / "oplog" / "signatures").read_text() == lines  # nothing new, nothing signed


def test_ends_of_segments_are_signed(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path, key=KEY) as db:
        for _ in range(3):
            grow(db, 3)
            db.keys.rotate()
            grow(db, 2)
    result = proven(path)
    ends = {each.first_ordinal - 1 for each in segments_of(path)} - {0}
    heads = {each.ordinal for each in heads_of(path)}
    assert len(ends) == 3 and ends <= heads and result.segments == 4


def heads_of(path: Path) -> list[Signature]:
    text = (path / "oplog" / "signatures").read_text()
    said = [line_read(line) for line in text.splitlines()]
    return [each for each in said if isinstance(each, Signature)]


@pytest.mark.parametrize("key", [KEY, None], ids=["encrypted", "plain"])
def test_large_commits_and_blocks(tmp_path: Path, key: bytes | None) -> None:
    path = tmp_path / "db"
    with rango.open(path, key=key) as db:
        for size in (10, 30_000, 70_000, 300_000, 5):
            db["notes"].insert_one({"text": "x" * size})
        db["notes"].insert_many([{"n": n} for n in range(5_000)])
    result = proven(path)
    assert result.frames > result.commits
    assert result.signed_ordinal == result.ordinal


@pytest.mark.parametrize("key", [KEY, None], ids=["encrypted", "plain"])
def test_a_purge_is_reported_as_purged(tmp_path: Path, key: bytes | None) -> None:
    path = tmp_path / "db"
    with rango.open(path, key=key) as db:
        grow(db, 20)
        anchor = db.anchor()
        db["notes"].purge({"n": {"$in": [3, 4]}})
        assert len(proven(path, anchor).purged) == 3  # two, and what forgot them
        grow(db, 5)
        db["notes"].purge({"n": 7})
    result = proven(path, anchor)
    assert result.anchors[0].is_met
    assert len(result.purged) == 5
    assert result.signed_ordinal == result.ordinal


def test_new_keys_are_linked(tmp_path: Path) -> None:
    path = tmp_path / "db"
    other, third = bytes(32), bytes([7] * 32)
    with rango.open(path, key=KEY) as db:
        grow(db, 5)
        anchor = db.anchor()
        db["notes"].purge({"n": 3})
    rango.rekey(path, key=KEY, new_key=other)
    with rango.open(path, key=other) as db:
        grow(db, 5)
        second = db.anchor()
    rango.rekey(path, key=other, new_key=third)
    for each in (anchor, second, rango.read_anchor(path)):
        assert proven(path, each).anchors[0].is_met
    assert proven(path / "replaced", anchor).anchors[0].is_met
    assert proven(path / "replaced-2", second).anchors[0].is_met
    assert proven(path / "replaced-2", anchor).anchors[0].is_met
    # an older copy that went on under the old key
    with rango.open(path / "replaced", key=KEY) as db:
        grow(db, 9)
        fork = db.anchor()
    result = rango.verify(path, anchor=fork)
    assert [each.kind for each in result.findings] == ["other-history"]


def test_a_restored_backup_is_proven_and_goes_another_way(tmp_path: Path) -> None:
    path, backup, restored = tmp_path / "db", tmp_path / "backup", tmp_path / "restored"
    with rango.open(path, key=KEY) as db:
        grow(db, 5)
        before = db.anchor()
        grow(db, 5)
        db["notes"].purge({"n": 3})
        db.backup(backup)
        grow(db, 5)
        after = db.anchor()
    rango.restore(backup, to=restored, key=KEY)
    result = proven(restored, before)
    assert result.anchors[0].is_met and result.signed_ordinal == result.ordinal
    assert not rango.verify(restored, anchor=after).ok


def test_a_log_without_signatures_is_unsigned(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path, key=KEY) as db:
        grow(db, 5)
    (path / "oplog" / "signatures").unlink()
    result = proven(path)
    assert (result.signed_ordinal, result.signatures) == (0, 0)
    with pytest.raises(NotFound):
        rango.read_anchor(path)
    with rango.open(path, key=KEY) as db:
        grow(db, 1)
    # the next head covers everything
    assert proven(path).signed_ordinal == proven(path).ordinal


def test_no_space_to_sign_is_a_finding_only(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path, key=KEY) as db:
        grow(db, 5)
        (path / "oplog" / "signatures").mkdir()
        db.checkpoint()
        assert any("was not signed" in each for each in db.stats()["findings"])
        grow(db, 1)
    with rango.open(path, key=KEY) as db:
        assert db["notes"].count_documents({}) == 6


WRITER = """
import sys, rango
db = rango.open(sys.argv[1], key=bytes(range(32)))
print("open", flush=True)
n = 0
while True:
    n += 1
    db["notes"].insert_one({"n": n, "text": "tea " * (n % 50)})
    if n % 50 == 0:
        db.checkpoint()
    if n % 170 == 0:
        db.keys.rotate()
    if n % 90 == 0:
        db["notes"].purge({"n": n - 60})
"""


def test_beside_writers_and_after_they_were_killed(tmp_path: Path) -> None:
    path = tmp_path / "db"
    rango.open(path, key=KEY).close()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None and writer.stdout.readline() == b"open\n"
        results = [proven(path) for _ in range(60)]
        anchor = rango.read_anchor(path)
    finally:
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
            assert writer.stdout is not None
            writer.stdout.close()
    ordinals = [each.ordinal for each in results]
    assert ordinals == sorted(ordinals) and ordinals[-1] > ordinals[0]
    dead = proven(path, anchor)
    assert dead.ordinal >= ordinals[-1]
    with rango.open(path, key=KEY) as db:
        assert list(db.check()) == []
        grow(db, 1)
    assert proven(path, anchor).signed_ordinal >= dead.ordinal


# --- signatures and anchors


def test_lines_are_read_back_and_nothing_else_is_one() -> None:
    head = Signature("head", bytes(16), 5, bytes(32), 7, bytes(32), bytes(64))
    link = Link(bytes(16), 5, bytes(32), bytes(32), bytes(32), bytes(32), bytes(64), bytes(64))
    for each in (head, head._replace(kind="base"), head._replace(kind="purge"), link):
        assert line_read(each.line) == each
        for wrong in (
            each.line + "0",
            each.line[:-1],
            each.line.replace(" 1 ", " 2 ", 1),
            each.line.replace(" 5 ", " -5 ", 1),
            each.line.replace(" 5 ", " 05 ", 1),
            each.line.replace(" 5 ", f" {1 << 64} ", 1),
            each.line.replace(" ", "  ", 1),
            each.line.upper(),
            each.line + " ",
            "x" * 2_000,
        ):
            assert line_read(wrong) is None, wrong
    assert line_read("") is None


def test_old_heads_are_thinned_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "LINES_MAX", 40)
    monkeypatch.setattr(signatures, "LINES_KEPT", 10)
    path = tmp_path / "db"
    with rango.open(path, key=KEY) as db:
        first = db.anchor()
        for at in range(200):
            grow(db, 1)
            last = db.anchor()
            if at == 20:
                db["notes"].purge({"n": 0})
    assert 10 <= len(heads_of(path)) < 60
    assert sum(each.kind == "purge" for each in heads_of(path)) > 0
    assert proven(path, first).anchors[0].is_met
    assert proven(path, last).signed_ordinal == proven(path).ordinal


def test_a_torn_line_is_followed_by_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path, key=KEY) as db:
        grow(db, 1)
    file = path / "oplog" / "signatures"
    file.write_bytes(file.read_bytes()[:-40])
    with rango.open(path, key=KEY) as db:
        grow(db, 1)
    result = proven(path)
    assert (result.signed_ordinal, len(result.notes)) == (result.ordinal, 1)


def test_what_an_anchor_may_be(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path, key=KEY) as db:
        grow(db, 1)
        first = db.anchor()
        assert db.anchor().chain == first.chain
        grow(db, 1)
        second = db.anchor()
        with pytest.raises(TransactionError), db.transaction():
            db.anchor()
    assert first.at.year >= 2024
    file = tmp_path / "anchors.txt"
    file.write_text(f"# kept since Monday\n\n{first}\n{json.dumps(second.as_dict())}\n")
    for given in (
        first,
        str(first),
        json.dumps(first.as_dict()),
        json.dumps(first.as_dict(), indent=2),
        file,
        str(file),
        [first, str(second)],
    ):
        found = anchors_of(given)
        assert found[0].ordinal == first.ordinal
        assert all(each.is_met for each in rango.verify(path, anchor=given).anchors)
    assert len(anchors_of(file)) == 2 and anchors_of(None) == []
    changed = first._replace(ordinal=first.ordinal + 1)
    for wrong in (
        "head 1 of nothing",
        str(changed),
        changed.as_dict().__repr__(),
        json.dumps(changed.as_dict()),
        '{"anchor": 2}',
        "{ not json",
        tmp_path / "nowhere",
        "nowhere.txt",
        5,
        [str(first), "head 2"],
    ):
        with pytest.raises(InvalidArgument):
            rango.verify(path, anchor=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        Anchor.parse(f"{first}\n{second}")
    with rango.open(path, key=KEY, read_only=True) as db, pytest.raises(ReadOnly):
        db.anchor()


def test_what_is_no_database(tmp_path: Path) -> None:
    for call in (rango.verify, rango.read_anchor):
        with pytest.raises(NotADatabase):
            call(tmp_path)
        with pytest.raises(InvalidArgument):
            call(5)  # type: ignore[arg-type]
    path = tmp_path / "db"
    with rango.open(path, key=KEY) as db:
        grow(db, 1)
        anchor = db.anchor()
    half = tmp_path / "half"
    (half / "oplog").mkdir(parents=True)
    shutil.copy(path / "keys", half / "keys")
    with pytest.raises(NotADatabase):
        rango.verify(half)  # as a creation that a crash cut off leaves it
    (path / "keys").unlink()
    with pytest.raises(rango.errors.KeysCorrupted):
        rango.verify(path)
    result = rango.verify(path, anchor=anchor)
    assert [each.kind for each in result.findings] == ["keys"]
    assert result.signed_ordinal == result.ordinal


def test_progress_ends_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path, key=KEY) as db:
        grow(db, 10)
    told: list[tuple[int, int]] = []
    rango.verify(path, progress=lambda done, total: told.append((done, total)))
    size = (path / "oplog" / "0000000000000001.rgo").stat().st_size
    assert told[-1] == (size, size) and told == sorted(told)


def test_the_cli_says_what_is_wrong(tmp_path: Path) -> None:
    from tests.unit.command_case import in_pipes

    path = tmp_path / "db"
    with rango.open(path, key=KEY) as db:
        grow(db, 10)
        db["notes"].purge({"n": 2})
        grow(db, 2)
    words = ["verify", str(path)]
    good = in_pipes(words)
    assert good.code == 0 and "nothing speaks against this history" in good.out
    assert "purged, as signed: 2 frames" in good.out
    anchor = in_pipes(["anchor", str(path)]).out.strip()
    assert "anchor of commit" in in_pipes([*words, "--anchor", anchor]).out
    with rango.open(path, key=KEY) as db:
        db["notes"].insert_one({})
    os.truncate(path / "oplog" / "0000000000000002.rgo", 400)
    bad = in_pipes([*words, "--json"])
    found = json.loads(bad.out)
    assert (bad.code, found["ok"], found["findings"][0]["kind"]) == (6, False, "truncated")
    assert in_pipes([*words, "--anchor", "nothing of that kind"]).code == 2


# --- the twin


@pytest.mark.parametrize("key", [KEY, None], ids=["encrypted", "plain"])
def test_the_twin_agrees(tmp_path: Path, key: bytes | None) -> None:
    """The readable verifier, written from the format, on whole and on damaged logs."""
    path = tmp_path / "db"
    with rango.open(path, key=key) as db:
        for at in range(3):
            grow(db, 20, "x" * (30_000 if at == 1 else 100))
            db.checkpoint()
            if key is not None:
                db.keys.rotate()
    whole = proven(path)
    twin = twin_verify(path)
    assert twin.problem is None
    assert (twin.ordinal, twin.chain.hex(), twin.signed_ordinal) == (
        whole.ordinal,
        whole.chain,
        whole.signed_ordinal,
    )
    drawn = random.Random(5)
    segments = segments_of(path)
    for number in range(150):
        target = tmp_path / "copy"
        shutil.copytree(path, target)
        segment = drawn.choice(segments)
        at = drawn.randrange(len(segment.frames))
        place = segment.offsets[at] + drawn.randrange(len(segment.frames[at]))
        file = target / "oplog" / segment.path.name
        data = bytearray(file.read_bytes())
        data[place] ^= 1 << drawn.randrange(8)
        file.write_bytes(data)
        expected, found = twin_verify(target).problem, rango.verify(target)
        assert expected is not None and not found.ok, (number, place)
        first, truth = found.findings[0], ordinal_of(segment.frames[at])
        case = (number, truth, expected, first)
        assert abs(expected.ordinal - truth) <= 1, case
        is_near = first.segment == int(segment.path.stem) and abs(first.ordinal - truth) <= 1
        # the very last frame is covered by its signature alone
        is_last = truth == whole.ordinal and first.kind in ("interval", "truncated")
        assert is_near or is_last, case
        shutil.rmtree(target)


def test_keys_that_cannot_be_read_are_a_typed_error(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        grow(db, 1)
    (tmp_path / "db" / "keys").unlink()
    (tmp_path / "db" / "keys").mkdir()
    with pytest.raises(IoFailed, match="keys"):
        rango.verify(tmp_path / "db")
