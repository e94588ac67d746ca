"""Documents, filters and the like as words of a command line: Extended JSON, from a word, a file or
standard input.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from rango import extended_json
from rango.errors import RangoError


def text_of(word: str) -> str:
    """A word of the command line; "@file" means the file's text and "-" standard input."""
    if word == "-":
        return sys.stdin.read()
    if word.startswith("@"):
        with click.open_file(word[1:], "r", encoding="utf-8") as file:
            text: str = file.read()
            return text
    return word


def parsed(word: str, what: str) -> Any:
    """The value that a word is in Extended JSON; a usage error says what is wrong with it."""
    try:
        return extended_json.loads(text_of(word))
    except RangoError as error:
        raise click.UsageError(f"{what} is not valid Extended JSON: {error}") from error


def document_of(word: str, what: str) -> dict[str, Any]:
    """The document that a word is."""
    value = parsed(word, what)
    if not isinstance(value, dict):
        raise click.UsageError(f"{what} must be a JSON object, not {word[:60]!r}")
    return value


def id_of(word: str) -> Any:
    """The `_id` that a word means: Extended JSON if it is, else the text itself.

    A UUID in its text form means the UUID, because that is what Rango makes.
    """
    import uuid

    try:
        return uuid.UUID(word) if len(word) == 36 else extended_json.loads(word)
    except (RangoError, ValueError):
        return word


def documents_of(words: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The documents that words are: objects, arrays of objects, or (from files) JSON Lines."""
    for word in words or ("-",):
        text = text_of(word).strip()
        try:
            values = [extended_json.loads(text)]
        except RangoError:
            lines = [line for line in text.splitlines() if line.strip()]
            if len(lines) < 2:
                raise
            values = [parsed(line, f"line {number}") for number, line in enumerate(lines, 1)]
        for value in values:
            for document in value if isinstance(value, list) else [value]:
                if not isinstance(document, dict):
                    raise click.UsageError(f"a document is a JSON object, not {document!r:.60}")
                yield document


def sort_of(text: str | None, what: str = "--sort") -> list[tuple[str, int]] | None:
    """A sort: "a,-b" or {"a": 1, "b": -1}. `what` is its name on the command line."""
    if text is None:
        return None
    if text.lstrip().startswith("{"):
        return [(name, int(way)) for name, way in document_of(text, what).items()]
    fields = [part.strip() for part in text.split(",") if part.strip()]
    return [(field.lstrip("-"), -1 if field.startswith("-") else 1) for field in fields]


def projection_of(text: str | None) -> Any:
    """A projection: "a,b.c" (only these), "-a" (all but these) or {"a": 1}."""
    if text is None:
        return None
    if text.lstrip().startswith("{"):
        return document_of(text, "--projection")
    fields = [part.strip() for part in text.split(",") if part.strip()]
    return {field.lstrip("-"): int(not field.startswith("-")) for field in fields}
