"""Tables, and progress as somebody at a terminal sees it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from rango.cli import output

BAR = """
from rango.cli import output
output.PROGRESS_AFTER_S = 0
with output.progress("copying", {total}, is_bytes={is_bytes}) as bar:
    for done in range(0, 4_000_001, 400_000):
        bar(done)
"""


def on_a_terminal(code: str) -> str:
    """What a program writes to the terminal that its standard error is."""
    ours, theirs = pty.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm"}
        done = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment)
        os.close(theirs)
        text = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:
                # Linux says so when the last writer has closed
                break
            if not piece:
                break
            text += piece
        assert done.wait(60) == 0
        return text.decode()
    finally:
        os.close(ours)


@pytest.mark.parametrize(
    ("total", "is_bytes", "last"),
    [
        (4_000_000, False, "4,000,000 of 4,000,000"),
        (4_000_000, True, "3.8 MiB of 3.8 MiB, "),
        (None, False, "copying  4,000,000"),
        (None, True, "copying  3.8 MiB, "),
    ],
)
def test_a_bar_shows_how_far_it_is(total: int | None, is_bytes: bool, last: str) -> None:
    text = on_a_terminal(BAR.format(total=total, is_bytes=is_bytes))
    assert "copying" in text and last in text
    assert ("[" in text and "#" in text) == (total is not None)
    assert text.endswith("\n") or text.endswith("\x1b[?25h")


def test_nothing_is_shown_where_nobody_looks(tmp_path: Path) -> None:
    with (tmp_path / "error").open("wb") as error:
        code = BAR.format(total=10, is_bytes=False)
        subprocess.run([sys.executable, "-c", code], stderr=error, check=True)
    assert (tmp_path / "error").read_bytes() == b""


def test_columns_line_up_whatever_is_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [("a", 1, "x"), ("日本", 1_000, ""), ("e\u0301", 20, "yy")]
    output.print_table(["name", "count", "note"], lines)
    assert capsys.readouterr().out == (
        "name  count  note\na         1  x\n日本   1000\ne\u0301        20  yy\n"
    )
    output.print_table(["name", "count"], [("a\r\nb\x1b[2J\u2028c", 1)])
    assert capsys.readouterr().out == "name        count\na  b [2J c      1\n"
    output.print_table(["name", "count"], [])
    assert capsys.readouterr().out == "name  count\n"
