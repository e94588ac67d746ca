"""The whole database as of one commit, to be read for as long as one likes: Database.snapshot and
Database.at.

Terms       snapshot, view: see the glossary. held: what stands where a handle has its core; every
            read of a Collection asks that for its view, and so needs no line of its own here.
States      open -> closed. The database's own handle closed: DatabaseClosed; after a fork:
            ForkedHandle.
Invariants  One view for all reads, whatever is committed, checkpointed or dropped meanwhile, by
            any process. Its pages are kept from being reused until it is closed or collected, and
            no longer.
Failure     Everything that writes raises ReadOnly before it has read anything. SnapshotTooOld if
            other processes have written so much meanwhile that the pages had to be reused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast, overload

from rango.aggregation import CommandCursor, aggregate
from rango.collection import Collection
from rango.errors import DatabaseClosed, ReadOnly
from rango.models import M
from rango.names import collection_name_check, listed_names
from rango.transaction import Handle

if TYPE_CHECKING:
    from rango._ext.view import View
    from rango.engine.core import CollectionInfo, Core, Txn

R = TypeVar("R")


def refuse(*_: object) -> NoReturn:
    """Say that a snapshot cannot be written to."""
    raise ReadOnly("a snapshot is the past, which nobody can change; write to the database itself")


class HeldStore:
    """Where point reads look: see rango.engine.core, Core.store."""

    __slots__ = ("_parent", "_view")

    def __init__(self, parent: Handle, view: View | None) -> None:
        self._parent = parent
        self._view: View | None = parent.committed() if view is None else view

    @property
    def current(self) -> View:
        """The view. Raises DatabaseClosed, ForkedHandle."""
        if self._view is None:
            raise DatabaseClosed("this snapshot was closed; take another one")
        # raises if the database was closed, or if this is a child of the process that opened it
        _ = self._parent.core.store.reached
        return self._view

    def close(self) -> None:
        """Let the view go."""
        self._view = None


class Held:
    """Stands where the core of a handle is: reads find one view, whenever they look."""

    __slots__ = ("_parent", "store")

    insert_one = write_point = staticmethod(refuse)

    def __init__(self, parent: Handle, view: View | None) -> None:
        self._parent = parent
        self.store = HeldStore(parent, view)

    def view(self) -> View:
        """The view. Raises DatabaseClosed, ForkedHandle."""
        return self.store.current

    def collections(self) -> dict[str, CollectionInfo]:
        """The collections by name, as they were."""
        collections: dict[str, CollectionInfo] = self.store.current.catalog.collections
        return collections

    def is_of(self, handle: Handle) -> bool:
        """Whether this is a state of the database of that handle."""
        return self._parent.core is handle.core

    def release(self) -> None:
        """Let the view go."""
        self.store.close()

    def __getattr__(self, name: str) -> Any:
        # the log, the clock and the like are those of the database
        return getattr(self._parent.core, name)


class SnapshotHandle(Handle):
    """The handle that a Snapshot and its Collections share."""

    __slots__ = ()

    def __init__(self, parent: Handle, view: View | None) -> None:
        super().__init__(cast("Core", Held(parent, view)), parent.path, parent.ids)
        self.metrics = parent.metrics
        self.direct = None
        self.point_reads = None
        self.prepared_finds = None

    @property
    def is_closed(self) -> bool:
        """Whether its view was let go."""
        return not self.finalize.alive

    def close(self) -> None:
        """Let the view go, once."""
        self.finalize()

    def write(self, work: Callable[[Txn], R], is_atomic: bool) -> R:
        """Refuse."""
        refuse(work, is_atomic)

    def outside(self, what: str) -> Core:
        """Refuse."""
        refuse(what)


class Snapshot:
    """The whole database as of one commit, read-only: `with db.snapshot() as past: ...`

    `past["name"]` is a Collection whose reads (find, count_documents, distinct, aggregate, explain,
    history ...) see that commit; whatever writes raises ReadOnly. It may be shared by threads. What
    it sees is not given back to the data file until it is closed: do not keep it for days. Reads
    raise SnapshotTooOld if other processes wrote very much meanwhile; take another one then.
    """

    __slots__ = ("__weakref__", "_handle")

    def __init__(self, parent: Handle, view: View | None = None) -> None:
        self._handle = SnapshotHandle(parent, view)

    def __getitem__(self, name: str) -> Collection[dict[str, Any]]:
        """The collection with that name, as it was. Raises InvalidName if there cannot be one."""
        return Collection(self._handle, collection_name_check(name))

    @overload
    def collection(self, name: str) -> Collection[dict[str, Any]]: ...
    @overload
    def collection(self, name: str, model: type[M]) -> Collection[M]: ...
    def collection(self, name: str, model: type[M] | None = None) -> Collection[Any]:
        """The same, or one whose documents are objects of a class: see Database.collection()."""
        if model is None:
            return self[name]
        from rango.model_collection import ModelCollection

        return ModelCollection(self._handle, collection_name_check(name), model)

    def list_collection_names(self) -> list[str]:
        """The names of the collections that existed, sorted; not those that Rango keeps itself."""
        return listed_names(self._handle.core.view().catalog.collections)

    def aggregate(
        self,
        pipeline: Sequence[Mapping[str, Any]],
        session: None = None,  # noqa: ARG002
        **options: Any,
    ) -> CommandCursor:
        """A lazy cursor over a pipeline that begins with `$documents`: see Database.aggregate()."""
        return aggregate(self._handle, None, pipeline, options)

    @property
    def ordinal(self) -> int:
        """Number of the last commit that it sees."""
        return self._handle.core.view().ordinal

    @property
    def is_closed(self) -> bool:
        """Whether close() was called."""
        return self._handle.is_closed

    def close(self) -> None:
        """Let it go; its collections and cursors raise DatabaseClosed from then on."""
        self._handle.close()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        what = "closed" if self.is_closed else f"as of commit {self.ordinal}"
        return f"<rango.Snapshot of {self._handle.path!r} ({what})>"
