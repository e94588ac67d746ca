"""psql transcripts: what was asked and what came back.

Terms       echo: psql prints each line that it reads; what the statement answers comes after it.
            Answer: columns and lines of a table, or an error, or nothing.
Failure     A line that is neither is kept in `Transcript.stray` and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

RULER = re.compile(r"-{5,}(\+-*)*\Z")
FOOT = re.compile(r"\(\d+ rows?\)\Z")
MESSAGE = re.compile(r"(NOTICE|LOG|DEBUG|WARNING|INFO|DETAIL|HINT|CONTEXT|LINE \d+|QUERY):")
MESSAGE_GOES_ON = re.compile(
    r'(SQL statement "|SQL function "|PL/pgSQL function |SELECT \S+\("?\$|\s+\^)'
)
FIRST_WORD = re.compile(
    r"(select|set|call|begin|commit|rollback|rolback|end|explain|execute|prepare|deallocate|"
    r"reset|"
    r"do|create|drop|alter|insert|update|delete|with|analyze|vacuum|truncate|declare|fetch|close|"
    r"start|savepoint|grant|revoke|values|copy|abort|show)\b",
    re.IGNORECASE,
)
# of statements that answer nothing
SILENT = re.compile(r"(set|begin|commit|rollback|end|reset|prepare|start|savepoint)\b", re.I)


@dataclass
class Answer:
    """What psql printed below a statement."""

    columns: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    error: str | None = None
    is_table: bool = False


@dataclass
class Statement:
    """One statement as it was typed, without comments before it."""

    line: int
    text: str
    answer: Answer = field(default_factory=Answer)


@dataclass
class Transcript:
    """One file."""

    name: str
    statements: list[Statement]
    stray: list[tuple[int, str]]


class _Splitter:
    """Where statements end: at `;` outside of strings, dollar quotes, comments and brackets."""

    def __init__(self) -> None:
        self.quote = ""
        self.depth = 0

    def feed(self, line: str) -> list[int]:
        """The offsets behind each `;` that ends a statement in this line."""
        ends = []
        at = 0
        while at < len(line):
            if self.quote:
                found = line.find(self.quote, at)
                if found < 0:
                    return ends
                at = found + len(self.quote)
                self.quote = ""
                continue
            char = line[at]
            if line.startswith("--", at):
                break
            dollar = re.match(r"\$[A-Za-z_]*\$", line[at:])
            if char in "'\"" or dollar:
                self.quote = dollar[0] if dollar else char
                at += len(self.quote)
                continue
            self.depth += (char == "(") - (char == ")")
            at += 1
            if char == ";":
                self.depth = 0
                ends.append(at)
        return ends


def transcript_of(path: Path) -> Transcript:
    """The statements of a file with their answers."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    statements: list[Statement] = []
    stray: list[tuple[int, str]] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        bare = line.strip()
        if not bare or bare.startswith("--"):
            at += 1
            continue
        if bare.startswith("\\"):
            statements.append(Statement(at + 1, bare))
            at = _end_of_meta(lines, at + 1)
            continue
        if not FIRST_WORD.match(bare):
            stray.append((at + 1, line))
            at += 1
            continue
        found, at = _typed(lines, at)
        statements += found
        at = _answered(lines, at, found, stray)
    return Transcript(path.name, statements, stray)


def _typed(lines: list[str], at: int) -> tuple[list[Statement], int]:
    """The statements that begin in this line (several if it has several), and the line behind."""
    splitter = _Splitter()
    found: list[Statement] = []
    pending: list[str] = []
    start = at
    while at < len(lines):
        line = lines[at]
        ends = splitter.feed(line)
        position = 0
        for end in ends:
            pending.append(line[position:end])
            found.append(Statement(start + 1, "\n".join(pending).strip()))
            pending = []
            position = end
        rest = line[position:]
        at += 1
        if (rest.strip() and not (found and rest.strip().startswith("--"))) or (
            pending and not found
        ):
            pending.append(rest)
        # `\gset` and the like end a statement as well
        if pending and not splitter.quote and re.search(r"\\g\w*\s*\S*\s*\Z", rest):
            found.append(Statement(start + 1, "\n".join(pending).strip()))
            pending = []
        if not "".join(pending).strip() and found:
            break
    return found, at


def _end_of_meta(lines: list[str], at: int) -> int:
    """Behind what `\\d` printed: it ends at an empty line, and other commands print nothing."""
    if at < len(lines) and lines[at][:1] in (" ", "") and "Table" in lines[at]:
        while at < len(lines) and lines[at].strip():
            at += 1
    return at


def _answered(
    lines: list[str], at: int, statements: list[Statement], stray: list[tuple[int, str]]
) -> int:
    """Give the statements what is printed below them; the line behind it."""
    waiting: Iterator[Statement] = iter(
        [each for each in statements if not SILENT.match(each.text)] or statements[-1:]
    )
    while at < len(lines):
        line = lines[at]
        if line.startswith("ERROR:") or line.startswith("FATAL:"):
            statement = next(waiting, statements[-1])
            statement.answer.error = line.split(":", 1)[1].strip()
            at += 1
        elif MESSAGE.match(line) or MESSAGE_GOES_ON.match(line):
            at += 1
        elif line.startswith(" ") and at + 1 < len(lines) and RULER.match(lines[at + 1]):
            statement = next(waiting, statements[-1])
            at = _table(lines, at, statement.answer)
        elif (
            RULER.match(line)
            and at + 1 < len(lines)
            and lines[at + 1].startswith("(")
            and (FOOT.match(lines[at + 1]))
        ):
            at += 2
        else:
            break
    return at


def _table(lines: list[str], at: int, answer: Answer) -> int:
    """Read a table into the answer; the line behind its foot."""
    answer.is_table = True
    answer.columns = [each.strip() for each in lines[at].split("|")]
    at += 2
    while at < len(lines) and not FOOT.match(lines[at]):
        answer.lines.append(lines[at])
        at += 1
    return at + 1
