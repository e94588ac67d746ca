"""Programs for arm64 under QEMU's user mode, as a Cortex-A53 with and without AES instructions.

Terms       board: `aes` has the cryptography extensions (Raspberry Pi 5 has them), `plain` has not
            (Pi 3 and 4). QEMU has no switch for them, so `plain` hides them from whoever asks
            (hide.c), and the counts show that none was executed.
Invariants  a program that starts sys.executable again starts the emulator: its path is a script.
Sources     qemu-user(1); ADR-0033.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from ci import checks
from ci.arm64.cross import SOURCE
from ci.arm64.sysroot import COMPILER, EMULATOR, FOLDER, SITE, SYSROOT, python
from ci.environment import ROOT, compiler
from ci.stages import run_command

CPU: Final = "cortex-a53"
BOARDS: Final = ("aes", "plain")
HERE: Final = ROOT / "ci" / "arm64"
WARNINGS: Final = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
TESTS: Final = (
    "seal", "keyring", "layout", "record", "key", "page", "btree", "overlay", "compress", "frame",
    "store", "superblock", "filter", "collection", "recovery",
)  # fmt: skip
"""Files of tests/unit: bytes, kernels and cryptography whole, and the engine around them."""
TESTS_PLAIN: Final = ("seal", "keyring", "frame", "superblock", "collection")
"""Again without AES instructions: what seals."""


def tools() -> str:
    """Compile the counter, for this machine, and what hides AES, for the other."""
    run_command([compiler(), *WARNINGS, HERE / "count.c", "-o", FOLDER / "count.so"])
    run_command([COMPILER, *WARNINGS, HERE / "hide.c", "-o", FOLDER / "hide.so", "-ldl"])
    for board in BOARDS:
        script = interpreter(board)
        hidden = f"-E LD_PRELOAD={FOLDER / 'hide.so'} " if board == "plain" else ""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        script.write_text(
            "#!/bin/sh\n"
            f"exec nice -n 15 {EMULATOR} -L {SYSROOT} -cpu {CPU} {hidden}$RANGO_EMULATOR "
            f"-E PYTHONHOME={SYSROOT / 'usr'} -E PYTHONPATH={SITE} -0 {script} "
            f'{SYSROOT}/usr/bin/python{version} "$@"\n',
            encoding="utf-8",
        )
        script.chmod(0o755)
    return "count.so, hide.so"


def interpreter(board: str) -> Path:
    """A script that is Python on this board."""
    return FOLDER / f"python-{board}"


def environment(**extra: str) -> dict[str, str]:
    """Of a program on a board: nothing of the host's Python."""
    python()
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(FOLDER),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "RANGO_CORPUS": str(checks.corpus_path()),
        "RANGO_EMULATOR": "",
        **extra,
    }


def test(board: str, seed: int) -> str:
    """The core of the unit tests, and the vectors of Wycheproof and NIST among them."""
    names = TESTS if board == "aes" else TESTS_PLAIN
    files = [f"tests/unit/test_{name}.py" for name in names]
    run_command(
        [
            interpreter(board), "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
            f"--randomly-seed={seed}", *files,
        ],
        environment=environment(),
        folder=SOURCE,
        minutes=60,
    )  # fmt: skip
    return f"{len(files)} files, seed {seed}"


def provider(board: str) -> str:
    """Which library seals on this board."""
    code = "from rango._ext.seal import provider_choose as p; print(p().name)"
    done = subprocess.run(
        [interpreter(board), "-c", code],
        env=environment(),
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
