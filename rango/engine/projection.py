"""Projections: which fields of a document are returned, and in which form.

Terms       inclusion: only the named fields and `_id`; exclusion: all but the named ones. computed:
            a field whose value an expression gives. positional: `"a.$"`, the element of an array
            that made the filter match. meta: the fields of a record's header (`_rev`,
            `_updated_at`, `_source_node`), returned only when they are asked for.
Invariants  A projection is one of the two; only `_id` and the meta fields may differ. `$slice` goes
            with both and decides for neither: alone it leaves all other fields. `$elemMatch` alone
            makes an inclusion, computed and positional fields always do. Fields keep the document's
            order; computed ones and those of `$elemMatch` in an inclusion follow in the order of
            the projection. A path goes into documents and into the documents of arrays; a number
            in it is a name, never a position. The document that is given is not changed; what is
            returned shares its values.
Failure     InvalidFilter with MongoDB's code names the path and what is wrong with it.
            ExpressionFailed while a document is projected.
Sources     MongoDB manual, "Project Fields to Return from Query", "$ (projection)", "$elemMatch
            (projection)", "$slice (projection)".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rango._ext.filter import Program
from rango._ext.record import encode
from rango.engine.projection_spec import Entry, entries_of
from rango.engine.values import MISSING, fields_of
from rango.errors import InvalidFilter

if TYPE_CHECKING:
    from rango.engine.expression import Expression

Tree = dict[str, Any]
"""A name to a Tree (there is more path) or to True (the path ends here)."""

Document = dict[str, Any]


class Slice:
    """`$slice`: elements of the array at a path."""

    __slots__ = ("count", "parts", "skip")

    def __init__(self, parts: tuple[str, ...], skip: int | None, count: int) -> None:
        """`skip` None: `count` elements from the start, or from the end if it is negative."""
        self.parts = parts
        self.skip = skip
        self.count = count

    def of(self, values: list[Any]) -> list[Any]:
        """The elements that stay."""
        if self.skip is None:
            return values[: self.count] if self.count >= 0 else values[self.count :]
        start = self.skip if self.skip >= 0 else max(0, len(values) + self.skip)
        return values[start : start + self.count]

    def apply(self, value: Any, at: int = 0) -> Any:
        """The value with the array at the path cut; arrays on the way are gone into."""
        if at == len(self.parts):
            return self.of(value) if isinstance(value, list) else value
        if isinstance(value, list):
            return [self.apply(each, at) if isinstance(each, dict) else each for each in value]
        name = self.parts[at]
        if isinstance(value, dict) and name in value:
            return {**value, name: self.apply(value[name], at + 1)}
        return value


class Projection(NamedTuple):
    """A checked projection."""

    tree: Tree
    is_inclusion: bool
    meta: tuple[str, ...] = ()
    computed: tuple[tuple[tuple[str, ...], Expression | Program], ...] = ()
    slices: tuple[Slice, ...] = ()
    positional: tuple[str, ...] | None = None
    names: frozenset[str] | None = None
    """The top-level fields to decode of a record (inclusion), or to leave out; None: see all."""
    is_flat: bool = False
    """Is what `names` says all that there is to do?"""

    @property
    def is_everything(self) -> bool:
        """Does it return every document as it is (meta fields aside)?"""
        return not (self.is_inclusion or self.tree or self.computed or self.slices)

    def apply(
        self,
        document: Document,
        position: int | None = None,
        variables: dict[str, Any] | None = None,
    ) -> Document:
        """What is asked for of a document. Meta fields pass if it has them and they are named.

        `position` is the element that made the filter match, for a positional projection;
        `variables` are those of expressions.
        """
        if self.is_everything:
            return document
        is_inclusion = self.is_inclusion
        found = _include(document, self.tree) if is_inclusion else _exclude(document, self.tree)
        for parts, value in self.computed:
            if isinstance(value, Program):
                _set(found, parts[0], _first_match(value, parts[0], document))
            else:
                _compute(found, parts, value.evaluate(document, variables or {}))
        for each in self.slices:
            found = each.apply(found)
        if self.positional is not None:
            _take_position(found, self.positional, position)
        return found


EVERYTHING: Final = Projection({}, False)


def projection_of(spec: object, variables: Iterable[str] = (), collation: Any = None) -> Projection:
    """Check a projection: None, a mapping, or a list of the names to return.

    `variables` are the names that expressions may use as "$$name"; `collation` is how `$elemMatch`
    compares strings.
    """
    if spec is None:
        return EVERYTHING
    entries, meta = entries_of(spec, frozenset(variables), collation)
    is_inclusion = _is_inclusion(entries, meta)
    tree: Tree = {}
    for entry in entries:
        if not entry.is_id_flag:
            _place(tree, entry, is_inclusion)
    if is_inclusion:
        tree.update(dict.fromkeys(meta, True))
    flags = [entry.kind for entry in entries if entry.is_id_flag]
    names_id = any(entry.parts[0] == "_id" for entry in entries)
    if ("include" in flags or not names_id) if is_inclusion else "exclude" in flags:
        tree["_id"] = True
    computed = tuple(
        (entry.parts, entry.value) for entry in entries if entry.kind in {"compute", "match"}
    )
    slices = tuple(Slice(entry.parts, *entry.value) for entry in entries if entry.kind == "slice")
    positional = next((each.parts for each in entries if each.kind == "position"), None)
    is_flat = not (computed or slices or positional) and all(each is True for each in tree.values())
    names = None
    if is_inclusion and all(isinstance(value, Program) for _, value in computed):
        names = frozenset(tree) | {parts[0] for parts, _ in computed}
    elif not is_inclusion and not computed:
        names = frozenset(name for name, below in tree.items() if below is True)
    return Projection(tree, is_inclusion, meta, computed, slices, positional, names, is_flat)


def _is_inclusion(entries: list[Entry], meta: tuple[str, ...]) -> bool:
    """Which of the two it is: the first field that decides; without one, what stands alone."""
    first: Entry | None = None
    for entry in entries:
        if entry.kind in {"slice", "match"} or entry.is_id_flag:
            continue
        if first is None:
            first = entry
        elif (first.kind == "exclude") != (entry.kind == "exclude"):
            raise _mixed(first, entry)
    if first is not None:
        return first.kind != "exclude"
    if any(each.kind == "match" for each in entries):
        return True
    ids = [each.kind for each in entries if each.is_id_flag]
    return "include" in ids or (bool(meta) and len(ids) == len(entries))


def _mixed(first: Entry, entry: Entry) -> InvalidFilter:
    if entry.kind == "exclude":
        return InvalidFilter(
            f"the projection leaves out {entry.path!r}, but {first.path!r} makes it an inclusion; "
            "only _id may be left out of one",
            code=31254,
        )
    what, code = {
        "include": ("includes", 31253),
        "compute": ("computes", 31252),
        "position": ("takes an element of", 31395),
    }[entry.kind]
    return InvalidFilter(
        f"the projection {what} {entry.path!r}, but {first.path!r} makes it an exclusion; use two "
        "queries or name only what is left out",
        code=code,
    )


def _place(tree: Tree, entry: Entry, is_inclusion: bool) -> None:
    """Put a path into the tree of what is kept or left out."""
    parts: tuple[str, ...] = entry.parts
    if entry.kind == "compute":
        # the documents on the way to a computed field are built anew, with what else they keep
        parts, is_leaf = parts[:-1], False
    elif entry.kind == "match" or (entry.kind == "slice" and not is_inclusion):
        return
    else:
        is_leaf = True
    for at, name in enumerate(parts):
        if is_leaf and at == len(parts) - 1:
            tree[name] = True
        else:
            tree = tree.setdefault(name, {})


def _include(document: Document, tree: Tree) -> Document:
    found: Document = {}
    for name, value in document.items():
        below = tree.get(name)
        if below is True:
            found[name] = value
        elif below is not None:
            if isinstance(value, list):
                found[name] = _include_all(value, below)
            elif (fields := fields_of(value)) is not None:
                found[name] = _include(fields, below)
    return found


def _include_all(values: list[Any], tree: Tree) -> list[Any]:
    # what is neither a document nor an array has no field that could be returned
    found: list[Any] = []
    for value in values:
        if isinstance(value, list):
            found.append(_include_all(value, tree))
        elif (fields := fields_of(value)) is not None:
            found.append(_include(fields, tree))
    return found


def _exclude(document: Document, tree: Tree) -> Document:
    found: Document = {}
    for name, value in document.items():
        below = tree.get(name)
        if below is None:
            found[name] = value
        elif below is not True:
            found[name] = _exclude_all(value, below)
    return found


def _exclude_all(value: Any, tree: Tree) -> Any:
    if isinstance(value, list):
        return [_exclude_all(element, tree) for element in value]
    fields = fields_of(value)
    return value if fields is None else _exclude(fields, tree)


def _set(found: Document, name: str, value: Any) -> None:
    if value is MISSING:
        found.pop(name, None)
    else:
        found[name] = value


def _compute(found: Document, parts: tuple[str, ...], value: Any) -> None:
    """Set the field at a path; documents on the way are made, or take the place of a scalar."""
    name = parts[0]
    if len(parts) == 1:
        _set(found, name, value)
    else:
        found[name] = _computed_in(found.get(name), parts[1:], value)


def _computed_in(inside: Any, parts: tuple[str, ...], value: Any) -> Any:
    if isinstance(inside, list):
        return [_computed_in(each, parts, value) for each in inside]
    below = dict(inside) if isinstance(inside, dict) else {}
    _compute(below, parts, value)
    return below


def _first_match(program: Program, name: str, document: Document) -> Any:
    """`$elemMatch`: an array of the first element that matches; MISSING if none does."""
    values = document.get(name)
    if isinstance(values, list):
        for value in values:
            if program.matches_bson(encode({name: [value]})):
                return [value]
    return MISSING


def _take_position(found: Document, parts: tuple[str, ...], position: int | None) -> None:
    """Cut the first array on the path to the element at `position`."""
    at: Any = found
    for name in parts:
        value = at.get(name)
        if isinstance(value, list):
            path = ".".join(parts)
            if position is None:
                raise InvalidFilter(
                    f"the projection {path + '.$'!r} needs a filter that matches an element of "
                    f"the array {path!r}; this one does not look into an array",
                    code=51246,
                )
            if position >= len(value):
                raise InvalidFilter(
                    f"the projection {path + '.$'!r}: the filter matched element {position} of "
                    f"another array than {path!r}, which has {len(value)}",
                    code=51247,
                )
            at[name] = [value[position]]
            return
        if not isinstance(value, dict):
            return
        at[name] = at = dict(value)
