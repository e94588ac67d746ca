"""Inserts of many documents in bounded commits."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rango._ext.documents import Documents
from rango.cursor import POINT_TYPES
from rango.engine.query import Document
from rango.errors import RangoError
from rango.limits import INSERT_BATCH_COUNT_MAX, INSERT_BATCH_SIZE_BYTES_MAX
from rango.names import id_check
from rango.statements import encoded, pattern_of
from rango.timing import noted, perf_counter_ns

if TYPE_CHECKING:
    from rango.engine.core import Txn
    from rango.transaction import Handle

ENCODED_AT_ONCE: Final = 1000
"""Documents that are encoded in one call at most, which takes about half a millisecond."""


def encoded_many(handle: Handle, given: list[Any], ids: list[Any]) -> Documents:
    """The bytes of new documents, whose `_id`s are added to `ids`, as encoded() does it for one."""

    def new_id() -> Any:
        id_value = handle.ids()
        id_check(id_value)
        return id_value

    documents, other = Documents(), partial(encoded, handle)
    try:
        # in pieces, so that a signal and other threads get their turn
        while len(documents) < len(given):
            end = len(documents) + ENCODED_AT_ONCE
            documents.encode(given, end, ids, POINT_TYPES, new_id, other)
    except RangoError as error:
        error.add_note(f"it is document {len(documents)} of insert_many; nothing was written")
        raise
    return documents


def documents_of(encoded: Iterable[bytes]) -> Documents:
    """Documents that are encoded already."""
    documents = Documents()
    for each in encoded:
        documents.add(each)
    return documents


def insert_batches(
    handle: Handle, collection: str, encoded: Documents, ordered: bool
) -> list[Document]:
    """Insert in bounded commits; returns the write errors."""
    errors: list[Document] = []
    start = 0
    while start < len(encoded) and not (errors and ordered):
        end = encoded.run_end(start, INSERT_BATCH_COUNT_MAX, INSERT_BATCH_SIZE_BYTES_MAX)
        try:
            errors += _insert_batch(handle, collection, encoded, range(start, end), ordered)
        except RangoError as error:
            if start:
                error.add_note(f"insert_many: the documents before number {start} were taken")
            raise
        start = end
    return errors


def _insert_batch(
    handle: Handle, collection: str, encoded: Documents, places: range, ordered: bool
) -> list[Document]:
    def work(txn: Txn) -> tuple[int, list[Document]]:
        info = txn.create_collection(collection)
        refused: list[Document] = []
        place, error = txn.insert_run(info, encoded, places.start, places.stop)
        while error is not None:
            error.pattern = pattern_of(info, error.index)
            refused.append({**error.details, "indexName": error.index, "index": place})
            if ordered:
                break
            place, error = txn.insert_run(info, encoded, place + 1, places.stop)
        return place - places.start - (0 if ordered else len(refused)), refused

    # Not atomic: a limit passed half-way leaves a part in a transaction, which then must not
    # commit.
    started = perf_counter_ns()
    inserted, refused = handle.write(work, is_atomic=False)
    handle.metrics.inserts += inserted
    noted(handle, "insert", perf_counter_ns() - started, collection, changed=inserted)
    return refused
