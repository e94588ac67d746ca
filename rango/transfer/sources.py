"""What is imported, read piece by piece: files, streams and standard input, gzip, and their format.

Terms       unit, number, refused: see rango/transfer/__init__.py. offset: bytes of the source,
            after gzip, that lie before the next unit.
Invariants  A reader that starts at the offset and number behind a unit yields the same units as
            one that came there from the start. One unit is held at a time.
Failure     A unit that cannot be read is yielded with its error, and the next one follows. Where it
            cannot be known where the next one begins (a BSON length that makes no sense, JSON
            syntax within an array, a gzip file that ends early), SourceBroken ends the source.
Sources     bsonspec.org 1.1; RFC 1952 (gzip); RFC 8259; jsonlines.org.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from rango._ext.dump_reader import dump_read
from rango._ext.json_reader import lines_read
from rango._ext.record import decode, decode_trusted
from rango.errors import InvalidArgument, InvalidJson, LimitExceeded, RangoError
from rango.extended_json import loads
from rango.extended_json.reading import finish, scan_at
from rango.limits import (
    DOCUMENT_SIZE_BYTES_MAX,
    INSERT_BATCH_SIZE_BYTES_MAX,
    JSON_SIZE_BYTES_MAX,
)

FORMATS: Final = ("auto", "jsonl", "json", "bson")
BOM: Final = codecs.BOM_UTF8
GZIP_MAGIC: Final = b"\x1f\x8b"
_PIECE: Final = 1 << 20
_HEAD: Final = 1 << 16
_BSON_SIZE_MIN: Final = 5
_LENGTH_SIZE: Final = 4
_SPACE: Final = re.compile(r"[ \t\n\r]*")


class SourceBroken(Exception):
    """Nothing more can be read of a source; str() says why."""


class Unit(NamedTuple):
    """One document of the source."""

    number: int
    end: int
    """The offset behind it."""
    raw: bytes
    document: dict[str, Any] | None
    """None: it could not be read."""
    error: str = ""
    is_rest: bool = False
    """`raw` continues that of the unit before, which was refused as too long."""


class Ready(NamedTuple):
    """Documents that stood in the source as they are stored, one behind the other."""

    number: int
    """Of the first one; the others follow."""
    end: int
    """The offset behind the last one."""
    datas: list[bytes]
    """The BSON of each, `_id` first."""
    without_id: list[int]
    """The places in `datas` of those that have no `_id`."""
    text: bytes
    """A piece of the source that holds them,"""
    at: int
    """from here on,"""
    ends: list[int]
    """and up to here."""

    def unit(self, place: int) -> Unit:
        """One of them as the slow way reads it."""
        start = self.ends[place - 1] if place else self.at
        raw = self.text[start : self.ends[place]]
        end = self.end - (self.ends[-1] - self.ends[place])
        return Unit(self.number + place, end, raw, decode_trusted(self.datas[place]))


class Bounds(NamedTuple):
    """How much a Ready may hold."""

    count_max: int
    document_size_max: int


class _Rewound(io.RawIOBase):
    """A stream whose head was read already, from its start: a pipe cannot be rewound."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes, of the head while there are any."""
        piece: bytes = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


