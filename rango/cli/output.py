"""What commands print: documents and tables, for people or as JSON, and progress.

Invariants  A document is one line of relaxed Extended JSON (or indented, for people on a terminal):
            what `find` prints, `insert` and `import` read. With --json a list is JSON Lines,
            anything else one object. Progress goes to standard error, only to a terminal, and only
            once something has taken longer than PROGRESS_AFTER_S, or is known to be much.
"""

from __future__ import annotations

import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import click

from rango import extended_json

Mode = Literal["relaxed", "canonical"]

PROGRESS_AFTER_S: Final = 0.5

PROGRESS_COUNT_MIN: Final = 50_000
"""So many documents show their progress at once, however fast they are."""


def document_line(document: Mapping[str, Any], *, mode: Mode = "relaxed") -> str:
    """A document as one line of Extended JSON."""
    return extended_json.dumps(document, mode=mode)


def value_text(value: object) -> str:
    """A value alone, as it stands in a document's line."""
    return document_line({"": value})[len('{"": ') : -1]


def by(change: Mapping[str, Any]) -> str:
    """Who made a change, if somebody was named."""
    return f"by {change['actor']}" if change.get("actor") else ""


def print_object(value: Mapping[str, Any]) -> None:
    """One object as JSON."""
    click.echo(document_line(value))


def print_documents(documents: Iterable[Mapping[str, Any]], *, mode: Mode, indent: bool) -> int:
    """Print documents, one a line unless indented; how many there were."""
    count = 0
    for document in documents:
        text = extended_json.dumps(document, mode=mode, indent=2 if indent else None)
        click.echo(text)
        count += 1
    return count


def size_text(size: float) -> str:
    """Bytes for people: 1.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, aligned."""
    listed = [(name, str(value)) for name, value in pairs]
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        click.echo(f"{name:<{width}}  {value}".rstrip())


def print_table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """A table for people; columns of numbers are aligned to the right."""
    listed = [list(line) for line in lines]
    columns: list[list[str]] = []
    for at, name in enumerate(head):
        is_number = bool(listed) and all(isinstance(line[at], (int, float)) for line in listed)
        cells = [name, *(printable(str(line[at])) for line in listed)]
        width = max(map(width_of, cells))
        spaces = [" " * (width - width_of(cell)) for cell in cells]
        pairs = zip(spaces, cells, strict=True)
        columns.append([space + cell if is_number else cell + space for space, cell in pairs])
    for row, line_cells in enumerate(zip(*columns, strict=True)):
        text = "  ".join(line_cells).rstrip()
        click.echo(text if row else click.style(text, bold=True))


def printable(text: str) -> str:
    """A text in one line, with nothing in it that moves a terminal's cursor."""
    return "".join(each if each.isprintable() else " " for each in text)


def width_of(text: str) -> int:
    """Columns of a terminal that a text takes: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in text
    )


class Progress:
    """How far a command is; see progress()."""

    def __init__(self, what: str, total: int | None, is_bytes: bool) -> None:
        self._what = what
        self._total = total
        self._is_bytes = is_bytes
        self._start = time.monotonic()
        self._bar: Any = None
        self._is_shown = sys.stderr.isatty()
        self._is_counted = False

    def __call__(self, done: int, total: int | None = None) -> None:
        """Say that `done` of `total` are done."""
        if not self._is_shown:
            return
        total = self._total if total is None else total
        if self._bar is None:
            is_much = not self._is_bytes and (total or 0) >= PROGRESS_COUNT_MIN
            if not is_much and time.monotonic() - self._start < PROGRESS_AFTER_S:
                return
            if not total:
                self._is_counted = True
                click.echo(f"\r{self._what}  {self._count(done, total)}", err=True, nl=False)
                return
            self._begin(total)
        self._bar.length = total
        self._bar.update(done - self._bar.pos, done)

    def _begin(self, total: int) -> None:
        self._bar = click.progressbar(
            length=total,
            label=self._what,
            file=sys.stderr,
            item_show_func=lambda done: self._count(done or 0, self._bar.length),
        )
        self._bar.__enter__()

    def _count(self, done: int, total: int | None) -> str:
        if not self._is_bytes:
            return f"{done:,} of {total:,}" if total else f"{done:,}"
        rate = size_text(done / max(time.monotonic() - self._start, 1e-3))
        count = f"{size_text(done)} of {size_text(total)}" if total else size_text(done)
        return f"{count}, {rate}/s"

    def stop(self) -> None:
        """End the line of the bar."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        elif self._is_counted:
            click.echo(err=True)


@contextmanager
def progress(what: str, total: int | None = None, *, is_bytes: bool = False) -> Iterator[Progress]:
    """A progress bar that comes only if the work is long and somebody looks on.

    `is_bytes`: what is counted are bytes, shown as 1.5 MiB with the rate of reading them.
    """
    bar = Progress(what, total, is_bytes)
    try:
        yield bar
    finally:
        bar.stop()
