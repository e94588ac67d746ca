"""Salvage: everything but what is damaged, in a new place; the original is only read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rango.engine.salvage import salvage
from rango.errors import InvalidArgument, LogCorrupted, LowDisk, RangoError
from tests.unit.engine_case import DB, asked, documents_of, insert, opened, options_of, replace
from tests.unit.memory_disk import MemoryDisk


def fingerprint(folder: Path) -> dict[str, str]:
    """A hash of every file below a directory, and when it was changed."""
    return {
        f"{path} {path.stat().st_mtime_ns}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def written(folder: Path) -> tuple[Path, list[int]]:
    """A closed database of 30 documents, and where the frame of each insert starts."""
    core = opened(folder)
    core.create_index("a", asked("v"))
    # the first close of a database makes a checkpoint; what comes after it is left to replay
    core.release()
    core = opened(folder)
    places = []
    for n in range(30):
        places.append(core.store.appender.position)
        insert(core, "a", [{"_id": n, "v": n % 5, "text": f"document {n} " * 5}])
    core.release()
    return folder / "oplog" / f"{1:016d}.rgo", places


@pytest.mark.parametrize("number", [0, 1, 14, 28, 29])
def test_a_damaged_frame_costs_its_own_commit_only(tmp_path: Path, number: int) -> None:
    log, places = written(tmp_path / "db")
    data = bytearray(log.read_bytes())
    data[places[number] + 100] ^= 1
    log.write_bytes(data)
    before = fingerprint(tmp_path / "db")
    with pytest.raises(LogCorrupted):
        opened(tmp_path / "db")
    assert {key.split()[0] for key in before} >= {str(log)}
    before = fingerprint(tmp_path / "db" / "oplog")
    report = salvage(options_of(tmp_path / "db", read_only=True), str(tmp_path / "new"))
    assert fingerprint(tmp_path / "db" / "oplog") == before
    assert len(report["lost"]) == 1 and report["documents"] == 29
    core = opened(tmp_path / "new")
    assert sorted(documents_of(core, "a")) == [n for n in range(30) if n != number]
    assert [index.name for index in core.collections()["a"].indexes] == ["v_1"]
    assert list(core.check()) == []
    core.release()


def test_an_open_database_can_be_salvaged_too(tmp_path: Path) -> None:
    core = opened(tmp_path / "db")
    insert(core, "a", [{"_id": n} for n in range(5)])
    replace(core, "a", {"_id": 3, "v": "new"})
    core.checkpoint()
    report = core.salvage(str(tmp_path / "new"))
    assert report["documents"] == 5 and report["lost"] == []
    again = opened(tmp_path / "new")
    assert documents_of(again, "a") == documents_of(core, "a")
    again.release()
    core.release()


def test_what_is_there_already_is_never_written_to(tmp_path: Path) -> None:
    written(tmp_path / "db")
    (tmp_path / "taken").mkdir()
    for target in ("taken", "db"):
        with pytest.raises(InvalidArgument):
            salvage(options_of(tmp_path / "db"), str(tmp_path / target))
    assert list((tmp_path / "taken").iterdir()) == []


def test_a_lost_definition_does_not_take_its_documents_along(tmp_path: Path) -> None:
    core = opened(tmp_path / "db")
    place = core.store.appender.position
    core.create_collection("a")
    insert(core, "a", [{"_id": n} for n in range(9)])
    core.release()
    log = tmp_path / "db" / "oplog" / f"{1:016d}.rgo"
    data = bytearray(log.read_bytes())
    data[place + 100] ^= 1
    log.write_bytes(data)
    report = salvage(options_of(tmp_path / "db"), str(tmp_path / "new"))
    assert report["documents"] == 9
    core = opened(tmp_path / "new")
    ((name, _info),) = core.collections().items()
    assert name.startswith("recovered_")
    assert sorted(documents_of(core, name)) == list(range(9))
    core.release()


def test_a_full_disk_ends_in_low_disk_and_leaves_the_original(tmp_path: Path) -> None:
    disk = MemoryDisk()
    core = opened(disk=disk)
    insert(core, "a", [{"_id": n, "text": "x" * 1000} for n in range(500)])
    disk.capacity = sum(len(file.data) for file in disk.names.values()) + 300_000
    with pytest.raises(LowDisk):
        core.salvage("/new")
    assert len(documents_of(core, "a")) == 500
    disk.capacity = 1 << 40
    with pytest.raises(RangoError):
        core.salvage("/new")
    assert core.salvage("/newer")["documents"] == 500
    core.release()
    assert DB in disk.folders
