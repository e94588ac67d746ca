"""import_documents: the documents of a source into a collection, in bounded batches.

Terms       unit, number, refused: see rango/transfer/__init__.py; duplicate: a document whose
            `_id`, or value of a unique index, is taken; run: see rango/transfer/resume_file.py.
Invariants  The units of a batch are written in one commit, in their order. With a resume file, what
            the file says was done is durable, and at most one batch behind it; in that batch a
            document that is stored as it would be imported counts as imported. So each unit is
            there exactly once, wherever the run was killed.
Failure     A refused unit is counted, noted and written aside, and the import goes on. What stops
            the database (IoFailed, LowDisk, DatabaseBusy) passes through; what was committed stays.
Sources     docs/adr/0023-resumable-imports.md.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal

from rango._ext.record import decode_trusted, encode
from rango.bulk import ReplaceOne, is_write_error
from rango.changes import documents_of, insert_batches
from rango.errors import BulkWriteError, DuplicateKey, InvalidArgument, LimitExceeded, RangoError
from rango.limits import INSERT_BATCH_COUNT_MAX, INSERT_BATCH_SIZE_BYTES_MAX
from rango.names import RESERVED_NAMES, document_check
from rango.transfer.resume_file import Resume, begun, checked, loaded, saved
from rango.transfer.sources import Bounds, Given, Ready, Source, SourceBroken, Unit

if TYPE_CHECKING:
    from rango.collection import Collection
    from rango.transaction import Handle

Policy = Literal["fail", "skip", "replace"]
StrPath = str | os.PathLike[str]

POLICIES: Final = ("fail", "skip", "replace")
REFUSALS_KEPT: Final = 100
"""Refused units that a report lists; all of them are counted and go into the rejects file."""
ID_INDEX: Final = "_id_"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A unit that was not imported."""

    number: int
    """Its line (JSON Lines), or which document it is (arrays, BSON); from 1."""
    reason: str


@dataclass(slots=True)
class ImportReport:
    """What an import did; with a resume file, since the run began."""

    imported: int = 0
    """Documents that were stored, without the replaced ones."""
    replaced: int = 0
    """Documents that took the place of one with their `_id`."""
    skipped: int = 0
    """Duplicates that were left out."""
    errors: int = 0
    """Refused units, and 1 if the source broke off."""
    refusals: list[Refusal] = field(default_factory=list)
    """The first REFUSALS_KEPT of this call."""
    broken: str = ""
    """Why the source could not be read to its end; empty if it was."""
    resumed_at: int = 0
    """The number of units that an earlier call had dealt with."""
    seconds: float = 0.0


class _Batch:
    """What one commit will store, and where it came from."""

    __slots__ = ("_sources", "_starts", "datas", "size")

    def __init__(self) -> None:
        self.datas: list[bytes] = []
        self.size = 0
        # no object for each document: they would be work for the garbage collector
        self._sources: list[Unit | Ready] = []
        self._starts: list[int] = []

    def add(self, source: Unit | Ready, datas: list[bytes]) -> None:
        """Take the documents of a unit or of a Ready."""
        self._sources.append(source)
        self._starts.append(len(self.datas))
        self.datas += datas
        self.size += sum(map(len, datas))

    def unit(self, place: int) -> Unit:
        """Where the document at a place in `datas` came from."""
        at = bisect_right(self._starts, place) - 1
        source = self._sources[at]
        return source.unit(place - self._starts[at]) if isinstance(source, Ready) else source


