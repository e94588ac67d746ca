"""Values from keys: see key_decode.pyx."""

from typing import Any

def key_decode(key: bytes, types: bytes) -> list[Any]:
    """The values of the fields of an index entry.

    `key` without the key of the `_id`; `types`: the entry's type bytes. A field whose type byte is
    0 (missing), 0xFE (an array lies on its path) or 0xFF (the key does not tell) is None: look at
    the types, and at the record. Raises Corrupted if the key is malformed.
    """
