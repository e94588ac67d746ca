"""Order-preserving keys: see key.pyx."""

from typing import final

@final
class IndexPath:
    """A dotted path, split once."""

    path: str
    def __init__(self, path: str) -> None: ...

def key_whole(value: object) -> bytes: ...
def key_of(value: object) -> bytes:
    """The key of a Python value as it is stored: comparing keys as bytes compares the values.

    A key longer than KEY_SIZE_BYTES_MAX is shortened to exactly that: equal values still have
    equal keys, but a bound of a range must then be cut to its first 1,008 bytes.
    """

def index_keys(bson: bytes, path: str | IndexPath) -> tuple[list[bytes], bool]:
    """The distinct keys of a path in a document, sorted, and whether an array was met."""
