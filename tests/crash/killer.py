"""Runs the real `rango` and kills it before its N-th change of a file.

Method      SOURCE is compiled to a library that is preloaded into the command: it counts the calls
            of the system's library that change a file, whoever makes them.
Invariants  where it is killed depends on N and on nothing else: no clock, no race.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from tests.engine_case import ROOT

POINTS = 12
"""Kills of each command; in a long run one before each change."""
KILLED = -9

SOURCE = r"""
/* RANGO_KILL_AT     the change before which the process is killed; 0 or absent: it lives
   RANGO_KILL_COUNT  a file that gets the number of changes when the process ends by itself */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long changes;

static void change(void) {
    const char *at = getenv("RANGO_KILL_AT");
    long number = __atomic_add_fetch(&changes, 1, __ATOMIC_SEQ_CST);
    if (at != NULL && number == atol(at))
        kill(getpid(), SIGKILL);
}

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("RANGO_KILL_COUNT");
    FILE *file = path == NULL ? NULL : fopen(path, "w");
    if (file != NULL) {
        fprintf(file, "%ld\n", changes);
        fclose(file);
    }
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    change();
    return REAL(pwrite)(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    change();
    return REAL(pwrite64)(fd, data, size, at);
}

int fsync(int fd) {
    change();
    return REAL(fsync)(fd);
}

int fdatasync(int fd) {
    change();
    return REAL(fdatasync)(fd);
}

int ftruncate(int fd, off_t size) {
    change();
    return REAL(ftruncate)(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    change();
    return REAL(ftruncate64)(fd, size);
}

int rename(const char *source, const char *target) {
    change();
    return REAL(rename)(source, target);
}

int remove(const char *path) {
    change();
    return REAL(remove)(path);
}

int mkdir(const char *path, mode_t mode) {
    change();
    return REAL(mkdir)(path, mode);
}
"""


def compiled(folder: Path) -> Path:
    """The library, by the compiler that built Rango."""
    source, target = folder / "killer.c", folder / "killer.so"
    source.write_text(SOURCE)
    compiler = str(sysconfig.get_config_var("CC") or "cc").split()
    subprocess.run(
        [*compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(source), "-ldl"], check=True
    )
    return target


class Killer:
    """Runs `rango`, to its end or not."""

    def __init__(self, library: Path, place: Path, points: int) -> None:
        self._library = library
        self._points = points
        self._count = place / "count"
        self.stdout = self.stderr = ""

    def __call__(self, *words: object, at: int = 0) -> int:
        hidden = {name for name in os.environ if name.startswith("RANGO_")}
        environment = {name: text for name, text in os.environ.items() if name not in hidden}
        done = subprocess.run(
            [sys.executable, "-m", "rango", *map(str, words)],
            cwd=ROOT,
            env={
                **environment,
                "LD_PRELOAD": str(self._library),
                "PYTHONDONTWRITEBYTECODE": "1",
                "RANGO_KILL_AT": str(at),
                "RANGO_KILL_COUNT": str(self._count),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.stdout, self.stderr = done.stdout, done.stderr
        return done.returncode

    def points(self, *words: object, seed: int) -> Iterator[int]:
        """Run to the end; then before which changes to kill."""
        assert self(*words) == 0, self.stderr
        changes = int(self._count.read_text())
        assert changes > 5
        # the first and the last are always among them: nothing was done, and all but the end
        parts = min(self._points, changes) - 1
        edges = [1 + part * (changes - 1) // parts for part in range(parts + 1)]
        draw = random.Random(seed)
        between = [draw.randint(*edges[part : part + 2]) for part in range(1, parts - 1)]
        yield from sorted({1, *between, changes})

    def kill(self, *words: object, at: int) -> None:
        """Kill it before a change; where it needs fewer changes this time, it comes to its end."""
        assert self(*words, at=at) in (KILLED, 0), self.stderr
