"""Build of the compiled core: every rango/_ext/*.pyx is one extension module; its directives and
flags are set here only.

RANGO_BUILD   release (default), debug (checks and asserts on), sanitize (debug + ASan + UBSan),
              coverage (line tracing)
RANGO_EXT     comma-separated module names: build only these
RANGO_JOBS    compilations at a time (default: one for each core)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

MODES = ("release", "debug", "sanitize", "coverage")
MODE = os.environ.get("RANGO_BUILD", "release")
ONLY = {name for name in os.environ.get("RANGO_EXT", "").split(",") if name}
JOBS = int(os.environ.get("RANGO_JOBS") or os.cpu_count() or 1)
CORE = Path("rango", "_ext")
if MODE not in MODES:
    sys.exit(f"RANGO_BUILD={MODE} is none of {', '.join(MODES)}")
CHECKED = MODE != "release"

DIRECTIVES = {
    "language_level": 3,
    "binding": True,
    "wraparound": False,
    "cdivision": True,
    "embedsignature": False,
    "boundscheck": CHECKED,
    "initializedcheck": CHECKED,
    # on, it asks for the GIL at every `self.x += 1`, even in a method, whose self cannot be None
    "nonecheck": False,
    "overflowcheck": False,
    "linetrace": MODE == "coverage",
}
COMPILE = [
    "-std=gnu11",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-unused-function",
    "-Wno-missing-field-initializers",
]
LINK: list[str] = []
MACROS: list[tuple[str, str | None]] = []
if MODE == "release":
    # -g0: the interpreter's own flags ask for debug information, five sixths of the size
    COMPILE += ["-g0", "-O3", "-fno-plt", "-fno-semantic-interposition", "-fstack-protector-strong"]
    COMPILE += ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
    MACROS += [("CYTHON_WITHOUT_ASSERTIONS", "1")]
    if sys.platform.startswith("linux"):
        LINK += ["-Wl,-z,relro,-z,now"]
else:
    # -g1: lines for stack traces; the rest of the debug information is a third of the time
    COMPILE += ["-O1", "-g" if MODE == "debug" else "-g1"]
    MACROS += [("RANGO_DEBUG", "1")]
if MODE == "sanitize":
    COMPILE += ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
    COMPILE += ["-fno-sanitize-recover=undefined", "-U_FORTIFY_SOURCE"]
    # what AddressSanitizer reports by itself, at every access to a field
    COMPILE += ["-fno-sanitize=null,object-size"]
    LINK += ["-fsanitize=address,undefined"]
if MODE == "coverage":
    MACROS += [("CYTHON_TRACE_NOGIL", "1")]


def extensions() -> list[Extension]:
    """One extension for each .pyx of the core (that RANGO_EXT names, if it is set)."""
    headers = [str(path) for path in sorted(CORE.glob("*.h"))]
    return [
        Extension(
            f"rango._ext.{path.stem}",
            [str(path)],
            include_dirs=[str(CORE)],
            depends=headers,
            extra_compile_args=COMPILE,
            extra_link_args=LINK,
            define_macros=MACROS,
        )
        for path in sorted(CORE.glob("*.pyx"))
        if not ONLY or path.stem in ONLY
    ]


setup(
    ext_modules=cythonize(
        extensions(),
        build_dir=f"build/cython-{MODE}",
        compiler_directives=DIRECTIVES,
        annotate=MODE == "debug",
        # worker processes are forked, so that they do not run this file again
        nthreads=JOBS if sys.platform.startswith("linux") else 0,
    ),
    options={"build_ext": {"parallel": JOBS}},
)
