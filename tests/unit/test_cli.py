"""The command line: each command end to end, in pipes, in a terminal, and with what goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rango
from ci.environment import ROOT
from rango.cli import COMMANDS
from rango.cli.failures import run_guarded
from rango.cli.manual import commands, manual
from tests.unit.terminal import Typist

PHRASE = "correct horse battery staple"


class Answer(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Answer]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command on the database tmp_path/db, unless it is told where."""
    from rango.cli import root

    monkeypatch.setenv("RANGO_PATH", str(tmp_path / "db"))
    monkeypatch.delenv("RANGO_PASSPHRASE", raising=False)

    def call(*words: str) -> Answer:
        code = run_guarded(root, list(words))
        seen = capsys.readouterr()
        return Answer(code, seen.out, seen.err)

    return call


def python(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, as a shell runs it."""
    return subprocess.run(
        [sys.executable, "-m", "rango", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )


def test_a_first_hour_with_the_command_line(run: Run) -> None:
    assert run("init").code == 0
    assert run("insert", "notes", '{"_id": 1, "text": "a", "n": 5}').code == 0
    answer = run("insert", "notes", '[{"_id": 2, "n": 7}, {"_id": 3}]', "--json")
    assert json.loads(answer.out) == {"inserted": 2, "ids": [2, 3]}
    assert [each["_id"] for each in run("find", "notes", '{"n": {"$gt": 5}}').lines] == [2]
    assert [each["_id"] for each in run("find", "notes", "--sort", "-n", "-n", "2").lines] == [2, 1]
    assert run("find", "notes", "-p", "n", '{"_id": 1}').lines == [{"_id": 1, "n": 5}]
    assert run("get", "notes", "1", "--json").lines == [{"_id": 1, "text": "a", "n": 5}]
    assert "_rev" in run("get", "notes", "1", "--meta").lines[0]
    assert run("update", "notes", '{"_id": 1}', '{"$set": {"n": 6}}').out.startswith("1 matched")
    assert run("update", "notes", '{"_id": 9}', '{"a": 1}', "--replace", "--upsert").code == 0
    assert run("count", "notes", "--json").lines == [{"count": 4}]
    assert run("delete", "notes", '{"_id": 9}', "--json").lines == [{"deleted": 1}]
    assert run("count", "notes", '{"n": {"$exists": true}}').out == "2\n"
    assert run("index", "create", "notes", "n", "--json").lines == [{"name": "n_1"}]
    assert [each["name"] for each in run("index", "list", "notes", "--json").lines] == [
        "_id_",
        "n_1",
    ]
    assert run("find", "notes", '{"n": 6}', "--explain").code == 0
    assert run("index", "drop", "notes", "n_1").code == 0
    assert run("inspect", "--json").lines[0]["collections"]["notes"]["documents"] == 3
    assert run("stats", "--json").lines[0]["encrypted"] is False
    assert run("check").out == "all is well\n"


def test_nothing_that_matches_is_exit_code_1(run: Run) -> None:
    run("init")
    run("insert", "notes", '{"_id": 1}')
    for words in (
        ("get", "notes", "7"),
        ("update", "notes", '{"_id": 7}', '{"$set": {"a": 1}}'),
        ("delete", "notes", '{"_id": 7}'),
        ("index", "drop", "notes", "nothing"),
    ):
        assert run(*words).code == 1, words


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("find", "notes"), 3, "rango init"),
        (("find", "notes", "{a}"), 2, "Extended JSON"),
        (("find", "notes", "[]"), 2, "object"),
        (("insert", "notes", '{"_id": {"$oid": "xyz"}}'), 2, "oid"),
        (("find",), 2, "COLLECTION"),
        (("fnid", "notes"), 2, "'find'"),
        (("find", "notes", "--limit", "-1"), 2, "limit"),
        (("get", "notes", "@/nowhere/at/all"), 3, "rango init"),
        (("insert", "notes", "@/nowhere/at/all"), 7, "No such file"),
        (("init", "--passphrase-file", "/nowhere/at/all"), 7, "No such file"),
    ],
)
def test_a_mistake_is_one_plain_line(
    run: Run, words: tuple[str, ...], code: int, says: str
) -> None:
    answer = run(*words)
    assert answer.code == code
    assert answer.out == ""
    assert answer.err.startswith("rango: ")
    assert answer.err.count("\n") == 1
    assert says in answer.err
    assert "Traceback" not in answer.err


def test_a_mistake_with_json_is_an_object(run: Run) -> None:
    answer = run("find", "notes", "--json")
    assert answer.code == 3
    error = json.loads(answer.err)["error"]
    assert (error["type"], error["exit_code"]) == ("NotADatabase", 3)


def test_init_keeps_what_is_there(run: Run) -> None:
    assert run("init").code == 0
    run("insert", "notes", '{"_id": 1}')
    assert run("init").code == 2
    assert run("count", "notes").out == "1\n"


def test_limits_of_init_live_in_the_database(run: Run) -> None:
    made = run("init", "--max-doc-size", "1000", "--memory-budget", "1000000", "--json")
    limits = {"document_size_bytes_max": 1000, "cache_size_bytes": 1000000}
    assert made.lines[0]["limits"] == limits
    assert run("inspect", "--json").lines[0]["limits"] == limits
    refused = run("insert", "notes", json.dumps({"text": "x" * 2000}))
    assert refused.code == 2
    assert "1000" in refused.err


def test_a_passphrase_from_every_place(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = tmp_path / "phrase"
    words.write_text(f"{PHRASE}\n", encoding="utf-8")
    made = run("init", "--passphrase-file", str(words), "--json")
    assert made.lines[0]["encrypted"] is True
    refused = run("count", "notes")
    assert refused.code == 4
    assert "RANGO_PASSPHRASE" in refused.err
    assert run("count", "notes", "--passphrase-file", str(words)).code == 0
    warned = run("count", "notes", "--passphrase", PHRASE)
    assert (warned.code, "warning" in warned.err) == (0, True)
    assert PHRASE not in warned.err + warned.out
    monkeypatch.setenv("RANGO_PASSPHRASE", "another")
    assert run("count", "notes").code == 4
    monkeypatch.setenv("RANGO_PASSPHRASE", PHRASE)
    assert run("count", "notes").code == 0


def test_a_key_file(run: Run, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("ab" * 32, encoding="ascii")
    assert run("init", "--keyfile", str(key)).code == 0
    assert run("insert", "notes", "{}", "--keyfile", str(key)).code == 0
    assert run("count", "notes").code == 4


def test_documents_from_files_and_pipes(run: Run, tmp_path: Path) -> None:
    run("init")
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"_id": 1}\n\n{"_id": 2}\n', encoding="utf-8")
    assert run("insert", "notes", f"@{lines}").code == 0
    piped = python("insert", "notes", input='{"_id": 3}')
    assert piped.returncode == 0, piped.stderr
    found = python("find", "notes", "-", input='{"_id": {"$gt": 1}}')
    assert [json.loads(line)["_id"] for line in found.stdout.splitlines()] == [2, 3]


def test_what_find_prints_can_be_inserted_again(run: Run, tmp_path: Path) -> None:
    run("init")
    run("insert", "a", '{"d": {"$date": "2024-01-02T03:04:05.678Z"}, "n": {"$numberLong": "5"}}')
    out = run("find", "a", "--mode", "canonical").out
    (tmp_path / "out.json").write_text(out, encoding="utf-8")
    run("insert", "b", f"@{tmp_path / 'out.json'}")
    assert run("find", "b", "--mode", "canonical").out == out


def test_damage_is_exit_code_6_and_salvage_helps(run: Run, tmp_path: Path) -> None:
    run("init")
    for number in range(20):
        run("insert", "notes", json.dumps({"_id": number, "text": "x" * 200}))
    segment = next((tmp_path / "db" / "oplog").glob("*.rgo"))
    data = bytearray(segment.read_bytes())
    data[3000] ^= 1
    segment.write_bytes(data)
    answer = run("check", "--json")
    assert answer.code == 6
    assert all({"where", "what"} <= set(line) for line in answer.lines)
    rescued = run("salvage", "--to", str(tmp_path / "rescued"), "--json")
    assert rescued.code == 6
    assert rescued.lines[0]["documents"] >= 19
    assert run("check", str(tmp_path / "rescued")).code == 0


def test_a_database_that_somebody_has_is_busy(run: Run, tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        db["a"].insert_one({"_id": 1})
        busy = python("insert", "a", "{}")
        if busy.returncode:  # once many processes share a database this is no failure
            assert busy.returncode == 5
            assert str(os.getpid()) in busy.stderr


def test_a_reader_that_has_seen_enough_is_no_failure(run: Run, tmp_path: Path) -> None:
    run("init")
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_many([{"_id": n, "text": "x" * 500} for n in range(2000)])
    script = f"{sys.executable} -m rango find notes | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_in_a_terminal_the_passphrase_is_asked_for_and_not_shown(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", passphrase=PHRASE) as db:
        db["notes"].insert_one({"_id": 1})
    person = Typist("count", "-P", str(tmp_path / "db"), "notes")
    person.answer("Passphrase of", PHRASE)
    assert person.end() == 0
    assert person.seen.split()[-1] == b"1"
    # asked once, and what was typed is not echoed
    assert person.seen.count(b"assphrase") == 1
    assert PHRASE.encode() not in person.seen


def test_bench_measures(run: Run) -> None:
    answer = run("bench", "-c", "50", "--json")
    assert answer.code == 0
    assert all(each["per_s"] > 0 for each in answer.lines[0]["results"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run: Run, shell: str) -> None:
    answer = run("completion", shell)
    assert answer.code == 0
    assert "_RANGO_COMPLETE" in answer.out


def test_completion_knows_the_commands() -> None:
    environment = {**os.environ, "_RANGO_COMPLETE": "bash_complete", "COMP_WORDS": "rango ins"}
    done = python(env={**environment, "COMP_CWORD": "1"})
    assert {line.split(",")[-1] for line in done.stdout.split()} == {"insert", "inspect"}


def test_version_and_help_cost_no_engine() -> None:
    script = (
        "import sys; from rango.cli.failures import run_guarded; from rango.cli import root;"
        "run_guarded(root, ['--version']);"
        "assert not any(name.startswith('rango._ext') for name in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert rango.__version__ in done.stdout


def test_every_command_has_help_with_an_example() -> None:
    listed = dict(commands())
    assert {words[1] for words in listed if len(words) > 1} == set(COMMANDS)
    for words, command in listed.items():
        text = command.help or ""
        assert "Example" in text, words
        assert f"rango {words[1]}" in text if len(words) > 1 else "rango" in text, words


def test_the_manual_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert page == manual(), "docs/reference/cli.md is out of date: run `python3 ci docs`"


def test_purge_leaves_nothing(run: Run, tmp_path: Path) -> None:
    run("init")
    run("insert", "notes", '[{"_id": 1, "text": "canary-17"}, {"_id": 2}]')
    run("update", "notes", '{"_id": 1}', '{"$set": {"text": "moved"}}')
    answer = run("purge", "notes", '{"_id": 1}', "--yes", "--json")
    assert answer.lines[0]["purged"] == 1
    assert run("purge", "notes", '{"_id": 1}', "--yes").code == 1
    assert run("count", "notes").out == "1\n"
    files = [path for path in (tmp_path / "db").rglob("*") if path.is_file()]
    assert not [path for path in files if b"canary-17" in path.read_bytes()]


def test_backup_and_restore(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANGO_PASSPHRASE", PHRASE)
    run("init")
    run("insert", "notes", '[{"_id": 1}, {"_id": 2}]')
    target, copy = str(tmp_path / "backup"), str(tmp_path / "copy")
    assert run("backup", "--to", target, "--verify", "--json").lines[0]["copied"] == 1
    assert "0 of" in run("backup", "--to", target).out
    monkeypatch.delenv("RANGO_PASSPHRASE")
    assert run("restore", target).code == 0  # verifying needs no secret
    refused = run("restore", target, "--to", copy)
    assert (refused.code, os.path.exists(copy)) == (4, False)
    monkeypatch.setenv("RANGO_PASSPHRASE", PHRASE)
    assert run("restore", target, "--to", copy, "--json").lines[0]["documents"] == 2
    assert run("count", "-P", copy, "notes").out == "2\n"
    assert run("restore", target, "--to", copy).code == 2
    piece = next((tmp_path / "backup" / "segments").iterdir())
    piece.write_bytes(piece.read_bytes()[:-1])
    assert run("restore", target).code == 6


def test_making_an_index_shows_how_far_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int | None]] = []
    monkeypatch.setattr(
        "rango.cli.output.Progress.__call__",
        lambda _self, done, total=None: seen.append((done, total)),
    )
    run("init")
    run("insert", "notes", '[{"_id": 1, "n": 1}, {"_id": 2, "n": 2}]')
    assert run("index", "create", "notes", "n,-m", "--sparse").out == "n_1_m_-1\n"
    assert seen == [(2, 2)]


def test_output_that_is_closed_is_no_traceback(run: Run, tmp_path: Path) -> None:
    run("init")
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m rango count -P {tmp_path / 'db'} notes >&-"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_purge_without_a_terminal_wants_yes(run: Run) -> None:
    run("init")
    run("insert", "notes", '{"_id": 1}')
    answer = run("purge", "notes", '{"_id": 1}')
    assert answer.code == 2
    assert "--yes" in answer.err
    assert run("count", "notes").out == "1\n"


def test_messages_speak_of_the_command_line_and_name_the_argument(run: Run) -> None:
    assert "create=True" not in run("count", "notes").err
    run("init")
    run("insert", "notes", '{"_id": 1}')
    assert "KEYS" in run("index", "create", "notes", "{").err
    assert "_id_" in run("insert", "notes", '{"_id": 1}').err
    assert "`rango index list`" in run("index", "drop", "notes", "no").err
    assert "'frob'; see" in run("frob").err
    assert "`rango key encrypt`" in run("key", "rotate").err


@pytest.mark.parametrize("words", [("inspect",), ("check",), ("log",), ("doctor",)])
def test_path_is_an_option_of_commands_that_take_it_as_a_word(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    run("init")
    monkeypatch.setenv("RANGO_PATH", str(tmp_path / "elsewhere"))
    path = str(tmp_path / "db")
    assert run(*words, path).code == 0
    assert run(*words, "-P", path).code == 0
    assert run(*words).code == 3
    assert "not both" in run(*words, path, "--path", path).err


def test_a_wrong_passphrase_for_a_backup_names_the_backup(run: Run, tmp_path: Path) -> None:
    (tmp_path / "right").write_text("right\n")
    (tmp_path / "wrong").write_text("wrong\n")
    run("init", "--passphrase-file", str(tmp_path / "right"))
    backup, to = str(tmp_path / "backup"), str(tmp_path / "restored")
    assert run("backup", "--to", backup, "--passphrase-file", str(tmp_path / "right")).code == 0
    answer = run("restore", backup, "--to", to, "--passphrase-file", str(tmp_path / "wrong"))
    assert answer.code == 4
    assert backup in answer.err
    assert ".restoring" not in answer.err
