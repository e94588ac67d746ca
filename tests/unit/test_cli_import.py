"""`rango import` and `rango export`, end to end and in pipes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import rango
from ci.environment import ROOT


def command(path: Path, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """A command on the database at `path`, as a shell runs it."""
    return subprocess.run(
        [sys.executable, "-m", "rango", *words, "-P", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )


def made(path: Path) -> None:
    """An empty database."""
    with rango.open(path):
        pass


def test_out_through_a_pipe_and_in_again(tmp_path: Path) -> None:
    db = tmp_path / "db"
    made(db)
    lines = '{"_id": 1, "t": "a"}\n{"_id": 2}\n'
    done = command(db, "import", "-", "-c", "notes", input=lines)
    assert (done.returncode, done.stdout) == (0, "2 documents imported, 0 errors\n"), done.stderr
    out = command(db, "export", "-c", "notes")
    assert (out.stdout, out.stderr) == (lines, "2 documents exported\n")
    filtered = command(db, "export", "-c", "notes", "--filter", '{"_id": 2}', "--meta")
    assert {"_rev", "_id"} < json.loads(filtered.stdout).keys()
    bson = str(tmp_path / "notes.bson.gz")
    written = command(db, "export", "-c", "notes", "-o", bson, "-f", "bson", "--json")
    assert json.loads(written.stdout)["exported"] == 2
    assert command(db, "import", bson, "-c", "copy").returncode == 0
    assert command(db, "export", "-c", "copy").stdout == lines


def test_errors_are_named_and_exit_code_1(tmp_path: Path) -> None:
    db, rejects = tmp_path / "db", tmp_path / "rejects"
    words = ("import", "-", "-c", "notes", "--rejects", str(rejects))
    made(db)
    done = command(db, *words, input='{"_id": 1}\nnot JSON\n')
    assert (done.returncode, done.stdout) == (1, "1 documents imported, 1 errors\n")
    assert done.stderr.startswith("2: ")
    assert rejects.read_text(encoding="utf-8") == "not JSON\n"
    again = command(db, *words, input='{"_id": 1}\n')
    assert again.returncode == 8
    assert again.stderr.count("\n") == 1
    skipped = command(db, *words, "--on-duplicate", "skip", "--json", input='{"_id": 1}\n')
    assert json.loads(skipped.stdout)["skipped"] == 1
    assert command(db, "import", str(tmp_path / "nothing"), "-c", "notes").returncode == 7
    assert command(db, "import", input="").returncode == 2


def test_a_workspace_of_the_original(tmp_path: Path) -> None:
    from tests.unit.test_workspace import ENTRIES, framed, workspace

    db = tmp_path / "db"
    made(db)
    folder = workspace(tmp_path / "old", framed(ENTRIES))
    done = command(db, "import", "--workspace", str(folder))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 documents imported, 0 errors")
    assert command(db, "export", "-c", "a").stdout == '{"_id": 1, "text": "new"}\n'
    again = ("import", "--workspace", str(folder), "--on-duplicate", "skip", "--json")
    assert json.loads(command(db, *again).stdout)["entries"] == 7
    nothing = command(db, "import", "--workspace", str(tmp_path))
    assert (nothing.returncode, "oplog.rgo" in nothing.stderr) == (3, True)
