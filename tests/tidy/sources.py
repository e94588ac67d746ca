"""The files that the tidy tests look at, and how they are cut into names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CODE_FOLDERS = ("rango", "server", "ci", "tests", "asv_benchmarks")
CODE_SUFFIXES = (".py", ".pyx", ".pxd", ".pyi", ".h")
SKIPPED_FOLDERS = ("__pycache__", "build", "dist", "env", "results")
# strings and comments, then names: whatever matches first at a place wins
TOKEN = re.compile(
    r'(?P<text>[rbufRBUF]*(?:"""(?:[^\\]|\\.)*?"""|\'\'\'(?:[^\\]|\\.)*?\'\'\''
    r'|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'))'
    r"|(?P<comment>\#[^\n]*)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)",
    re.DOTALL,
)
HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")


def code_files(*folders: str, suffixes: tuple[str, ...] = CODE_SUFFIXES) -> list[Path]:
    """Every source file under these folders (default: all code), and setup.py."""
    found = [] if folders else [ROOT / "setup.py"]
    for folder in folders or CODE_FOLDERS:
        for parent, below, names in os.walk(ROOT / folder):
            below[:] = [name for name in below if not name.startswith((".", *SKIPPED_FOLDERS))]
            found += [Path(parent, name) for name in names if name.endswith(suffixes)]
    return sorted(found)


def name_of(path: Path) -> str:
    """The path as people write it."""
    return path.relative_to(ROOT).as_posix()


@cache
def text_of(path: Path) -> str:
    """The text of a file."""
    return path.read_text(encoding="utf-8")


def code_only(text: str) -> str:
    """The text with strings and comments blanked; lines keep their numbers."""

    def blank(match: re.Match[str]) -> str:
        if match["name"]:
            return match[0]
        return re.sub(r"[^\n]", " ", match[0])

    return TOKEN.sub(blank, text)


def names_with_lines(text: str) -> Iterator[tuple[int, str]]:
    """Every identifier outside strings and comments, with its line."""
    for number, line in enumerate(code_only(text).split("\n"), 1):
        for match in re.finditer(r"(?<!weakref\.)\b[A-Za-z_][A-Za-z0-9_]*", line):
            yield number, match[0]


def words_of(name: str) -> list[str]:
    """snake_case and CamelCase cut into lower-case words."""
    return [hump.lower() for part in name.split("_") for hump in HUMP.findall(part)]


def listed(findings: list[str]) -> str:
    """Findings, one a line, for an assertion's message."""
    return "\n" + "\n".join(findings)
