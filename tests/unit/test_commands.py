"""Every command from end to end: in a terminal, in pipes, and in pipes with --json."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import rango
from rango import extended_json
from rango.cli import output
from rango.cli.manual import commands
from tests.unit.command_case import Ended, in_pipes, in_terminal

# What a command is given, what is typed or piped into it, and its exit code. One after the other
# on one database, {db}; {tmp} is a folder for files.
STEPS = [
    ("init {db} --keyfile {tmp}/a", "", 0),
    ("insert notes '{\"_id\": 1, \"n\": 1}'", "", 0),
    ("import {tmp}/notes.jsonl -c notes", "", 0),
    ("find notes '{\"n\": {\"$gt\": 1}}' --sort -n", "", 0),
    ("get notes 2", "", 0),
    ("get notes 99", "", 1),
    ("get notes 2 --at 2999999", "", 1),
    ("snapshot create begun", "", 0),
    ("snapshot list", "", 0),
    ("get notes 2 --at begun", "", 0),
    ("diff 1", "", 0),
    ("diff 1 begun --collection notes", "", 0),
    ("rollback begun --dry-run", "", 0),
    ("rollback begun --yes --json", "", 0),
    ("snapshot drop begun", "", 0),
    ("count notes", "", 0),
    ("update notes '{\"_id\": 1}' '{\"$set\": {\"n\": 5}}'", "", 0),
    ("history notes 1", "", 0),
    ("index create notes n", "", 0),
    ("index list notes", "", 0),
    ("index drop notes n_1", "", 0),
    ("delete notes '{\"n\": 5}' --many --yes", "", 0),
    ("purge notes '{\"_id\": 2}' --yes", "", 0),
    ("export -c notes -o {tmp}/out.jsonl", "", 0),
    ("inspect {db}", "", 0),
    ("stats", "", 0),
    ("log {db} --last 3", "", 0),
    ("watch {db} --start-at 1 --limit 3", "", 0),
    ("check {db}", "", 0),
    ("doctor {db}", "", 0),
    ("anchor {db}", "", 0),
    ("anchor {db} --now", "", 0),
    ("verify {db}", "", 0),
    ("digest {db}", "", 0),
    ("replay {db} --to 3 --into {tmp}/replayed", "", 0),
    ("compact {db} --keep now --yes", "", 0),
    ("backup {db} --to {tmp}/backup", "", 0),
    ("restore {tmp}/backup --to {tmp}/restored", "", 0),
    ("salvage {db} --to {tmp}/salvaged", "", 0),
    ("key list", "", 0),
    ("key add --new-keyfile {tmp}/b", "", 0),
    ("key change --new-keyfile {tmp}/c --slot 1", "", 0),
    ("key remove 1", "", 0),
    ("key rotate", "", 0),
    ("key decrypt --yes --remove-old", "", 0),
    ("key encrypt --new-keyfile {tmp}/a --remove-old", "", 0),
    ("bench --count 20", "", 0),
    ("completion bash", "", 0),
]  # fmt: skip
WITHOUT_SECRET = ("init", "bench", "completion", "key encrypt", "verify")
"""These open no database that is encrypted."""

Way = Callable[[list[str], str], Ended]


def leaves() -> dict[str, click.Command]:
    """Every command that does something, by its words."""
    found = {" ".join(path[1:]): each for path, each in commands()}
    return {words: each for words, each in found.items() if not isinstance(each, click.Group)}


def test_every_command_is_a_step() -> None:
    assert {name for name in leaves() if any(line.startswith(name) for line, _, _ in STEPS)} == set(
        leaves()
    )


def ended(
    way: Way, tmp_path: Path, *more: str, steps: list[tuple[str, str, int]] = STEPS
) -> dict[str, Ended]:
    """Do all the steps; what each left behind."""
    for at, name in enumerate("abc"):
        (tmp_path / name).write_bytes(bytes([at + 1] * 32))
    documents = [{"_id": n, "n": n} for n in range(2, 6)]
    (tmp_path / "notes.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in documents))
    found: dict[str, Ended] = {}
    for line, given, code in steps:
        words = [each.format(db=tmp_path / "db", tmp=tmp_path) if "{tmp}" in each or "{db}" in each
                 else each for each in shlex.split(line)]  # fmt: skip
        if not line.startswith(WITHOUT_SECRET):
            words += ["--keyfile", str(tmp_path / "a")]
        found[line] = way([*words, *more], given)
        assert found[line].code == code, (line, found[line])
        assert "Traceback" not in found[line].out + found[line].err, (line, found[line])
    return found


@pytest.fixture(autouse=True, scope="module")
def everything_is_loaded() -> None:
    """So that a fork has what a command needs."""
    assert all(hasattr(rango, name) for name in rango.__all__)
    list(commands())


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PASSPHRASE", "KEYFILE", "KEY"):
        monkeypatch.delenv(f"RANGO_{name}", raising=False)
    monkeypatch.setenv("RANGO_PATH", str(tmp_path / "db"))


def test_every_command_in_a_terminal(tmp_path: Path) -> None:
    found = ended(in_terminal, tmp_path)
    assert '  "n": 2' in found["get notes 2"].out  # indented, for people
    assert found["count notes"].out == "5\n"


def test_every_command_in_pipes(tmp_path: Path) -> None:
    found = ended(in_pipes, tmp_path)
    assert found["get notes 2"].out == '{"_id": 2, "n": 2}\n'
    # people's words and programs' go different ways: documents could come from `export`
    assert {line[:6] for line, each in found.items() if each.err and not each.code} == {"export"}


def test_every_command_in_pipes_with_json(tmp_path: Path) -> None:
    takes_json = {
        name for name, each in leaves().items() if any("--json" in p.opts for p in each.params)
    }
    assert set(leaves()) - takes_json == {"completion"}
    steps = [each for each in STEPS if each[0] != "completion bash"]
    found = ended(in_pipes, tmp_path, "--json", steps=steps)
    for line, each in found.items():
        lines = (each.err if each.code else each.out).splitlines()
        # a list is JSON Lines, and nothing is wrong
        assert lines or line == "check {db}", line
        for text in lines:
            assert isinstance(extended_json.loads(text), dict), (line, text)


def test_a_pipe_goes_in_and_out() -> None:
    assert in_pipes(["init"]).code == 0
    assert in_pipes(["import", "-", "-c", "a"], '{"_id": 1}\n{"_id": 2}\n').code == 0
    out = in_pipes(["export", "-c", "a", "-f", "canonical-jsonl"]).out
    assert in_pipes(["import", "-c", "b"], out).out == "2 documents imported, 0 errors\n"
    assert in_pipes(["insert", "c"], '{"_id": 3}').code == 0


def test_the_progress_of_an_import_is_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "PROGRESS_AFTER_S", 0.0)
    assert in_pipes(["init"]).code == 0
    (tmp_path / "many.jsonl").write_text('{"text": "tea"}\n' * 3000)
    seen = in_terminal(["import", str(tmp_path / "many.jsonl"), "-c", "a"])
    assert (seen.code, "46.9 KiB" in seen.out) == (0, True), seen


def test_an_index_of_100000_documents_shows_its_progress(tmp_path: Path) -> None:
    # the building takes less than the half second after which others show theirs
    with rango.open(tmp_path / "db", durability="memory") as db:
        db["c"].insert_many([{"_id": n, "v": n} for n in range(100_000)])
        db["few"].insert_one({"v": 1})
    place = ("-P", str(tmp_path / "db"))
    seen = in_terminal(["index", "create", *place, "c", "v"])
    assert (seen.code, "indexing" in seen.out, " of 100,000" in seen.out) == (0, True, True), seen
    seen = in_terminal(["index", "create", *place, "few", "v"])
    assert (seen.code, "indexing" in seen.out) == (0, False), seen
