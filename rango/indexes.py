"""Indexes of a collection: made, changed, dropped and listed under PyMongo's names.

Terms       keys: what the caller calls the fields of an index; a model: one index that is asked
            for, checked.
Invariants  Whatever can be refused without looking at the collection is refused before anything is
            changed.
Failure     InvalidName and InvalidArgument say what to change, with MongoDB's code where it has
            one (67: an index that cannot be made; 2, 72, 197: not for that of `_id`).
Sources     MongoDB manual, "createIndexes", "Partial Indexes", "TTL Indexes".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from bson.regex import Regex

from rango.engine import index
from rango.engine.filters import program_of
from rango.errors import (
    InvalidArgument,
    InvalidFilter,
    InvalidName,
    LimitExceeded,
    NotFound,
    RangoError,
)
from rango.limits import FILTER_DEPTH_MAX, INDEX_EXPIRE_S_MAX, INDEX_FIELDS_MAX
from rango.names import RESERVED_NAMES, name_check
from rango.statements import write_stop

if TYPE_CHECKING:
    from rango._ext.stop import Stop
    from rango.engine.core import CollectionInfo, Core, IndexInfo
    from rango.transaction import Handle

IndexKeys = str | Sequence[str | tuple[str, int]] | Mapping[str, int]
Progress = Callable[[int, int], object]

BAD_VALUE: Final = 2
CANNOT_CREATE: Final = 67
INVALID_OPTIONS: Final = 72
INVALID_ID_OPTION: Final = 197
NOT_FOUND: Final = 27

ID_INDEX: Final = "_id_"
ID_FIELDS: Final = (("_id", 1),)
ID_BACKWARDS: Final = (("_id", -1),)

KINDS_REFUSED: Final = ("text", "2d", "2dsphere", "geoHaystack", "hashed", "columnstore")
"""Kinds of index that MongoDB has and Rango does not."""

IGNORED: Final = frozenset({"background", "comment", "session", "commitQuorum", "v"})
"""Options of PyMongo that mean nothing here."""

PARTIAL_OPERATORS: Final = frozenset(
    {"$eq", "$exists", "$gt", "$gte", "$lt", "$lte", "$type", "$in"}
)
PARTIAL_LISTS: Final = frozenset({"$and", "$or"})


class IndexModel:
    """One index that create_indexes() makes: `IndexModel([("a", 1), ("b", -1)], unique=True)`.

    `keys`                    "a", ["a", ("b", -1)], [("a", 1)] or {"a": 1}
    `name`                    "a_1_b_-1" unless it is given
    `unique`                  no two documents may have the same value; a missing field counts as
                              null
    `sparse`                  documents that have none of the fields are not in the index
    `partialFilterExpression` only documents that match this filter are in the index; also
                              `partial_filter`. $eq, $exists: true, $gt, $gte, $lt, $lte, $type,
                              $in, $and, $or
    `expireAfterSeconds`      documents are deleted so long after the date in the field; also
                              `expire_after_s`. One field, not `_id`
    `hidden`                  kept up to date, but no query uses it
    `collation`               only {"locale": "simple"}
    """

    __slots__ = ("_asked",)

    def __init__(self, keys: IndexKeys, **options: Any) -> None:
        self._asked = asked_check(keys, options)

    @property
    def document(self) -> dict[str, Any]:
        """The index as list_indexes() would show it."""
        return index_listed(self._asked)


class CollectionIndexes:
    """The methods of a Collection that concern its indexes."""

    __slots__ = ()

    _handle: Handle
    _name: str

    def create_index(
        self,
        keys: IndexKeys,
        unique: bool = False,
        name: str | None = None,
        *,
        progress: Progress | None = None,
        **options: Any,
    ) -> str:
        """Index one or several fields: `"a"`, `[("a.b", -1), ("c", 1)]`. Returns the index's name.

        The options are those of IndexModel. Documents that are there already are indexed before it
        returns, a batch at a time; others may read and write meanwhile. `progress(done, total)` is
        called after each batch. `max_time_ms` (`maxTimeMS`): raise Timeout after so long; no index
        is there then. Nothing happens if the same index exists.

        Raises DuplicateKey if `unique` and two documents have the same value; IndexConflict if
        there is an index of that name or on those fields with other options; InvalidDocument if two
        of the fields meet different arrays in one document; InvalidName, InvalidArgument,
        InvalidFilter, LimitExceeded; TransactionError inside a transaction.
        """
        core = self._handle.outside("create_index()")
        stop = write_stop(one_of(options, "maxTimeMS", "max_time_ms"))
        asked = asked_check(keys, {**options, "unique": unique, "name": name})
        if progress is not None and not callable(progress):
            raise InvalidArgument(f"progress must be a function, not {type(progress).__name__}")
        self._create(core, asked, stopping(progress, stop))
        return asked.name

    def create_indexes(self, indexes: Iterable[IndexModel]) -> list[str]:
        """Make several indexes; their names. PyMongo's IndexModel is understood as well.

        Raises what create_index raises; those before the one that failed are there then.
        """
        models = [asked_of(model) for model in indexes]
        if not models:
            raise InvalidArgument("create_indexes() needs at least one IndexModel")
        core = self._handle.outside("create_indexes()")
        stop = write_stop(None)
        for asked in models:
            self._create(core, asked, stopping(None, stop))
        return [asked.name for asked in models]

    def _create(self, core: Core, asked: IndexInfo, progress: Progress | None) -> None:
        if asked.fields != ID_FIELDS:
            core.create_index(self._name, asked, progress)
        elif core.collections().get(self._name) is None:
            core.create_collection(self._name)

    def modify_index(
        self,
        index_or_name: IndexKeys,
        *,
        expire_after_s: int | None = None,
        hidden: bool | None = None,
    ) -> None:
        """Change an index's expiry, or hide it from queries (MongoDB's collMod).

        Nothing is built anew. Raises NotFound, InvalidArgument, and TransactionError inside a
        transaction.
        """
        core = self._handle.outside("modify_index()")
        found = index_named(core.collections().get(self._name), self._name, index_or_name)
        changed: dict[str, Any] = {}
        if expire_after_s is not None:
            expire_check(found.fields, expire_after_s)
            changed["expire_after_s"] = int(expire_after_s)
        if hidden is not None:
            changed["hidden"] = flag_check("hidden", hidden)
        if not changed:
            raise InvalidArgument("modify_index() needs expire_after_s or hidden")
        index.modify(core, self._name, found.name, changed)
        core.expirer.start()

    def drop_index(self, index_or_name: IndexKeys) -> None:
        """Delete an index, given by its name or its keys; "*" means all but that of `_id`.

        Raises NotFound, and TransactionError inside a transaction.
        """
        if index_or_name == "*":
            self.drop_indexes()
            return
        core = self._handle.outside("drop_index()")
        found = index_named(core.collections().get(self._name), self._name, index_or_name)
        core.drop_index(self._name, found.name)

    def drop_indexes(self) -> None:
        """Delete all indexes but that of `_id`, in one commit.

        Raises TransactionError inside a transaction.
        """
        core = self._handle.outside("drop_indexes()")
        info = core.collections().get(self._name)
        if info is not None and info.ready:
            core.drop_index(self._name, *(each.name for each in info.ready))

    def list_indexes(self) -> list[dict[str, Any]]:
        """The indexes as MongoDB lists them: `{"v": 2, "key": {"a": 1}, "name": "a_1"}`, with
        `unique`, `sparse`, `partialFilterExpression`, `expireAfterSeconds` and `hidden` where they
        have them.

        That of `_id` comes first. Empty if the collection does not exist.
        """
        info = self._handle.view()[0].catalog.collections.get(self._name)
        if info is None:
            return []
        listed: list[dict[str, Any]] = [{"v": 2, "key": {"_id": 1}, "name": ID_INDEX}]
        return [*listed, *(index_listed(each) for each in info.ready)]

    def index_information(self) -> dict[str, dict[str, Any]]:
        """The same by name, `key` as a list of pairs: `{"a_1": {"v": 2, "key": [("a", 1)]}}`."""
        return {
            each.pop("name"): {**each, "key": list(each["key"].items())}
            for each in self.list_indexes()
        }


def asked_of(model: object) -> IndexInfo:
    """The index that an IndexModel asks for: ours, or PyMongo's."""
    if isinstance(model, IndexModel):
        return model._asked
    # by its shape: PyMongo itself is not imported for this
    document = getattr(model, "document", None)
    if not isinstance(document, Mapping) or "key" not in document:
        raise InvalidArgument(f"create_indexes() takes IndexModels, not {type(model).__name__}")
    options = dict(document)
    return asked_check(options.pop("key"), options)


