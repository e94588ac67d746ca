"""Aggregation under PyMongo's names: the arguments of aggregate(), and the cursor that it returns.

States      CommandCursor: running (holds a snapshot) -> over (exhausted or closed).
Invariants  A pipeline is checked before aggregate() returns, and reads the snapshot of that moment.
            One that ends with $out or $merge has run when aggregate() returns, and its cursor is
            empty.
Failure     InvalidPipeline and its kin at once; what fails for a document, or for want of memory or
            time, while the cursor is read, which it ends.
Sources     MongoDB manual, "Aggregation Operations"; ADR-0016.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from rango._ext.record import encode
from rango._ext.stop import Stop
from rango.engine.hint import hint_of
from rango.engine.query import Document, count_check
from rango.engine.stopping import stop_of
from rango.errors import DatabaseClosed, InvalidArgument, LimitExceeded, TransactionError
from rango.limits import AGGREGATE_MEMORY_BYTES_MAX
from rango.names import collection_name_check, document_check, id_check
from rango.timing import noted, perf_counter_ns

if TYPE_CHECKING:
    from rango.engine.aggregate.pipeline import Pipeline
    from rango.engine.aggregate.stage import Context
    from rango.engine.txn import Txn
    from rango.transaction import Handle, Transaction

CAMEL_CASE: Final = {
    "allowDiskUse": "allow_disk_use",
    "batchSize": "batch_size",
    "bypassDocumentValidation": "bypass_document_validation",
    "maxTimeMS": "max_time_ms",
}
IGNORED: Final = ("allow_disk_use", "bypass_document_validation", "comment", "session")
"""Accepted so that programs written for PyMongo run: they change nothing here."""

OPTIONS: Final = ("batch_size", "collation", "hint", "let", "max_time_ms", "memory_bytes_max")


def options_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of aggregate() under one spelling. Raises InvalidArgument."""
    options: dict[str, Any] = {}
    for name, value in given.items():
        known = CAMEL_CASE.get(name, name)
        if known in IGNORED:
            continue
        if known not in OPTIONS:
            raise InvalidArgument(
                f"aggregate() has no argument {name!r}; it has {', '.join((*OPTIONS, *IGNORED))}"
            )
        if value is not None:
            options[known] = value
    return options


def aggregate(
    handle: Handle, name: str | None, pipeline: object, given: Mapping[str, Any]
) -> CommandCursor:
    """The cursor of a pipeline on a collection, or (None) on the documents that it begins with."""
    from rango.engine.aggregate import start

    options = options_of(given)
    if not isinstance(pipeline, Sequence) or isinstance(pipeline, str | bytes):
        raise InvalidArgument(f"pipeline must be a list, not {type(pipeline).__name__}")
    count_check("batch_size", options.get("batch_size", 0))
    memory = count_check(
        "memory_bytes_max", options.get("memory_bytes_max", AGGREGATE_MEMORY_BYTES_MAX)
    )
    hint = options.get("hint")
    compiled, variables = start.compiled(
        name,
        pipeline,
        let=options.get("let"),
        collation=options.get("collation"),
        hint=None if hint is None else hint_of(hint),
        now_ms=handle.core.clock(),
    )
    view, transaction = handle.view()
    handle.metrics.queries += 1
    stop = Stop()
    stop_of(count_check("max_time_ms", options.get("max_time_ms", 0)), stop)
    environment = start.Environment(
        view=view,
        random=os.urandom,
        write=_writer(handle),
        encoded=_encoder(handle),
        check=stop.check,
        stop=stop,
    )
    context = start.Context(environment, start.Memory(memory), variables)
    if compiled.writer is not None:
        collection_name_check(compiled.writer.target)
        started = perf_counter_ns()
        try:
            compiled.writer.write(compiled.batches(context), context)
        except RecursionError:
            raise too_many_stages() from None
        spent = perf_counter_ns() - started
        return CommandCursor(handle, compiled, context, iter(()), None, name, spent)
    return CommandCursor(handle, compiled, context, compiled.batches(context), transaction, name)


def too_many_stages() -> LimitExceeded:
    """Stages pull from one another, so a long pipeline needs as much of Python's stack."""
    return LimitExceeded(
        "PIPELINE_STAGES_MAX",
        sys.getrecursionlimit(),
        "the pipeline has more stages that feed one another than sys.getrecursionlimit() has room "
        "for; join stages ($set takes many fields), or raise that limit",
    )


def _writer(handle: Handle) -> Callable[[Callable[[Txn], None]], None]:
    return lambda work: handle.write(work, is_atomic=False)


