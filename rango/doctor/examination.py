"""What one examination knows so far; every part of it adds to that."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from rango.doctor.finding import CODES, SEVERITIES, Finding, Report, Severity
from rango.doctor.surroundings import Surroundings

if TYPE_CHECKING:
    from rango._ext.vfs import Vfs
    from rango.storage.keyring import Keyring, Secret
    from rango.storage.keys_file import KeysState
    from rango.storage.superblock import Slot


UNREAD: Final = frozenset({"unreadable", "wrong-kind"})
"""Codes that say why a file was not examined."""


@dataclass(slots=True)
class Examination:
    """See the module."""

    path: str
    vfs: Vfs
    secret: Secret | None
    surroundings: Surroundings
    names: frozenset[str]
    """What lies in the directory."""
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    is_written: bool = False
    """Another process has it open for writing: files change while they are read."""
    keyring: Keyring | None = None
    """None: no secret that opens it."""
    keys: KeysState | None = None
    """What lies open in the keys file."""
    slot: Slot | None = None
    started_ns: int = field(default_factory=time.monotonic_ns)
    last_ms: int = 0
    """The greatest revision that was seen, milliseconds."""

    def find(
        self, code: str, where: str, what: str, action: str, severity: Severity | None = None
    ) -> None:
        """Add a finding, as bad as its code says unless told otherwise."""
        self.findings.append(Finding(code, severity or CODES[code], where, what, action))

    def not_read(self, where: str, what: str) -> None:
        """A file that the operating system did not give; unless that was said already."""
        if any(found.where.startswith(where) for found in self.findings if found.code in UNREAD):
            return
        self.find(
            "unreadable",
            where,
            f"it could not be read: {what}",
            "look after the disk and the rights, then look again",
        )

    def place(self, *names: str) -> str:
        """A path in the database."""
        return os.path.join(self.path, *names)

    def elapsed_ms(self) -> int:
        """How long the examination has taken so far."""
        return (time.monotonic_ns() - self.started_ns) // 1_000_000

    def report(self) -> Report:
        """What came out of it, worst first."""
        order = sorted(self.findings, key=lambda found: -SEVERITIES.index(found.severity))
        return Report(self.path, tuple(order), self.facts)
