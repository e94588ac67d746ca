"""Sick databases: one case for each code of the doctor, named after what went wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import rango
from ci.environment import ROOT
from rango._ext import layout
from rango._ext.shared import TABLE_OFFSET
from rango._ext.vfs import POSIX
from rango.doctor import Report, examine, log
from rango.doctor.surroundings import Surroundings, measure
from rango.engine import purge, recovery, rekey
from rango.storage.keys_file import copy_is_whole, keys_check

KEY: Final = b"k" * 32
PROVOKED: Final[dict[str, Callable[[Path], Report]]] = {}
Case = Callable[[Path], Report]


def provokes(code: str) -> Callable[[Case], Case]:
    """This function makes a database at a path for which the code is found."""

    def noted(case: Case) -> Case:
        PROVOKED[code] = case
        return case

    return noted


def healthy(folder: Path, **options: Any) -> None:
    """A database with two checkpoints, closed in order."""
    with rango.open(folder, **options) as db:
        for turn in range(2):
            db["notes"].insert_many({"_id": turn * 10 + n, "n": n} for n in range(10))
            db.checkpoint()


def state(folder: Path) -> dict[str, Any]:
    """Everything about the files that a change would change."""
    found = {}
    for path in [folder, *folder.rglob("*")] if folder.is_dir() else []:
        about = path.lstat()
        content = path.read_bytes() if path.is_file() and os.access(path, os.R_OK) else b""
        found[str(path)] = (about.st_mode, about.st_mtime_ns, about.st_ino, about.st_size, content)
    return found


def looked(folder: Path, **options: Any) -> Report:
    """A report; not a byte and not a time of a file is another one afterwards."""
    before = state(folder.parent)
    report = examine(folder, **options)
    assert state(folder.parent) == before
    return report


def surroundings_now(folder: Path, **changes: Any) -> Surroundings:
    """This machine, with something else about it."""
    return measure(str(folder), probe=False)._replace(**changes)


def elsewhere(folder: Path, **changes: Any) -> Report:
    """A healthy database on another machine."""
    healthy(folder)
    return looked(folder, surroundings=surroundings_now(folder, **changes))


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "oplog").glob("*.rgo"))


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Put bytes into a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def torn(folder: Path) -> None:
    """A database whose last frame is only half there."""
    in_child(folder, "db['notes'].insert_one({'_id': 1, 'text': 'x' * 900})")
    data = segments(folder)[0].read_bytes()
    end = len(data.rstrip(b"\0"))
    overwrite(segments(folder)[0], end - 400, bytes(400))


def in_child(folder: Path, code: str) -> None:
    """Run code on the open database `db` in a process that then dies without closing it."""
    script = f"import os, rango\ndb = rango.open({str(folder)!r})\n{code}\nos._exit(0)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)


# --- who has it open


@provokes("held")
def _(folder: Path) -> Report:
    with rango.open(folder):
        return looked(folder)


@provokes("holder-gone")
def _(folder: Path) -> Report:
    healthy(folder)
    with rango.open(folder):
        # as if a child had kept the lock of a parent that is gone
        overwrite(folder / "lock", TABLE_OFFSET + 8, (2**22 + 1).to_bytes(8, sys.byteorder))
        return looked(folder)


@provokes("not-closed")
def _(folder: Path) -> Report:
    in_child(folder, "db['notes'].insert_one({})")
    return looked(folder)


# --- keys


@provokes("locked")
def _(folder: Path) -> Report:
    healthy(folder, key=KEY)
    return looked(folder)


@provokes("secret-rejected")
def _(folder: Path) -> Report:
    healthy(folder, key=KEY)
    return looked(folder, key=b"x" * 32)


@provokes("not-encrypted")
def _(folder: Path) -> Report:
    healthy(folder)
    return looked(folder)


@provokes("single-key-slot")
def _(folder: Path) -> Report:
    healthy(folder, key=KEY)
    return looked(folder, key=KEY)


@provokes("keys-missing")
def _(folder: Path) -> Report:
    healthy(folder)
    (folder / "keys").unlink()
    return looked(folder)


@provokes("keys-damaged")
def _(folder: Path) -> Report:
    healthy(folder)
    (folder / "keys").write_bytes(bytes(layout.KEYS_FILE_SIZE))
    return looked(folder)


@provokes("keys-copy-damaged")
def _(folder: Path) -> Report:
    healthy(folder)
    overwrite(folder / "keys", layout.KEYS_COPY_SIZE + 100, b"\xff")
    return looked(folder)


def keys_changed(folder: Path, at: int, data: bytes) -> None:
    """Change both copies of the keys, and their checks with them."""
    copy = bytearray((folder / "keys").read_bytes()[: layout.KEYS_COPY_SIZE])
    copy[at : at + len(data)] = data
    copy[layout.KEYS_CHECK :] = keys_check(copy)
    assert copy_is_whole(bytes(copy))
    (folder / "keys").write_bytes(bytes(copy) * 2)


@provokes("key-slot-parameters")
def _(folder: Path) -> Report:
    healthy(folder, passphrase="correct horse")
    keys_changed(folder, layout.KEYS_SLOTS + layout.KEYS_SLOT_OPERATIONS, b"\1\0\0\0")
    return looked(folder)


@provokes("no-hardware-aes")
def _(folder: Path) -> Report:
    healthy(folder, key=KEY)
    return looked(folder, key=KEY, surroundings=surroundings_now(folder, cpu_has_aes=False))


@provokes("rotation-unfinished")
def _(folder: Path) -> Report:
    healthy(folder, key=KEY)
    with rango.open(folder, key=KEY) as db:
        # what rotate() does first
        db._handle.core.keyring.advance_epoch()
        return looked(folder, key=KEY)


@provokes("rekey-unfinished")
def _(folder: Path) -> Report:
    healthy(folder)
    (folder / recovery.HALF).mkdir(mode=0o700)
    assert looked(folder).severity == "note"
    rekey.give_order(POSIX, str(folder / recovery.HALF), rekey.Order(rekey.KEPT, removes=False))
    # the files are elsewhere, and that is no reason to ask for a backup
    (folder / "keys").rename(folder / recovery.HALF / "keys")
    report = looked(folder)
    assert report.severity == "warning"
    return report


@provokes("old-files-kept")
def _(folder: Path) -> Report:
    healthy(folder)
    done = rango.rekey(folder, new_key=KEY)
    assert done["kept"]
    return looked(folder, key=KEY)


# --- files


@provokes("permissions")
def _(folder: Path) -> Report:
    healthy(folder)
    segments(folder)[0].chmod(0o644)
    return looked(folder)


@provokes("other-owner")
def _(folder: Path) -> Report:
    healthy(folder)
    return looked(folder, surroundings=surroundings_now(folder, user=os.geteuid() + 1))


@provokes("unreadable")
def _(folder: Path) -> Report:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        healthy(place / "db")
        (place / "db").chmod(0o755)
        examine(place / "db")  # whatever it imports: another user may not read that either
        (place / "db" / "data.rango").chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            return examine(place / "db")
        finally:
            os.seteuid(user)


@provokes("wrong-kind")
def _(folder: Path) -> Report:
    healthy(folder)
    (folder / "data.rango").rename(folder.parent / "elsewhere")
    (folder / "data.rango").symlink_to(folder.parent / "elsewhere")
    return looked(folder)


@provokes("unknown-file")
def _(folder: Path) -> Report:
    healthy(folder)
    (folder / "notes.txt").write_text("mine")
    return looked(folder)


@provokes("creation-unfinished")
def _(folder: Path) -> Report:
    healthy(folder)
    keys_changed(folder, layout.KEYS_GENERATION, (1).to_bytes(8, "little"))
    (folder / "data.rango").unlink()
    shutil.rmtree(folder / "oplog")
    return looked(folder)


@provokes("keys-change-unfinished")
def _(folder: Path) -> Report:
    healthy(folder)
    (folder / "keys.new").write_bytes(b"half")
    return looked(folder)


@provokes("segment-unfinished")
def _(folder: Path) -> Report:
    healthy(folder)
    (folder / "oplog" / "0000000000000002.rgo.new").write_bytes(b"half")
    return looked(folder)


@provokes("tail-kept")
def _(folder: Path) -> Report:
    torn(folder)
    with rango.open(folder) as db:
        assert db.stats()["findings"]
    return looked(folder)


@provokes("restore-unfinished")
def _(folder: Path) -> Report:
    healthy(folder)
    folder.with_name(f"{folder.name}.restoring").mkdir()
    return looked(folder)


def backed_up(folder: Path) -> None:
    healthy(folder)
    with rango.open(folder) as db:
        db.backup(folder.parent / "backup")


@provokes("backup-unfinished")
def _(folder: Path) -> Report:
    backed_up(folder)
    (folder.parent / "backup" / "segments" / "piece.new").write_bytes(b"half")
    return looked(folder.parent / "backup")


@provokes("backup-damaged")
def _(folder: Path) -> Report:
    backed_up(folder)
    assert looked(folder.parent / "backup").severity is None
    next((folder.parent / "backup" / "segments").iterdir()).write_bytes(b"short")
    return looked(folder.parent / "backup")


@provokes("import-unfinished")
def _(folder: Path) -> Report:
    from rango.transfer.resume_file import begun, saved

    healthy(folder)
    saved(begun("notes", "jsonl", b"{}", 1), folder.parent / "big.state")
    return looked(folder)


@provokes("index-unfinished")
def _(folder: Path) -> Report:
    healthy(folder)
    with rango.open(folder) as db:
        core = db._handle.core
        definition = index_building(core)
        core.change_catalog(lambda _catalog: [(core.tree_take(), definition)])
        core.checkpoint()
        shutil.copytree(folder, folder.parent / "copy")
    return looked(folder.parent / "copy")


def index_building(core: Any) -> bytes:
    """The definition of an index whose filling has begun."""
    from rango._ext.collection_info import IndexInfo
    from rango.engine.catalog import BUILDING, index_definition

    info = core.collections()["notes"]
    return index_definition(info.tree_id, IndexInfo("n_1", 0, (("n", 1),)), BUILDING)


@provokes("given-up-files")
def _(folder: Path) -> Report:
    healthy(folder)
    old = folder.parent / "old"
    shutil.copytree(folder / "oplog", old)
    with rango.open(folder) as db:
        # one file more that the base takes the place of
        db.compact("now")
        db["notes"].insert_one({"_id": "later"})
        db.compact("now")
    for file in old.iterdir():
        shutil.copy(file, folder / "oplog" / file.name)
    return looked(folder)


@provokes("history-large")
def _(folder: Path) -> Report:
    healthy(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "HISTORY_BYTES", 1_000)
        patch.setattr(log, "HISTORY_SHARE", 1)
        return looked(folder)


@provokes("purge-unfinished")
def _(folder: Path) -> Report:
    healthy(folder)
    with rango.open(folder) as db:
        core = db._handle.core
        query = db["notes"].find({"_id": 1})._query
        assert purge.forget_batch(core, "notes", query) == 1
        shutil.copytree(folder, folder.parent / "copy")
    return looked(folder.parent / "copy")
