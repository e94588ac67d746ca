"""The virtual environment that `python3 ci` makes for itself, and what it needs from the machine.

Failure     something is missing on the machine: MachineIncomplete, which names the Debian packages
            (exit code 2).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STAMP = "rango-stamp"


class MachineIncomplete(RuntimeError):
    """A compiler, Python's headers or the venv module is missing; the message says which."""


def project() -> Mapping[str, Any]:
    """pyproject.toml, read."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(*groups: str) -> list[str]:
    """The pinned requirements of these dependency groups, included groups followed."""
    table = project()["dependency-groups"]
    found: list[str] = []
    for group in groups:
        for entry in table[group]:
            found += [entry] if isinstance(entry, str) else requirements(entry["include-group"])
    return sorted(set(found))


def compiler() -> str:
    """The C compiler that extension modules are built with."""
    configured = os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc")
    return configured.split()[0]


def can_compile() -> bool:
    """True if a program that includes the C library's headers can be compiled and linked."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(
            '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n', encoding="ascii"
        )
        command = [compiler(), str(source), "-o", str(Path(folder, "probe"))]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


def missing_packages() -> list[str]:
    """The Debian packages that this machine lacks, each with the reason."""
    missing = []
    if not can_compile():
        missing.append(f"build-essential (no working C compiler: {compiler()})")
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        missing.append(f"python3-dev (no {header})")
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        missing.append("python3-venv (the modules venv and ensurepip)")
    return missing


def require_machine() -> None:
    """Raise MachineIncomplete unless the machine has what the build needs."""
    missing = missing_packages()
    if missing:
        names = " ".join(entry.split()[0] for entry in missing)
        listed = "".join(f"\n  {entry}" for entry in missing)
        raise MachineIncomplete(
            f"this machine lacks:{listed}\non Debian or Ubuntu: apt-get install {names}"
        )


def venv_path() -> Path:
    """Where the virtual environment lies."""
    return Path(os.environ.get("RANGO_VENV") or ROOT / ".venv").absolute()


def venv_python(folder: Path | None = None) -> Path:
    """The interpreter of the virtual environment."""
    return (folder or venv_path()) / "bin" / "python"


def child_environment(**extra: str) -> dict[str, str]:
    """The environment of every command that is run: nothing that would make it import something
    else.
    """
    clean = {
        name: value
        for name, value in os.environ.items()
        if name
        not in {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    }
    clean["PATH"] = f"{venv_path() / 'bin'}{os.pathsep}{clean.get('PATH', os.defpath)}"
    clean["PYTHONUNBUFFERED"] = "1"
    clean.update(extra)
    return clean


def digest(parts: Iterable[str | bytes]) -> str:
    """One hash of all parts, each with its length."""
    total = hashlib.sha256()
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        total.update(b"%d:" % len(encoded) + encoded)
    return total.hexdigest()


def works(folder: Path) -> bool:
    """True if the environment's interpreter runs and is the version that runs us."""
    try:
        answer = subprocess.run(
            [venv_python(folder), "-c", "import sys, pip; print(sys.version)"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return False
    return answer.returncode == 0 and answer.stdout.strip() == sys.version.strip()


def make_venv(folder: Path) -> None:
    """Create the environment anew. An existing folder goes only if it is a virtual environment."""
    if folder.exists():
        if not (folder / "pyvenv.cfg").exists() and any(folder.iterdir()):
            raise MachineIncomplete(
                f"{folder} is not a virtual environment; set RANGO_VENV to another path"
            )
        shutil.rmtree(folder)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, env=child_environment())


def install(folder: Path, wanted: list[str]) -> None:
    """Install pinned requirements into an environment."""
    command = [
        str(venv_python(folder)),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        *wanted,
    ]
    subprocess.run(command, check=True, env=child_environment())


def set_up(*groups: str) -> str:
    """Make the environment hold these dependency groups; says in a word what was done."""
    require_machine()
    folder = venv_path()
    wanted = requirements(*groups)
    stamp = folder / f"{STAMP}-{'-'.join(sorted(groups))}"
    expected = digest([sys.version, *wanted])
    if stamp.exists() and stamp.read_text(encoding="ascii") == expected and works(folder):
        return "as it was"
    made = ""
    if not works(folder):
        make_venv(folder)
        made = "made anew, "
    install(folder, wanted)
    stamp.write_text(expected, encoding="ascii")
    return f"{made}{len(wanted)} packages"