class Source:
    """An open source."""

    def __init__(self, source: str | os.PathLike[str] | IO[bytes], format: str) -> None:
        if format not in FORMATS:
            raise InvalidArgument(f"format is {format!r}; it must be one of {', '.join(FORMATS)}")
        self.total: int | None = None
        self._owned: IO[bytes] | None = None
        self._error: Exception | None = None
        self.name = "-"
        if isinstance(source, str | os.PathLike):
            self.name = os.fspath(source)
        if self.name == "-":
            raw: Any = sys.stdin.buffer if isinstance(source, str) else source
        else:
            raw = self._owned = Path(self.name).open("rb", buffering=_PIECE)  # noqa: SIM115
            self.total = os.fstat(raw.fileno()).st_size or None
        if not hasattr(raw, "read") or isinstance(raw, io.TextIOBase):
            raise InvalidArgument("the source must be a path, '-' or a stream opened as bytes")
        self._raw: Any = raw
        head: bytes = raw.read(_HEAD)
        self.stream: Any = self._again(raw, head)
        self._is_gzip = head.startswith(GZIP_MAGIC)
        if self._is_gzip:
            unpacked: Any = gzip.GzipFile(fileobj=self.stream)
            try:
                head = unpacked.read1(_HEAD)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                head, self._error = b"", error
            self.stream = io.BufferedReader(_Rewound(head, unpacked), _PIECE)
        self.head = head
        self.format = detected(head) if format == "auto" else format

    def _again(self, raw: Any, head: bytes) -> Any:
        """The stream with its head to be read once more."""
        if self._owned is not None and raw.seekable():
            raw.seek(0)
            return raw
        return io.BufferedReader(_Rewound(head, raw), _PIECE)

    def close(self) -> None:
        """Close the file, if this opened it."""
        if self._owned is not None:
            self._owned.close()

    def position(self, offset: int) -> int:
        """How far the file itself was read, for progress."""
        place: int = self._raw.tell() if self._is_gzip and self.total is not None else offset
        return place

    def skip(self, offset: int) -> None:
        """Go to an offset, from the start."""
        left = offset
        if self._owned is not None and self.stream is self._raw:
            self.stream.seek(offset)
            return
        while left:
            piece = self.stream.read(min(left, _PIECE))
            if not piece:
                raise InvalidArgument(
                    f"{self.name} has fewer than the {offset} bytes that were imported before; "
                    "give the same source, or another resume file"
                )
            left -= len(piece)

    def units(self, offset: int, number: int, bounds: Bounds) -> Iterator[Unit | Ready]:
        """The units behind an offset, of which `number` lie before it."""
        try:
            if self._error is not None:
                raise self._error
            if offset:
                self.skip(offset)
            elif self.head.startswith(BOM):
                offset = len(self.stream.read(len(BOM)))
            if self.format == "jsonl":
                yield from JsonLines(self.stream, offset, number, bounds).units()
            elif self.format == "bson":
                yield from BsonDump(self.stream, offset, number, bounds).units()
            else:
                is_array = self.head.removeprefix(BOM).lstrip(b" \t\r\n").startswith(b"[")
                yield from JsonDocuments(self.stream, offset, is_array).units(number)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SourceBroken(f"the gzip data is damaged or ends early: {error}") from None


class Given:
    """Documents that somebody else reads, as a source."""

    def __init__(self, documents: Iterable[dict[str, Any]], total: int | None) -> None:
        self._documents = documents
        self.format = "documents"
        self.head = b""
        self.total = total
        self.name = "the documents given"

    def position(self, offset: int) -> int:
        """How many were read."""
        return offset

    def units(self, offset: int, number: int, _: Bounds) -> Iterator[Unit | Ready]:
        """The documents, each counted as one byte."""
        for at, document in enumerate(self._documents, 1):
            yield Unit(number + at, offset + at, b"", document)


def detected(head: bytes) -> str:
    """The format of a source that begins so."""
    # The last byte of a BSON document's length is 0 or 1, which no text has.
    if len(head) >= _BSON_SIZE_MIN and head[3] <= 1:
        return "bson"
    text = head.removeprefix(BOM).lstrip(b" \t\r\n")
    if text.startswith(b"["):
        return "json"
    # a document over several lines, as mongoexport --pretty writes it
    return "json" if text.split(b"\n", 1)[0].rstrip() == b"{" else "jsonl"


def read_text(text: str) -> dict[str, Any]:
    """The document that a text is; also in the forms of Extended JSON version 1."""
    try:
        found: dict[str, Any] = loads(text, document=True)
    except InvalidJson as error:
        try:
            found = loads(text, document=True, legacy=True)
        except RangoError:
            raise error from None
    return found


def ready_of(
    read: Callable[..., int], text: bytes, at: int, offset: int, number: int, bounds: Bounds
) -> Ready:
    """What a compiled reader takes of a text, from `at` on; `offset` and `number` before it."""
    datas: list[bytes] = []
    ends: list[int] = []
    without_id: list[int] = []
    sizes = (bounds.count_max, INSERT_BATCH_SIZE_BYTES_MAX, bounds.document_size_max)
    end = read(text, at, *sizes, datas, ends, without_id)
    return Ready(number + 1, offset + end - at, datas, without_id, text, at, ends)


