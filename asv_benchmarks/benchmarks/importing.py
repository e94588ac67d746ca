"""What a program pays before it has done anything: time and memory of `import rango` and of the
first use, each in a fresh interpreter, beside one that imports nothing.

That nothing is loaded that is not needed is tests/unit/test_import.py; it needs no clock.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import rango

SOURCE: Final = str(Path(rango.__file__).parent.parent)
PROGRAMS: Final = {
    "bare": "pass",
    "import": "import rango",
    "open": "import rango, sys; rango.open(sys.argv[1], key=bytes(32)).close()",
    "use": (
        "import rango, sys\n"
        "with rango.open(sys.argv[1], key=bytes(32)) as db:\n"
        "    db['a'].insert_one({'_id': 'a', 'x': 1})\n"
        "    db['a'].find_one('a')\n"
        "    db['a'].find_many({'x': {'$gt': 0}})\n"
    ),
}
RESIDENT: Final = (
    "\nfor line in open('/proc/self/status'):\n"
    "    if line.startswith('VmRSS'): print(int(line.split()[1]) / 1024)\n"
)


class Importing:
    """A parameter is a program; take the figures of `bare` from those of the others."""

    timeout = 120.0
    count = 1
    params: Final = tuple(PROGRAMS)
    param_names = ("program",)
    number = 1
    repeat = (20, 20, 60.0)

    def setup(self, program: str) -> None:
        """Once in vain, so that the byte code is written."""
        self._run(PROGRAMS[program])

    def _run(self, program: str) -> str:
        with tempfile.TemporaryDirectory(prefix="rango-import-", dir=os.getcwd()) as folder:
            environment = {
                **os.environ,
                "PYTHONPATH": SOURCE,
                "PYTHONDONTWRITEBYTECODE": "",
                "PYTHONPYCACHEPREFIX": os.path.abspath("bytecode"),
            }
            return subprocess.run(
                [sys.executable, "-c", program, f"{folder}/db"],
                capture_output=True,
                text=True,
                check=True,
                env=environment,
            ).stdout

    def time_fresh_process(self, program: str) -> None:
        """Start, work, end."""
        self._run(PROGRAMS[program])

    def track_resident_megabytes(self, program: str) -> float:
        """Of the process at the end of the program; not exact, as the allocator has its part."""
        return float(self._run(PROGRAMS[program] + RESIDENT))

    track_resident_megabytes.unit = "MB"  # type: ignore[attr-defined]
