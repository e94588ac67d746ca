"""Judges the surroundings: space, time, the file system, the libraries."""

from __future__ import annotations

from typing import Final

from rango.doctor.examination import Examination
from rango.doctor.surroundings import bson_advice
from rango.limits import CLOCK_DRIFT_MS_MAX
from rango.storage.lock import NETWORK_FILE_SYSTEMS

TESTED_FILE_SYSTEMS: Final = frozenset(
    {"ext", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs", "ecryptfs"}
)
LOW_DISK_BYTES: Final = 128 * 1024 * 1024
"""Two full segments of the log."""
FULL_DISK_BYTES: Final = 8 * 1024 * 1024
"""Two steps in which a segment grows: with less a commit may be refused any moment."""
CLOCK_MS_MIN: Final = 1_735_689_600_000
"""2025-01-01: before this Rango was not there, so a clock that says less was never set."""
CLOCK_SLACK_MS: Final = 1_000
"""A revision may be so far ahead: what NTP corrects without a step."""
FLUSH_SLOW_MS: Final = 50.0
"""A worn SD card or a busy disk; a healthy disk takes 10 ms, flash less than 5."""


def examine_machine(case: Examination) -> None:
    """Everything that is not the database's own."""
    surroundings = case.surroundings
    case.facts["file_system"] = surroundings.file_system
    case.facts["free_bytes"] = surroundings.free_bytes
    case.facts["versions"] = surroundings.versions
    examine_space(case)
    examine_file_system(case)
    examine_flush(case)
    examine_clock(case)
    examine_libraries(case)


def examine_space(case: Examination) -> None:
    """Free space."""
    free = case.surroundings.free_bytes
    if free < LOW_DISK_BYTES and not case.surroundings.is_read_only_mount:
        case.find(
            "low-disk",
            case.path,
            f"{free} bytes are free on this file system; writes are refused (LowDisk) when it is "
            "full, reads go on",
            "free some space; `rango export` old documents elsewhere and delete them",
            "error" if free < FULL_DISK_BYTES else "warning",
        )


def examine_file_system(case: Examination) -> None:
    """What a flush is worth here."""
    kind, where = case.surroundings.file_system, case.path
    if case.surroundings.is_read_only_mount:
        case.find(
            "read-only-mount",
            where,
            "the file system is mounted read-only",
            "open the database with read_only=True; or mount it for writing",
        )
    if kind in NETWORK_FILE_SYSTEMS:
        case.find(
            "network-file-system",
            where,
            f"it lies on {kind}, whose locks and flushes do not hold; Rango refuses to open it",
            "move the directory to a local disk",
        )
    elif kind in ("tmpfs", "ramfs"):
        case.find(
            "memory-file-system",
            where,
            f"it lies in memory ({kind}): all of it is gone after a restart of the machine",
            "move the directory to a disk, if it is to be kept",
        )
    elif kind == "overlay":
        case.find(
            "overlay-file-system",
            where,
            "it lies in the writable layer of a container and goes with that container",
            "mount a volume, and put the directory there",
        )
    elif kind not in TESTED_FILE_SYSTEMS:
        case.find(
            "untested-file-system",
            where,
            f"it lies on {kind}, of which nobody has shown that a flush survives a power cut",
            "move the directory to ext4, xfs, btrfs, zfs or f2fs, or keep backups elsewhere",
        )


def examine_flush(case: Examination) -> None:
    """How long a flush takes, if it was tried."""
    probe = case.surroundings.probe
    if probe is None:
        case.facts["flush"] = "not tried; --probe does"
        return
    case.facts["flush"] = probe._asdict()
    if probe.error:
        case.find(
            "flush-fails",
            case.path,
            f"a flush (fdatasync) of a new file failed: {probe.error}",
            "look after the disk and its file system before you write more to it",
        )
    elif probe.median_ms > FLUSH_SLOW_MS:
        case.find(
            "flush-slow",
            case.path,
            f"a flush takes {probe.median_ms} ms, and so does a commit",
            'open the database with durability="group", or put several writes into one transaction',
        )


def examine_clock(case: Examination) -> None:
    """The clock against the last revision."""
    now, last = case.surroundings.now_ms, case.last_ms
    case.facts["clock"] = {"now_ms": now, "last_revision_ms": last or None}
    if now < CLOCK_MS_MIN:
        case.find(
            "clock-wrong",
            "clock",
            "the clock of this machine is before 2025, so it was never set",
            "set it (or let NTP do so) before you write: dates and TTL indexes depend on it",
        )
    # a writer goes on while we look
    if (ahead := last - now) > CLOCK_SLACK_MS + case.elapsed_ms():
        consequence = (
            "peers refuse such revisions" if ahead > CLOCK_DRIFT_MS_MAX else "peers accept that"
        )
        case.find(
            "clock-behind",
            "clock",
            f"the last revision is {ahead} ms ahead of the clock: it went back, or was ahead when "
            f"that was written. New revisions continue from the last one; {consequence}",
            "compare the clock with a good one; if the clock is right now, nothing: revisions "
            "agree with it again when it has caught up",
        )


def examine_libraries(case: Examination) -> None:
    """Libraries that are missing, or in each other's place."""
    surroundings = case.surroundings
    if surroundings.has_foreign_bson:
        case.find(
            "foreign-bson",
            "bson",
            "the dead package `bson` from PyPI has taken the place of PyMongo's, which has the "
            "same name",
            bson_advice(),
        )
    elif not surroundings.has_fast_bson:
        case.find(
            "slow-bson",
            "bson",
            "PyMongo's `bson` has no C extension here; Rango's own codec does not need it, but "
            "what you do with bson yourself is slow",
            "install a wheel of PyMongo for this platform",
        )
    for name, version in surroundings.versions.items():
        if version is None:
            case.find(
                "library-missing",
                name,
                f"the library {name} is not installed, or not as a package",
                "install Rango with pip, which brings what it needs",
            )
