"""What a transcript reads and never writes: collections that another one filled.

Why         Some files begin with the data of a file that is not there. Their answers show nearly
            every document, and a filter that is wrong lets too few or too many of these through.
Failure     A document that no answer shows is missing; nothing can notice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bson import json_util

from tests.conformance.regress.functions import OPTIONS
from tests.conformance.regress.transcript import Statement

COLLECTION = re.compile(r"collection\('(\w+)',\s*'(\w+)'\)", re.IGNORECASE)
INSERTED = re.compile(r"insert_one\(\s*'(\w+)',\s*'(\w+)',\s*'((?:[^']|'')*)'", re.IGNORECASE)
# the collection is an argument, or the first field of a command
CHANGED = re.compile(
    r"(?:insert|create_collection|drop_collection|update|update_bulk|find_and_modify|delete)"
    r"\(\s*'(\w+)',\s*'(?:(\w+)'|\s*\{\s*\"\w+\"\s*:\s*\"(\w+)\")",
    re.IGNORECASE,
)
Place = tuple[str, str]


def seeds(statements: list[Statement]) -> dict[Place, list[Any]]:
    """The documents of each collection that answers show and no statement inserts."""
    changed: set[Place] = set()
    inserted: set[tuple[str, str, str]] = set()
    found: dict[Place, dict[str, Any]] = {}
    for statement in statements:
        for match in CHANGED.finditer(statement.text):
            changed.add((match[1], match[2] or match[3]))
        for match in INSERTED.finditer(statement.text):
            identity = _id_of(match[3].replace("''", "'"))
            if identity is None:
                changed.add((match[1], match[2]))
            else:
                inserted.add((match[1], match[2], identity))
        for place, document in _shown(statement):
            found.setdefault(place, {}).setdefault(repr(document["_id"]), document)
    return {
        place: [each for key, each in documents.items() if (*place, key) not in inserted]
        for place, documents in found.items()
        if place not in changed and any((*place, key) not in inserted for key in documents)
    }


def _id_of(text: str) -> str | None:
    """The `_id` in a document's text; None if it has none, or cannot be read."""
    try:
        document = json_util.loads(text, json_options=OPTIONS)
    except (ValueError, TypeError):
        return None
    return repr(document["_id"]) if "_id" in document else None


def _shown(statement: Statement) -> Iterator[tuple[Place, Any]]:
    """The whole documents of a collection in an answer."""
    read = COLLECTION.search(statement.text)
    if not read or statement.answer.columns[-1:] != ["document"] or "bson_" in statement.text:
        return
    for line in statement.answer.lines:
        document = json_util.loads(line.split(" | ")[-1].strip(), json_options=OPTIONS)
        if isinstance(document, Mapping) and "_id" in document:
            yield (read[1], read[2]), document
