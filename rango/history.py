"""The versions of a document as dicts: Collection.history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from rango.names import id_check

if TYPE_CHECKING:
    from rango.engine.history import Version
    from rango.engine.query import Document
    from rango.transaction import Handle


BARE: Final = ("purged", "gone")
"""Kinds of versions of which nothing is left."""


def history(handle: Handle, name: str, id_value: Any) -> Iterator[Document]:
    """The versions of a document, newest first, as of now. See Collection.history()."""
    from rango.engine.history import newest_ordinal, versions

    id_check(id_value)
    # the view is let go here: what the log has needs no pages
    newest = newest_ordinal(handle.committed(), name, id_value)
    return shown_versions(versions(lambda: handle.core, *newest))


def shown_versions(found: Iterator[Version]) -> Iterator[Document]:
    """Each version with what it changed; for that, one more is read than is given out."""
    version = next(found, None)
    while version is not None:
        before = None if version.kind in BARE else next(found, None)
        yield shown_version(version, before)
        version = before


def shown_version(version: Version, before: Version | None) -> Document:
    """A version as a dict, with what it changed."""
    from datetime import UTC, datetime

    from rango.engine.history import difference

    if version.kind in BARE:
        return {"ordinal": version.ordinal, "kind": version.kind}
    old = None if before is None else before.document
    changed, removed = difference(without_id(old), without_id(version.document))
    return {
        "ordinal": version.ordinal,
        "kind": version.kind,
        "_rev": version.revision,
        "at": datetime.fromtimestamp(version.ms / 1000, UTC),
        "node": version.node,
        "actor": version.actor or None,
        "document": version.document,
        "set": changed,
        "removed": removed,
    }


def without_id(document: Document | None) -> Document:
    """The fields that may change; none if there is no document."""
    return {name: value for name, value in (document or {}).items() if name != "_id"}
