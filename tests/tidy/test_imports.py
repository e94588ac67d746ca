"""Imports point down (architecture, section 2): Python imports and Cython's cimports, by one table.

import-linter checks the same of the .py files; it does not see a .pyx, and not what is imported
from one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy.sources import ROOT, code_files, code_only, listed, name_of, text_of

# from the bottom; a module may import its own line and those before it
LAYERS = (
    ("rango.errors", "rango.events", "rango.limits", "rango.ids"),
    ("rango._ext", "rango.metrics"),
    ("rango.storage",),
    ("rango.engine",),
    ("rango.*",),  # the public API: every other module that lies directly in the package
    ("rango.governance",),
    ("rango.memory", "rango.sync", "rango.compat"),
    ("rango.aio",),
    ("rango",),
    ("rango.cli", "rango.__main__", "rango_server"),  # programs, which use the package as others do
)
PUBLIC_PACKAGES = {"doctor", "extended_json", "transfer"}
LATE = "rango.engine.update."
SIBLINGS_APART = ("rango.memory", "rango.sync", "rango.compat")
CIMPORT = re.compile(
    r"^\s*(?:from\s+(rango[\w.]*)\s+c?import\s+(\(?[\w, ]*)|c?import\s+(rango[\w.]*))", re.MULTILINE
)
FOREIGN_LAYERS = {
    "rango/_ext": {"falcon", "gunicorn"},
    "rango": {"falcon", "gunicorn", "lmdb", "ci", "tests"},
}


def layer_of(module: str) -> int:
    """The layer of a module, or of a name in it."""
    for number, names in enumerate(LAYERS):
        if any(f"{module}.".startswith(f"{name}.") for name in names if name != "rango"):
            return number
    return LAYERS.index(("rango",) if module == "rango" else ("rango.*",))


def module_of(path: Path) -> str:
    """The dotted name of a source file."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Every module of Rango that a file imports, with the line."""
    if path.suffix in {".py", ".pyi"}:
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [alias.name for alias in node.names]
                is_package = node.module == "rango"
                yield from (
                    (node.lineno, f"rango.{name}" if is_package else node.module) for name in names
                )
        return
    text = code_only(text_of(path))
    for match in CIMPORT.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        package, listed_names, module = match.groups()
        if package in {"rango", "rango._ext"}:
            for name in listed_names.strip("( ").split(","):
                yield line, f"{package}.{name.split()[0]}" if name.strip() else package
        else:
            yield line, package or module


def test_packages_are_those_of_the_table() -> None:
    known = {name.partition(".")[2] for names in LAYERS for name in names}
    packages = {path.parent.name for path in (ROOT / "rango").glob("*/__init__.py")}
    assert packages <= known | PUBLIC_PACKAGES


def test_imports_point_down() -> None:
    findings = []
    for path in code_files("rango"):
        module = module_of(path)
        for line, target in imported(path):
            if target.split(".")[0] != "rango":
                continue
            if layer_of(target) > layer_of(module):
                findings.append(
                    f"{name_of(path)}:{line}: {module} imports {target}, which is above it"
                )
    assert not findings, listed(findings)


def test_siblings_do_not_import_each_other() -> None:
    findings = [
        f"{name_of(path)}:{line}: imports {target}"
        for path in code_files("rango")
        for line, target in imported(path)
        for own in SIBLINGS_APART
        for other in SIBLINGS_APART
        if own != other
        and f"{module_of(path)}.".startswith(f"{own}.")
        and f"{target}.".startswith(f"{other}.")
    ]
    assert not findings, listed(findings)


@pytest.mark.parametrize("folder", FOREIGN_LAYERS)
def test_no_layer_imports_what_is_not_its_business(folder: str) -> None:
    findings = [
        f"{name_of(path)}:{line}: imports {target}"
        for path in code_files(folder, suffixes=(".py",))
        for line, target in imported(path)
        if target.split(".")[0] in FOREIGN_LAYERS[folder]
    ]
    assert not findings, listed(findings)


def test_parts_of_a_package_that_loads_late_come_after_it() -> None:
    # `from package.part import name` takes the part's lock before the package's; a thread that
    # comes from another part waits the other way round, and CPython shows one of them half a module
    findings = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "rango").rglob("*.py"))
        if "update" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(LATE)
    ]
    assert not findings, findings
