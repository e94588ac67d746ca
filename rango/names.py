"""What names and documents may look like before anything is written.

Failure     InvalidName, InvalidDocument and InvalidArgument say what to change; nothing was
            written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from bson.regex import Regex

from rango.errors import InvalidArgument, InvalidDocument, InvalidName, InvalidUpdate
from rango.limits import ACTOR_SIZE_BYTES_MAX, NAME_SIZE_BYTES_MAX
from rango.models import document_of, is_model

RESERVED_NAMES: Final = frozenset(("_rev", "_updated_at", "_source_node", "_deleted", "_conflicts"))
"""Fields that Rango keeps itself: no document, replacement or update may name one at its top."""

_DBREF_NAMES: Final = frozenset(("$ref", "$id", "$db"))
_CONTROL: Final = r"[\x00-\x1f\x7f-\x9f]"
_ID_TYPES_REFUSED: Final = (list, tuple, re.Pattern, Regex)


def name_check(name: object, what: str) -> str:
    """`name` if it can name a collection or an index; InvalidName says why not."""
    if not isinstance(name, str):
        raise InvalidArgument(f"{what} must be a str, not {type(name).__name__}")
    if not name:
        raise InvalidName(f"{what} must not be empty")
    if "\0" in name:
        raise InvalidName(f"{what} {name!r} must not have a NUL")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise InvalidName(f"{what} {name!r} cannot be encoded as UTF-8: {error.reason}") from None
    if size > NAME_SIZE_BYTES_MAX:
        raise InvalidName(
            f"{what} has {size} bytes as UTF-8; NAME_SIZE_BYTES_MAX is {NAME_SIZE_BYTES_MAX}"
        )
    return name


def collection_name_check(name: object) -> str:
    """`name` if it can name a collection; InvalidName says why not."""
    # a plain str: Code is one that cannot be hashed
    text = str.__str__(name_check(name, "collection name"))
    if "$" in text:
        raise InvalidName(f"collection name {text!r} must not have a '$'")
    if text.startswith("system."):
        raise InvalidName(
            f"collection name {text!r} must not start with 'system.'; that prefix is reserved"
        )
    return text


def actor_bytes(actor: object) -> bytes:
    """An actor as it is stored, b"" for None; InvalidArgument says what one may look like."""
    if actor is None:
        return b""
    if not isinstance(actor, str) or not actor:
        raise InvalidArgument(
            f"actor must be a str of at least one character, or None, not {actor!r:.40}"
        )
    if re.search(_CONTROL, actor):
        raise InvalidArgument(f"actor {actor!r:.60} must not have a control character")
    try:
        data = actor.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"actor cannot be encoded as UTF-8: {error.reason}") from None
    if len(data) > ACTOR_SIZE_BYTES_MAX:
        raise InvalidArgument(
            f"actor has {len(data)} bytes as UTF-8; ACTOR_SIZE_BYTES_MAX is {ACTOR_SIZE_BYTES_MAX}"
        )
    return data


def document_check(document: object, what: str = "document") -> Mapping[str, Any]:
    """`document`, or that of a model, if it is a mapping without reserved fields, its `_id` allowed
    if it has one.
    """
    if type(document) is not dict and not isinstance(document, Mapping):
        if not is_model(document):
            raise InvalidArgument(
                f"{what} must be a dict or another mapping, a dataclass or a pydantic model, not "
                f"{type(document).__name__}"
            )
        document = document_of(document)
    if not RESERVED_NAMES.isdisjoint(document):
        name = min(RESERVED_NAMES.intersection(document))
        raise InvalidDocument(f"field {name!r} is kept by Rango itself; leave it out of the {what}")
    if "_id" in document:
        id_check(document["_id"])
    return document


def id_check(value: object) -> None:
    """Raise InvalidDocument unless `value` can be an `_id`."""
    if isinstance(value, _ID_TYPES_REFUSED):
        raise InvalidDocument(
            f"field '_id' cannot be a {type(value).__name__}; use a str, int, UUID or another "
            "single value",
            code=53,
        )
    if isinstance(value, Mapping):
        for name in value:
            if str(name).startswith("$") and name not in _DBREF_NAMES:
                raise InvalidDocument(
                    f"field '_id' cannot have the field {name!r}, which starts with $", code=52
                )


def path_check(path: object) -> str:
    """`path` if it can be the path of a field; InvalidArgument otherwise."""
    if not isinstance(path, str) or "" in path.split("."):
        raise InvalidArgument(f"a path of a field is like 'a' or 'a.b', not {path!r}")
    return path


def replacement_check(replacement: object) -> Mapping[str, Any]:
    """`replacement` if it is a whole document; InvalidUpdate if it is made of operators."""
    document = document_check(replacement, "replacement")
    operator = next((name for name in document if str(name).startswith("$")), None)
    if operator is not None:
        raise InvalidUpdate(
            f"a replacement is a whole document; {operator!r} is for update_one, and a field of "
            "that name for a pipeline with $replaceWith and $setField",
            code=52,
        )
    return document


def listed_names(names: Iterable[str]) -> list[str]:
    """Names of collections as they are listed: sorted, without those that Rango keeps itself."""
    return sorted(name for name in names if not name.startswith("system."))
