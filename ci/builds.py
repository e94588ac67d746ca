"""Builds of the compiled core: release in place, every other mode in a copy of the sources under
build/<mode>.

The copies are needed because an extension module has one file name whatever its mode. A build whose
inputs have not changed since the last one is skipped; one whose flags or tools have changed is made
from nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ci.environment import ROOT, child_environment, compiler, digest, requirements, venv_python
from ci.stages import run_command

RELEASE = "release"
SOURCES = (
    "rango",
    "tests",
    "asv_benchmarks",
    "docs",
    "ci",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "MANIFEST.in",
    "CHANGELOG.md",
)
MADE_AHEAD_S = 3600.0
GENERATED_SUFFIXES = (".so", ".c", ".html", ".pyc")


def folder_of(mode: str) -> Path:
    """Where the sources and modules of a mode lie."""
    return ROOT if mode == RELEASE else ROOT / "build" / mode


def source_files(root: Path) -> Iterator[Path]:
    """Every file that a build or a test may need, relative to the root; nothing generated."""
    for name in SOURCES:
        path = root / name
        if path.is_file():
            yield Path(name)
        for parent, folders, files in os.walk(path):
            folders[:] = sorted(
                entry for entry in folders if not entry.startswith((".", "__pycache__"))
            )
            for entry in sorted(files):
                if not entry.endswith(GENERATED_SUFFIXES):
                    yield Path(parent, entry).relative_to(root)


def copy_sources(target: Path) -> None:
    """Make `target` hold the same sources; what has not changed keeps its time, what is gone is
    removed.
    """
    wanted = set(source_files(ROOT))
    for path in set(source_files(target)) - wanted:
        (target / path).unlink()
    for path in wanted:
        source, copy = ROOT / path, target / path
        if copy.exists() and copy.read_bytes() == source.read_bytes():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)


def copy_release(target: Path) -> None:
    """Make a new folder hold the sources and what the release build made of them."""
    for path in source_files(ROOT):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, target / path)
    # newer than everything that it was made of, a Cython that pip installs for itself included
    made_at = time.time() + MADE_AHEAD_S
    known = modules(ROOT)
    for folder in (*ROOT.glob("build/lib.*"), *ROOT.glob(f"build/cython-{RELEASE}")):
        for path in (path for path in folder.rglob("*") if path.name.split(".")[0] in known):
            copy = target / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
            os.utime(copy, (made_at, made_at))


@contextmanager
def build_lock() -> Iterator[None]:
    """One build at a time in this tree."""
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def tools_digest(mode: str) -> str:
    """Changes when everything has to be compiled again: interpreter, compiler, Cython, flags."""
    version = subprocess.run(
        [compiler(), "--version"], capture_output=True, text=True, check=True
    ).stdout
    flags = [os.environ.get(name, "") for name in ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS")]
    return digest(
        [
            mode,
            sys.version,
            version,
            *flags,
            *requirements("build"),
            (ROOT / "setup.py").read_bytes(),
        ]
    )


def inputs_digest(folder: Path) -> str:
    """Changes when some module has to be compiled again."""
    paths = [path for path in source_files(folder) if path.suffix in {".pyx", ".pxd", ".h"}]
    return digest([part for path in paths for part in (str(path), (folder / path).read_bytes())])


def modules(folder: Path) -> dict[str, Path | None]:
    """Each module of the core with its compiled file, or None."""
    core = folder / "rango" / "_ext"
    return {
        path.stem: next(core.glob(f"{path.stem}.*.so"), None) for path in sorted(core.glob("*.pyx"))
    }


def build(mode: str) -> str:
    """Build the core in this mode; says in a word what was done."""
    with build_lock():
        folder = folder_of(mode)
        if mode != RELEASE:
            copy_sources(folder)
        stamp = ROOT / "build" / f"stamp-{mode}"
        before = stamp.read_text(encoding="ascii").split() if stamp.exists() else ["", ""]
        now = [tools_digest(mode), inputs_digest(folder)]
        found = modules(folder)
        if now == before and all(found.values()):
            return f"{len(found)} modules, as they were"
        stamp.unlink(missing_ok=True)
        for path in (folder / "rango" / "_ext").glob("*.so"):
            if path.name.split(".")[0] not in found or now[0] != before[0]:
                path.unlink()
        command: list[str | Path] = [venv_python(), "setup.py", "--quiet", "build_ext", "--inplace"]
        if now[0] != before[0]:
            command.append("--force")
        environment = child_environment(RANGO_BUILD=mode)
        environment.pop("RANGO_EXT", None)
        run_command(command, environment=environment, folder=folder)
        stamp.write_text("\n".join(now), encoding="ascii")
        return f"{len(found)} modules"
