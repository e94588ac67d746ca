"""A tutorial that is a terminal's transcript: its commands are run in one shell, in their order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from ci.environment import ROOT
from tests.docs.test_docs import blocks

PAGE = ROOT / "docs" / "tutorial" / "from-install-to-restore.md"
INSTALLING = ("python3 -m venv", ". env", "pip install")
MARK = "=== the next command"


def steps() -> list[tuple[str, list[str]]]:
    """Every command of the page and the lines that it printed."""
    found: list[tuple[str, list[str]]] = []
    for _, text in blocks(PAGE, "console"):
        for line in text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.startswith(">") and not found[-1][1]:
                # a continuation; `>` alone is an empty line
                found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
            else:
                found[-1][1].append(line)
    return [each for each in found if not each[0].startswith(INSTALLING)]


def on_path(folder: Path) -> str:
    """A PATH on which `rango` and `python3` are those of this interpreter."""
    folder.mkdir()
    for name, words in (("rango", "-m rango"), ("python3", "")):
        shim = folder / name
        shim.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" {words} "$@"\n')
        shim.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def is_as_shown(shown: str, printed: str) -> bool:
    """True if the line is the one of the page, where `...` is anything."""
    pattern = ".*".join(re.escape(part) for part in shown.split("..."))
    return re.fullmatch(pattern, printed) is not None


def test_the_transcript_is_what_happens(tmp_path: Path) -> None:
    wanted = steps()
    assert len(wanted) > 15
    # the exit code of each command is still there for the next one
    script = "".join(f"(exit $code)\n{each}\ncode=$?\necho '{MARK}'\n" for each, _ in wanted)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("RANGO_")
    }
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "script").write_text(f"exec 2>&1\ncode=0\n{script}")
    ran = subprocess.run(
        ["bash", str(tmp_path / "script")],
        stdin=subprocess.DEVNULL,
        cwd=work,
        env={**environment, "PATH": on_path(tmp_path / "bin")},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    printed = [each.splitlines() for each in ran.stdout.split(f"{MARK}\n")[:-1]]
    assert len(printed) == len(wanted)
    wrong = []
    for (command, shown), lines in zip(wanted, printed, strict=True):
        found = [line.rstrip() for line in lines]
        if len(found) != len(shown) or not all(map(is_as_shown, shown, found)):
            wrong += [f"$ {command}", "shown:", *shown, "printed:", *found]
    assert not wrong, "\n".join(wrong)
