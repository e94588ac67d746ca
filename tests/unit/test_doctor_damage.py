"""Damage at random: the doctor says "error" if and only if the database does not open."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rango
from rango.errors import RangoError
from tests.unit.doctor_case import KEY, looked

CASES = 25


def flip(path: Path, chance: random.Random) -> None:
    """Other bytes somewhere; near the beginning more often."""
    size = path.stat().st_size
    at = chance.randrange(min(size, chance.choice([200, 5_000, size])))
    with path.open("r+b") as file:
        file.seek(at)
        file.write(chance.randbytes(chance.choice([1, 4, 100])))


def cut(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def zeros(path: Path, chance: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def gone(path: Path, chance: random.Random) -> None:
    path.unlink()


def folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def renamed(path: Path, chance: random.Random) -> None:
    path.rename(path.with_name(f"{path.name}.x"))


WAYS: tuple[Callable[[Path, random.Random], None], ...] = (flip, cut, zeros, gone, folder, renamed)


def damaged(base: Path, target: Path, chance: random.Random) -> str:
    """A copy with one to three of its files damaged; what was done."""
    shutil.copytree(base, target)
    done = []
    for _ in range(chance.choice([1, 1, 2, 3])):
        files = sorted(path for path in target.rglob("*") if path.is_file())
        files = [path for path in files if path.stat().st_size]
        path, way = chance.choice(files), chance.choice(WAYS)
        way(path, chance)
        done.append(f"{path.name} {way.__name__}")
    return ", ".join(done)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("secret", [{}, {"key": KEY}], ids=["plain", "sealed"])
def test_an_error_is_said_if_and_only_if_it_does_not_open(
    tmp_path: Path, secret: dict[str, Any], seed: int
) -> None:
    with rango.open(tmp_path / "base", **secret) as db:
        for turn in range(2):
            db["notes"].insert_many({"_id": turn * 100 + n, "n": n} for n in range(30))
            db["notes"].create_index("n")
            db.checkpoint()
        db["notes"].insert_one({"_id": "tail"})
    chance = random.Random(seed)
    for number in range(CASES):
        place = tmp_path / str(number) / "db"
        place.parent.mkdir()
        what = damaged(tmp_path / "base", place, chance)
        report = looked(place, **secret)
        looked(place)
        refused: RangoError | None = None
        try:
            rango.open(place, create=False, **secret).close()
        except RangoError as error:
            refused = error
        codes = [found.code for found in report.findings]
        assert (report.severity == "error") == (refused is not None), (what, codes, refused)
        try:
            for _commit in rango.read_log(place, **secret):
                pass
        except RangoError:
            pass


# --- what is signed


def signature_codes(folder: Path, **secret: Any) -> dict[str, str]:
    """What is said of the signatures, and how bad it is."""
    findings = looked(folder, **secret).findings
    return {each.code: each.severity for each in findings if each.code.startswith("signatures-")}


def signed(folder: Path, **secret: Any) -> None:
    with rango.open(folder, **secret) as db:
        for turn in range(3):
            db["notes"].insert_one({"_id": turn})
            db.checkpoint()


@pytest.mark.parametrize("secret", [{}, {"key": KEY}], ids=["plain", "sealed"])
def test_what_rango_itself_does_is_no_finding(tmp_path: Path, secret: dict[str, Any]) -> None:
    path = tmp_path / "db"
    with rango.open(path, **secret) as db:
        assert signature_codes(path, **secret) == {}  # nothing is signed yet
        db["notes"].insert_many({"_id": n} for n in range(10))
        db.checkpoint()
        db["notes"].purge({"_id": 1})
        db.compact("now")
        db.backup(tmp_path / "backup")
    rango.restore(tmp_path / "backup", to=tmp_path / "restored", **secret)
    assert signature_codes(path, **secret) == signature_codes(path) == {}
    assert signature_codes(tmp_path / "restored", **secret) == {}
    rango.rekey(path, **secret, new_key=b"n" * 32)
    assert signature_codes(path, key=b"n" * 32) == {}
    rango.replay(path, to=tmp_path / "replayed", key=b"n" * 32)
    assert signature_codes(tmp_path / "replayed", key=b"n" * 32) == {}


def test_signatures_are_judged_as_far_as_they_can_be(tmp_path: Path) -> None:
    signed(tmp_path / "db", key=KEY)
    signed(tmp_path / "other", key=KEY)
    path = tmp_path / "db" / "oplog" / "signatures"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)

    def told(data: bytes, **secret: Any) -> dict[str, str]:
        path.write_bytes(data)
        return signature_codes(tmp_path / "db", **secret)

    cases = {
        whole: set(),
        whole[:-30]: {"signatures-torn"},
        whole.replace(b"head", b"held"): {"signatures-torn"},
        bytes(len(whole)): {"signatures-torn"},
        whole[:-2] + (b"0" if whole[-2:-1] != b"0" else b"1") + b"\n": {"signatures-changed"},
        b"".join(reversed(lines)): set(),
        (tmp_path / "other" / "oplog" / "signatures").read_bytes(): {"signatures-foreign"},
    }
    for data, codes in cases.items():
        # the public key lies open: no secret is needed
        assert set(told(data)) == set(told(data, key=KEY)) == codes, data
    path.unlink()
    assert signature_codes(tmp_path / "db", key=KEY) == {"signatures-missing": "warning"}
    assert signature_codes(tmp_path / "db") == {}  # no slot is read, so it may never have been
    with rango.open(tmp_path / "db", key=KEY) as db:
        assert signature_codes(tmp_path / "db", key=KEY) == {}  # somebody writes
        db["notes"].insert_one({"_id": "later"})
        db.checkpoint()
    # as the finding says
    assert signature_codes(tmp_path / "db", key=KEY) == {}
    assert rango.verify(tmp_path / "db").ok
