"""What the demonstration remembers: the public names of the standard library that runs it, and the
repository's commits.

The sources are read with `ast`; nothing of them is imported. A name is public if neither it nor
what it is defined in begins with an underscore; modules are taken whatever they are called, because
many public names live in modules like `_pydatetime`. Test suites are left out.
"""

from __future__ import annotations

import ast
import subprocess
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Document = dict[str, Any]
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

FOLDERS_LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
SIGNATURE_SIZE_MAX = 2000
COMMIT_FORMAT = "%H%x00%an%x00%ct%x00%s%x00%b%x01"


def source_files(root: Path) -> list[Path]:
    """Every source file of the standard library below `root`, in a fixed order."""
    return [
        path
        for path in sorted(root.rglob("*.py"))
        if not FOLDERS_LEFT_OUT & set(path.relative_to(root).parts)
    ]


def standard_library() -> tuple[list[Document], int]:
    """A document for each public name, in a fixed order, and how many files were read."""
    root = Path(sysconfig.get_path("stdlib"))
    documents: dict[str, Document] = {}
    files = source_files(root)
    for path in files:
        for document in names_of(path, root):
            # the same name may be defined several times, one for each platform: all are kept
            identity = name = document["_id"]
            again = 1
            while identity in documents:
                again += 1
                identity = f"{name} ({again})"
            documents[identity] = {**document, "_id": identity}
    return list(documents.values()), len(files)


def names_of(path: Path, root: Path) -> Iterator[Document]:
    """The documents of one source file; none if this Python cannot parse it."""
    relative = path.relative_to(root)
    module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        # templates and deliberately broken files
        return
    place = {"module": module, "file": relative.as_posix()}
    yield _document(module, "module", tree, f"module {module}", place)
    for name, node in public_names(tree.body, module):
        if isinstance(node, Definition):
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            yield _document(name, kind, node, signature_of(node), place)
        else:
            yield _document(name, "constant", node, ast.unparse(node), place)


def public_names(body: Iterable[ast.stmt], within: str) -> Iterator[tuple[str, ast.stmt]]:
    """Definitions and constants with their full names, those inside classes and conditions too."""
    for node in body:
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if not node.name.startswith("_"):
                    name = f"{within}.{node.name}"
                    yield name, node
                    if isinstance(node, ast.ClassDef):
                        yield from public_names(node.body, name)
            case (
                ast.Assign(targets=[ast.Name(id=target)])
                | ast.AnnAssign(target=ast.Name(id=target))
            ):
                if not target.startswith("_"):
                    yield f"{within}.{target}", node
            case ast.If():
                yield from public_names([*node.body, *node.orelse], within)
            case ast.Try():
                handled = [each for handler in node.handlers for each in handler.body]
                yield from public_names([*node.body, *handled, *node.orelse], within)


def signature_of(node: Definition) -> str:
    """The line that defines it, without its body."""
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {node.name}({bases})"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{prefix} {node.name}({ast.unparse(node.args)}){returns}"


def _document(
    name: str, kind: str, node: ast.stmt | ast.Module, signature: str, place: Document
) -> Document:
    document = {
        "_id": name,
        "kind": kind,
        **place,
        "name": name.rpartition(".")[2],
        "signature": signature[:SIGNATURE_SIZE_MAX],
    }
    if isinstance(node, ast.Module):
        last = node.body[-1].end_lineno if node.body else 0
        document |= {"line": 1, "lines": last or 0}
    else:
        document |= {"line": node.lineno, "lines": (node.end_lineno or 0) - node.lineno + 1}
    if isinstance(node, Definition | ast.Module):
        text = ast.get_docstring(node)
        if text:
            document["docstring"] = text.encode("utf-8", "replace").decode()
    return document


def commits(repository: Path) -> list[Document] | None:
    """The repository's commits, newest first; None where there is no repository or no git."""
    command = ["git", "-C", str(repository), "log", f"--format={COMMIT_FORMAT}"]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    text = done.stdout.decode("utf-8", "replace")
    found = []
    for entry in text.split("\x01\n"):
        if not entry:
            continue
        identity, author, seconds, subject, body = entry.split("\0")
        found.append(
            {
                "_id": identity,
                "author": author,
                "committed_at": datetime.fromtimestamp(int(seconds), UTC),
                "subject": subject,
                "body": body.strip(),
            }
        )
    return found
