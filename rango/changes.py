"""Inserts of many documents in bounded commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rango.engine.query import Document
from rango.errors import RangoError
from rango.limits import INSERT_BATCH_COUNT_MAX, INSERT_BATCH_SIZE_BYTES_MAX
from rango.statements import pattern_of
from rango.timing import noted, perf_counter_ns

if TYPE_CHECKING:
    from rango.engine.core import Txn
    from rango.transaction import Handle


def insert_batches(
    handle: Handle, collection: str, encoded: list[bytes], ordered: bool
) -> list[Document]:
    """Insert in bounded commits; returns the write errors."""
    errors: list[Document] = []
    start = 0
    while start < len(encoded) and not (errors and ordered):
        end = batch_end(encoded, start)
        try:
            errors += _insert_batch(handle, collection, encoded, range(start, end), ordered)
        except RangoError as error:
            if start:
                error.add_note(f"insert_many: the documents before number {start} were taken")
            raise
        start = end
    return errors


def _insert_batch(
    handle: Handle, collection: str, encoded: list[bytes], places: range, ordered: bool
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


def batch_end(encoded: list[bytes], start: int) -> int:
    """The end of the batch that starts at `start`: what one commit takes, at least one document."""
    end, size = start + 1, len(encoded[start])
    while end < len(encoded) and end - start < INSERT_BATCH_COUNT_MAX:
        size += len(encoded[end])
        if size > INSERT_BATCH_SIZE_BYTES_MAX:
            break
        end += 1
    return end
