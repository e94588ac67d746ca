"""The wheel for aarch64, compiled here: the host's Python runs setup.py and takes the target's
settings (compiler, suffix of modules, headers) from Debian's Python for arm64.

Invariants  the C that Cython makes is the same for every machine and is shared with the release
            build; objects and modules lie in folders named after the platform.
Sources     the interpreter's own cross builds (_PYTHON_SYSCONFIGDATA_NAME, _PYTHON_HOST_PLATFORM);
            ADR-0033.
"""

from __future__ import annotations

import shutil
import struct
import sys
import zipfile
from pathlib import Path
from typing import Final

from ci import builds, checks
from ci.arm64.sysroot import COMPILER, FOLDER, SYSROOT
from ci.environment import child_environment, venv_python
from ci.stages import StageFailed, run_command

PLATFORM: Final = "linux-aarch64"
DATA: Final = "_sysconfigdata__aarch64-linux-gnu"
SOURCE: Final = FOLDER / "source"
EM_AARCH64: Final = 183


def wheel() -> str:
    """Build it, look into it, and lay it where the tests find it."""
    target = FOLDER / "wheel"
    shutil.rmtree(target, ignore_errors=True)
    with builds.build_lock():
        command: list[str | Path] = [venv_python(), "setup.py", "--quiet", "bdist_wheel"]
        command += ["--plat-name", PLATFORM.replace("-", "_"), "--dist-dir", target]
        run_command(command, environment=settings(), minutes=60)
    built = next(target.glob("*.whl"))
    checks.look_into(built)
    unpack(built)
    return f"{built.name}, {built.stat().st_size // 1024} KiB"


def settings() -> dict[str, str]:
    """The environment that makes the host's Python compile for the target."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folder = FOLDER / "sysconfig"
    folder.mkdir(exist_ok=True)
    shutil.copy(SYSROOT / "usr" / "lib" / version / f"{DATA}.py", folder)
    headers = SYSROOT / "usr" / "include"
    return child_environment(
        PYTHONPATH=str(folder),
        _PYTHON_SYSCONFIGDATA_NAME=DATA,
        _PYTHON_HOST_PLATFORM=PLATFORM,
        CC=COMPILER,
        LDSHARED=f"{COMPILER} -shared",
        # as system headers: the warnings of another C library are not ours
        CFLAGS=f"-isystem {headers / version} -isystem {headers}",
    )


def unpack(built: Path) -> None:
    """Sources and tests in a folder of their own, with the modules of the wheel."""
    builds.copy_sources(SOURCE)
    for module in (SOURCE / "rango").rglob("*.so"):
        module.unlink()
    with zipfile.ZipFile(built) as archive:
        archive.extractall(SOURCE, [name for name in archive.namelist() if "dist-info" not in name])
    for name, path in builds.modules(SOURCE).items():
        if path is None or machine_of(path) != EM_AARCH64:
            raise StageFailed(f"rango._ext.{name} was not compiled for aarch64: {path}")


def machine_of(path: Path) -> int:
    """The field e_machine of an ELF file."""
    with path.open("rb") as file:
        file.seek(18)
        return int(struct.unpack("<H", file.read(2))[0])
