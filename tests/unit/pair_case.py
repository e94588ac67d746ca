"""Cores on one directory: each has descriptors, a place in the table and an overlay of its own, as
processes have.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from rango.engine.core import Core
from tests.unit.engine_case import documents_of, options_of

APPENDED_WORD, DURABLE_WORD, APPENDING_WORD, FLUSHING_WORD = 17, 18, 23, 24
SEGMENT_WORD, POSITION_WORD, FLUSH_OWNER_WORD, FLUSH_EXPECTED_WORD = 28, 29, 56, 60
"""Places in the table of docs/reference/format.md."""


class Pair:
    """Opens cores on one directory, and closes what is open at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cores: list[Core] = []

    def __call__(self, **changes: object) -> Core:
        core = Core(options_of(self.path, **changes))
        self.cores.append(core)
        core.start()
        return core

    def word(self, number: int, value: int | None = None) -> int:
        """A shared word; `value`: set it."""
        with open(self.path / "lock", "r+b", buffering=0) as file:
            if value is not None:
                os.pwrite(file.fileno(), struct.pack("=Q", value), 8 * number)
            return int(struct.unpack("=Q", os.pread(file.fileno(), 8, 8 * number))[0])


def die(core: Core) -> None:
    """What a SIGKILL does: descriptors go, words and files stay as they are."""
    core.is_closed = True
    core.store.appender.close()
    core.store.pager.close()
    core.vfs.close(core.lock._fd)
    core.lock._fd = -1


def numbers(core: Core) -> list[int]:
    """The `_id`s that a core sees."""
    return sorted(documents_of(core, "a"))
