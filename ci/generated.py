"""The text of every file that is generated from sources. Pure: reads sources, returns texts; tests
compare them.
"""

from __future__ import annotations

import ast
import itertools
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from ci.environment import ROOT

NOTE = "<!-- Generated from {source} by `python3 ci docs`; change it there. -->\n"
CONSTANT = re.compile(r"^    ([A-Z][A-Z0-9_]*) *= *([0-9a-fx]+)", re.MULTILINE)
BIT_31 = 0x80000000


@dataclass(frozen=True)
class Constant:
    """One constant of layout.pxd."""

    name: str
    value: int


def all_files() -> dict[str, str]:
    """Every generated file with its text."""
    return {
        "docs/reference/errors.md": errors_page(),
        "docs/reference/limits.md": limits_page(),
        "rango/_ext/layout.pyx": layout_body(),
        "rango/_ext/layout.pyi": layout_stub(),
    }


def layout_constants() -> list[Constant]:
    """Every constant of layout.pxd, in its order."""
    text = (ROOT / "rango" / "_ext" / "layout.pxd").read_text(encoding="utf-8")
    return [Constant(name, int(value, 0)) for name, value in CONSTANT.findall(text)]


def layout_body() -> str:
    """rango/_ext/layout.pyx."""
    head = '''\
"""Every byte offset and size of layout.pxd, shown to Python under the same name. Written by
`python3 ci docs`.

Terms       see layout.pxd, which is the only place that gives a value.
Invariants  CONSTANTS holds every name of layout.pxd and nothing else (tests/unit/test_layout.py).
Sources     docs/reference/format.md; ADR-0001, ADR-0002, ADR-0004.
"""

from libc.stdint cimport uint32_t

# A name declared in the .pxd cannot also be a Python variable of the module, so the values go into
# its dictionary. Bit 31 needs the cast: Cython takes an enumerator for a signed int.
CONSTANTS = {
'''
    lines = []
    for constant in layout_constants():
        cast = "<uint32_t>" if constant.value >= BIT_31 else ""
        lines.append(f'    "{constant.name}": {cast}{constant.name},\n')
    return head + "".join(lines) + "}\n\nglobals().update(CONSTANTS)\n"


def layout_stub() -> str:
    """rango/_ext/layout.pyi."""
    head = '''\
"""Every byte offset and size of layout.pxd, shown to Python under the same name."""

from typing import Final

CONSTANTS: Final[dict[str, int]]
'''
    return head + "".join(f"{constant.name}: Final[int]\n" for constant in layout_constants())


def errors_page() -> str:
    """docs/reference/errors.md: the tree of errors, each with its docstring."""
    source = "rango/errors.py"
    tree = ast.parse((ROOT / source).read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    parents = {
        node.name: [base.id for base in node.bases if isinstance(base, ast.Name)]
        for node in classes
    }
    lines = [
        NOTE.format(source=source),
        "# Errors",
        "",
        "Every error that Rango raises is a `rango.errors.RangoError`. Each entry says when it is",
        "raised and what to do next. The names in brackets are the classes that it can also be",
        "caught as.",
        "",
    ]
    for node in classes:
        others = ", ".join(f"`{name}`" for name in parents[node.name] if name != "Exception")
        lines += [f"## {node.name}", ""]
        if others:
            lines += [f"({others})", ""]
        lines += [ast.get_docstring(node) or "", ""]
    return "\n".join(lines).rstrip() + "\n"


def limits_page() -> str:
    """docs/reference/limits.md: every limit with its value, unit and reason."""
    source = "rango/limits.py"
    lines = [
        NOTE.format(source=source),
        "# Limits",
        "",
        "Every limit has a name, a unit and a reason; `LimitExceeded` carries the name.",
        "",
        "| limit | value | meaning and reason |",
        "|---|---|---|",
    ]
    for name, value, meaning in limits():
        lines.append(f"| `{name}` | {value:,} | {meaning} |")
    return "\n".join(lines) + "\n"


def limits() -> Iterator[tuple[str, int, str]]:
    """Every limit of rango/limits.py: name, value, docstring."""
    body = ast.parse((ROOT / "rango" / "limits.py").read_text(encoding="utf-8")).body
    for node, following in itertools.pairwise(body):
        if not (
            isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
        ):
            continue
        value = number(node.value)
        text = following.value if isinstance(following, ast.Expr) else None
        if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
            raise ValueError(f"rango/limits.py: {node.target.id} has no docstring under it")
        yield node.target.id, value, " ".join(textwrap.dedent(text.value).split())


def number(node: ast.expr) -> int:
    """The value of a number, or of a product of numbers, as it stands in the source."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return number(node.left) * number(node.right)
    raise ValueError(f"line {node.lineno}: not a number or a product of numbers")
