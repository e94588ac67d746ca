"""A person at a terminal, for tests of prompts: waits for a text, then types."""

from __future__ import annotations

import os
import pty
import select
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WAIT_S = 60.0
"""A prompt that does not come within this is a failure, not a hang."""


class Typist:
    """`rango WORDS...` in a terminal of its own."""

    def __init__(self, *words: str, environment: dict[str, str] | None = None) -> None:
        self.seen = b""
        self._at = 0
        self._child, self._terminal = pty.fork()
        if self._child == 0:
            os.chdir(ROOT)
            os.environ.update(environment or {})
            os.execv(sys.executable, [sys.executable, "-m", "rango", *words])

    def answer(self, prompt: str, text: str) -> None:
        """Wait until `prompt` is shown once more, then type `text` and Enter."""
        wanted = prompt.encode()
        while wanted not in self.seen[self._at :]:
            more = self._read()
            assert more, f"no {prompt!r} in {self.seen!r}"
        self._at = self.seen.index(wanted, self._at) + len(wanted)
        os.write(self._terminal, f"{text}\n".encode())

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])

    def _read(self) -> bytes:
        ready, _, _ = select.select([self._terminal], [], [], WAIT_S)
        assert ready, f"nothing within {WAIT_S} s after {self.seen!r}"
        try:
            chunk = os.read(self._terminal, 1024)
        except OSError:  # Linux says EIO when the other end of a terminal is gone
            return b""
        self.seen += chunk
        return chunk
