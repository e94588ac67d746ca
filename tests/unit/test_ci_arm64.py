"""The stages for 64-bit ARM, as far as they go without an emulator."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ci.arm64 import counts, cross, emulate, sysroot
from ci.environment import MachineIncomplete
from rango._ext import layout
from tests.corpus import ROOT

EM_X86_64 = 62


def test_everything_that_is_missing_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineIncomplete) as caught:
        sysroot.require()
    line = str(caught.value).splitlines()[-1]
    assert line.endswith("apt-get install gcc-aarch64-linux-gnu qemu-user apt dpkg")


def test_the_operations_are_those_that_have_an_expected_count(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "ci" / "arm64" / "operations.py", tmp_path / "db"],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    names = {line.rpartition(" ")[0] for line in done.stdout.splitlines()}
    known = json.loads(counts.FILE.read_text(encoding="ascii"))
    assert set(known) == set(emulate.BOARDS)
    for board in emulate.BOARDS:
        assert set(known[board]) == names
    assert not any(figures["aes"] for figures in known["plain"].values())


def test_a_count_differs_beyond_the_tolerance_and_if_it_is_new() -> None:
    assert not counts.differs(1029, 1000)
    assert not counts.differs(971, 1000)
    assert counts.differs(1031, 1000)
    assert counts.differs(969, 1000)
    assert counts.differs(1, 0)


def test_the_machine_of_a_module_is_read_from_its_header() -> None:
    module = Path(layout.__file__)
    expected = cross.EM_AARCH64 if b"aarch64" in module.name.encode() else EM_X86_64
    assert cross.machine_of(module) == expected


def test_the_files_that_run_on_the_board_exist() -> None:
    for name in {*emulate.TESTS, *emulate.TESTS_PLAIN}:
        assert (ROOT / "tests" / "unit" / f"test_{name}.py").exists(), name