class _Importer:
    """One call of import_documents."""

    def __init__(
        self,
        handle: Handle,
        name: str,
        source: Source | Given,
        policy: Policy,
        drop_meta: bool,
        resume_path: Path | None,
        rejects_path: Path | None,
        progress: Callable[[int, int | None], None] | None,
    ) -> None:
        self._handle = handle
        self._name = name
        self._source = source
        self._policy = policy
        self._drop_meta = drop_meta
        self._progress = progress
        self._resume_path = resume_path
        self._rejects_path = rejects_path
        self._rejects: IO[bytes] | None = None
        self.report = ImportReport()
        found = None if resume_path is None else loaded(resume_path)
        if found is None or resume_path is None:
            self._resume = begun(name, source.format, source.head, handle.core.clock())
            self._again = 0
        else:
            self._resume = checked(found, resume_path, name, source.head)
            source.format = found.format
            # what one batch may hold was perhaps stored and not yet noted
            self._again = INSERT_BATCH_COUNT_MAX
            self._taken_up(self._resume)
        self._size_max = handle.view()[0].catalog.document_size_bytes_max
        self._batch = _Batch()

    def _taken_up(self, resume: Resume) -> None:
        report = self.report
        report.resumed_at = resume.number
        report.imported, report.replaced = resume.imported, resume.replaced
        report.skipped, report.errors = resume.skipped, resume.errors

    def run(self, count_max: int) -> None:
        """Import to the end of the source."""
        resume = self._resume
        if self._resume_path is not None and not self._again:
            saved(resume, self._resume_path)
        if self._rejects_path is not None:
            self._rejects_open(self._rejects_path)
        offset, number = resume.offset, resume.number
        try:
            bounds = Bounds(count_max, self._size_max)
            for unit in self._source.units(resume.offset, resume.number, bounds):
                if isinstance(unit, Ready):
                    if len(self._batch.datas) + len(unit.datas) > count_max:
                        self._flush(offset, number)
                    self._take_ready(unit)
                    offset, number = unit.end, unit.number + len(unit.datas) - 1
                else:
                    self._take(unit)
                    offset, number = unit.end, unit.number
                batch = self._batch
                if len(batch.datas) >= count_max or batch.size >= INSERT_BATCH_SIZE_BYTES_MAX:
                    self._flush(offset, number)
        except SourceBroken as broken:
            self._flush(offset, number)
            # not noted in the resume file: a source that was mended goes on from here
            self.report.broken = str(broken)
            self.report.errors += 1
        else:
            self._flush(offset, number)
        finally:
            if self._rejects is not None:
                self._rejects.close()

    def _take(self, unit: Unit) -> None:
        document = unit.document
        if document is None:
            self._refuse(unit, unit.error)
            return
        if self._drop_meta:
            for name in RESERVED_NAMES.intersection(document):
                del document[name]
        try:
            data = self._encoded(document, unit.number)
        except RangoError as error:
            hint = "" if RESERVED_NAMES.isdisjoint(document) else " (or import with drop_meta)"
            self._refuse(unit, f"{error}{hint}")
            return
        self._batch.add(unit, [data])

    def _take_ready(self, ready: Ready) -> None:
        datas = ready.datas
        for place in ready.without_id:
            datas[place] = id_put(datas[place], self._id_of(ready.number + place))
        self._batch.add(ready, datas)

    def _id_of(self, number: int) -> object:
        """The `_id` of a document that brings none."""
        return self._handle.ids() if self._resume_path is None else self._resume.id_of(number)

    def _encoded(self, document: dict[str, Any], number: int) -> bytes:
        document_check(document)
        if "_id" in document:
            id_value = document["_id"]
        else:
            id_value = document["_id"] = self._id_of(number)
        data = encode(document, id_value)
        if len(data) > self._size_max:
            raise LimitExceeded(
                "document_size_bytes_max",
                len(data),
                f"the document has {len(data)} bytes; this database takes {self._size_max}",
            )
        return data

    def _refuse(self, unit: Unit, reason: str) -> None:
        if not unit.is_rest:
            self.report.errors += 1
            if len(self.report.refusals) < REFUSALS_KEPT:
                self.report.refusals.append(Refusal(unit.number, reason))
        if self._rejects is not None:
            is_cut = self._source.format == "jsonl" and not unit.raw.endswith(b"\n")
            self._rejects.write(unit.raw)
            if is_cut and len(unit.raw) < 1 << 20:
                self._rejects.write(b"\n")

    def _rejects_open(self, path: Path) -> None:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._rejects = os.fdopen(file, "r+b")
        # what was written behind the last note is written again
        self._rejects.truncate(self._resume.rejects_size)
        self._rejects.seek(self._resume.rejects_size)

    def _flush(self, offset: int, number: int) -> None:
        """Write what was taken, then note that everything before `offset` is done."""
        batch, self._batch = self._batch, _Batch()
        if batch.datas:
            self._write(batch)
            self._again = max(0, self._again - len(batch.datas))
        if self._resume_path is not None:
            self._note(self._resume_path, offset, number)
        if self._progress is not None:
            self._progress(self._source.position(offset), self._source.total)

    def _note(self, path: Path, offset: int, number: int) -> None:
        resume, report = self._resume, self.report
        if self._rejects is not None:
            self._rejects.flush()
            os.fsync(self._rejects.fileno())
            resume.rejects_size = self._rejects.tell()
        self._handle.core.flush()
        resume.offset, resume.number = offset, number
        resume.imported, resume.replaced = report.imported, report.replaced
        resume.skipped, resume.errors = report.skipped, report.errors
        saved(resume, path)

    def _write(self, batch: _Batch) -> None:
        datas = batch.datas
        is_ordered = self._policy == "fail" and not self._again
        try:
            errors = insert_batches(self._handle, self._name, documents_of(datas), is_ordered)
        except RangoError as error:
            if not is_write_error(error):
                raise
            self._write_single(batch)
            return
        self.report.imported += errors[0]["index"] if errors and is_ordered else len(datas)
        if errors and not is_ordered:
            self.report.imported -= len(errors)
        for entry in errors:
            at = entry["index"]
            self._duplicate(batch.unit(at), datas[at], entry)

    def _write_single(self, batch: _Batch) -> None:
        """One by one: an index does not take one of them."""
        for place, data in enumerate(batch.datas):
            try:
                errors = insert_batches(self._handle, self._name, documents_of([data]), True)
            except RangoError as error:
                if not is_write_error(error):
                    raise
                self._refuse(batch.unit(place), str(error))
                continue
            if errors:
                self._duplicate(batch.unit(place), data, errors[0])
            else:
                self.report.imported += 1

    def _duplicate(self, unit: Unit, data: bytes, entry: dict[str, Any]) -> None:
        document = unit.document or {}
        collection: Any = self._collection()
        is_id = entry["indexName"] == ID_INDEX
        if self._again:
            stored = collection.find_one({"_id": document["_id"]})
            if stored is not None and encode(stored) == encode(decode_trusted(data)):
                self.report.imported += 1
                return
        if self._policy == "skip":
            self.report.skipped += 1
        elif self._policy == "replace" and is_id:
            try:
                request = ReplaceOne({"_id": document["_id"]}, document, upsert=True)
                collection.bulk_write([request])
            except BulkWriteError as error:
                self._refuse(unit, error.details["writeErrors"][0]["errmsg"])
            except RangoError as error:
                if not is_write_error(error):
                    raise
                self._refuse(unit, str(error))
            else:
                self.report.replaced += 1
        elif self._policy == "replace":
            self._refuse(unit, entry["errmsg"])
        else:
            raise DuplicateKey(
                entry["indexName"],
                entry["keyValue"],
                f"number {unit.number} of the source: {entry['errmsg']}; "
                f"{self.report.imported} documents were stored before; or import with "
                "on_duplicate='skip' or 'replace'",
                pattern=entry["keyPattern"],
            )

    def _collection(self) -> Collection:
        from rango.collection import Collection

        return Collection(self._handle, self._name)


