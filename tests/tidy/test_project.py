"""Rules about the project as a whole: invariants, errors, pins, the files that a newcomer looks
for.
"""

from __future__ import annotations

import ast
import os
import re
import tomllib

from rango.doctor.surroundings import LIBRARIES
from tests.tidy.sources import ROOT, code_files, listed, name_of, text_of

INVARIANTS = range(1, 19)
# invariant -> why no test can cite it yet
LATER = {
    9: "watermarks come with sync",
    13: "decisions come with governance",
    14: "foreign writes come with sync",
    15: "tombstones are weighed against peers, which come with sync",
    16: "several processes come with the issue after the engine",
}
CITED = re.compile(r"\bI-(\d+)\b")


def cited_in(folder: str) -> dict[int, list[str]]:
    """Each invariant that the files of a folder cite, with the places."""
    found: dict[int, list[str]] = {}
    for path in code_files(folder):
        for number, line in enumerate(text_of(path).split("\n"), 1):
            for invariant in CITED.findall(line):
                found.setdefault(int(invariant), []).append(f"{name_of(path)}:{number}")
    return found


def test_only_known_invariants_are_cited() -> None:
    findings = [
        f"{place}: I-{invariant} is not known"
        for folder in ("rango", "tests", "ci")
        for invariant, places in cited_in(folder).items()
        for place in places
        if invariant not in INVARIANTS
    ]
    assert not findings, listed(findings)


def test_every_invariant_is_defended_by_a_test() -> None:
    tested = set(cited_in("tests"))
    findings = [
        f"I-{n} is cited by no test" for n in INVARIANTS if n not in tested and n not in LATER
    ]
    assert not findings, listed(findings)


def test_every_invariant_is_explained() -> None:
    text = (ROOT / "docs" / "explanation" / "crash-safety.md").read_text(encoding="utf-8")
    findings = [f"I-{n}" for n in INVARIANTS if not re.search(rf"\bI-{n}\b", text)]
    assert not findings, listed(findings)


def test_every_error_says_when_and_what_to_do() -> None:
    tree = ast.parse(text_of(ROOT / "rango" / "errors.py"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    findings = [
        f"{node.name}: two sentences at least: when it is raised, and what to do"
        for node in classes
        if len(re.findall(r"[.;](\s|$)", ast.get_docstring(node) or "")) < 2
        and node.name != "RangoError"
    ]
    assert not findings, listed(findings)


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))
    pinned = {entry.split("==")[0] for entry in project["dependency-groups"]["run"]}
    wanted = {re.split(r"[<>=!~ ]", entry)[0] for entry in project["project"]["dependencies"]}
    assert pinned == wanted == set(LIBRARIES)
    for name, group in project["dependency-groups"].items():
        loose = [entry for entry in group if isinstance(entry, str) and "==" not in entry]
        assert not loose, f"{name}: {loose}"


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))
    reasons = (ROOT / "docs" / "adr" / "0009-dependencies.md").read_text(encoding="utf-8").lower()
    groups = project["dependency-groups"].values()
    names = {entry.split("==")[0] for group in groups for entry in group if isinstance(entry, str)}
    findings = sorted(name for name in names if name.lower() not in reasons)
    assert not findings, listed(findings)


def test_the_files_that_a_newcomer_looks_for_are_there() -> None:
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "docs/index.md", "pyproject.toml"):
        assert (ROOT / name).stat().st_size > 0, name
    assert os.access(ROOT / ".ci" / "run", os.X_OK), ".ci/run is not executable"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_changelog_names_the_version() -> None:
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_two_decisions_have_one_number() -> None:
    """A number may be missing: they are given out before the decisions are written."""
    numbers = [int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("[0-9]*.md")]
    assert len(numbers) == len(set(numbers)) and min(numbers) == 1


def test_cited_decisions_exist() -> None:
    known = {path.name[:4] for path in (ROOT / "docs" / "adr").glob("[0-9]*.md")}
    findings = [
        f"{name_of(path)}: ADR-{number}"
        for path in code_files()
        for number in re.findall(r"\bADR-(\d{4})\b", text_of(path))
        if number not in known
    ]
    assert not findings, listed(findings)
