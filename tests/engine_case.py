"""Databases on the real engine for the suites that break, copy, kill or share them.

What rango.open does not offer on purpose (tiny segments, tiny overlays) is offered here, so that a
few hundred documents reach every kind of page, frame and checkpoint.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rango
from rango._ext.vfs import PythonVfs
from rango.arguments import options_of
from rango.database import Database
from rango.engine.core import Core
from rango.transaction import Handle
from tests.unit.memory_disk import File, MemoryDisk

ROOT = Path(__file__).resolve().parent.parent
KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
SECRETS: dict[str, dict[str, Any]] = {"key": {"key": KEY}, "plain": {}}
TINY = {
    "segment_size_max": 16 * 1024,
    "overlay_entries_max": 64,
    "overlay_bytes_max": 1 << 20,
    "root_gap": 8 * 1024,
}
FOLDER = "/db"
"""Where a database lies in a Folder."""

Folder = dict[str, bytes]
"""A database directory as a value: names below it, and contents."""
Content = dict[str, dict[Any, dict[str, Any]]]
"""Collection name -> `_id` -> document with its revision."""


def open_tiny(path: str | os.PathLike[str], **options: Any) -> Database:
    """rango.open with the engine's sizes turned down (TINY, or as given)."""
    sizes = {name: options.pop(name, value) for name, value in TINY.items()}
    secret = tuple(options.pop(name, None) for name in ("passphrase", "key", "keyfile"))
    made = options_of(path, secret, **options)._replace(**sizes)
    return Database(Handle(Core.open(made), made.path, made.ids))


def content_of(db: Database) -> Content:
    """Everything that the database answers, through find() and the header's fields."""
    return {
        name: {document["_id"]: document for document in db[name].find({}, meta=True)}
        for name in db.list_collection_names()
    }


def present(document: dict[str, Any] | None) -> dict[str, Any]:
    """The document, which must be there."""
    assert document is not None
    return document


# --- a database as a value ------------------------------------------------------------------------


def folder_read(path: str | os.PathLike[str]) -> Folder:
    """All files of a directory on disk."""
    top = Path(path)
    return {
        file.relative_to(top).as_posix(): file.read_bytes()
        for file in sorted(top.rglob("*"))
        if file.is_file()
    }


def folder_write(folder: Mapping[str, bytes], path: Path) -> None:
    """Put a directory on disk."""
    for name, data in folder.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.write_bytes(data)


def folder_disk(folder: Mapping[str, bytes]) -> MemoryDisk:
    """A disk in memory that holds the directory at FOLDER."""
    disk = MemoryDisk()
    disk.folders = {FOLDER, f"{FOLDER}/oplog"}
    disk.names = {f"{FOLDER}/{name}": File(data) for name, data in folder.items()}
    return disk


def disk_folder(disk: MemoryDisk) -> Folder:
    """What the disk holds at FOLDER."""
    return {name[len(FOLDER) + 1 :]: bytes(file.data) for name, file in disk.names.items()}


def open_folder(folder: Mapping[str, bytes], **options: Any) -> Database:
    """Open a directory that exists only as a value: no flush reaches a disk."""
    return rango.open(FOLDER, vfs=PythonVfs(folder_disk(folder)), create=False, **options)


def disk_of(db: Database) -> MemoryDisk:
    """The disk in memory under a database."""
    vfs = db._handle.core.vfs
    assert isinstance(vfs, PythonVfs)
    assert isinstance(vfs.impl, MemoryDisk)
    return vfs.impl


def flipped(folder: Mapping[str, bytes], name: str, at: int, bits: int) -> Folder:
    """The directory with some bits of one byte flipped."""
    data = bytearray(folder[name])
    data[at] ^= bits
    return {**folder, name: bytes(data)}


# --- other processes ------------------------------------------------------------------------------


def python_start(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Another interpreter that runs `code`, which finds this project; pipes on all three ends."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def python_run(code: str, *arguments: object, **environment: str) -> str:
    """Run `code` in another interpreter to its end; its output. Its errors fail the test."""
    process = python_start(code, *arguments, **environment)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, f"exit {process.returncode}\n{output}\n{errors}"
    assert not errors, errors
    return output


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that the process prints; if it died instead, the test fails with its errors."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _output, errors = process.communicate(timeout=60)
        raise AssertionError(f"the child ended ({process.returncode}):\n{errors}")
    return line.rstrip("\n")
