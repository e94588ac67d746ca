"""Where the test material lies that nobody here wrote, and what happens when it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def corpus_path(*parts: str) -> Path:
    """The path of a file or folder of the corpus; skips the test if it is absent (fails if
    RANGO_REQUIRE_CORPUS=1).
    """
    base = Path(os.environ.get("RANGO_CORPUS", str(ROOT / ".." / "shared" / "data")))
    path = base.joinpath(*parts)
    if not path.exists():
        message = (
            f"corpus file {'/'.join(parts)} is not there; set RANGO_CORPUS to the folder that "
            "holds it"
        )
        if os.environ.get("RANGO_REQUIRE_CORPUS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return path


def report_cases(capsys: pytest.CaptureFixture[str], suite: str, count: int) -> None:
    """Print how many cases a corpus suite ran, past pytest's capture, so that CI's log shows it."""
    with capsys.disabled():
        print(f"\n[corpus] {suite}: {count} cases")