def stopping(progress: Progress | None, stop: Stop | None) -> Progress | None:
    """What to call after each batch, so that the building ends when it must."""
    if stop is None:
        return progress

    def step(done: int, total: int) -> None:
        try:
            stop.check()
        except RangoError as error:
            error.add_note("the index is not there; create it again")
            raise
        if progress is not None:
            progress(done, total)

    return step


def asked_check(keys: IndexKeys, options: Mapping[str, Any]) -> IndexInfo:
    """The index that is asked for, every option checked."""
    from rango._ext.collection_info import IndexInfo

    fields = fields_check(keys)
    known = dict(options)
    partial = one_of(known, "partialFilterExpression", "partial_filter")
    expire_after_s = one_of(known, "expireAfterSeconds", "expire_after_s")
    name = known.pop("name", None)
    flags = {flag: flag_check(flag, known.pop(flag, False)) for flag in FLAGS}
    collation = known.pop("collation", None)
    if collation is not None and dict(collation).get("locale") != "simple":
        raise InvalidArgument(
            "an index with a collation is not supported: indexes compare bytes (the simple "
            "collation); leave it out",
            code=CANNOT_CREATE,
        )
    unknown = sorted(known.keys() - IGNORED)
    if unknown:
        raise InvalidArgument(
            f"{unknown[0]!r} is not an option of an index; there are {', '.join(FLAGS)}, name, "
            "partialFilterExpression, expireAfterSeconds",
            code=CANNOT_CREATE,
        )
    if fields == ID_BACKWARDS:
        raise InvalidArgument(
            "the index on _id is always {'_id': 1}: it is read both ways", code=BAD_VALUE
        )
    if name == ID_INDEX and fields != ID_FIELDS:
        raise InvalidArgument(
            f"the name {ID_INDEX} is kept for the index on _id; give another", code=BAD_VALUE
        )
    if fields == ID_FIELDS and (
        flags["sparse"] or flags["hidden"] or partial is not None or expire_after_s is not None
    ):
        raise InvalidArgument(
            "the index on _id is the collection itself: it takes no options", code=INVALID_ID_OPTION
        )
    if expire_after_s is not None:
        expire_check(fields, expire_after_s)
    if partial is not None:
        partial_check(partial)
        if flags["sparse"]:
            raise InvalidArgument(
                "an index is sparse or partial, not both; say {'$exists': true} in the partial "
                "filter",
                code=CANNOT_CREATE,
            )
    if fields == ID_FIELDS:
        name = ID_INDEX
    elif name is None:
        name = "_".join(f"{path}_{direction}" for path, direction in fields)
    return IndexInfo(
        str.__str__(name_check(name, "index name")),
        0,
        fields,
        partial=partial,
        expire_after_s=None if expire_after_s is None else int(expire_after_s),
        **flags,
    )