class JsonLines:
    """JSON Lines, read in pieces that end with a line.

    What is ready comes many lines at a time from the compiled reader. The line at which that stops
    is read in Python, which alone says what is wrong with it.
    """

    def __init__(self, stream: IO[bytes], offset: int, number: int, bounds: Bounds) -> None:
        self._stream = stream
        self._offset = offset
        self._number = number
        self._bounds = bounds

    def units(self) -> Iterator[Unit | Ready]:
        """The units from here on."""
        while text := self._stream.read(_PIECE):
            if not text.endswith(b"\n"):
                text += self._stream.readline(JSON_SIZE_BYTES_MAX + 1)
            if len(text) > JSON_SIZE_BYTES_MAX:
                yield from self._long(text)
            else:
                yield from self._piece(text)

    def _piece(self, text: bytes) -> Iterator[Unit | Ready]:
        at = 0
        while at < len(text):
            ready = self._ready(text, at)
            if ready.ends:
                at = ready.ends[-1]
                yield ready
            if at < len(text) and len(ready.datas) < self._bounds.count_max:
                start, at = at, text.find(b"\n", at) + 1 or len(text)
                yield from self._line(text[start:at])

    def _ready(self, text: bytes, at: int) -> Ready:
        ready = ready_of(lines_read, text, at, self._offset, self._number, self._bounds)
        self._offset, self._number = ready.end, self._number + len(ready.datas)
        return ready

    def _long(self, text: bytes) -> Iterator[Unit]:
        """A piece that ends with a line of JSON_SIZE_BYTES_MAX or more."""
        at = text.rfind(b"\n", 0, -1) + 1
        for line in io.BytesIO(text[:at]):
            yield from self._line(line)
        line = text[at:]
        if len(line) <= JSON_SIZE_BYTES_MAX or line.endswith(b"\n"):
            yield from self._line(line)
            return
        self._number += 1
        self._offset += len(line)
        error = f"the line has more than JSON_SIZE_BYTES_MAX, {JSON_SIZE_BYTES_MAX} bytes"
        yield Unit(self._number, self._offset, line, None, error)
        while not line.endswith(b"\n") and (line := self._stream.readline(_PIECE)):
            self._offset += len(line)
            yield Unit(self._number, self._offset, line, None, error, is_rest=True)

    def _line(self, line: bytes) -> Iterator[Unit]:
        """The unit of one line; none if it is white space."""
        self._number += 1
        self._offset += len(line)
        number, offset = self._number, self._offset
        try:
            text = line.decode()
        except UnicodeDecodeError as wrong:
            error = f"byte {wrong.start}: the text is not valid UTF-8"
            yield Unit(number, offset, line, None, error)
            return
        if text.isspace():
            return
        try:
            document = read_text(text)
        except RangoError as wrong:
            yield Unit(number, offset, line, None, str(wrong).removeprefix("line 1 "))
        else:
            yield Unit(number, offset, line, document)


