"""bulk_write: many writes in one call, and the requests that it takes.

Terms       request: what the caller asks for, one of the classes below or PyMongo's of the same
            name; statement: see rango/statements.py.
Invariants  Requests run in the order that was given. Those of single documents are committed
            together, up to INSERT_BATCH_COUNT_MAX or INSERT_BATCH_SIZE_BYTES_MAX; one of many
            documents is a commit of its own, all or none. Nobody comes between the requests of one
            commit.
Failure     What no server would take (an update without operators, a document that cannot be
            encoded) is raised before anything is written. A request that fails when it runs is a
            write error: the others stay as BulkWriteError.details says, and with `ordered` none
            after it is run. What stops the database (IoFailed, LowDisk...) Timeout and
            QueryCancelled pass through; the note says how many requests were committed before.
Sources     MongoDB's CRUD specification; PyMongo's BulkWriteResult and BulkWriteError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rango.cursor import filter_check
from rango.engine.query import Document
from rango.engine.stopping import stop_check
from rango.errors import (
    BulkWriteError,
    DuplicateKey,
    InvalidArgument,
    InvalidUpdate,
    NotFound,
    RangoError,
)
from rango.limits import INSERT_BATCH_COUNT_MAX, INSERT_BATCH_SIZE_BYTES_MAX
from rango.models import Storable
from rango.names import replacement_check
from rango.statements import (
    Outcome,
    Statement,
    executed,
    flag_check,
    inserting,
    removing,
    replacing,
    updating,
)

if TYPE_CHECKING:
    from rango._ext.stop import Stop
    from rango.engine.core import Txn
    from rango.transaction import Handle


class _Request:
    """Two requests are equal when all that they ask for is."""

    __slots__ = ()

    def _asked(self) -> list[Any]:
        return [getattr(self, name) for kind in type(self).__mro__ for name in _slots(kind)]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._asked() == other._asked()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._asked()))})"


def _slots(kind: type) -> Sequence[str]:
    slots: Sequence[str] = getattr(kind, "__slots__", ())
    return slots


class InsertOne(_Request):
    """Insert a document, which gets an `_id` if it has none."""

    __slots__ = ("_doc",)

    def __init__(self, document: Storable) -> None:
        self._doc = document


class _Update(_Request):
    __slots__ = ("_array_filters", "_collation", "_doc", "_filter", "_hint", "_upsert")

    def __init__(
        self,
        filter: Mapping[str, Any],
        update: Any,
        upsert: bool | None = None,
        collation: Any = None,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        hint: Any = None,
    ) -> None:
        self._filter = filter
        self._doc = update
        self._upsert = upsert
        self._collation = collation
        self._array_filters = array_filters
        self._hint = hint


class UpdateOne(_Update):
    """Change the first document that matches."""

    __slots__ = ("_sort",)

    def __init__(
        self,
        filter: Mapping[str, Any],
        update: Any,
        upsert: bool | None = None,
        collation: Any = None,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        hint: Any = None,
        *,
        sort: Any = None,
    ) -> None:
        super().__init__(filter, update, upsert, collation, array_filters, hint)
        self._sort = sort


class UpdateMany(_Update):
    """Change every document that matches, all or none."""

    __slots__ = ()


class ReplaceOne(_Request):
    """Put a document in the place of the first one that matches."""

    __slots__ = ("_collation", "_doc", "_filter", "_hint", "_sort", "_upsert")

    def __init__(
        self,
        filter: Mapping[str, Any],
        replacement: Storable,
        upsert: bool | None = None,
        collation: Any = None,
        hint: Any = None,
        *,
        sort: Any = None,
    ) -> None:
        self._filter = filter
        self._doc = replacement
        self._upsert = upsert
        self._collation = collation
        self._hint = hint
        self._sort = sort


class _Delete(_Request):
    __slots__ = ("_collation", "_filter", "_hint")

    def __init__(self, filter: Mapping[str, Any], collation: Any = None, hint: Any = None) -> None:
        self._filter = filter
        self._collation = collation
        self._hint = hint


class DeleteOne(_Delete):
    """Delete the first document that matches."""

    __slots__ = ()


class DeleteMany(_Delete):
    """Delete every document that matches, all or none."""

    __slots__ = ()


KINDS: Final = (
    "InsertOne",
    "UpdateOne",
    "UpdateMany",
    "ReplaceOne",
    "DeleteOne",
    "DeleteMany",
)
"""The requests by the names of their classes, so that PyMongo's are taken without importing it."""


