"""What the doctor says: findings, each with a code that never changes its meaning.

Terms       finding: one thing that was noticed: code, how bad, where, what it is, what to do.
Invariants  CODES, the sections of docs/reference/doctor.md and the tests that provoke a finding
            are the same list (tests/unit/test_doctor.py).
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

Severity = Literal["note", "warning", "error"]

SEVERITIES: Final[tuple[Severity, ...]] = ("note", "warning", "error")
"""From harmless to bad. A note asks for nothing; a warning for attention before it gets worse; an
error means that something is lost, damaged or refused."""

CODES: Final[dict[str, Severity]] = {
    # who has it open
    "held": "note",
    "holder-gone": "warning",
    "not-closed": "note",
    # keys
    "locked": "note",
    "secret-rejected": "warning",
    "not-encrypted": "note",
    "single-key-slot": "note",
    "keys-missing": "error",
    "keys-damaged": "error",
    "keys-copy-damaged": "warning",
    "key-slot-parameters": "error",
    "no-hardware-aes": "warning",
    "rotation-unfinished": "note",
    "rekey-unfinished": "warning",
    "old-files-kept": "note",
    # files
    "permissions": "warning",
    "other-owner": "warning",
    "unreadable": "error",
    "wrong-kind": "error",
    "unknown-file": "note",
    "creation-unfinished": "note",
    "keys-change-unfinished": "note",
    "segment-unfinished": "note",
    "tail-kept": "note",
    "restore-unfinished": "note",
    "backup-unfinished": "warning",
    "backup-damaged": "error",
    "import-unfinished": "note",
    "index-unfinished": "note",
    "purge-unfinished": "warning",
    # damage
    "format-too-new": "error",
    "data-file-missing": "warning",
    "data-file-short": "error",
    "data-file-size": "note",
    "superblock-slot": "warning",
    "superblock-lost": "error",
    "page-damaged": "error",
    "log-missing": "error",
    "log-broken": "error",
    "log-damaged": "error",
    "segment-void": "note",
    "torn-tail": "warning",
    "signatures-missing": "warning",
    "signatures-torn": "note",
    "signatures-changed": "warning",
    "signatures-foreign": "warning",
    # space and time
    "low-disk": "warning",
    "reclaimable": "note",
    "history-large": "note",
    "given-up-files": "note",
    "clock-behind": "warning",
    "clock-wrong": "warning",
    # what it lies on
    "network-file-system": "error",
    "memory-file-system": "warning",
    "overlay-file-system": "warning",
    "untested-file-system": "warning",
    "read-only-mount": "note",
    "flush-fails": "error",
    "flush-slow": "warning",
    # what it runs on
    "foreign-bson": "error",
    "slow-bson": "warning",
    "library-missing": "error",
}
"""Every code with how bad it is as a rule."""

PAGE: Final = "docs/reference/doctor.md"


class Finding(NamedTuple):
    """One thing that was noticed."""

    code: str
    severity: Severity
    where: str
    """A file, a place in one, or a word such as "clock"."""
    what: str
    """What is so, in a sentence."""
    action: str
    """What to do about it."""

    def as_dict(self) -> dict[str, str]:
        """The finding for programs; `page` is where the documentation explains it."""
        return {**self._asdict(), "page": f"{PAGE}#{self.code}"}


class Report(NamedTuple):
    """Everything that an examination found, worst first, and the figures that it read."""

    path: str
    findings: tuple[Finding, ...]
    facts: dict[str, Any]

    @property
    def severity(self) -> Severity | None:
        """That of the worst finding; None if there is none."""
        return self.findings[0].severity if self.findings else None

    def as_dict(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "path": self.path,
            "severity": self.severity,
            "findings": [finding.as_dict() for finding in self.findings],
            "facts": self.facts,
        }