class BsonDump:
    """Documents of BSON one after another, read in pieces; as JsonLines."""

    def __init__(self, stream: IO[bytes], offset: int, number: int, bounds: Bounds) -> None:
        self._stream = stream
        self._offset = offset
        self._number = number
        self._bounds = bounds

    def units(self) -> Iterator[Unit | Ready]:
        """The units from here on."""
        text, at = b"", 0
        while True:
            ready = ready_of(dump_read, text, at, self._offset, self._number, self._bounds)
            if ready.ends:
                at = ready.ends[-1]
                self._offset, self._number = ready.end, self._number + len(ready.datas)
                yield ready
                continue
            size = self._size(text, at)
            missing = size - (len(text) - at)
            if missing > 0 and (more := self._stream.read(max(missing, _PIECE))):
                text, at = text[at:] + more, 0
                continue
            if at == len(text):
                return
            yield self._document(text[at : at + size], size)
            at += size

    def _size(self, text: bytes, at: int) -> int:
        """Of the document that begins here; 4 where not even that is known."""
        if len(text) - at < _LENGTH_SIZE:
            return _LENGTH_SIZE
        size = int.from_bytes(text[at : at + _LENGTH_SIZE], "little")
        # mongodump may write what MongoDB stores: 16 MiB and a little; the database judges
        if not _BSON_SIZE_MIN <= size <= 2 * DOCUMENT_SIZE_BYTES_MAX:
            raise SourceBroken(f"{self._place()}: {size} is no length of BSON")
        return size

    def _place(self) -> str:
        return f"document {self._number + 1}, byte {self._offset}"

    def _document(self, data: bytes, size: int) -> Unit:
        """The unit of a document that is not ready."""
        if len(data) < max(size, _BSON_SIZE_MIN):
            raise SourceBroken(f"{self._place()}: the file ends within it")
        self._number += 1
        self._offset += size
        try:
            document = decode(data)
        except RangoError as wrong:
            return Unit(self._number, self._offset, data, None, str(wrong))
        return Unit(self._number, self._offset, data, document)


class JsonDocuments:
    """JSON documents in an array, or one after another, over any number of lines."""

    def __init__(self, stream: IO[bytes], offset: int, is_array: bool) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._offset = offset
        self._is_array = is_array
        self._is_resumed = offset > len(BOM)
        self._text = ""
        self._at = 0
        self._is_over = False

    def units(self, number: int) -> Iterator[Unit]:
        """The units from here on."""
        if self._is_array and not self._is_resumed:
            self._take("[")
        is_first = not self._is_resumed
        while mark := self._peek():
            if self._is_array and mark == "]":
                self._take("]")
                if self._peek():
                    raise SourceBroken(f"byte {self._offset}: there is more behind the array")
                return
            if self._is_array and not is_first:
                self._take(",")
            is_first = False
            number += 1
            yield self._unit(number)
        if self._is_array:
            raise SourceBroken("the file ends within the array")

    def _take(self, mark: str) -> None:
        if self._peek() != mark:
            raise SourceBroken(f"byte {self._offset}: expected {mark}")
        self._at += 1
        self._offset += 1

    def _peek(self) -> str:
        while True:
            found = _SPACE.match(self._text, self._at)
            end = self._at if found is None else found.end()
            self._offset += end - self._at
            self._at = end
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(_PIECE):
                return ""

    def _more(self, size: int) -> bool:
        if self._is_over:
            return False
        piece = self._stream.read(size)
        self._is_over = not piece
        try:
            text = self._decoder.decode(piece, self._is_over)
        except UnicodeDecodeError:
            raise SourceBroken(f"behind byte {self._offset}: the text is not UTF-8") from None
        self._text = self._text[self._at :] + text
        self._at = 0
        return not self._is_over

    def _unit(self, number: int) -> Unit:
        if self._peek() != "{":
            raise SourceBroken(f"document {number}, byte {self._offset}: expected an object")
        value, source = self._scan(number)
        raw = source.encode("utf-8", "surrogatepass")
        self._offset += len(raw)
        raw += b"\n"
        try:
            if source.isascii() and "$" not in source and "\\u" not in source:
                document = finish(value, source, legacy=False, is_document=True)
            else:
                document = read_text(source)
        except RangoError as wrong:
            return Unit(number, self._offset, raw, None, str(wrong))
        return Unit(number, self._offset, raw, document)

    def _scan(self, number: int) -> tuple[Any, str]:
        """The value that starts here, and its text."""
        size = _PIECE
        while True:
            try:
                value, end = scan_at(self._text, self._at)
            except json.JSONDecodeError as error:
                # cut at the end of the piece, or wrong: more text tells; doubling keeps it linear
                have = len(self._text) - self._at
                if have <= JSON_SIZE_BYTES_MAX and self._more(size):
                    size *= 2
                    continue
                raise SourceBroken(f"document {number}, byte {self._offset}: {error.msg}") from None
            except (InvalidJson, LimitExceeded) as error:
                raise SourceBroken(f"document {number}, byte {self._offset}: {error}") from None
            source = self._text[self._at : end]
            self._at = end
            return value, source