UNKNOWN: Final = 8
"""MongoDB's code of an error that has none of its own."""


class Prepared:
    """A request of a bulk write, checked as far as a client would."""

    __slots__ = ("_make", "_stop", "kind", "request")

    def __init__(
        self,
        handle: Handle,
        name: str,
        request: Any,
        let: Mapping[str, Any] | None,
        stop: Stop | None,
    ) -> None:
        self.request = request
        self._stop = stop
        self.kind = type(request).__name__
        self._make = self._maker(handle, name, let)

    def statement(self) -> Statement:
        """The statement; raises what is wrong with the request, Timeout or QueryCancelled."""
        stop_check(self._stop)
        return self._make()

    def _maker(
        self, handle: Handle, name: str, let: Mapping[str, Any] | None
    ) -> Callable[[], Statement]:
        request, kind = self.request, self.kind
        if kind not in KINDS:
            raise InvalidArgument(
                f"a request of bulk_write is one of {', '.join(KINDS)}, not {request!r:.60}"
            )
        if kind == "InsertOne":
            insertion = inserting(handle, name, request._doc)
            return lambda: insertion
        conditions = filter_check(request._filter)
        options: dict[str, Any] = {
            "collation": request._collation,
            "hint": request._hint,
            "let": let,
            "stop": self._stop,
        }
        if kind.startswith("Delete"):
            return lambda: removing(name, conditions, is_many=kind == "DeleteMany", **options)
        upsert = False if request._upsert is None else request._upsert
        flag_check("upsert", upsert)
        if kind != "UpdateMany":
            options["sort"] = getattr(request, "_sort", None)
        if kind == "ReplaceOne":
            replacement = replacement_check(request._doc)
            return lambda: replacing(
                handle, name, conditions, replacement, upsert=upsert, **options
            )
        update_check(request._doc)
        return lambda: updating(
            handle,
            name,
            conditions,
            request._doc,
            is_many=kind == "UpdateMany",
            upsert=upsert,
            array_filters=request._array_filters,
            **options,
        )

    @property
    def is_many(self) -> bool:
        """Whether it may write more than one document."""
        return self.kind.endswith("Many")

    def operation(self) -> Any:
        """What was asked for, in the shape that PyMongo's write errors have."""
        request = self.request
        if self.kind == "InsertOne":
            return request._doc
        if self.kind.startswith("Delete"):
            return {"q": request._filter, "limit": 0 if self.is_many else 1}
        return {
            "q": request._filter,
            "u": request._doc,
            "multi": self.is_many,
            "upsert": bool(request._upsert),
        }


def update_check(update: object) -> None:
    """InvalidUpdate unless it has the shape of an update: operators first, or a list of stages."""
    first = next(iter(update), None) if isinstance(update, Mapping) else None
    if not isinstance(update, Mapping | list | tuple) or not update:
        raise InvalidUpdate(f"an update is a mapping of operators or a list, not {update!r:.60}")
    if isinstance(update, Mapping) and not str(first).startswith("$"):
        raise InvalidUpdate(
            f"an update has operators only, not the field {first!r}; use ReplaceOne for a whole "
            "document"
        )


