"""Documentation that cannot lie: its examples run, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ci import generated
from ci.__main__ import COMMANDS
from ci.environment import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
KNOWN_LANGUAGES = {"python", "console", "text", "json"}


def name_of(page: Path) -> str:
    """The page as people write it."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Every fenced block of this language, with the line of its first line."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start()) + 2, match[2])
        for match in FENCE.finditer(text)
        if match[1] == language
    ]


def with_python() -> list[Path]:
    """The pages that have Python examples."""
    return [page for page in PAGES if blocks(page, "python")]


@pytest.mark.parametrize("page", with_python(), ids=name_of)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From top to bottom, one namespace, in an empty directory; an error names the line."""
    monkeypatch.chdir(tmp_path)
    # the reader has installed Rango: the processes that an example starts find it, too
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # a module, as of a reader's own file: dataclasses look theirs up
    module = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)
    for line, code in blocks(page, "python"):
        text = "\n" * (line - 1) + code
        exec(compile(text, str(page), "exec", dont_inherit=True), module.__dict__)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_that_are_shown_exist(page: Path) -> None:
    for _line, text in blocks(page, "console"):
        shown = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
        assert shown, "a console block shows a command after `$ `"
        for command in shown:
            words = command.split()
            if words[:2] == ["python3", "ci"] and len(words) > 2:
                assert words[2] in COMMANDS or words[2].startswith("-"), command


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [target for target in LINK.findall(text) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_say_what_they_are(page: Path) -> None:
    languages = {match[1] for match in FENCE.finditer(page.read_text(encoding="utf-8"))}
    assert languages <= KNOWN_LANGUAGES


@pytest.mark.parametrize("name", [name for name in generated.all_files() if name.endswith(".md")])
def test_generated_pages_are_current(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == generated.all_files()[name], f"{name} is out of date: run `python3 ci docs`"


def test_every_page_is_reached_from_the_index() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        waiting += [(page.parent / target).resolve() for target in LINK.findall(text)]
    lost = {name_of(page) for page in (ROOT / "docs").rglob("*.md") if page not in seen}
    assert not lost
