"""Runs the benchmarks in this process: exact costs always, times briefly, for a first look.

asv (see asv.conf.json) is what measures times properly; this needs nothing but the project.
"""

from __future__ import annotations

import importlib
import inspect
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from time import perf_counter
from typing import Any, Final

MODULES: Final = ("codec", "reads", "writes", "cost", "memory", "importing", "packing")
KINDS: Final = ("time_", "track_", "peakmem_")
REPEATS: Final = 5
SMALL: Final = 100
"""Documents in a smoke run."""


def classes(module: str) -> Iterator[type[Any]]:
    """The benchmark classes of one module."""
    found = importlib.import_module(f"asv_benchmarks.benchmarks.{module}")
    for _, member in inspect.getmembers(found, inspect.isclass):
        if member.__module__ == found.__name__ and methods(member):
            yield member


def shrunk(member: type[Any], small: int) -> type[Any]:
    """The same benchmarks on few documents."""
    attributes: dict[str, Any] = {"count": small}
    if all(isinstance(each, int) for each in getattr(member, "params", [""])):
        attributes["params"] = [small]
    return type(member.__name__, (member,), attributes)


def methods(member: type[Any]) -> list[str]:
    """The benchmarks of a class."""
    return [name for name in dir(member) if name.startswith(KINDS)]


def results(
    module: str, kinds: tuple[str, ...], repeats: int, small: int | None = None
) -> Iterator[tuple[str, float]]:
    """Run one module's benchmarks, on `small` documents if given: (name, seconds or figure)."""
    for original in classes(module):
        member = original if small is None else shrunk(original, small)
        parameters: list[Any] = list(getattr(member, "params", [None]))
        with tempfile.TemporaryDirectory(prefix="bench-", dir=disk()) as folder, chdir(folder):
            cache = [member().setup_cache()] if hasattr(member, "setup_cache") else []
            for parameter in parameters:
                arguments = [*cache, *([] if parameter is None else [parameter])]
                title = "" if parameter is None else f" ({parameter})"
                for name in methods(member):
                    if name.startswith(kinds):
                        figure = _figure(member, name, arguments, repeats)
                        yield f"{module}.{member.__name__}.{name}{title}", figure


def _figure(member: type[Any], name: str, arguments: list[Any], repeats: int) -> float:
    def once(instance: Any) -> float:
        call: Callable[..., Any] = getattr(instance, name)
        start = perf_counter()
        value = call(*arguments)
        seconds = perf_counter() - start
        return float(value) if name.startswith("track_") else seconds

    figures = []
    for _ in range(repeats if name.startswith("time_") else 1):
        instance = member()
        if hasattr(instance, "setup"):
            instance.setup(*arguments)
        figures.append(once(instance))
        if hasattr(instance, "teardown"):
            instance.teardown(*arguments)
    return statistics.median(figures)


def disk() -> str:
    """A folder on the disk that the project is on: /tmp may be memory, where flushes are free."""
    folder = os.path.abspath("build")
    os.makedirs(folder, exist_ok=True)
    return folder
