"""What the demonstration reads from the standard library's sources."""

from __future__ import annotations

from pathlib import Path

from ci.standard_library import commits, names_of, standard_library

SOURCE = '''"""About it."""
import os
LIMIT: int = 3
_hidden = 1
class Shape(list, metaclass=type):
    """A shape."""
    sides = 4
    def area(self, scale: float = 1.0) -> float:
        "Its area."
    def _secret(self): ...
class _Private:
    def never(self): ...
try:
    async def wait(*args): ...
except OSError:
    def wait(): ...
'''


def test_names_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "package" / "__init__.py"
    path.parent.mkdir()
    path.write_text(SOURCE)
    found = {each["_id"]: each for each in names_of(path, tmp_path)}
    assert list(found) == [
        "package",
        "package.LIMIT",
        "package.Shape",
        "package.Shape.sides",
        "package.Shape.area",
        "package.wait",
    ]
    assert found["package"]["docstring"] == "About it."
    assert found["package.LIMIT"]["signature"] == "LIMIT: int = 3"
    assert found["package.Shape"]["signature"] == "class Shape(list)"
    area = found["package.Shape.area"]
    assert area["signature"] == "def area(self, scale: float=1.0) -> float"
    assert (area["docstring"], area["line"], area["lines"]) == ("Its area.", 8, 2)
    assert found["package.Shape.sides"]["kind"] == "constant"


def test_a_file_that_does_not_parse_has_no_names(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def (")
    assert list(names_of(tmp_path / "broken.py", tmp_path)) == []


def test_this_standard_library_has_enough_names() -> None:
    documents, files = standard_library()
    assert files > 300
    assert len(documents) == len({each["_id"] for each in documents}) >= 10_000


def test_no_repository_no_commits(tmp_path: Path) -> None:
    assert commits(tmp_path) is None