def id_put(data: bytes, id_value: object) -> bytes:
    """The BSON of a document without an `_id`, with this one in front."""
    element = encode({"_id": id_value})[4:-1]
    return (len(data) + len(element)).to_bytes(4, "little") + element + data[4:]


def import_documents(
    collection: Collection,
    source: StrPath | IO[bytes],
    *,
    format: str = "auto",
    on_duplicate: Policy = "fail",
    drop_meta: bool = False,
    rejects: StrPath | None = None,
    resume: StrPath | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    batch: int = INSERT_BATCH_COUNT_MAX,
) -> ImportReport:
    """Store the documents of a source in a collection, in bounded memory.

    `source`        a path, a stream opened as bytes, or "-" for standard input; gzip is recognised
    `format`        "jsonl" (Extended JSON, one document for each line), "json" (an array, or
    documents one after another), "bson" (mongodump's files), or "auto": by its beginning
    `on_duplicate`  "fail" stops with DuplicateKey at the first, "skip" leaves the stored one,
    "replace" puts the imported one in its place
    `drop_meta`     leave out `_rev`, `_updated_at`, `_source_node`, `_deleted` and `_conflicts`; a
    document that has one of them is refused otherwise
    `rejects`       a file for what was refused, as it was read
    `resume`        a file that says how far the import is: called again with it after a crash, the
    import goes on, and every document is there exactly once
    `progress`      called with the bytes that are done and those that there are (None: unknown)
    `batch`         documents in one commit at most; 1,000 unless given, which is the most

    Units that are no documents, or that the database refuses, are counted in the report. Raises
    DuplicateKey, InvalidArgument, OSError, what insert_many raises when the database takes no
    writes, and TransactionError inside a transaction.
    """
    handle = collection._handle
    handle.outside("import_documents()")
    if on_duplicate not in POLICIES:
        raise InvalidArgument(f"on_duplicate is {on_duplicate!r}; it must be one of {POLICIES}")
    if not 1 <= batch <= INSERT_BATCH_COUNT_MAX:
        raise InvalidArgument(f"batch is {batch}; it must be from 1 to {INSERT_BATCH_COUNT_MAX}")
    start = time.perf_counter()
    opened = Source(source, format)
    try:
        importer = _Importer(
            handle,
            collection.name,
            opened,
            on_duplicate,
            drop_meta,
            None if resume is None else Path(resume),
            None if rejects is None else Path(rejects),
            progress,
        )
        importer.run(batch)
    finally:
        opened.close()
    importer.report.seconds = time.perf_counter() - start
    return importer.report


def import_units(
    collection: Collection,
    documents: Iterable[dict[str, Any]],
    *,
    on_duplicate: Policy,
    total: int | None,
    progress: Callable[[int, int | None], None] | None,
) -> ImportReport:
    """The same for documents that were read elsewhere."""
    handle = collection._handle
    handle.outside("an import")
    if on_duplicate not in POLICIES:
        raise InvalidArgument(f"on_duplicate is {on_duplicate!r}; it must be one of {POLICIES}")
    source = Given(documents, total)
    importer = _Importer(handle, collection.name, source, on_duplicate, False, None, None, progress)
    importer.run(INSERT_BATCH_COUNT_MAX)
    return importer.report