FLAGS: Final = ("unique", "sparse", "hidden")


def one_of(options: dict[str, Any], theirs: str, ours: str) -> Any:
    """An option that has two names."""
    first, second = options.pop(theirs, None), options.pop(ours, None)
    if first is not None and second is not None:
        raise InvalidArgument(f"{theirs} and {ours} are the same option; give one of them")
    return second if first is None else first


def flag_check(name: str, value: object) -> bool:
    """A flag: True, False, or None for False."""
    if value is not None and not isinstance(value, bool):
        raise InvalidArgument(f"{name} must be True or False, not {value!r}", code=CANNOT_CREATE)
    return bool(value)


def fields_check(keys: IndexKeys) -> tuple[tuple[str, int], ...]:
    """The fields of an index: `"a"`, `["a", ("b", -1)]`, `[("a", 1)]` or `{"a": 1}`."""
    if not isinstance(keys, str | Mapping | list | tuple):
        raise InvalidArgument(
            f'index keys must be like "a" or [("a", 1)], not {type(keys).__name__}',
            code=CANNOT_CREATE,
        )
    pairs: list[Any] = (
        [keys]
        if isinstance(keys, str)
        else list(keys.items() if isinstance(keys, Mapping) else keys)
    )
    if not pairs:
        raise InvalidArgument("an index needs at least one field", code=CANNOT_CREATE)
    if len(pairs) > INDEX_FIELDS_MAX:
        raise LimitExceeded("INDEX_FIELDS_MAX", len(pairs), code=CANNOT_CREATE)
    fields = tuple(field_check(pair, keys) for pair in pairs)
    paths = [path for path, _direction in fields]
    if len(set(paths)) < len(paths):
        raise InvalidArgument(f"a field is named twice in {keys!r}", code=CANNOT_CREATE)
    return fields


def field_check(pair: Any, keys: IndexKeys) -> tuple[str, int]:
    """One field and its direction."""
    if isinstance(pair, str):
        pair = (pair, 1)
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
        raise InvalidArgument(
            f'index keys must be like "a" or [("a", 1)], not {keys!r}', code=CANNOT_CREATE
        )
    path, direction = str.__str__(pair[0]), pair[1]
    if direction in KINDS_REFUSED or path == "$**" or path.endswith(".$**"):
        kind = "wildcard" if path.endswith("$**") else direction
        raise InvalidArgument(
            f"{path!r}: a {kind} index is not supported; index the fields themselves, with 1 or -1",
            code=CANNOT_CREATE,
        )
    if isinstance(direction, bool) or direction not in (1, -1):
        raise InvalidArgument(
            f"{path!r}: the direction of an index is 1 or -1, not {direction!r}", code=CANNOT_CREATE
        )
    parts = path.split(".")
    if "\0" in path or "" in parts or any(part.startswith("$") for part in parts):
        raise InvalidName(
            f"{path!r} is not a path of a field: no empty part, NUL or leading '$'",
            code=CANNOT_CREATE,
        )
    if parts[0] in RESERVED_NAMES:
        raise InvalidName(f"{path!r} cannot be indexed: Rango keeps it outside of the document")
    return path, int(direction)


