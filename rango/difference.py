"""What happened between two moments: Database.diff.

Terms       before, after: the two states that are compared.
States      running -> done (exhausted, closed, or failed).
Failure     engine/diff.py.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from rango._ext.record import decode, record_parts
from rango._ext.stop import Stop
from rango.engine import diff as engine
from rango.engine.stopping import stop_check, stop_of
from rango.errors import InvalidArgument
from rango.names import collection_name_check

if TYPE_CHECKING:
    from rango._ext.collection_info import IndexInfo
    from rango._ext.view import View
    from rango.engine.rollback import Done

Kind = Literal[
    "collection_dropped",
    "collection_renamed",
    "collection_created",
    "index_dropped",
    "index_created",
    "inserted",
    "changed",
    "deleted",
]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not the same in two states of a database.

    `kind` and `collection` are always there; the others where they mean something: `before` and
    `after` of documents, `index` of indexes (its name and options), `old_name` of a renamed
    collection.
    """

    kind: Kind
    collection: str
    """Its later name, or its only one."""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    index: dict[str, Any] | None = None
    old_name: str | None = None

    @property
    def id(self) -> Any:
        """The `_id` of the document; None of collections and indexes."""
        document = self.after if self.before is None else self.before
        return None if document is None else document["_id"]

    def fields(self) -> tuple[dict[str, Any], list[str]]:
        """(fields set, fields removed) by dotted path, of a changed document.

        Embedded documents field by field, arrays whole. 1 and 1.0 differ; the order of fields does
        not count, so that both may be empty. Both are empty of everything else.
        """
        from rango.engine.history import difference

        if self.before is None or self.after is None:
            return {}, []
        return difference(self.before, self.after)

    def as_dict(self) -> dict[str, Any]:
        """The same as a dictionary: what there is, and of a changed document `set` and `removed`.

        `collection kind`, then `_id before after set removed`, `index` or `old_name`.
        """
        shown: dict[str, Any] = {"collection": self.collection, "kind": self.kind}
        if self.id is not None or self.before is not None or self.after is not None:
            shown["_id"] = self.id
        for name in ("before", "after", "index", "old_name"):
            if getattr(self, name) is not None:
                shown[name] = getattr(self, name)
        if self.kind == "changed":
            shown["set"], shown["removed"] = self.fields()
        return shown


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a rollback did, or with `dry_run` would do."""

    before: int
    """The commit before it: rollback(to=this) takes it back."""
    collections: dict[str, dict[str, int]]
    """By name: how many documents were `inserted`, `changed` and `deleted`; only where any were."""
    structure: list[Change]
    """What happened to collections and indexes, as diff() says it."""
    is_dry_run: bool

    @property
    def documents(self) -> int:
        """How many documents it wrote or deleted."""
        return sum(sum(counts.values()) for counts in self.collections.values())

    def as_dict(self) -> dict[str, Any]:
        """The same as a dictionary: `before documents collections structure is_dry_run`."""
        return {
            "before": self.before,
            "documents": self.documents,
            "collections": self.collections,
            "structure": [change.as_dict() for change in self.structure],
            "is_dry_run": self.is_dry_run,
        }


def rolled_back(done: Done, is_dry_run: bool) -> Rollback:
    """The result for people."""
    # a collection made anew under its name keeps its place: only its documents change
    found = [
        change
        for change in structure(done.pairs)
        if change.kind not in {"collection_dropped", "collection_created"}
        or not any(pair.name == change.collection and engine.is_remade(pair) for pair in done.pairs)
    ]
    return Rollback(done.before, done.counts, found, is_dry_run)


class Changes:
    """An iterator over Changes: `for change in db.diff(a, b): ...`

    Lazy: it compares as it goes. It keeps what it reads from being reused until it is exhausted,
    closed or collected. cancel() ends it from any thread: the iteration raises QueryCancelled.
    """

    __slots__ = ("__weakref__", "_found", "_stop")

    def __init__(self, before: View, after: View, names: frozenset[str] | None) -> None:
        self._stop = Stop()
        self._found = changes_of(before, after, names, self._stop)

    def __iter__(self) -> Changes:
        return self

    def __next__(self) -> Change:
        return next(self._found)

    def cancel(self) -> None:
        """End it soon; any thread may call it."""
        self._stop.cancel()

    def close(self) -> None:
        """Let go of what it reads; there are no more changes then. May be called again."""
        self._found.close()

    def __enter__(self) -> Changes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def changes_of(
    before: View, after: View, names: frozenset[str] | None, own: Stop
) -> Generator[Change, None, None]:
    """The changes; the views go with the generator."""
    stop = stop_of(0, own)
    found = engine.pairs(before, after, names)
    yield from structure(found)
    for pair in found:
        for old, new in engine.records(engine.diff_of(before, after, pair, stop)):
            stop_check(stop)
            yield document_change(pair.name, old, new)


def structure(pairs: Sequence[engine.Pair]) -> Iterator[Change]:
    """What happened to collections, then to indexes."""
    for pair in pairs:
        if pair.before is not None and (pair.after is None or engine.is_remade(pair)):
            yield Change("collection_dropped", pair.name)
    for pair in pairs:
        if pair.before is not None and pair.before.name != pair.name:
            yield Change("collection_renamed", pair.name, old_name=pair.before.name)
    for pair in pairs:
        if pair.after is not None and (pair.before is None or engine.is_remade(pair)):
            yield Change("collection_created", pair.name)
    for pair in pairs:
        for step in engine.index_steps(pair):
            yield Change(step.kind, step.collection, index=index_shown(step.info))


def document_change(name: str, old: bytes | None, new: bytes | None) -> Change:
    """The change of one document."""
    before = None if old is None else decode(record_parts(old)[6])
    after = None if new is None else decode(record_parts(new)[6])
    if before is None:
        return Change("inserted", name, after=after)
    return Change("deleted" if after is None else "changed", name, before=before, after=after)


def index_shown(index: IndexInfo) -> dict[str, Any]:
    """An index as a dictionary: name, keys, and the options that it has."""
    shown: dict[str, Any] = {"name": index.name, "keys": dict(index.fields)}
    options = {
        "unique": index.unique,
        "sparse": index.sparse,
        "partial": index.partial,
        "expire_after_s": index.expire_after_s,
        "hidden": index.hidden,
    }
    # an expire_after_s of 0 is one
    return shown | {
        name: value for name, value in options.items() if value is not None and value is not False
    }


def names_asked(collections: str | Iterable[str] | None) -> frozenset[str] | None:
    """The names in a `collections` argument. Raises InvalidArgument, InvalidName."""
    if collections is None:
        return None
    if isinstance(collections, str) or not isinstance(collections, Iterable):
        raise InvalidArgument('collections is a list of names, such as ["notes"], or None for all')
    return frozenset(collection_name_check(name) for name in collections)
