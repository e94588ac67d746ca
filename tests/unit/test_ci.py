"""The tools that judge everything else: stages, set-up, builds, generated files, annotation."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ci import builds, environment, generated, suites
from ci.commands import annotate
from ci.environment import MachineIncomplete
from ci.stages import StageAbsent, StageFailed, Stages, run_command


def failing() -> str:
    """A stage that finds something."""
    raise StageFailed("two of three")


def absent() -> str:
    """A stage about files that are not there."""
    raise StageAbsent("nothing here")


def incomplete() -> str:
    """A stage on a machine without a compiler."""
    raise MachineIncomplete("build-essential")


def outcomes(stages: Stages) -> list[str]:
    """How the stages ended."""
    return [result.outcome for result in stages.results]


def test_a_failure_does_not_hide_what_comes_after_it() -> None:
    stages = Stages("test")
    stages.run("a", failing)
    stages.run("b", lambda: "fine")
    assert outcomes(stages) == ["FAILED", "passed"]
    assert stages.finish() == 1


def test_a_failed_needed_stage_stops_the_rest_and_that_is_a_failure() -> None:
    stages = Stages("test")
    stages.run("build", failing, is_needed=True)
    stages.run("b", lambda: "fine")
    assert outcomes(stages) == ["FAILED", "not run"]
    assert stages.finish() == 1


def test_absent_passes_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    stages = Stages("test")
    stages.run("a", absent)
    assert stages.finish() == 0
    assert "nothing here" in capsys.readouterr().out


def test_an_incomplete_machine_is_exit_code_2() -> None:
    stages = Stages("test")
    stages.run("set-up", incomplete, is_needed=True)
    assert stages.finish() == 2


def test_only_what_was_asked_for_and_what_it_needs() -> None:
    stages = Stages("test", only=frozenset({"b"}))
    stages.run("build", lambda: "", is_needed=True)
    stages.run("a", failing)
    stages.run("b", lambda: "")
    assert [result.name for result in stages.results] == ["build", "b"]


def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    sleeper = "import subprocess, sys; subprocess.run(['sleep', '600'])"
    with pytest.raises(StageFailed, match="still running"):
        run_command([sys.executable, "-c", sleeper], minutes=0.005)


def test_a_command_that_fails_says_how() -> None:
    with pytest.raises(StageFailed, match="exit code 7"):
        run_command([sys.executable, "-c", "raise SystemExit(7)"])
    with pytest.raises(StageFailed, match="signal 9"):
        run_command([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])


def test_a_machine_without_a_compiler_is_told_which_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(MachineIncomplete, match="apt-get install build-essential"):
        environment.require_machine()


def test_a_folder_that_is_no_environment_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept", encoding="utf-8")
    with pytest.raises(MachineIncomplete):
        environment.make_venv(tmp_path)
    assert (tmp_path / "precious").exists()


def test_groups_are_followed_and_pinned() -> None:
    wanted = environment.requirements("ci")
    assert any(entry.startswith("cython==") for entry in wanted)
    assert any(entry.startswith("pymongo==") for entry in wanted)
    assert all("==" in entry for entry in wanted)


def test_copies_hold_sources_and_nothing_generated(tmp_path: Path) -> None:
    builds.copy_sources(tmp_path)
    (tmp_path / "rango" / "gone.py").write_text("", encoding="utf-8")
    before = (tmp_path / "rango" / "errors.py").stat().st_mtime_ns
    builds.copy_sources(tmp_path)
    names = {path.as_posix() for path in builds.source_files(tmp_path)}
    assert {"setup.py", "rango/_ext/layout.pyx", "tests/conftest.py"} <= names
    assert not (tmp_path / "rango" / "gone.py").exists()
    assert (tmp_path / "rango" / "errors.py").stat().st_mtime_ns == before
    assert not [name for name in names if name.endswith(builds.GENERATED_SUFFIXES)]


def test_limits_are_read_with_their_reasons() -> None:
    found = {name: value for name, value, _text in generated.limits()}
    assert found["DOCUMENT_SIZE_BYTES_MAX"] == 16 * 1024 * 1024


def test_suites_have_names_of_their_own() -> None:
    names = [suite.name for suite in suites.SUITES]
    assert len(set(names)) == len(names)


def test_hot_kernels_are_judged_by_their_bodies() -> None:
    texts = [
        ("cdef int f(int a) except -1 nogil:  # hot", 5),
        ("    cdef int b = a", 0),
        ("    raise_it()  # cold", 9),
        ("    return object_of(b)", 9),
        ("", 0),
        ("def door(a):  # hot", 9),
        ("    return a", 9),
    ]
    lines = [annotate.Line(at + 1, score, text) for at, (text, score) in enumerate(texts)]
    assert annotate.check(lines, "m") == (1, ["m.pyx:4: return object_of(b)"])


def test_help_shows_every_command() -> None:
    answer = subprocess.run(
        [sys.executable, str(environment.ROOT / "ci"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name in ("demo", "test", "quick", "nightly", "bench", "examples:"):
        assert name in answer.stdout


def test_ci_runs_what_the_brief_says() -> None:
    text = (environment.ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "python3 ci test --require-corpus" in text


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((environment.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    source = (environment.ROOT / "rango" / "__init__.py").read_text(encoding="utf-8")
    assert f'"{project["project"]["version"]}"' in source
