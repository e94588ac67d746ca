"""export_documents: the documents of a collection as Extended JSON or BSON.

Invariants  The documents are those of one snapshot. A file is written under another name and takes
            its own when it is whole and durable, so there never is a half one; its mode is 0600.
            Canonical Extended JSON and BSON keep every type; relaxed text makes an int64 that fits
            an int32 one, which is the format's loss.
Failure     OSError, or what the cursor raises; the file that was there before stays.
Sources     mongodb/specifications extended-json.md; bsonspec.org 1.1; RFC 1952.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal

from rango._ext.record import encode
from rango.errors import InvalidArgument
from rango.extended_json import dump_array, dump_lines

if TYPE_CHECKING:
    from rango.collection import Collection

Format = Literal["jsonl", "canonical-jsonl", "json", "canonical-json", "bson"]
FORMATS: Final = ("jsonl", "canonical-jsonl", "json", "canonical-json", "bson")
PROGRESS_EVERY: Final = 1000
_BUFFER: Final = 1 << 20


@dataclass(slots=True)
class ExportReport:
    """What an export wrote."""

    exported: int = 0
    seconds: float = 0.0


@contextmanager
def opened(target: str | os.PathLike[str] | IO[bytes]) -> Iterator[IO[bytes]]:
    """The bytes stream that a target is; a file takes its name at the end."""
    if not isinstance(target, str | os.PathLike):
        yield target
        return
    if target == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(target)
    if path.exists() and not path.is_file():
        # a device or a pipe, which cannot be replaced
        with path.open("wb") as stream:
            yield stream
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(file, "wb", _BUFFER) as stream:
            if path.suffix == ".gz":
                with gzip.GzipFile(
                    filename="", fileobj=stream, mode="wb", compresslevel=6
                ) as zipped:
                    packed: Any = io.BufferedWriter(zipped, _BUFFER)
                    yield packed
                    packed.flush()
            else:
                yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def export_documents(
    collection: Collection,
    target: str | os.PathLike[str] | IO[bytes],
    *,
    filter: Mapping[str, Any] | None = None,
    format: Format = "jsonl",
    meta: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> ExportReport:
    """Write the documents of a collection that match, in the order of their `_id`.

    `target`    a path (one that ends with .gz is compressed), a stream opened for bytes, or "-" for
    standard output
    `filter`    which documents; all unless given
    `format`    "jsonl" and "json" (an array) are relaxed Extended JSON, "canonical-jsonl" and
    "canonical-json" keep every type, as does "bson" (as mongodump writes)
    `meta`      with `_rev`, `_updated_at` and `_source_node`
    `progress`  called with the number of documents written, and of all if it is known

    Raises InvalidFilter, InvalidArgument, OSError, and what a cursor raises.
    """
    if format not in FORMATS:
        raise InvalidArgument(f"format is {format!r}; it must be one of {', '.join(FORMATS)}")
    start = time.perf_counter()
    total = None if filter else collection.estimated_document_count()
    report = ExportReport()

    def documents() -> Iterator[Mapping[str, Any]]:
        for document in collection.find(filter or {}, meta=meta, batch_size=PROGRESS_EVERY):
            yield document
            report.exported += 1
            if progress is not None and report.exported % PROGRESS_EVERY == 0:
                progress(report.exported, total)

    with opened(target) as stream:
        if format == "bson":
            for document in documents():
                stream.write(encode(document))
        else:
            text = io.TextIOWrapper(stream, "utf-8", newline="\n", write_through=False)
            mode: Any = "canonical" if format.startswith("canonical") else "relaxed"
            dump = dump_lines if format.endswith("jsonl") else dump_array
            dump(documents(), text, mode=mode)
            text.flush()
            text.detach()
    report.seconds = time.perf_counter() - start
    return report