def expire_check(fields: tuple[tuple[str, int], ...], seconds: object) -> None:
    """Raise InvalidArgument unless an index on these fields can end documents after that time."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or math.isnan(seconds):
        raise InvalidArgument(
            f"expireAfterSeconds must be a number, not {seconds!r}", code=CANNOT_CREATE
        )
    if not 0 <= seconds <= INDEX_EXPIRE_S_MAX:
        raise InvalidArgument(
            f"expireAfterSeconds is {seconds}; it must be from 0 to {INDEX_EXPIRE_S_MAX}",
            code=CANNOT_CREATE,
        )
    if len(fields) > 1 or fields == ID_FIELDS:
        raise InvalidArgument(
            "expireAfterSeconds is for an index on one field that is not _id", code=CANNOT_CREATE
        )


def partial_check(partial: object) -> None:
    """Raise InvalidArgument or InvalidFilter unless this can be a partial filter."""
    if not isinstance(partial, Mapping):
        raise InvalidArgument(
            f"partialFilterExpression must be a filter, not {type(partial).__name__}",
            code=CANNOT_CREATE,
        )
    for path, operator, value in partial_conditions(partial):
        if operator not in PARTIAL_OPERATORS or (operator == "$exists" and not value):
            raise InvalidFilter(
                f"{path!r}: {operator} is not possible in a partial index; there are "
                f"{', '.join(sorted(PARTIAL_OPERATORS | PARTIAL_LISTS))}, and $exists only with "
                "true",
                code=CANNOT_CREATE,
            )
        if path.split(".", 1)[0] in RESERVED_NAMES or isinstance(value, Regex):
            raise InvalidFilter(
                f"{path!r}: a partial index can only depend on values of the document's own fields",
                code=CANNOT_CREATE,
            )
    program_of(partial)


def partial_conditions(filter: Mapping[str, Any], depth: int = 1) -> Iterator[tuple[str, str, Any]]:
    """Every condition of a filter, as (path, operator, operand)."""
    if depth > FILTER_DEPTH_MAX:
        raise LimitExceeded("FILTER_DEPTH_MAX", depth, code=CANNOT_CREATE)
    for name, value in filter.items():
        if not isinstance(name, str):
            raise InvalidFilter(f"a filter names fields by strings, not {name!r:.100}")
        if name in PARTIAL_LISTS:
            for each in value if isinstance(value, list | tuple) else ():
                if isinstance(each, Mapping):
                    yield from partial_conditions(each, depth + 1)
        elif name.startswith("$"):
            yield name, name, value
        elif isinstance(value, Mapping) and any(str(key).startswith("$") for key in value):
            for operator, operand in value.items():
                yield name, operator, operand
        else:
            yield name, "$eq", value


def index_named(
    info: CollectionInfo | None, collection: str, index_or_name: IndexKeys
) -> IndexInfo:
    """The index that a name or keys mean. Raises NotFound, or InvalidArgument for that of `_id`."""
    fields = None if isinstance(index_or_name, str) else fields_check(index_or_name)
    if index_or_name == ID_INDEX or fields == ID_FIELDS:
        raise InvalidArgument(
            "the index on _id cannot be changed or dropped; it is the collection itself",
            code=INVALID_OPTIONS,
        )
    found = [
        each
        for each in (() if info is None else info.ready)
        if (each.name == index_or_name if fields is None else each.fields == fields)
    ]
    if not found:
        raise NotFound(
            f"collection {collection!r} has no index {index_or_name!r}; list_indexes() names all",
            code=NOT_FOUND,
        )
    if len(found) > 1:
        names = ", ".join(repr(each.name) for each in found)
        raise InvalidArgument(
            f"several indexes have the keys {index_or_name!r}: {names}; give the name of one",
            code=INVALID_OPTIONS,
        )
    return found[0]


def index_listed(info: IndexInfo) -> dict[str, Any]:
    """An index as MongoDB lists it."""
    options = {
        "unique": info.unique or None,
        "sparse": info.sparse or None,
        "partialFilterExpression": None if info.partial is None else dict(info.partial),
        "expireAfterSeconds": info.expire_after_s,
        "hidden": info.hidden or None,
    }
    return {
        "v": 2,
        "key": dict(info.fields),
        "name": info.name,
        **{name: value for name, value in options.items() if value is not None},
    }
