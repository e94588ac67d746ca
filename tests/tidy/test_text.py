"""Rules about text that no linter here checks for every kind of file."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.tidy.sources import ROOT, code_files, code_only, listed, name_of, text_of

LINE_SIZE_MAX = 100
FILE_LINES_MAX = 500
# name -> why it is longer than FILE_LINES_MAX
LONG_FILES: dict[str, str] = {
    "rango/_ext/layout.pyi": "a list of names, written by `python3 ci docs`",
}
VAGUE_NAMES = re.compile(r"^(utils?|helpers?|common|misc|base|.*_manager|manager)$")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b")
MACHINE_PATH = re.compile(r"""(?<![\w.~])/(work|root|home|farm|opt)/|/tmp/[a-z]""")
GENERATED = (".c", ".so", ".html", ".pyc", ".o")
HAND_WRITTEN = {"ci/arm64/count.c", "ci/arm64/hide.c"}
THIS = "tests/tidy/test_text.py"


def test_no_line_is_longer_than_100_columns() -> None:
    findings = [
        f"{name_of(path)}:{number}: {len(line)} columns"
        for path in code_files()
        for number, line in enumerate(text_of(path).split("\n"), 1)
        if len(line) > LINE_SIZE_MAX
    ]
    assert not findings, listed(findings)


def test_no_file_is_longer_than_500_lines() -> None:
    sizes = {name_of(path): text_of(path).count("\n") for path in code_files()}
    findings = [
        f"{name}: {lines} lines: split it by responsibility"
        for name, lines in sizes.items()
        if lines > FILE_LINES_MAX and name not in LONG_FILES
    ]
    assert not findings, listed(findings)


def test_no_file_has_a_name_that_says_nothing() -> None:
    findings = [name_of(path) for path in code_files() if VAGUE_NAMES.match(path.stem)]
    assert not findings, listed(findings)


def test_nothing_is_left_unfinished() -> None:
    findings = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in code_files()
        if name_of(path) != THIS
        for number, line in enumerate(text_of(path).split("\n"), 1)
        if UNFINISHED.search(line)
    ]
    assert not findings, listed(findings)


def test_no_path_of_one_machine_is_written_down() -> None:
    documents = [ROOT / "README.md", ROOT / ".ci" / "run", ROOT / "pyproject.toml"]
    documents += sorted((ROOT / "docs").rglob("*.md"))
    findings = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in [*code_files(), *documents]
        if name_of(path) != THIS
        for number, line in enumerate(text_of(path).split("\n"), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not findings, listed(findings)


def test_sources_are_ascii() -> None:
    """Everything in the package; in tests and benchmarks strings may hold what they are about."""
    findings = []
    for path in code_files():
        is_shipped = name_of(path).startswith(("rango/", "server/", "ci/"))
        text = text_of(path) if is_shipped else code_only(text_of(path))
        findings += [
            f"{name_of(path)}:{number}: {line.strip()!a}"
            for number, line in enumerate(text.split("\n"), 1)
            if not line.isascii()
        ]
    assert not findings, listed(findings)


def test_lines_end_plainly() -> None:
    findings = []
    for path in code_files():
        text = text_of(path)
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            findings.append(f"{name_of(path)}: does not end with one newline")
        if "\t" in text or "\r" in text:
            findings.append(f"{name_of(path)}: has a tab or a carriage return")
    assert not findings, listed(findings)


def test_no_generated_file_is_kept_in_git() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git work tree")
    answer = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = set(answer.stdout.split("\0"))
    findings = [name for name in names - HAND_WRITTEN if name.endswith(GENERATED)]
    assert not findings, listed(findings)


def test_the_engine_neither_unpickles_nor_evaluates() -> None:
    forbidden = re.compile(r"\b(pickle|marshal|shelve|dill)\b|(?<![.\w])(eval|exec)\s*\(")
    findings = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in code_files("rango", "server")
        for number, line in enumerate(code_only(text_of(path)).split("\n"), 1)
        if forbidden.search(line)
    ]
    assert not findings, listed(findings)
