"""Documents in files: JSON Lines, and arrays that need not fit into memory.

Invariants  Reading is lazy and holds one document and one piece of the file. Every document is the
            top level of its text, so its own names are never a wrapper.
Failure     InvalidJson names the line of the file (JSON Lines) or the number of the document from
            0 (arrays); what came before it was yielded. LimitExceeded for one document of more
            than JSON_SIZE_BYTES_MAX.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

from rango.errors import InvalidJson, LimitExceeded
from rango.extended_json.reading import finish, loads, scan_at
from rango.extended_json.writing import Mode, dumps
from rango.limits import JSON_SIZE_BYTES_MAX

_PIECE: Final = 1 << 20
_SPACE: Final = re.compile(r"[ \t\n\r]*")


def load_lines(stream: IO[str] | IO[bytes], *, legacy: bool = False) -> Iterator[dict[str, Any]]:
    """The documents of JSON Lines, one at a time; lines of white space are skipped.

    `stream` is a file that was opened as bytes (faster) or as text. Raises InvalidJson with the
    number of the line.
    """
    number = 0
    line: str | bytes
    while line := stream.readline(JSON_SIZE_BYTES_MAX + 1):
        number += 1
        if len(line) > JSON_SIZE_BYTES_MAX:
            raise _too_long(len(line))
        if line.isspace():
            continue
        try:
            yield loads(line, legacy=legacy, document=True)
        except InvalidJson as error:
            place = error.place.removeprefix("line 1 ")
            raise InvalidJson(f"line {number}, {place}", error.what) from None


def load_array(stream: IO[str] | IO[bytes], *, legacy: bool = False) -> Iterator[dict[str, Any]]:
    """The documents of one JSON array, one at a time, without reading it whole.

    Raises InvalidJson with the number of the document, from 0.
    """
    text = _Text(stream)
    if text.take() != "[":
        raise InvalidJson("the start", "an array starts with [")
    at = 0
    mark = text.peek()
    if mark == "]":
        text.take()
    while mark != "]":
        try:
            yield text.document(legacy)
        except InvalidJson as error:
            raise InvalidJson(f"document {at}, {error.place}", error.what) from None
        at += 1
        mark = text.take()
        if mark not in {",", "]"}:
            raise InvalidJson(f"after document {at - 1}", "expected , or ]")
    if text.peek():
        raise InvalidJson("the end", "there is more text behind the array")


def dump_lines(
    documents: Iterable[Any], stream: IO[str], *, mode: Mode = "relaxed", ensure_ascii: bool = False
) -> int:
    """Write documents as JSON Lines to a text stream (UTF-8); returns how many."""
    count = 0
    for document in documents:
        stream.write(dumps(document, mode=mode, ensure_ascii=ensure_ascii))
        stream.write("\n")
        count += 1
    return count


def dump_array(
    documents: Iterable[Any], stream: IO[str], *, mode: Mode = "relaxed", ensure_ascii: bool = False
) -> int:
    """Write documents as one JSON array, a document for each line; returns how many."""
    count = 0
    stream.write("[")
    for document in documents:
        stream.write(",\n" if count else "\n")
        stream.write(dumps(document, mode=mode, ensure_ascii=ensure_ascii))
        count += 1
    stream.write("\n]\n")
    return count


def _too_long(size: int) -> LimitExceeded:
    return LimitExceeded(
        "JSON_SIZE_BYTES_MAX",
        size,
        f"one document takes more than {JSON_SIZE_BYTES_MAX} bytes of text",
    )


class _Text:
    """A text that is read in pieces."""

    def __init__(self, stream: IO[str] | IO[bytes]) -> None:
        import codecs

        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._is_over = False

    def _more(self, size: int) -> bool:
        """Append the next piece; False at the end of the file."""
        if self._is_over:
            return False
        piece = self._stream.read(size)
        self._is_over = not piece
        if isinstance(piece, bytes):
            try:
                piece = self._decoder.decode(piece, self._is_over)
            except UnicodeDecodeError:
                raise InvalidJson("the text", "is not valid UTF-8") from None
        self._text = self._text[self._at :] + piece
        self._at = 0
        return not self._is_over

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = self._at if found is None else found.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(_PIECE):
                return ""

    def take(self) -> str:
        """The same, and go behind it."""
        found = self.peek()
        self._at += len(found)
        return found

    def document(self, legacy: bool) -> dict[str, Any]:
        """The document that starts here."""
        if self.peek() != "{":
            raise InvalidJson("its start", "a document is an object")
        size = _PIECE
        while True:
            try:
                value, end = scan_at(self._text, self._at)
            except json.JSONDecodeError as error:
                # cut at the end of the piece, or wrong: more text tells; doubling keeps it linear
                if len(self._text) - self._at > JSON_SIZE_BYTES_MAX:
                    raise _too_long(len(self._text) - self._at) from None
                at = error.pos - self._at
                if self._more(size):
                    size *= 2
                    continue
                raise InvalidJson(f"character {at}", error.msg) from None
            source = self._text[self._at : end]
            self._at = end
            found: dict[str, Any] = finish(value, source, legacy=legacy, is_document=True)
            return found
