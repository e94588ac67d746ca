"""`python -m asv_benchmarks`: exact costs against costs.json, then times of base and head by asv.

exit codes: 0 as before, 1 a cost changed or a time grew by more than 10 %
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from asv_benchmarks import board, runner

COSTS: Final = Path(__file__).with_name("costs.json")
CONFIGURATION: Final = Path(__file__).with_name("asv.conf.json")
FACTOR: Final = "1.10"
EXACT: Final = ("cost", "packing")
"""Modules whose track_* are the same on every machine."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m asv_benchmarks", description=__doc__)
    found.add_argument("--accept", action="store_true", help="write costs.json anew")
    found.add_argument("--costs", action="store_true", help="the exact costs only")
    found.add_argument("--smoke", action="store_true", help="every benchmark once, on little")
    found.add_argument("--board", action="store_true", help="four operations and their bounds")
    found.add_argument("--here", action="store_true", help="times of this tree only, without asv")
    found.add_argument("--base", default="HEAD~1", help="commit that times are compared with")
    return found


def main(argv: list[str]) -> int:
    """Run what was asked for."""
    options = parser().parse_args(argv)
    if options.smoke:
        return smoke()
    if options.board:
        return board.main(runner.disk())
    code = costs(is_accepted=options.accept)
    if has_commit(options.base):
        code = explained(options.base) or code
    if options.costs or options.accept:
        return code
    if options.here or not has_commit(options.base):
        return times() or code
    return compare(options.base) or code


def smoke() -> int:
    """Everything once, with few documents: benchmarks must not rot."""
    count = 0
    for module in runner.MODULES:
        for name, _ in runner.results(module, runner.KINDS, 1, runner.SMALL):
            print(name, flush=True)
            count += 1
    print(f"{count} benchmarks run")
    return 0


def costs(*, is_accepted: bool) -> int:
    """Compare for equality; a difference is printed and fails."""
    found = {
        name: figure for module in EXACT for name, figure in runner.results(module, ("track_",), 1)
    }
    known = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    for name in sorted(found | known):
        mark = " " if found.get(name) == known.get(name) else "*"
        print(f"{mark} {name:60} {found.get(name)!s:>12} (was {known.get(name)})")
    if is_accepted:
        COSTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        return 0
    if found != known:
        print("costs changed (*): say why in the commit, and run `python3 ci bench --accept`")
        return 1
    return 0


def explained(base: str) -> int:
    """Every cost that the commits since `base` wrote anew is named in one of their messages."""
    before = git("show", f"{base}:{COSTS.parent.name}/{COSTS.name}")
    now = git("show", f"HEAD:{COSTS.parent.name}/{COSTS.name}")
    words = git("log", "--format=%B", f"{base}..HEAD")
    silent = unexplained(json.loads(before or "{}"), json.loads(now or "{}"), words)
    for name in silent:
        print(f"* {name} changed since {base}, and no commit says why (name it in the message)")
    return int(bool(silent))


def unexplained(before: dict[str, float], now: dict[str, float], words: str) -> list[str]:
    """The costs that differ and whose name, without `track_`, is not among the words."""
    said = words.replace("_", " ").lower()
    return [
        name
        for name in sorted(set(before) & set(now))
        if before[name] != now[name]
        and name.rpartition(".track_")[2].replace("_", " ").lower() not in said
    ]


def git(*arguments: str) -> str:
    """What git prints; nothing if it refuses."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def times() -> int:
    """Times of this tree, medians of a few runs."""
    for module in runner.MODULES:
        for name, seconds in runner.results(module, ("time_",), runner.REPEATS):
            print(f"  {name:60} {seconds * 1e6:14,.1f} us", flush=True)
    return 0


def has_commit(name: str) -> bool:
    """True if git knows this commit."""
    command = ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def compare(base: str) -> int:
    """`asv continuous`: both commits built and measured in turns on this machine."""
    asv = [sys.executable, "-m", "asv"]
    # without this asv asks about the machine, at a terminal
    subprocess.run([*asv, "machine", "--yes", "--config", str(CONFIGURATION)], check=True)
    command = [*asv, "continuous", "--config", str(CONFIGURATION)]
    command += ["--interleave-rounds", "--factor", FACTOR, base, "HEAD"]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
