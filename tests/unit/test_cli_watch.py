"""`rango watch`: lines for people and for programs, tokens, and how it ends."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rango
from rango.cli import root
from rango.errors import InvalidArgument, TokenRejected


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with rango.open(tmp_path / "db") as db:
        notes = db["notes"]
        notes.insert_one({"_id": 1, "a": 1, "b": 2})
        notes.update_one({"_id": 1}, {"$set": {"a": 5}, "$unset": {"b": 1}})
        notes.create_index("a")
        notes.delete_one({"_id": 1})
        notes.rename("texts")
    return tmp_path / "db"


def shown(path: Path, *words: str) -> list[str]:
    result = CliRunner().invoke(root, ["watch", str(path), "--no-wait", *words])
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_lines_for_people_end_with_the_token(path: Path) -> None:
    *lines, last = shown(path, "--start-at", "1", "--expanded")
    assert [" ".join(line.split()[4:]) for line in lines[1:3]] == [
        'insert notes 1 {"_id": 1, "a": 1, "b": 2}',
        "update notes 1 a=5 -b",
    ]
    assert len(lines) == 6 and " create " in lines[0] and " delete " in lines[4]
    assert lines[3].endswith("notes index a_1") and lines[5].endswith("notes to texts")
    token = last.removeprefix("last token: ")
    assert shown(path, "--resume-after", token) == [last]


def test_json_is_one_event_a_line_and_its_id_is_a_token(path: Path) -> None:
    events: list[Any] = [json.loads(line) for line in shown(path, "--json", "--start-at", "1")]
    assert [each["operationType"] for each in events] == ["insert", "update", "delete", "rename"]
    token = json.dumps(events[1]["_id"])
    after = shown(
        path, "--json", "--resume-after", token, "--full-document-before-change", "required"
    )
    assert [json.loads(line)["operationType"] for line in after] == ["delete", "rename"]
    assert json.loads(after[0])["fullDocumentBeforeChange"] == {"_id": 1, "a": 5}
    pipeline = '[{"$match": {"operationType": "update"}}, {"$project": {"fullDocument": 1}}]'
    (only,) = shown(path, "--json", "--start-at", "1", "--pipeline", pipeline, "--full-document")
    assert json.loads(only)["fullDocument"] == {"_id": 1, "a": 5}
    whole = shown(path, "--json", "--start-at", "1", "-c", "notes", "--limit", "9")
    assert json.loads(whole[-1])["operationType"] == "invalidate"


def test_what_cannot_be_is_said(path: Path) -> None:
    for words, kind in (
        (["--pipeline", "{}"], InvalidArgument),
        (["--resume-after", "zz"], TokenRejected),
    ):
        result = CliRunner().invoke(root, ["watch", str(path), "--no-wait", *words])
        assert isinstance(result.exception, kind)


INTERRUPTIBLE = """
import signal
from rango.cli import main
# what a shell starts in the background ignores it, and so do its children
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


def test_ctrl_c_ends_it_with_the_token(path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTIBLE, "watch", str(path), "-c", "new"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with rango.open(path) as db:
            # until it has begun
            while not has_line(process) and process.poll() is None:
                db["new"].insert_one({})
        process.send_signal(signal.SIGINT)
        try:
            rest, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert rest.splitlines()[-1].startswith("last token: ")


def has_line(process: subprocess.Popen[str]) -> bool:
    """Whether it has shown something."""
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.01)[0])