class Bulk:
    """A bulk write while it runs: what was done, and what was refused."""

    def __init__(self, handle: Handle, ordered: bool) -> None:
        self._handle = handle
        self._ordered = ordered
        self.details = bulk_details([], 0)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is run."""
        return self._ordered and bool(self.details["writeErrors"])

    def run(self, requests: Sequence[Prepared]) -> None:
        """Run every request."""
        at = 0
        while at < len(requests) and not self.is_over:
            try:
                if requests[at].is_many:
                    self._run_many(at, requests[at])
                    at += 1
                else:
                    at = self._run_together(at, requests)
            except RangoError as error:
                if at:
                    error.add_note(f"bulk_write: the requests before number {at} were run")
                raise

    def _run_many(self, at: int, request: Prepared) -> None:
        try:
            outcome = executed(self._handle, request.statement())
        except RangoError as error:
            self._refuse(at, request, error)
        else:
            self._note(at, outcome)

    def _run_together(self, start: int, requests: Sequence[Prepared]) -> int:
        """One commit of requests from `start` on; returns where the next one begins."""

        def work(txn: Txn) -> tuple[int, list[tuple[int, Outcome | RangoError]]]:
            done: list[tuple[int, Outcome | RangoError]] = []
            size = txn.size_bytes
            for at in range(start, min(len(requests), start + INSERT_BATCH_COUNT_MAX)):
                if requests[at].is_many or txn.size_bytes - size > INSERT_BATCH_SIZE_BYTES_MAX:
                    return at, done
                try:
                    done.append((at, requests[at].statement().run(txn)))
                except RangoError as error:
                    if not is_write_error(error):
                        raise
                    done.append((at, error))
                    if self._ordered:
                        return at + 1, done
            return min(len(requests), start + INSERT_BATCH_COUNT_MAX), done

        end, done = self._handle.write(work, is_atomic=False)
        for at, result in done:
            if isinstance(result, RangoError):
                self._refuse(at, requests[at], result)
            else:
                result.count(self._handle)
                self._note(at, result)
        return end

    def _note(self, at: int, outcome: Outcome) -> None:
        details = self.details
        if outcome.is_upsert:
            details["nUpserted"] += 1
            details["upserted"].append({"index": at, "_id": outcome.id_value})
        else:
            details["nInserted"] += outcome.inserted
        details["nMatched"] += outcome.matched
        details["nModified"] += outcome.modified
        details["nRemoved"] += outcome.deleted

    def _refuse(self, at: int, request: Prepared, error: RangoError) -> None:
        if not is_write_error(error):
            raise error
        entry: Document = {"code": error.code or UNKNOWN, "errmsg": str(error)}
        if isinstance(error, DuplicateKey):
            entry = {**error.details, "indexName": error.index}
        entry["index"] = at
        self.details["writeErrors"].append({**entry, "op": request.operation()})


def is_write_error(error: RangoError) -> bool:
    """Whether a request was refused, rather than the database unable to write."""
    return isinstance(error, ValueError | TypeError | DuplicateKey | NotFound)


def run_requests(
    handle: Handle,
    name: str,
    requests: Iterable[Any],
    ordered: bool,
    let: Mapping[str, Any] | None,
    stop: Stop | None = None,
) -> Document:
    """Run the requests of bulk_write; what they did, in PyMongo's shape. Raises BulkWriteError."""
    if isinstance(requests, Mapping | str | bytes) or not isinstance(requests, Iterable):
        raise InvalidArgument(
            f"requests must be a list such as [InsertOne(...)], not {type(requests).__name__}"
        )
    flag_check("ordered", ordered)
    prepared = []
    for at, request in enumerate(requests):
        try:
            prepared.append(Prepared(handle, name, request, let, stop))
        except RangoError as error:
            error.add_note(f"it is request {at} of bulk_write; nothing was written")
            raise
    if not prepared:
        raise InvalidArgument("requests must have at least one request")
    bulk = Bulk(handle, ordered)
    bulk.run(prepared)
    errors = bulk.details["writeErrors"]
    if errors:
        raise BulkWriteError(
            f"{len(errors)} of {len(prepared)} requests were refused, the first is number "
            f"{errors[0]['index']}: {errors[0]['errmsg']}; details say what is stored",
            bulk.details,
        )
    return bulk.details


def bulk_details(errors: list[Document], inserted: int) -> Document:
    """The details of a BulkWriteError, in PyMongo's shape."""
    return {
        "writeErrors": errors,
        "writeConcernErrors": [],
        "nInserted": inserted,
        "nUpserted": 0,
        "nMatched": 0,
        "nModified": 0,
        "nRemoved": 0,
        "upserted": [],
    }
