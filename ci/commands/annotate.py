"""Cython's annotation of every module, as HTML under build/annotate, and a check of the functions
marked `# hot`.

A line that calls into Python is yellow. In a `nogil` function whose definition (or the line above
it) carries `# hot`, only the signature and lines marked `# cold` may be. Doors make Python objects:
on them the mark says the same to readers and is not checked.
"""

from __future__ import annotations

import argparse
import html
import re
from dataclasses import dataclass
from pathlib import Path

from ci import builds, environment
from ci.environment import ROOT, venv_path
from ci.stages import StageFailed, Stages, run_command

SUMMARY = "annotated C of the core; fails if a `# hot` function touches Python"
TARGET = ROOT / "build" / "annotate"
LINE = re.compile(
    r'<pre class="cython line score-(\d+)"[^>]*>(?:.*?<span class="">(\d+)</span>: )(.*?)</pre>'
)
HOT = re.compile(r"#\s*hot\b")
NOGIL = re.compile(r"\bnogil\b")
DEFINITION = re.compile(r"^(\s*)(?:cdef|cpdef|def)\b[^#]*[(:]")


@dataclass(frozen=True)
class Line:
    """One source line with Cython's score: 0 is pure C."""

    number: int
    score: int
    text: str


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """No options."""


def main(_options: argparse.Namespace) -> int:
    """Run the stages."""
    stages = Stages("python3 ci annotate")
    stages.run("set-up", lambda: environment.set_up("ci"), is_needed=True)
    stages.run("annotate", annotate)
    return stages.finish()


def annotate() -> str:
    """Write the HTML and check every hot function."""
    builds.copy_sources(TARGET)
    core = TARGET / "rango" / "_ext"
    names = sorted(f"rango/_ext/{path.name}" for path in core.glob("*.pyx"))
    directives = (
        "language_level=3,wraparound=False,cdivision=True,boundscheck=False,initializedcheck=False"
    )
    run_command([venv_path() / "bin" / "cython", "-a", "-X", directives, *names], folder=TARGET)
    hot = 0
    yellow: list[str] = []
    for page in sorted(core.glob("*.html")):
        lines = read_lines(page)
        found, bad = check(lines, page.stem)
        hot += found
        yellow += bad
    for entry in yellow:
        print(entry)
    if yellow:
        raise StageFailed(f"{len(yellow)} yellow lines in hot functions")
    where = f"{TARGET.relative_to(ROOT)}/rango/_ext/*.html"
    return f"{len(names)} modules, {hot} hot functions, see {where}"


def read_lines(page: Path) -> list[Line]:
    """The source lines of an annotated page."""
    text = page.read_text(encoding="utf-8")
    return [
        Line(int(number), int(score), html.unescape(re.sub(r"<[^>]+>", "", source)))
        for score, number, source in LINE.findall(text)
    ]


def check(lines: list[Line], module: str) -> tuple[int, list[str]]:
    """How many hot kernels there are, and each of their lines that is yellow."""
    count = 0
    bad = []
    for at, line in enumerate(lines):
        start = DEFINITION.match(line.text)
        is_hot = HOT.search(line.text) or (at and HOT.fullmatch(lines[at - 1].text.strip()))
        if not (start and is_hot):
            continue
        body = signature_end(lines, at)
        if not any(NOGIL.search(each.text) for each in lines[at:body]):
            continue
        count += 1
        indent = len(start.group(1))
        while body < len(lines) and not ends_function(lines[body].text, indent):
            inner = lines[body]
            if inner.score > 0 and "# cold" not in inner.text:
                bad.append(f"{module}.pyx:{inner.number}: {inner.text.strip()}")
            body += 1
    return count, bad


def signature_end(lines: list[Line], at: int) -> int:
    """The index of the first line behind a definition."""
    while at < len(lines) and not lines[at].text.split("#")[0].rstrip().endswith(":"):
        at += 1
    return at + 1


def ends_function(text: str, indent: int) -> bool:
    """True if this line stands outside a function whose definition is indented by `indent`."""
    return (
        bool(text.strip())
        and len(text) - len(text.lstrip()) <= indent
        and not text.lstrip().startswith(")")
    )
