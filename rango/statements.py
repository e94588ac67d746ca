"""Statements: what one write does inside of a transaction of the engine.

Terms       statement: a write that was checked and can run; candidate: a record that it may change;
            outcome: what it did.
Invariants  A statement finds and changes its candidates under the append lock, in one transaction.
            One that is not `is_many` changes at most one document, and nothing at all if it raises.
Failure     DuplicateKey says which index and value; InvalidUpdate, InvalidDocument and
            LimitExceeded come from the change itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

from rango._ext.key import key_of
from rango._ext.record import decode_trusted, encode, record_parts
from rango.cursor import POINT_TYPES, filter_check
from rango.engine.query import Document, ProjectionKeys, Query, SortKeys, count_check
from rango.engine.returned import projecting
from rango.engine.stopping import stop_check, stop_of
from rango.engine.values import now
from rango.errors import DuplicateKey, InvalidArgument, InvalidDocument, LimitExceeded
from rango.metrics import NEVER
from rango.models import Storable, id_put
from rango.names import document_check, id_check, replacement_check
from rango.timing import noted, perf_counter_ns
from rango.transaction import active_transactions

if TYPE_CHECKING:
    from rango._ext.stop import Stop
    from rango.engine.core import CollectionInfo, Txn
    from rango.engine.point import Point
    from rango.engine.projection import Projection
    from rango.transaction import Handle


class Changer(Protocol):
    """What makes another document of one: an update or a replacement."""

    needs_position: bool

    def apply(
        self,
        document: Document,
        *,
        position: int | None = None,
        is_insert: bool = False,
        now_ms: Callable[[], int] | None = None,
    ) -> Document:
        """The changed document, or the same object."""


class Replacement:
    """A whole document that takes the place of another one, whose `_id` stays."""

    __slots__ = ("_document", "needs_position")

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.needs_position = False

    def apply(
        self,
        document: Document,
        *,
        position: int | None = None,  # noqa: ARG002 - the arguments of Update.apply
        is_insert: bool = False,  # noqa: ARG002
        now_ms: Callable[[], int] | None = None,  # noqa: ARG002
    ) -> Document:
        """The replacement with the `_id` of `document`, if that has one."""
        given = self._document
        if "_id" not in document:
            return dict(given)
        id_value = document["_id"]
        if "_id" in given and key_of(given["_id"]) != key_of(id_value):
            from rango.engine.update import IMMUTABLE_FIELD, refusal

            raise refusal(
                IMMUTABLE_FIELD,
                f"the replacement has the '_id' {given['_id']!r:.60}, but the document has "
                f"{id_value!r:.60}, which is immutable; leave it out",
            )
        return {"_id": id_value, **{name: given[name] for name in given if name != "_id"}}


class Instant:
    """The time of a statement: read once, when it is first asked for."""

    __slots__ = ("_clock", "_now_ms")

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._now_ms: int | None = None

    def __call__(self) -> int:
        if self._now_ms is None:
            self._now_ms = self._clock()
        return self._now_ms


class Outcome:
    """What a statement did. `before` and `after` are the BSON of the last document it changed."""

    __slots__ = (
        "after",
        "before",
        "deleted",
        "id_value",
        "inserted",
        "is_upsert",
        "matched",
        "modified",
    )

    inserted: int
    matched: int
    modified: int
    deleted: int
    is_upsert: bool
    id_value: Any
    before: bytes | None
    after: bytes | None

    def __init__(
        self,
        inserted: int = 0,
        matched: int = 0,
        modified: int = 0,
        deleted: int = 0,
        is_upsert: bool = False,
        id_value: Any = None,
        before: bytes | None = None,
        after: bytes | None = None,
    ) -> None:
        self.inserted = inserted
        self.matched = matched
        self.modified = modified
        self.deleted = deleted
        self.is_upsert = is_upsert
        self.id_value = id_value
        self.before = before
        self.after = after

    def count(self, handle: Handle) -> None:
        """Add it to the handle's numbers."""
        metrics = handle.metrics
        metrics.inserts += self.inserted
        metrics.updates += self.modified
        metrics.deletes += self.deleted


class Statement(Protocol):
    """A write that was checked."""

    is_many: bool

    def run(self, txn: Txn) -> Outcome:
        """Do it in a transaction whose append lock is taken."""


def encoded(handle: Handle, document: Storable) -> tuple[Any, bytes]:
    """The `_id` and the bytes of a new document; puts the `_id` into it if it had none."""
    checked = document_check(document)
    if "_id" in checked:
        return checked["_id"], encode(checked, checked["_id"])
    id_value = handle.ids()
    id_check(id_value)
    data = encode(checked, id_value)
    if type(document) is dict or isinstance(document, MutableMapping):
        document["_id"] = id_value
    elif checked is not document:
        id_put(document, id_value)
    return id_value, data


def candidates(txn: Txn, name: str, query: Query) -> Iterator[tuple[CollectionInfo, bytes]]:
    """The records that the query finds; the snapshot does not move with the changes."""
    view = txn.view
    info = view.catalog.collections.get(name)
    if info is not None:
        for batch in query.records(view, info):
            stop_check(query.stop)
            for record in batch:
                yield info, record


