"""What a database stands on: the machine, the file system, the clock, the libraries.

Terms       surroundings: these figures, measured once. An examination judges them and never asks
            the machine again, so that a test can describe another machine.
Invariants  Nothing of the engine is imported, so that a library that is broken can still be named.
            Nothing is written, unless the time of a flush is asked for: that takes a file without
            a name in the directory of the database, which is gone when it is closed.
Sources     statfs(2), open(2) (O_TMPFILE), /proc/cpuinfo.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import sys
import time
from importlib import metadata, util
from pathlib import Path
from typing import Final, NamedTuple

LIBRARIES: Final = (
    "cffi",
    "click",
    "cryptography",
    "google-re2",
    "lz4",
    "pymongo",
    "pynacl",
)
"""What Rango needs at run time, as PyPI calls it (pyproject.toml)."""

PROBE_COUNT: Final = 15
PROBE_SIZE: Final = 4096
FLAGS: Final = re.compile(r"^(?:flags|Features)\s*:(.*)$", re.MULTILINE)


class Probe(NamedTuple):
    """How long a flush of 4 KiB takes, milliseconds; or why it could not be done."""

    median_ms: float
    slowest_ms: float
    error: str = ""


class Surroundings(NamedTuple):
    """See the module. Sizes in bytes."""

    now_ms: int
    user: int
    """The number of the user who asks."""
    file_system: str
    """As the operating system calls it, such as "ext" or "nfs"."""
    is_read_only_mount: bool
    free_bytes: int
    cpu_has_aes: bool | None
    """None: the machine does not say."""
    versions: dict[str, str | None]
    """rango, python, system and each library; None for one that is not installed."""
    has_foreign_bson: bool
    has_fast_bson: bool
    probe: Probe | None
    """None: not asked for."""


def measure(directory: str, *, probe: bool) -> Surroundings:
    """The surroundings of a database in this directory. Raises OSError if it is not there."""
    from rango._ext.vfs import POSIX

    mount = os.statvfs(directory)
    is_foreign = bson_is_foreign()
    return Surroundings(
        now_ms=time.time_ns() // 1_000_000,
        user=os.geteuid(),
        file_system=POSIX.file_system(directory),
        is_read_only_mount=bool(mount.f_flag & os.ST_RDONLY),
        free_bytes=mount.f_bavail * mount.f_frsize,
        cpu_has_aes=cpu_has_aes(),
        versions=versions(),
        has_foreign_bson=is_foreign,
        has_fast_bson=is_foreign or bson_is_fast(),
        probe=probed(directory) if probe else None,
    )


def versions() -> dict[str, str | None]:
    """The versions of what Rango runs on."""
    found: dict[str, str | None] = {
        # loaded by now; the top of the package is not to be imported from below
        "rango": str(vars(sys.modules["rango"])["__version__"]),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def bson_is_foreign() -> bool:
    """Whether `import bson` finds the dead package of that name instead of PyMongo's.

    Both install the same folder, so the last one installed has won, perhaps only in part.
    """
    found = util.find_spec("bson")
    if found is None or found.origin is None:
        return False
    folder = Path(found.origin).parent
    # network.py is only in the dead one, son.py only in PyMongo's
    return (folder / "network.py").exists() or not (folder / "son.py").exists()


def bson_is_fast() -> bool:
    """Whether PyMongo's `bson` has its C extension."""
    return util.find_spec("bson._cbson") is not None


def cpu_has_aes() -> bool | None:
    """Whether the processor has instructions for AES; None if that cannot be told."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = FLAGS.search(text)
    return None if found is None else "aes" in found[1].split()


def probed(directory: str) -> Probe:
    """Write and flush a file without a name, PROBE_COUNT times."""
    times: list[float] = []
    try:
        file = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            for _ in range(PROBE_COUNT):
                started = time.perf_counter_ns()
                os.pwrite(file, os.urandom(PROBE_SIZE), 0)
                os.fdatasync(file)
                times.append((time.perf_counter_ns() - started) / 1e6)
        finally:
            os.close(file)
    except OSError as error:
        return Probe(0, 0, error.strerror or str(error))
    return Probe(round(statistics.median(times), 3), round(max(times), 3))


def bson_advice() -> str:
    """What to do about the dead package; a sentence for people."""
    pip = f"{Path(sys.executable).name} -m pip"
    return (
        f"run `{pip} uninstall bson`, then `{pip} install --force-reinstall pymongo`, and ask "
        "whoever depends on `bson` to depend on `pymongo`"
    )
