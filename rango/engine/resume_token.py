"""Resume tokens: where a change stream is, in a form that can be kept anywhere.

Terms       proof: the first 8 bytes of the chain value after the token's commit: what tells this
            commit from another one that has its ordinal (storage-notes scenario 7). position: how
            many mutations of the commit are behind the token; ALL: the whole commit. end: of a
            stream whose collection was dropped or renamed, which an event "invalidate" tells.
Layout      {"_data": 58 hex digits}: version u8 = 1, ordinal u64, position u32 (its highest bit:
            end), proof 8, first 8 bytes of the database id; integers big-endian, so that tokens
            sort as their places do.
Failure     TokenRejected: not a token, or one of another database.
Sources     architecture section 7 (token); ADR-0030.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from rango.errors import TokenRejected

FORM: Final = struct.Struct(">BQI8s8s")
VERSION: Final = 1
ALL: Final = 0x7FFFFFFF
END: Final = 0x80000000


class ResumeToken(NamedTuple):
    """A place behind some mutation of a commit."""

    ordinal: int
    position: int
    is_end: bool
    proof: bytes
    database: bytes

    def document(self) -> dict[str, str]:
        """What programs keep."""
        position = self.position | (END if self.is_end else 0)
        packed = FORM.pack(VERSION, self.ordinal, position, self.proof, self.database)
        return {"_data": packed.hex()}


def token_of(given: object, database_id: bytes) -> ResumeToken:
    """The token in a document, or in its `_data` alone. Raises TokenRejected."""
    text = given.get("_data") if isinstance(given, Mapping) else given
    if not isinstance(text, str):
        raise TokenRejected(
            "a resume token is a document {'_data': '...'}, the resume_token of a stream or the "
            f"_id of an event, not {type(given).__name__}"
        )
    try:
        version, ordinal, position, proof, database = FORM.unpack(bytes.fromhex(text))
    except (ValueError, struct.error):
        raise TokenRejected(
            "this is no resume token of Rango; it must be given as it was received"
        ) from None
    if version != VERSION:
        raise TokenRejected(
            f"this resume token has version {version}; this Rango knows {VERSION}: update Rango"
        )
    if database != database_id[:8]:
        raise TokenRejected("this resume token is of another database")
    return ResumeToken(ordinal, position & ALL, bool(position & END), proof, database)