class Insertion:
    """One new document."""

    __slots__ = ("_name", "data", "id_value", "is_many")

    def __init__(self, name: str, id_value: Any, data: bytes) -> None:
        self._name = name
        self.id_value = id_value
        self.data = data
        self.is_many = False

    def run(self, txn: Txn) -> Outcome:
        """Insert it."""
        inserted(txn, self._name, self.data)
        return Outcome(inserted=1, id_value=self.id_value)


class Alteration:
    """Documents that a query finds, changed; or one inserted, if it finds none."""

    __slots__ = ("_changer", "_handle", "_upsert", "is_many", "name", "query")

    def __init__(
        self,
        handle: Handle,
        name: str,
        query: Query,
        changer: Changer,
        upsert: Mapping[str, Any] | None,
        is_many: bool,
    ) -> None:
        """`upsert` is the filter that an upserted document starts from; None: no upsert."""
        self._handle = handle
        self.name = name
        self.query = query
        self._changer = changer
        self._upsert = upsert
        self.is_many = is_many

    def run(self, txn: Txn) -> Outcome:
        """Change what matches."""
        outcome = Outcome()
        now_ms = Instant(self._handle.core.clock)
        for info, record in candidates(txn, self.name, self.query):
            outcome.matched += 1
            self._replace(txn, info, record, outcome, now_ms)
        if not outcome.matched and self._upsert is not None:
            self._insert(txn, self._upsert, outcome, now_ms)
        return outcome

    def _replace(
        self, txn: Txn, info: CollectionInfo, record: bytes, outcome: Outcome, now_ms: Instant
    ) -> None:
        changer = self._changer
        before = outcome.before = outcome.after = record_parts(record)[6]
        position = self.query.program.position(before) if changer.needs_position else None
        data = changed_bson(changer, before, position, now_ms)
        if data != before:
            stored(txn, info, record, data)
            outcome.modified += 1
            outcome.after = data

    def _insert(
        self, txn: Txn, filter: Mapping[str, Any], outcome: Outcome, now_ms: Instant
    ) -> None:
        from rango.engine.update import upsert

        seed = upsert.seed_of(filter, is_replacement=isinstance(self._changer, Replacement))
        document = self._changer.apply(seed, is_insert=True, now_ms=now_ms)
        id_value, data = encoded(self._handle, document)
        inserted(txn, self.name, data)
        outcome.inserted = 1
        outcome.is_upsert = True
        outcome.id_value = id_value
        outcome.after = data


def changed_bson(
    changer: Changer, before: bytes, position: int | None, now_ms: Callable[[], int]
) -> bytes:
    """What a changer makes of a document; the same bytes if it changes nothing."""
    document = decode_trusted(before)
    changed = changer.apply(document, position=position, now_ms=now_ms)
    return before if changed is document else encode(changed, changed["_id"])


class Removal:
    """Documents that a query finds, deleted."""

    __slots__ = ("is_many", "name", "query")

    def __init__(self, name: str, query: Query, is_many: bool) -> None:
        self.name = name
        self.query = query
        self.is_many = is_many

    def run(self, txn: Txn) -> Outcome:
        """Delete what matches."""
        outcome = Outcome()
        for info, record in candidates(txn, self.name, self.query):
            txn.delete(info, record)
            outcome.deleted += 1
            if not self.is_many:
                outcome.before = record_parts(record)[6]
        return outcome


class Projected:
    """What find_one_and_* return: a document with the fields that are asked for."""

    __slots__ = ("_projection", "_query")

    def __init__(self, query: Query, projection: ProjectionKeys | None) -> None:
        self._query = query
        self._projection: Projection | None = None
        if projection is not None:
            self._projection = projecting()(projection, query.variables, query.collation)

    def __call__(self, bson: bytes | None) -> Document | None:
        if bson is None:
            return None
        document, projection = decode_trusted(bson), self._projection
        if projection is None:
            return document
        position = None
        if projection.positional is not None:
            position = self._query.program.position(bson)
        variables = {"NOW": now(), **self._query.variables}
        return projection.apply(document, position, variables)


def inserted(txn: Txn, name: str, data: bytes) -> None:
    """Put a new document. DuplicateKey says the index's pattern."""
    info = txn.create_collection(name)
    try:
        txn.insert(info, data)
    except DuplicateKey as error:
        error.pattern = pattern_of(info, error.index)
        raise


def stored(txn: Txn | Point, info: CollectionInfo, record: bytes, data: bytes) -> None:
    """Put a document in the place of a record. DuplicateKey says the index's pattern."""
    try:
        txn.replace(info, record, data)
    except DuplicateKey as error:
        error.pattern = pattern_of(info, error.index)
        raise


def pattern_of(info: CollectionInfo, index: str) -> Document:
    """The keys of an index, as create_index takes them."""
    for each in info.maintained:
        if each.name == index:
            return dict(each.fields)
    return {"_id": 1}


def inserting(handle: Handle, name: str, document: Storable) -> Insertion:
    """The statement of insert_one. Raises InvalidDocument, LimitExceeded."""
    return Insertion(name, *encoded(handle, document))


