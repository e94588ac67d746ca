"""The doctor: every finding is provoked once and explained once, and nothing is ever changed."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from ci.environment import ROOT
from rango._ext import layout
from rango._ext.generation import generation_units
from rango.doctor import CODES, SEVERITIES
from rango.engine import kept
from rango.errors import NotADatabase
from tests.engine_case import open_tiny
from tests.unit import doctor_damage_case
from tests.unit.doctor_case import KEY, PROVOKED, healthy, looked, surroundings_now
from tests.unit.test_cli import Answer, python, run

__all__ = ["doctor_damage_case", "run"]  # its cases are in PROVOKED

PAGE = (ROOT / "docs" / "reference" / "doctor.md").read_text(encoding="utf-8")
SECTIONS = re.compile(r"^### ([a-z-]+)$", re.MULTILINE)


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_case_that_provokes_it(code: str, tmp_path: Path) -> None:
    report = PROVOKED[code](tmp_path / "db")
    found = [finding for finding in report.findings if finding.code == code]
    assert found, f"found instead: {[each.code for each in report.findings]}"
    for each in found:
        assert each.what and each.action and each.where
        assert each.severity in SEVERITIES
    order = [SEVERITIES.index(each.severity) for each in report.findings]
    assert order == sorted(order, reverse=True)


def test_the_codes_are_those_of_the_page_and_of_the_cases() -> None:
    sections = SECTIONS.findall(PAGE)
    assert sorted(sections) == sorted(CODES)
    assert PROVOKED.keys() == CODES.keys()


@pytest.mark.parametrize("code", CODES)
def test_the_page_says_how_bad_it_is_and_what_to_do(code: str) -> None:
    section = PAGE.split(f"\n### {code}\n")[1].split("\n#")[0]
    assert section.lstrip().lower().startswith(CODES[code])
    assert "**Do:**" in section


@pytest.mark.parametrize("secret", [{}, {"key": KEY}], ids=["plain", "sealed"])
def test_a_healthy_database_has_no_more_than_notes(tmp_path: Path, secret: dict[str, Any]) -> None:
    healthy(tmp_path / "db", **secret)
    codes = {finding.code for finding in looked(tmp_path / "db", **secret).findings}
    assert codes <= {"not-encrypted", "single-key-slot", "not-closed"}


def test_a_database_whose_secret_is_not_given_is_examined_as_far_as_it_lies_open(
    tmp_path: Path,
) -> None:
    healthy(tmp_path / "db", key=KEY)
    report = looked(tmp_path / "db")
    assert {finding.code for finding in report.findings} == {"locked", "single-key-slot"}
    assert report.facts["keys"]["slots"] == [{"number": 0, "kind": "key"}]
    assert report.facts["log"]["segments"] == 1
    assert "ordinal" not in report.facts["log"]


def test_no_database_is_no_report(tmp_path: Path) -> None:
    # in a folder of its own: what looked() compares is all that lies beside the file
    text = tmp_path / "beside" / "README.md"
    text.parent.mkdir()
    text.write_text("no database", encoding="utf-8")
    for path in (tmp_path / "beside", tmp_path / "nothing", text):
        with pytest.raises(NotADatabase):
            looked(path)


def test_it_works_while_a_writer_writes(tmp_path: Path) -> None:
    """Many examinations beside a thread that commits and takes checkpoints: no false alarm."""
    folder = tmp_path / "db"
    ended = threading.Event()
    with rango.open(folder, key=KEY, durability="memory") as db:
        db["notes"].insert_one({"_id": -1})

        def write() -> None:
            for number in range(100_000):
                if ended.is_set():
                    return
                db["notes"].insert_one({"_id": number, "text": "x" * 2000})
                if number % 50 == 0:
                    db.checkpoint()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            reports = [rango.doctor.examine(folder, key=KEY) for _ in range(20)]
        finally:
            ended.set()
            writer.join()
    for report in reports:
        assert report.severity == "note", report.findings
        assert "held" in {finding.code for finding in report.findings}
        assert report.facts["holder"]["users"][0]["pid"] == os.getpid()


def test_a_look_takes_no_lock_so_a_writer_is_never_refused_because_of_it(tmp_path: Path) -> None:
    from rango.storage.lock import lock_state

    healthy(tmp_path / "db")
    assert lock_state(str(tmp_path / "db")).held == "no"
    with rango.open(tmp_path / "db") as db:
        state = lock_state(str(tmp_path / "db"))
        assert state.held == "shared"
        assert [(user.pid, user.pinned, user.is_writing) for user in state.users] == [
            (os.getpid(), None, False)
        ]
        with db.transaction():
            db["notes"].insert_one({})
            assert lock_state(str(tmp_path / "db")).users[0].is_writing
        cursor = db["notes"].find({}).batch_size(1)
        next(cursor)
        assert lock_state(str(tmp_path / "db")).users[0].pinned is not None
        cursor.close()
    with rango.open(tmp_path / "db", read_only=True):
        assert lock_state(str(tmp_path / "db")).users[0].pid == os.getpid()
    assert lock_state(str(tmp_path / "db")).held == "no"


def test_a_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    healthy(tmp_path / "db")
    report = looked(tmp_path / "db", probe=True)
    flush = report.facts["flush"]
    assert flush["error"] == "" and flush["slowest_ms"] >= flush["median_ms"] > 0


def test_no_value_of_a_document_is_in_a_report(tmp_path: Path) -> None:
    canary = "canary-in-a-document"
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({"_id": canary, "text": canary})
        db.checkpoint()
        db["notes"].insert_one({"_id": f"{canary} 2", canary: 1})
        assert canary not in json.dumps(looked(tmp_path / "db").as_dict())


# --- the command


def doctor(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.out)
    return found


def test_exit_codes_are_those_of_the_worst_finding(run: Any, tmp_path: Path) -> None:
    assert run("doctor").code == 3
    healthy(tmp_path / "db")
    answer = run("doctor")
    assert answer.code == 0 and "nothing is wrong" in answer.out
    (tmp_path / "db" / "keys").chmod(0o644)
    answer = run("doctor", "--json")
    assert answer.code == 1 and doctor(answer)["severity"] == "warning"
    log = next((tmp_path / "db" / "oplog").glob("*.rgo"))
    log.write_bytes(b"x" + log.read_bytes()[1:])
    answer = run("doctor")
    assert answer.code == 6
    assert "ERROR log-" in answer.out and "what to do: " in answer.out


def test_the_command_never_asks_for_a_passphrase(run: Any, tmp_path: Path) -> None:
    healthy(tmp_path / "db", passphrase="correct horse")
    assert "NOTE locked" in run("doctor").out
    answer = run("doctor", "--passphrase", "correct horse", "--json")
    assert "locked" not in {each["code"] for each in doctor(answer)["findings"]}
    answer = run("doctor", "--passphrase", "wrong horse")
    assert answer.code == 1 and "secret-rejected" in answer.out


def test_another_process_is_named(tmp_path: Path) -> None:
    healthy(tmp_path / "db")
    with rango.open(tmp_path / "db"):
        answer = python("doctor", str(tmp_path / "db"), "--json")
    found = json.loads(answer.stdout)
    assert answer.returncode == 0, answer.stdout
    assert str(os.getpid()) in {each["code"]: each["what"] for each in found["findings"]}["held"]


@pytest.fixture
def dead_bson(tmp_path: Path) -> Iterator[Path]:
    """The files of the dead package, as far as they matter here."""
    folder = tmp_path / "site" / "bson"
    folder.mkdir(parents=True)
    for name in ("__init__", "codec", "network", "objectid"):
        (folder / f"{name}.py").write_text("def dumps(o): ...\ndef loads(b): ...\n")
    yield folder.parent


@pytest.mark.parametrize("command", ["doctor", "find"])
def test_with_the_dead_bson_package_every_command_says_so(
    command: str, dead_bson: Path, tmp_path: Path
) -> None:
    healthy(tmp_path / "db")
    words = [str(tmp_path / "db")] if command == "doctor" else ["notes", "-P", str(tmp_path / "db")]
    answer = subprocess.run(
        [sys.executable, "-m", "rango", command, *words, "--json"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(dead_bson)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 6, answer
    assert "pip uninstall bson" in answer.stderr + answer.stdout
    assert "Traceback" not in answer.stderr


def test_the_surroundings_are_measured(tmp_path: Path) -> None:
    found = surroundings_now(tmp_path)
    assert found.versions["python"] and found.free_bytes > 0 and found.file_system
    assert not found.has_foreign_bson


def test_what_older_states_need_is_not_free(tmp_path: Path) -> None:
    """Free bytes are those that the next checkpoint may use."""
    with open_tiny(tmp_path / "db", durability="memory", root_gap=16 * 1024) as db:
        chance = random.Random(1)
        for number in range(2_000):
            key = chance.randrange(150)
            document = {"_id": key, "n": number, "text": chance.randbytes(80)}
            db["a"].replace_one({"_id": key}, document, upsert=True)
        db.checkpoint()
        core = db._handle.core
        assert core.slot is not None
        pager = core.store.pager
        generations = [core.slot, *kept.listed_by(pager, core.slot)]
        assert len(generations) > 3
        used = 0
        for each in generations:
            found = kept.units_of(pager, each)
            assert found is not None
            used |= int.from_bytes(generation_units(found), "little")
        free = (core.slot.file_units - used.bit_count()) * layout.UNIT_SIZE
    assert looked(tmp_path / "db").facts["reclaimable_bytes"] == free
