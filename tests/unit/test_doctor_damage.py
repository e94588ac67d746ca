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