def updating(
    handle: Handle,
    name: str,
    filter: object,
    update: object,
    *,
    is_many: bool = False,
    upsert: bool = False,
    array_filters: object = None,
    **options: Any,
) -> Alteration:
    """The statement of update_one and update_many. Raises InvalidFilter, InvalidUpdate."""
    flag_check("upsert", upsert)
    conditions = filter_check(filter)
    query = query_of(conditions, is_many, **options)
    seed = conditions_of(upsert, conditions)
    from rango.engine.update import compile_update

    changer = compile_update(
        update, array_filters=array_filters, variables=query.variables, collation=query.collation
    )
    return Alteration(handle, name, query, changer, seed, is_many)


def replacing(
    handle: Handle,
    name: str,
    filter: object,
    replacement: object,
    *,
    upsert: bool = False,
    **options: Any,
) -> Alteration:
    """The statement of replace_one. Raises InvalidFilter, InvalidDocument, InvalidUpdate."""
    flag_check("upsert", upsert)
    conditions = filter_check(filter)
    changer = Replacement(replacement_check(replacement))
    query = query_of(conditions, False, **options)
    seed = conditions_of(upsert, conditions)
    return Alteration(handle, name, query, changer, seed, False)


def conditions_of(upsert: bool, conditions: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The filter that what is inserted begins with, or None. Raises InvalidFilter."""
    if not upsert:
        return None
    from rango.engine.update import upsert as upserts

    upserts.upsert_check(conditions)
    return conditions


def flag_check(name: str, value: object) -> None:
    """InvalidArgument unless it is True or False: any text, "no" as well, would be true."""
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name} must be True or False, not {value!r:.60}")


def removing(name: str, filter: object, *, is_many: bool = False, **options: Any) -> Removal:
    """The statement of delete_one and delete_many. Raises InvalidFilter."""
    return Removal(name, query_of(filter_check(filter), is_many, **options), is_many)


def query_of(
    filter: Mapping[str, Any],
    is_many: bool,
    *,
    hint: object = None,
    let: Mapping[str, Any] | None = None,
    collation: object = None,
    sort: SortKeys | None = None,
    stop: Stop | None = None,
) -> Query:
    """The query that finds the candidates of a write."""
    query = Query(filter, let=let, collation=collation)
    query.stop = stop
    return query.options(hint=hint, sort=sort, limit=0 if is_many else 1)


def write_stop(max_time_ms: object) -> Stop | None:
    """What ends a write that may take so long from now. Raises InvalidArgument, QueryCancelled."""
    return stop_of(count_check("max_time_ms", 0 if max_time_ms is None else max_time_ms))


def point_key(handle: Handle, filter: object, options: tuple[object, ...]) -> bytes | None:
    """The key of the one document that a write names by its `_id`, with nothing said besides and
    outside of a transaction; None: the write needs a query. What is logged when it is slow has one.
    """
    if (
        type(filter) is dict
        and len(filter) == 1
        and type(filter.get("_id")) in POINT_TYPES
        and options.count(None) == len(options)
        and handle.metrics.slow_ns == NEVER
        and not active_transactions.get()
    ):
        with contextlib.suppress(InvalidDocument, LimitExceeded):
            # else the query says what is wrong
            return key_of(filter["_id"])
    return None


def changed_by_id(handle: Handle, name: str, key: bytes, changer: Changer) -> Outcome:
    """Change the document that has this key. Raises as Alteration.run does."""
    started = perf_counter_ns()
    core, outcome = handle.core, Outcome()

    def change(point: Point, info: CollectionInfo, record: bytes) -> None:
        outcome.matched = 1
        before = record_parts(record)[6]
        data = changed_bson(changer, before, None, Instant(core.clock))
        if data != before:
            stored(point, info, record, data)
            outcome.modified = 1

    core.write_point(name, key, change, handle.actor)
    handle.metrics.updates += outcome.modified
    handle.metrics.times["update"].observe(perf_counter_ns() - started)
    return outcome


def deleted_by_id(handle: Handle, name: str, key: bytes) -> int:
    """Delete the document that has this key; how many there were."""
    started = perf_counter_ns()
    deleted = 0

    def change(point: Point, info: CollectionInfo, record: bytes) -> None:
        nonlocal deleted
        point.delete(info, record)
        deleted = 1

    handle.core.write_point(name, key, change, handle.actor)
    handle.metrics.deletes += deleted
    handle.metrics.times["delete"].observe(perf_counter_ns() - started)
    return deleted


def executed(handle: Handle, statement: Statement) -> Outcome:
    """Run a statement in the running transaction, or in one of its own."""
    started = perf_counter_ns()
    outcome = handle.write(statement.run, is_atomic=not statement.is_many)
    outcome.count(handle)
    spent = perf_counter_ns() - started
    if isinstance(statement, Alteration | Removal):
        operation = "update" if isinstance(statement, Alteration) else "delete"
        changed = outcome.modified + outcome.deleted + outcome.inserted
        noted(handle, operation, spent, statement.name, statement.query, changed=changed)
    return outcome