def _encoder(handle: Handle) -> Callable[[Document], bytes]:
    """A function that makes the BSON of a document to be stored, as insert_one does."""

    def encoded(document: Document) -> bytes:
        document_check(document)
        if "_id" in document:
            return encode(document, document["_id"])
        id_value = handle.ids()
        id_check(id_value)
        return encode(document, id_value)

    return encoded


class CommandCursor:
    """The documents that a pipeline returns, computed as they are asked for.

    Iterate over it, or call to_list(). It reads the snapshot of the moment when aggregate() was
    called. Documents may share values with one another; copy what you change.
    """

    __slots__ = (
        "_batches",
        "_buffer",
        "_context",
        "_handle",
        "_name",
        "_pipeline",
        "_spent_ns",
        "_transaction",
    )

    def __init__(
        self,
        handle: Handle,
        pipeline: Pipeline,
        context: Context,
        batches: Iterator[list[Document]],
        transaction: Transaction | None,
        name: str | None = None,
        spent_ns: int = 0,
    ) -> None:
        self._handle = handle
        self._name = name
        self._spent_ns = spent_ns  # what a $out at the end has taken already
        self._pipeline = pipeline
        self._context: Context | None = context
        self._batches: Iterator[list[Document]] | None = batches
        self._buffer: list[Document] = []  # the batch in hand, its next document last
        self._transaction = transaction

    def _fetch(self) -> list[Document]:
        """The next batch; empty at the end."""
        if self._batches is None or self._context is None:
            return []
        if self._handle.is_closed:
            self.close()
            raise DatabaseClosed("the database of this cursor was closed; open it again")
        if self._transaction is not None:
            if self._transaction.is_over:
                self.close()
                raise TransactionError(
                    "the transaction that this cursor reads is over; aggregate again"
                )
            self._transaction.check()
        started = perf_counter_ns()
        try:
            self._handle.core.view()  # ForkedHandle, whatever this run still has in memory
            self._context.environment.check()
            for batch in self._batches:
                if batch:
                    self._spent_ns += perf_counter_ns() - started
                    return batch
        except RecursionError:
            self.close()
            raise too_many_stages() from None
        except BaseException:
            self.close()
            raise
        self._spent_ns += perf_counter_ns() - started
        self.close()
        return []

    def __iter__(self) -> CommandCursor:
        return self

    def __next__(self) -> Document:
        if not self._buffer:
            batch = self._fetch()
            if not batch:
                raise StopIteration
            self._buffer = batch[::-1]
        return self._buffer.pop()

    def next(self) -> Document:
        """The next document. Raises StopIteration at the end."""
        return self.__next__()

    def try_next(self) -> Document | None:
        """The next document, or None at the end."""
        return next(self, None)

    def _documents(self, length: int | None) -> list[Document]:
        """As of Cursor."""
        return self.to_list(length)

    def to_list(self, length: int | None = None) -> list[Document]:
        """The documents that are left, at most `length` of them, as a list."""
        left = -1 if length is None else count_check("length", length)
        documents = self._buffer[::-1]
        self._buffer = []
        while (left < 0 or len(documents) < left) and (batch := self._fetch()):
            documents += batch
        if 0 <= left < len(documents):
            self._buffer = documents[: left - len(documents) - 1 : -1]
            del documents[left:]
        return documents

    @property
    def alive(self) -> bool:
        """Whether there may be more documents."""
        return bool(self._buffer) or self._batches is not None

    def explain(self) -> Document:
        """How the pipeline runs, without running it.

        `stages`: the stages after optimisation, the first of them `$cursor`: the query that the
        leading stages became, its plan (see Cursor.explain) and the fields that it has to decode.
        A $out or $merge at the end has run already when aggregate() returned: leave it out.
        """
        if self._context is None:
            raise InvalidArgument("this cursor is closed; explain() the pipeline before reading it")
        return {"stages": self._pipeline.explain(self._context)}

    def cancel(self) -> None:
        """End it from any thread: the fetch that runs, or the next, raises QueryCancelled."""
        context = self._context
        if context is not None and context.environment.stop is not None:
            context.environment.stop.cancel()
            self._buffer = []

    def close(self) -> None:
        """Let the snapshot go: no more documents. May be called again."""
        batches, self._batches = self._batches, None
        self._buffer = []
        self._context = None
        if self._spent_ns:
            spent, self._spent_ns = self._spent_ns, 0
            noted(self._handle, "aggregate", spent, self._name, stages=self._pipeline.stage_names)
        close = getattr(batches, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> CommandCursor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
