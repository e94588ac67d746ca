"""What a type checker says about programs of users: `mypy --strict` on programs/*.py.

Method      a comment `# R: type` is what a reveal_type() of its line must say, `# E: text` how an
            error of its line must begin; there may be no other.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))
WANTED = re.compile(r"  # ([RE]): (.*)$")
SAID = re.compile(r"(?P<path>[^:]+):(?P<line>\d+): (?P<kind>error|note): (?P<text>.*)")
REVEALED = re.compile(r'Revealed type is "(.*)"')

Sayings = dict[int, list[str]]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sayings]:
    """What mypy says of each program, by line."""
    # a user's configuration; and Rango is installed there, so its own lines are nobody's errors
    config = tmp_path_factory.mktemp("mypy") / "mypy.ini"
    config.write_text(
        "[mypy]\nstrict = True\n[mypy-rango.*]\nfollow_imports = silent\n", encoding="utf-8"
    )
    run = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", f"--config-file={config}", "--no-error-summary"),
            *("--hide-error-codes", "--no-pretty"),
            f"--cache-dir={ROOT / '.mypy_cache' / 'typing'}",
            *map(str, PROGRAMS),
        ],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        check=False,
        text=True,
        stdout=subprocess.PIPE,
    )
    found: dict[str, Sayings] = defaultdict(lambda: defaultdict(list))
    for line in run.stdout.splitlines():
        match = SAID.match(line)
        assert match, line
        revealed = REVEALED.match(match["text"])
        if match["kind"] == "error" or revealed:
            text = f"R: {revealed[1]}" if revealed else f"E: {match['text']}"
            text = text.replace("tests.typing.programs.", "")
            found[Path(match["path"]).name][int(match["line"])].append(text)
    return found


def wanted(program: Path) -> Sayings:
    """What the comments of a program ask for, by line."""
    found: Sayings = {}
    for number, line in enumerate(program.read_text(encoding="utf-8").splitlines(), 1):
        match = WANTED.search(line)
        if match:
            found[number] = [f"{match[1]}: {match[2]}"]
    return found


def is_said(text: str, asked: str) -> bool:
    """Whether that is what a comment asks for."""
    return text == asked if asked.startswith("R") else text.startswith(asked)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_type_checker_says_what_the_comments_say(program: Path, said: dict[str, Sayings]) -> None:
    asked, found = wanted(program), said[program.name]
    wrong = [
        f"{program.name}:{line}: asked for {asked.get(line, [])}, said {found.get(line, [])}"
        for line in sorted({*asked, *found})
        if len(asked.get(line, [])) != len(found.get(line, []))
        or not all(map(is_said, found[line], asked[line]))
    ]
    assert not wrong, "\n" + "\n".join(wrong)
    assert len(asked) > 20
