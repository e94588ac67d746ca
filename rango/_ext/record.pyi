"""Records and the BSON codec: see record.pyx."""

from collections.abc import Mapping
from typing import Any

def encode(document: Mapping[str, Any], id_value: object = None) -> bytes:
    """BSON of a document; `id_value`, if given, is written first as `_id`."""

def decode(data: bytes) -> dict[str, Any]:
    """The document of BSON bytes, which are validated first."""

def decode_trusted(data: bytes) -> dict[str, Any]:
    """The document of BSON bytes that were validated before they were stored."""

def validate(data: bytes) -> None:
    """Check foreign bytes: InvalidDocument says what is wrong and where."""

def record_build(
    bson: bytes,
    flags: int,
    ms: int,
    counter: int,
    updated_at: int,
    ordinal: int,
    node: bytes,
    actor: bytes = b"",
) -> bytes:
    """Header, node id, actor and document as one record."""

def record_parts(record: bytes) -> tuple[int, int, int, int, int, bytes, bytes]:
    """(flags, ms, counter, updated_at, ordinal, node, bson) of a record."""

def record_actor(record: bytes) -> bytes:
    """Who wrote a record, or the deletion, as UTF-8; b"" if nobody was named."""

def record_fields(
    record: bytes, names: frozenset[str] | None = None, is_kept: bool = True
) -> dict[str, Any]:
    """The document of a record, or those of its top-level fields that are (`is_kept`) or are not
    in `names`; the others are not decoded."""

def record_bson(record: bytes) -> bytes:
    """The BSON of the document in a record."""
