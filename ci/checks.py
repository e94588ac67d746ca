"""What the stages do: each function is one check, and returns a note for the table."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from ci import builds
from ci.environment import ROOT, child_environment, compiler, install, venv_path, venv_python
from ci.stages import StageAbsent, StageFailed, run_command
from ci.suites import Suite

STUBTEST_ALLOWED = "ci/stubtest-allowed.txt"
SANITIZED_SUITES = ("unit",)
SEED_MAX = 2**32 - 1


def seed_of(options: argparse.Namespace) -> int:
    """The seed that was asked for, or a new one; printed, so that any run can be repeated."""
    seed = options.seed if options.seed is not None else random.SystemRandom().randint(0, SEED_MAX)
    print(f"seed {seed}", flush=True)
    return int(seed)


def tool(name: str) -> Path:
    """A program of the virtual environment."""
    return venv_path() / "bin" / name


def python_folders() -> list[str]:
    """The folders of Python code that exist."""
    names = ("rango", "server", "ci", "tests", "asv_benchmarks", "setup.py")
    return [name for name in names if (ROOT / name).exists()]


def lint() -> str:
    """Format and lint of Python, lint of Cython. All three run, whatever the first says."""
    core = sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "rango" / "_ext").glob("*.p[yx][xd]")
    )
    commands: list[list[str | Path]] = [
        [tool("ruff"), "format", "--check", *python_folders()],
        [tool("ruff"), "check", *python_folders()],
        [tool("cython-lint"), *core],
    ]
    return run_all(commands)


def types() -> str:
    """Types of the Python code, and stubs against the compiled modules."""
    folders = [name for name in ("rango", "server", "ci") if (ROOT / name).exists()]
    allowed = [f"--allowlist={STUBTEST_ALLOWED}", "--ignore-unused-allowlist"]
    settings = ["--mypy-config-file=pyproject.toml"]
    commands: list[list[str | Path]] = [
        [venv_python(), "-m", "mypy", *folders],
        [venv_python(), "-m", "mypy.stubtest", "rango._ext", *settings, *allowed],
    ]
    return run_all(commands)


def imports() -> str:
    """The layers, by import-linter; tests/tidy holds the .pyx files to the same table."""
    run_command([tool("lint-imports"), "--no-cache"])
    return ""


def run_all(commands: list[list[str | Path]]) -> str:
    """Run every command; StageFailed names those that failed."""
    failed = []
    for command in commands:
        try:
            run_command(command)
        except StageFailed as error:
            failed.append(f"{Path(command[0]).name}: {error}")
    if failed:
        raise StageFailed(", ".join(failed))
    return ""


def corpus_path() -> Path:
    """The folder of the test material that nobody here wrote."""
    return Path(os.environ.get("RANGO_CORPUS") or ROOT.parent / "shared" / "data").absolute()


def run_suite(
    suite: Suite,
    *,
    seed: int,
    require_corpus: bool = False,
    folder: Path = ROOT,
    environment: dict[str, str] | None = None,
    arguments: tuple[str, ...] = (),
) -> str:
    """Run one suite with pytest in random order, on every core if it may; a required one that is
    not there fails.
    """
    if not any((ROOT / suite.folder).glob("**/test_*.py")):
        message = f"{suite.folder} has no tests"
        if suite.is_required:
            raise StageFailed(f"{message}, and ci/suites.py requires it")
        raise StageAbsent(message)
    extra = {"RANGO_CORPUS": str(corpus_path())}
    if require_corpus:
        extra["RANGO_REQUIRE_CORPUS"] = "1"
    run_command(
        [
            venv_python(),
            "-m",
            "pytest",
            suite.folder,
            "-q",
            "--durations=3",
            f"--randomly-seed={seed}",
            *([f"--numprocesses={os.cpu_count() or 1}"] if suite.is_parallel else []),
            *arguments,
        ],
        environment={**child_environment(**extra), **(environment or {})},
        folder=folder,
        minutes=suite.minutes,
    )
    note = f"seed {seed}"
    if suite.needs_corpus and not corpus_path().exists():
        note += f", no corpus at {corpus_path()}: its tests were skipped"
    return note


def sanitizer_environment() -> dict[str, str]:
    """What makes an ordinary interpreter run modules that were built with ASan and UBSan."""
    libraries = []
    for name in ("libasan.so", "libubsan.so"):
        found = subprocess.run(
            [compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if not Path(found).is_absolute():
            raise StageFailed(
                f"{compiler()} has no {name}; on Debian it comes with build-essential"
            )
        libraries.append(found)
    return {
        "LD_PRELOAD": " ".join(libraries),
        # leaks: CPython itself frees little at exit
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        # the interpreter's own allocator would hide overflows inside its arenas
        "PYTHONMALLOC": "malloc",
        "RANGO_SANITIZED": "1",
    }


def wheel() -> str:
    """Build a wheel as a user would (`pip wheel .`), look into it, and use it from a fresh
    environment. What the release build has compiled is not compiled again.
    """
    folder = ROOT / "build" / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    source = folder / "source"
    builds.build(builds.RELEASE)
    builds.copy_release(source)
    pip: list[str | Path] = [venv_python(), "-m", "pip", "--disable-pip-version-check", "-q"]
    run_command([*pip, "wheel", ".", "--no-deps", "-w", folder], folder=source)
    built = next(folder.glob("*.whl"))
    look_into(built)
    fresh = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(fresh)], check=True)
    install(fresh, [str(built)])
    smoke = ROOT / "ci" / "smoke.py"
    run_command([venv_python(fresh), "-I", smoke, folder / "smoke"], folder=folder)
    return f"{built.name}, {built.stat().st_size // 1024} KiB"


def look_into(built: Path) -> None:
    """StageFailed unless the wheel holds every compiled module with its stub, and nothing that does
    not belong.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(built)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = {line.split()[0] for line in listed.splitlines()[1:]}
    for module in builds.modules(ROOT):
        if not any(
            name.startswith(f"rango/_ext/{module}.") and name.endswith(".so") for name in names
        ):
            raise StageFailed(f"the wheel has no compiled rango._ext.{module}")
        if f"rango/_ext/{module}.pyi" not in names:
            raise StageFailed(f"the wheel has no rango/_ext/{module}.pyi")
    known = builds.modules(ROOT)
    foreign = [
        name
        for name in names
        if not name.startswith(("rango/", "rango-"))
        or name.endswith((".c", ".html", ".pyc"))
        or (name.endswith(".so") and name.split("/")[-1].split(".")[0] not in known)
    ]
    if foreign:
        raise StageFailed(f"the wheel holds what does not belong: {', '.join(sorted(foreign))}")
