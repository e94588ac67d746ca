"""A Debian for arm64 in a folder: Python with its headers, and the project's pinned dependencies.

Terms       sysroot: the folder where a program for arm64 finds its interpreter and its libraries.
Invariants  nothing outside build/arm64 is changed: apt works on lists, state and cache of its own,
            packages are unpacked and not installed, and root is not needed.
Failure     a program or package that is missing here: MachineIncomplete, which names all of them.
            An address that cannot be reached: StageFailed with apt's or pip's words before it.
Sources     apt.conf(5), qemu-user(1), ADR-0033.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from ci.environment import ROOT, MachineIncomplete, digest, requirements, venv_python
from ci.stages import StageFailed, run_command

FOLDER: Final = ROOT / "build" / "arm64"
SYSROOT: Final = FOLDER / "root"
SITE: Final = FOLDER / "site"
COMPILER: Final = "aarch64-linux-gnu-gcc"
EMULATOR: Final = "qemu-aarch64"
PACKAGES: Final = ("python3", "python3-dev", "libpython3-dev", "libstdc++6")
TESTED_WITH: Final = ("hypothesis", "pytest", "pytest-randomly")
LIBC_VERSIONS: Final = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in range(17, 37)))
NEEDED: Final = {
    COMPILER: "gcc-aarch64-linux-gnu",
    EMULATOR: "qemu-user",  # the static one cannot load a plugin, which is what counts
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
}
CONFIGURATION: Final = """\
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Dir::State "{folder}/state";
Dir::State::Lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Log "{folder}";
"""


def missing_packages() -> list[str]:
    """The Debian packages that this machine lacks, each with the reason."""
    found = [
        f"{package} (no {program})"
        for program, package in NEEDED.items()
        if shutil.which(program) is None
    ]
    if not any("gcc-aarch64" in each for each in found) and not can_cross_compile():
        found.append(f"libc6-dev-arm64-cross ({COMPILER} finds no stdio.h)")
    return found


def can_cross_compile() -> bool:
    """True if the compiler for arm64 has the C library's headers."""
    done = subprocess.run(
        [COMPILER, "-E", "-x", "c", "-"],
        input=b"#include <stdio.h>\n",
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def require() -> str:
    """Raise MachineIncomplete unless everything is here."""
    missing = missing_packages()
    if missing:
        names = " ".join(entry.split()[0] for entry in missing)
        listed = "".join(f"\n  {entry}" for entry in missing)
        raise MachineIncomplete(
            f"arm64 needs:{listed}\non Debian or Ubuntu: apt-get install {names}"
        )
    version = subprocess.run([EMULATOR, "--version"], capture_output=True, text=True, check=True)
    return version.stdout.splitlines()[0]


def make() -> str:
    """Fetch and unpack what is not there yet; says in a word what was done."""
    stamp = FOLDER / "stamp"
    expected = digest([*PACKAGES, *wanted(), sys.version, CONFIGURATION])
    if stamp.exists() and stamp.read_text(encoding="ascii") == expected:
        return "as it was"
    stamp.unlink(missing_ok=True)
    count = debian()
    dependencies()
    stamp.write_text(expected, encoding="ascii")
    size = sum(path.stat().st_size for path in SYSROOT.rglob("*") if path.is_file())
    return f"{count} packages of Debian, {size >> 20} MiB"


def debian() -> int:
    """Debian's packages, unpacked into the sysroot; how many."""
    apt = FOLDER / "apt"
    for name in ("state", "lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    configuration = apt / "apt.conf"
    configuration.write_text(CONFIGURATION.format(folder=apt), encoding="utf-8")
    command: list[str | Path] = ["env", f"APT_CONFIG={configuration}", "apt-get", "--quiet=2"]
    run_command([*command, "update"])
    run_command([*command, "install", "--yes", "--download-only", *PACKAGES])
    shutil.rmtree(SYSROOT, ignore_errors=True)
    SYSROOT.mkdir()
    archives = sorted((apt / "cache" / "archives").glob("*.deb"))
    for archive in archives:
        subprocess.run(["dpkg-deb", "--extract", archive, SYSROOT], check=True)
    python()
    return len(archives)


def python() -> Path:
    """The interpreter for arm64. It must be of the version that runs this: a wheel is named after
    the Python that builds it, and the pinned wheels are chosen by it.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = SYSROOT / "usr" / "bin" / f"python{version}"
    if not found.exists():
        others = [path.name for path in sorted((SYSROOT / "usr" / "bin").glob("python3.*[0-9]"))]
        raise StageFailed(
            f"this Debian has {', '.join(others) or 'no Python'} for arm64 and you run Python "
            f"{version}; run this command with that version"
        )
    return found


def wanted() -> list[str]:
    """Pinned requirements: what Rango needs, and what its tests need of theirs."""
    tests = [each for each in requirements("test") if each.split("==")[0] in TESTED_WITH]
    return [*requirements("run"), *tests]


def dependencies() -> None:
    """The wheels for aarch64, as a user of Raspberry Pi OS gets them."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.rmtree(SITE, ignore_errors=True)
    command: list[str | Path] = [venv_python(), "-m", "pip", "--disable-pip-version-check", "-q"]
    command += ["install", "--target", SITE, "--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", version, "--abi", f"cp{version.replace('.', '')}"]
    command += ["--abi", "abi3", "--abi", "none"]
    for libc in LIBC_VERSIONS:
        command += ["--platform", f"{libc}_aarch64"]
    run_command([*command, *wanted()])
