"""Rules about functions and modules: length, exceptions, triplets, hints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.tidy.sources import code_files, code_only, listed, name_of, text_of

FUNCTION_LINES_MAX = 60
# "file:function" -> why it is longer
LONG_FUNCTIONS: dict[str, str] = {}
# "file" -> why it may catch everything
BLANKET_EXCEPTS: dict[str, str] = {
    "rango/_ext/vfs.pyx": "a C function cannot raise: PythonVfs keeps the error for the next door",
    "rango/_ext/unpacked.pyx": "likewise: the view keeps it for the door or kernel that reads",
}
DEFINITION = re.compile(r"^(\s*)(?:cdef|cpdef|def)\s+(?!class\b|enum\b|struct\b|extern\b)")
BLANKET = re.compile(r"^\s*except\s*(\(?\s*(Base)?Exception\b.*)?:")


def python_functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function of a .py file with its number of lines."""
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def cython_functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function of a .pyx file with its number of lines: as far as the indentation goes."""
    lines = code_only(text_of(path)).rstrip().split("\n")
    for number, line in enumerate(lines):
        start = DEFINITION.match(line)
        name = re.search(r"(\w+)\s*\(", line)
        if not (start and name):
            continue
        signature = number
        while not lines[signature].rstrip().endswith(":") and signature + 1 < len(lines):
            if (
                "(" in line
                and lines[signature].count(")")
                and not is_open(lines[number : signature + 1])
            ):
                break
            signature += 1
        if not lines[signature].rstrip().endswith(":"):
            continue
        end = signature
        for at in range(signature + 1, len(lines)):
            text = lines[at]
            if text.strip() and len(text) - len(text.lstrip()) <= len(start.group(1)):
                break
            if text.strip():
                end = at
        yield name.group(1), end - number + 1


def is_open(lines: list[str]) -> bool:
    """True if these lines leave a bracket open."""
    text = "".join(lines)
    return text.count("(") > text.count(")")


def test_no_function_is_longer_than_60_lines() -> None:
    findings = []
    for path in code_files(suffixes=(".py", ".pyx")):
        functions = python_functions if path.suffix == ".py" else cython_functions
        for name, lines in functions(path):
            if lines > FUNCTION_LINES_MAX and f"{name_of(path)}:{name}" not in LONG_FUNCTIONS:
                findings.append(f"{name_of(path)}: {name} has {lines} lines")
    assert not findings, listed(findings)


def swallows(lines: list[str], at: int) -> bool:
    """True if the handler that starts at this line does not end by raising the same error again."""
    indent = len(lines[at]) - len(lines[at].lstrip())
    for line in lines[at + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        if line.strip() == "raise":
            return False
    return True


def test_nothing_swallows_every_error() -> None:
    findings = []
    for path in code_files(suffixes=(".py", ".pyx")):
        lines = code_only(text_of(path)).split("\n")
        findings += [
            f"{name_of(path)}:{at + 1}: {line.strip()}"
            for at, line in enumerate(lines)
            if BLANKET.match(line) and swallows(lines, at) and name_of(path) not in BLANKET_EXCEPTS
        ]
    assert not findings, listed(findings)


def test_every_compiled_module_is_a_triplet() -> None:
    findings = [
        f"{name_of(path)} has no {path.stem}{suffix}"
        for path in code_files("rango/_ext", suffixes=(".pyx",))
        for suffix in (".pxd", ".pyi")
        if not path.with_suffix(suffix).exists()
    ]
    assert not findings, listed(findings)


def test_every_stub_belongs_to_a_module() -> None:
    findings = [
        name_of(path)
        for path in code_files("rango", suffixes=(".pyi",))
        if not path.with_suffix(".pyx").exists()
    ]
    assert not findings, listed(findings)


def test_every_module_says_what_it_is_for() -> None:
    findings = [
        f"{name_of(path)} does not begin with a docstring"
        for path in code_files(suffixes=(".py", ".pyx", ".pyi"))
        if text_of(path).strip() and not re.match(r'[rR]?"""', text_of(path))
    ]
    assert not findings, listed(findings)


def test_every_header_says_what_it_is_for() -> None:
    findings = [
        f"{name_of(path)} does not begin with a comment"
        for path in code_files("rango/_ext", suffixes=(".pxd", ".h"))
        if text_of(path).strip() and not text_of(path).startswith(("#", "/*", "//"))
    ]
    assert not findings, listed(findings)


def test_every_public_function_of_the_api_has_a_summary() -> None:
    findings = []
    for path in code_files("rango", "ci", suffixes=(".py",)):
        if path.parent.name not in {"rango", "ci", "commands"}:
            continue
        for node in public_definitions(ast.parse(text_of(path)).body):
            if ast.get_docstring(node) is None:
                findings.append(f"{name_of(path)}:{node.lineno}: {node.name} has no docstring")
    assert not findings, listed(findings)


def public_definitions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Classes, their methods, and functions whose name has no underscore; overloads left out."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        decorators = [ast.unparse(entry) for entry in node.decorator_list]
        if any(name.endswith(("overload", ".setter")) for name in decorators):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from public_definitions(node.body)
