"""Who has the database open.

Invariants  No lock is taken: a writer that starts meanwhile must not be refused because of us.
Failure     Processes of other users hide what they have open: then the lock file is believed.
Sources     fcntl(2), F_OFD_GETLK; proc(5), /proc/<pid>/fd.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from rango.doctor.examination import Examination
from rango.storage.lock import LOCK_FILE, User, lock_state

PROC: Final = "/proc"
PIDS_SHOWN: Final = 10


def examine_holder(case: Examination) -> None:
    """Locks and holders."""
    try:
        state = lock_state(case.path)
    except OSError:
        case.facts["holder"] = {"held": "no", "pids": [], "users": []}
        return
    pids = users_of(case.place(LOCK_FILE)) if state.held in ("shared", "alone") else []
    case.is_written = state.held in ("shared", "alone")
    case.facts["holder"] = {
        "held": state.held,
        "pids": pids,
        "users": [user._asdict() for user in state.users],
    }
    here = [user for user in state.users if user.pid in pids or is_hidden(user.pid)]
    if here or state.held == "alone":
        told = "; ".join(map(described(case.surroundings.now_ms), here[:PIDS_SHOWN]))
        case.find(
            "held",
            LOCK_FILE,
            told or f"process {', '.join(map(str, pids)) or '?'} recovers or closes it, alone",
            "nothing: processes share a database. A lock goes by itself when its process ends",
        )
    gone = [user for user in state.users if user not in here]
    if gone:
        shown = ", ".join(map(str, pids)) or "of another user"
        case.find(
            "holder-gone",
            LOCK_FILE,
            f"process {gone[0].pid} has ended or lives in another container, but its locks are "
            f"held; the file is open in process {shown}",
            "end the process that still holds them, often a forked child of the first one; no file "
            "has to be deleted",
        )


def described(now_ms: int) -> Callable[[User], str]:
    """What one user does, for people."""

    def text(user: User) -> str:
        parts = [f"process {user.pid} for {age_text(now_ms - user.start_ms)}"]
        if user.is_writing:
            parts.append("writing now")
        if user.pinned is not None:
            parts.append(f"reading generation {user.pinned}")
        return ", ".join(parts)

    return text


def users_of(path: str) -> list[int]:
    """The processes that have this file open, as far as this user may see."""
    try:
        wanted = os.stat(path)
        numbers = sorted(int(name) for name in os.listdir(PROC) if name.isdigit())
    except OSError:
        return []
    return [number for number in numbers if has_open(number, wanted)]


def has_open(pid: int, wanted: os.stat_result) -> bool:
    """Whether a process has a file open, as far as this user may see."""
    folder = os.path.join(PROC, str(pid), "fd")
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        try:
            found = os.stat(os.path.join(folder, name))
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


def is_hidden(pid: int) -> bool:
    """Whether a process is there that does not show this user what it has open."""
    try:
        os.listdir(os.path.join(PROC, str(pid), "fd"))
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def age_text(ms: int) -> str:
    """A time span for people."""
    seconds = max(0, ms) / 1000
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
