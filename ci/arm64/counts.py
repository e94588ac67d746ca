"""Instructions of one operation on each board, compared with what is written in counts.json.

Terms       count: instructions that the emulated processor executes for one operation. It is no
            time (an A53 executes up to two at once, and waits for memory), but it grows with
            whatever makes an operation dearer, on any machine, however busy.
Invariants  PYTHONHASHSEED is set and every document is given; what is left (addresses, random
            nonces) moves a count by less than TOLERANCE.
Failure     a count that differs by more: StageFailed; `python3 ci arm64 --accept` writes it anew,
            and the commit says why.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Final

from ci.arm64.cross import SOURCE
from ci.arm64.emulate import BOARDS, HERE, environment, interpreter
from ci.arm64.sysroot import FOLDER
from ci.stages import StageFailed

FILE: Final = HERE / "counts.json"
TOLERANCE: Final = 0.03
AES_MIN: Final = 100
"""AES instructions of an insertion on a board that has them, at least."""


def measured(board: str) -> dict[str, dict[str, int]]:
    """Instructions of each operation, and those of them that need AES."""
    database, log = FOLDER / "counted", FOLDER / "marks"
    shutil.rmtree(database, ignore_errors=True)
    log.unlink(missing_ok=True)
    shutil.copy(HERE / "operations.py", SOURCE)
    emulator = f"-plugin {FOLDER / 'count.so'} -d plugin -D {log}"
    done = subprocess.run(
        [interpreter(board), "-m", "operations", str(database)],
        env=environment(RANGO_EMULATOR=emulator, PYTHONHASHSEED="0"),
        cwd=SOURCE,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    marks = [
        tuple(map(int, line.split()[1:]))
        for line in log.read_text().splitlines()
        if line.startswith("mark ")
    ]
    found = {}
    for at, line in enumerate(done.stdout.splitlines()):
        name, _, times = line.rpartition(" ")
        before, after = marks[2 * at], marks[2 * at + 1]
        count, aes = ((after[part] - before[part]) // int(times) for part in (0, 1))
        found[name] = {"instructions": count, "aes": aes}
    return found


def differs(count: int, was: int) -> bool:
    """True if that is no noise."""
    return abs(count - was) > TOLERANCE * was


def compare(*, is_accepted: bool) -> str:
    """Measure both boards; StageFailed if something differs."""
    found = {board: measured(board) for board in BOARDS}
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    changed = []
    for board, operations in found.items():
        for name, figures in operations.items():
            was = known.get(board, {}).get(name, {}).get("instructions", 0)
            count = figures["instructions"]
            is_changed = differs(count, was)
            if is_changed:
                changed.append(f"{name} ({board})")
            print(
                f"{'*' if is_changed else ' '} {board:6} {name:16} {count:12,} instructions "
                f"(was {was:,}), {figures['aes']:,} of AES"
            )
    if any(figures["aes"] for figures in found["plain"].values()):
        raise StageFailed("AES instructions were executed on the board that has none")
    if found["aes"]["insert_one"]["aes"] < AES_MIN:
        raise StageFailed("no AES instructions on the board that has them")
    if is_accepted:
        FILE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="ascii")
        return "written"
    if changed:
        raise StageFailed(f"changed by more than {TOLERANCE:.0%}: {', '.join(changed)}")
    gone = [
        f"{name} ({board})" for board in known for name in set(known[board]) - set(found[board])
    ]
    if gone:
        raise StageFailed(f"no longer counted: {', '.join(sorted(gone))}")
    return f"{sum(map(len, found.values()))} counts within {TOLERANCE:.0%}"
