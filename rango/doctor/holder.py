"""Who has the database open.

Invariants  No lock is taken: a writer that starts meanwhile must not be refused because of us.
Failure     Processes of other users hide what they have open: then the lock file is believed.
Sources     fcntl(2), F_OFD_GETLK; proc(5), /proc/<pid>/fd.
"""

from __future__ import annotations

import os
from typing import Final

from rango.doctor.examination import Examination
from rango.storage.lock import LOCK_FILE, lock_state

PROC: Final = "/proc"
PIDS_SHOWN: Final = 10


def examine_holder(case: Examination) -> None:
    """Locks and holders."""
    try:
        state = lock_state(case.path)
    except OSError:
        case.facts["holder"] = {"held": "no", "pids": []}
        return
    pids = users_of(case.place(LOCK_FILE)) if state.held in ("read", "write") else []
    case.is_written = state.held == "write"
    case.facts["holder"] = {"held": state.held, "pids": pids}
    shown = ", ".join(map(str, pids[:PIDS_SHOWN])) or "of another user"
    if state.held == "read":
        case.find(
            "held-for-reading",
            LOCK_FILE,
            f"it is open read-only in process {shown}; nobody can open it for writing meanwhile",
            "nothing, unless a writer is refused: then close it there",
        )
    elif state.held == "write":
        since = age_text(case.surroundings.now_ms - state.start_ms)
        case.facts["holder"] |= {"pid": state.pid, "since_ms": state.start_ms}
        if state.pid in pids or is_hidden(state.pid):
            case.find(
                "held",
                LOCK_FILE,
                f"process {state.pid} has had it open for writing for {since}",
                "nothing, unless another program is refused (DatabaseBusy): then close it there. "
                "The lock goes by itself when that process ends",
            )
        else:
            case.find(
                "holder-gone",
                LOCK_FILE,
                f"process {state.pid}, which took the lock {since} ago, has ended or lives in "
                f"another container; still holding it: process {shown}",
                "end the process that still holds it, often a forked child of the first one; no "
                "file has to be deleted",
            )


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
