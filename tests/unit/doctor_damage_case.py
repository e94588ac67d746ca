"""Sick databases, continued: damage, space and time, and what a database lies on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import rango
from rango._ext import layout
from rango.doctor import Report
from rango.doctor.surroundings import Probe
from tests.unit.doctor_case import (
    elsewhere,
    healthy,
    keys_changed,
    looked,
    overwrite,
    provokes,
    segments,
    surroundings_now,
    torn,
)

# --- damage


@provokes("format-too-new")
def _(folder: Path) -> Report:
    healthy(folder)
    keys_changed(folder, layout.KEYS_VERSION, (99).to_bytes(4, "little"))
    return looked(folder)


@provokes("data-file-missing")
def _(folder: Path) -> Report:
    healthy(folder)
    (folder / "data.rango").unlink()
    return looked(folder)


@provokes("data-file-short")
def _(folder: Path) -> Report:
    healthy(folder)
    os.truncate(folder / "data.rango", 2 * layout.UNIT_SIZE)
    return looked(folder)


@provokes("data-file-size")
def _(folder: Path) -> Report:
    healthy(folder)
    with (folder / "data.rango").open("ab") as file:
        file.write(b"\0")
    return looked(folder)


@provokes("superblock-slot")
def _(folder: Path) -> Report:
    healthy(folder)
    overwrite(folder / "data.rango", layout.UNIT_SIZE + 100, b"\xff" * 8)
    return looked(folder)


@provokes("superblock-lost")
def _(folder: Path) -> Report:
    healthy(folder)
    overwrite(folder / "data.rango", 0, b"\xff" * 2 * layout.UNIT_SIZE)
    return looked(folder)


@provokes("page-damaged")
def _(folder: Path) -> Report:
    healthy(folder)
    size = (folder / "data.rango").stat().st_size - 2 * layout.UNIT_SIZE
    overwrite(folder / "data.rango", 2 * layout.UNIT_SIZE, b"\xff" * size)
    return looked(folder)


@provokes("log-missing")
def _(folder: Path) -> Report:
    healthy(folder)
    shutil.rmtree(folder / "oplog")
    return looked(folder)


@provokes("log-broken")
def _(folder: Path) -> Report:
    healthy(folder)
    overwrite(segments(folder)[0], layout.SEGMENT_FIRST_ORDINAL, b"\xff")
    return looked(folder)


@provokes("log-damaged")
def _(folder: Path) -> Report:
    healthy(folder)
    data = segments(folder)[0].read_bytes()
    magic = layout.FRAME_MAGIC_VALUE.to_bytes(4, "little")
    last = data.rindex(magic, 0, data.rindex(magic))
    overwrite(segments(folder)[0], last + layout.FRAME_HEADER_SIZE, b"\xff" * 4)
    return looked(folder)


@provokes("segment-void")
def _(folder: Path) -> Report:
    healthy(folder)
    (folder / "oplog" / "0000000000000002.rgo").write_bytes(bytes(4096))
    return looked(folder)


@provokes("torn-tail")
def _(folder: Path) -> Report:
    torn(folder)
    return looked(folder)


# --- what is signed


@provokes("signatures-missing")
def _(folder: Path) -> Report:
    healthy(folder)
    (folder / "oplog" / "signatures").unlink()
    return looked(folder)


@provokes("signatures-torn")
def _(folder: Path) -> Report:
    healthy(folder)
    with (folder / "oplog" / "signatures").open("ab") as file:
        file.write(b"head 1 00")
    return looked(folder)


@provokes("signatures-changed")
def _(folder: Path) -> Report:
    healthy(folder)
    path = folder / "oplog" / "signatures"
    words = path.read_text("ascii").split(" ")
    words[3] = str(int(words[3]) + 1)
    path.write_text(" ".join(words), "ascii")
    return looked(folder)


@provokes("signatures-foreign")
def _(folder: Path) -> Report:
    healthy(folder)
    healthy(folder.with_name("other"))
    shutil.copy(folder.with_name("other") / "oplog" / "signatures", folder / "oplog")
    return looked(folder)


# --- space and time


@provokes("low-disk")
def _(folder: Path) -> Report:
    report = elsewhere(folder, free_bytes=1_000_000)
    assert report.severity == "error"
    return looked(folder, surroundings=surroundings_now(folder, free_bytes=100_000_000))


@provokes("reclaimable")
def _(folder: Path) -> Report:
    with rango.open(folder, durability="memory") as db:
        notes = db["notes"]
        notes.insert_many({"_id": n, "text": os.urandom(5000)} for n in range(2000))
        db.checkpoint()
        notes.insert_one({"_id": 5000})
        db.checkpoint()
        notes.delete_many({"_id": {"$lt": 2000}})
        for turn in range(3):
            notes.insert_one({"_id": 6000 + turn})
            db.checkpoint()
        # closing would give it back
        return looked(folder)


@provokes("clock-behind")
def _(folder: Path) -> Report:
    healthy(folder)
    past = surroundings_now(folder).now_ms - 3_600_000
    return looked(folder, surroundings=surroundings_now(folder, now_ms=past))


@provokes("clock-wrong")
def _(folder: Path) -> Report:
    return elsewhere(folder, now_ms=86_400_000)


# --- what it lies on


@provokes("network-file-system")
def _(folder: Path) -> Report:
    return elsewhere(folder, file_system="nfs")


@provokes("memory-file-system")
def _(folder: Path) -> Report:
    return elsewhere(folder, file_system="tmpfs")


@provokes("overlay-file-system")
def _(folder: Path) -> Report:
    return elsewhere(folder, file_system="overlay")


@provokes("untested-file-system")
def _(folder: Path) -> Report:
    return elsewhere(folder, file_system="0xdeadbeef")


@provokes("read-only-mount")
def _(folder: Path) -> Report:
    return elsewhere(folder, is_read_only_mount=True)


@provokes("flush-fails")
def _(folder: Path) -> Report:
    return elsewhere(folder, probe=Probe(0, 0, "Input/output error"))


@provokes("flush-slow")
def _(folder: Path) -> Report:
    return elsewhere(folder, probe=Probe(120.0, 300.0))


@provokes("foreign-bson")
def _(folder: Path) -> Report:
    return elsewhere(folder, has_foreign_bson=True)


@provokes("slow-bson")
def _(folder: Path) -> Report:
    return elsewhere(folder, has_fast_bson=False)


@provokes("library-missing")
def _(folder: Path) -> Report:
    return elsewhere(folder, versions={"python": "3.11", "lz4": None})
