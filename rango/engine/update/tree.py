"""The tree of an update's changes by the parts of their paths, and its walk over a document.

Terms       change: what one path gets, the leaf of a tree; branch: changes below the fields or
            positions of one place; elements: changes below `$[]` and `$[name]`.
Invariants  The document that is given is never changed: what is on a changed path is copied, the
            rest is shared. The same object comes back when nothing changed. Fields keep their
            order; new ones are added in the order of their names (numbers by value). No two changes
            have the same place, or one below the other's: looked at when the tree is built, and
            again where `$` or several array filters meet at one element.
Failure     InvalidUpdate names the path and the reason, with MongoDB's code.
Sources     MongoDB manual, "Update Operators Behavior", "Positional operators".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from bson.dbref import DBRef

from rango.engine.update.paths import in_order_of_names, is_array_filter, is_index
from rango.engine.update.refusal import (
    BAD_VALUE,
    CONFLICTING_OPERATORS,
    DOLLAR_PREFIXED_NAME,
    PADDING_TOO_LONG,
    PATH_NOT_VIABLE,
    refusal,
)
from rango.engine.values import shown
from rango.errors import InvalidUpdate

ARRAY_PADDING_COUNT_MAX: Final = 1_500_000
"""Nulls that an update may add to an array to reach a position: MongoDB's own bound."""


PADDING_TOTAL_MAX: Final = 6_000_000
"""Nulls that one update may add in all: no document of 16 MiB holds more."""


class _Missing:
    """The type of MISSING: no value at this path."""


MISSING: Final = _Missing()


class Context:
    """What a change may need to know beside the value that it changes."""

    __slots__ = ("is_insert", "now_ms", "padding", "position", "sources")

    position: int | None
    """The element that the filter matched, for `$`."""
    is_insert: bool
    """Whether an upsert makes this document."""
    now_ms: Callable[[], int] | None
    sources: Mapping[str, Any]
    """What $rename moves, by the path that it goes to."""
    padding: int
    """Nulls that were added so far."""

    def __init__(
        self,
        position: int | None = None,
        is_insert: bool = False,
        now_ms: Callable[[], int] | None = None,
        sources: Mapping[str, Any] | None = None,
        padding: int = 0,
    ) -> None:
        self.position = position
        self.is_insert = is_insert
        self.now_ms = now_ms
        self.sources = {} if sources is None else sources
        self.padding = padding


class Change:
    """What a path gets: `make(old or MISSING, place, context)`, MISSING takes it away."""

    __slots__ = ("creates", "is_insert_only", "is_lenient", "make", "path", "source")

    path: str
    make: Callable[[Any, str, Context], Any]
    creates: bool
    """Whether it puts something where there is nothing."""
    is_lenient: bool
    """Whether a path that cannot exist is nothing to it, rather than an error."""
    is_insert_only: bool
    source: tuple[str, ...]
    """The parts of the path whose value it takes ($rename)."""

    def __init__(
        self,
        path: str,
        make: Callable[[Any, str, Context], Any],
        creates: bool = True,
        is_lenient: bool = False,
        is_insert_only: bool = False,
        source: tuple[str, ...] = (),
    ) -> None:
        self.path = path
        self.make = make
        self.creates = creates
        self.is_lenient = is_lenient
        self.is_insert_only = is_insert_only
        self.source = source

    def has_effect(self, context: Context) -> bool:
        """Whether it would put something where there is nothing."""
        if self.source:
            return context.sources[self.path] is not MISSING
        return self.creates


class Branch:
    """Changes below fields or positions; `positional` is what `$` gets."""

    __slots__ = ("children", "positional")

    children: dict[str, Node]
    positional: Node | None

    def __init__(
        self, children: dict[str, Node] | None = None, positional: Node | None = None
    ) -> None:
        self.children = {} if children is None else children
        self.positional = positional

    def nodes(self) -> Iterator[Node]:
        """What is below."""
        yield from self.children.values()
        if self.positional is not None:
            yield self.positional


class Elements:
    """Changes of the elements that each array filter chooses; that named "" chooses all."""

    __slots__ = ("children", "filters")

    filters: Mapping[str, Callable[[Any], bool]]
    children: dict[str, Node]

    def __init__(
        self, filters: Mapping[str, Callable[[Any], bool]], children: dict[str, Node] | None = None
    ) -> None:
        self.filters = filters
        self.children = {} if children is None else children

    def nodes(self) -> Iterator[Node]:
        """What is below."""
        return iter(self.children.values())


Node = Branch | Elements | Change


def conflict(path: str, place: str) -> InvalidUpdate:
    """Two changes of one place."""
    return refusal(
        CONFLICTING_OPERATORS,
        f"updating the path {path!r} would create a conflict at {place!r}; name each place once",
    )


def insert(
    root: Branch,
    change: Change,
    parts: Sequence[str],
    filters: Mapping[str, Callable[[Any], bool]],
) -> None:
    """Put a change into the tree. InvalidUpdate if it meets another one."""
    node: Branch | Elements = root
    last = len(parts) - 1
    for at, part in enumerate(parts):
        below: Node
        if at == last:
            below = change
        elif is_array_filter(parts[at + 1]):
            below = Elements(filters)
        else:
            below = Branch()
        found = _child(node, part)
        if found is None:
            _put(node, part, below)
        elif isinstance(found, Change) or type(found) is not type(below):
            raise conflict(change.path, ".".join(parts[: at + 1]))
        else:
            below = found
        if not isinstance(below, Change):
            node = below


def _child(node: Branch | Elements, part: str) -> Node | None:
    if isinstance(node, Elements):
        return node.children.get(part[2:-1])
    return node.positional if part == "$" else node.children.get(part)


def _put(node: Branch | Elements, part: str, below: Node) -> None:
    if isinstance(node, Elements):
        node.children[part[2:-1]] = below
    elif part == "$":
        node.positional = below
    else:
        node.children[part] = below


def ordered(node: Node, is_insert: bool) -> Node | None:
    """The tree with its names in order, without what only an insert does unless this is one."""
    if isinstance(node, Change):
        return None if node.is_insert_only and not is_insert else node
    if is_insert and len(node.children) == 1:
        (child,) = node.children.values()
        if isinstance(child, Change) and getattr(node, "positional", None) is None:
            return node
    names = sorted(node.children, key=in_order_of_names)
    below = {name: ordered(node.children[name], is_insert) for name in names}
    children = {name: child for name, child in below.items() if child is not None}
    if isinstance(node, Elements):
        return Elements(node.filters, children) if children else None
    positional = None if node.positional is None else ordered(node.positional, is_insert)
    return Branch(children, positional) if children or positional is not None else None


def changes(node: Node) -> Iterator[Change]:
    """Every change in the tree."""
    if isinstance(node, Change):
        yield node
        return
    for below in node.nodes():
        yield from changes(below)


def merged(left: Node, right: Node, at: str) -> Node:
    """Both trees as one, for a place that both have. InvalidUpdate if two changes meet."""
    if isinstance(left, Branch) and isinstance(right, Branch):
        positional = left.positional or right.positional
        if left.positional is not None and right.positional is not None:
            positional = merged(left.positional, right.positional, f"{at}.$")
        return Branch(_union(left.children, right.children, at), positional)
    if isinstance(left, Elements) and isinstance(right, Elements):
        return Elements(left.filters, _union(left.children, right.children, at))
    raise conflict(at, at)


def _union(left: dict[str, Node], right: dict[str, Node], at: str) -> dict[str, Node]:
    names = sorted({*left, *right}, key=in_order_of_names)
    union = {}
    for name in names:
        if name in left and name in right:
            union[name] = merged(left[name], right[name], f"{at}.{name}")
        else:
            union[name] = left[name] if name in left else right[name]
    return union


def apply_tree(document: dict[str, Any], tree: Branch, context: Context) -> dict[str, Any]:
    """The changed document, or the same object when nothing changed."""
    changed = document
    for name, below in tree.children.items():
        old = changed.get(name, MISSING)
        new = (
            below.make(old, name, context)
            if type(below) is Change and (old is not MISSING or below.has_effect(context))
            else _apply(old, below, name, context)
        )
        if new is old:
            continue
        if changed is document:
            changed = dict(document)
        if new is MISSING:
            del changed[name]
            continue
        if old is MISSING and name[0] == "$" and not context.is_insert:
            raise refusal(
                DOLLAR_PREFIXED_NAME,
                f"the field {name!r} starts with $ and would be new at the top of the document; "
                "use a pipeline with $replaceWith and $setField",
            )
        changed[name] = new
    return changed


def _apply(old: Any, node: Node, at: str, context: Context) -> Any:
    """The new value of a place; the same object when it does not change."""
    if isinstance(node, Change):
        if old is MISSING and not node.has_effect(context):
            return old
        return node.make(old, at, context)
    if isinstance(node, Elements):
        return _apply_elements(old, node, at, context)
    return _apply_branch(old, _children(node, at, context), at, context)


def _apply_branch(old: Any, children: dict[str, Node], at: str, context: Context) -> Any:
    if old is MISSING:
        return _apply_document({}, children, at, context) or old
    if isinstance(old, DBRef):
        old = dict(old.as_doc())
    if isinstance(old, dict):
        return _apply_document(old, children, at, context)
    if isinstance(old, list):
        return _apply_array(old, children, at, context)
    _check_blocked(old, children, at, context)
    return old


def _children(node: Branch, at: str, context: Context) -> dict[str, Node]:
    """The changes below each name, the positional one among them."""
    if node.positional is None:
        return node.children
    if context.position is None:
        raise refusal(
            BAD_VALUE,
            f"{at}.$: the filter did not match an element of an array that $ could stand for; "
            "name the array in the filter",
        )
    return _union(node.children, {str(context.position): node.positional}, at)


def _apply_document(
    document: dict[str, Any], children: Mapping[str, Node], at: str, context: Context
) -> dict[str, Any]:
    changed = document
    for name, below in children.items():
        old = changed.get(name, MISSING)
        new = _apply(old, below, f"{at}.{name}", context)
        if new is old:
            continue
        if changed is document:
            changed = dict(document)
        if new is MISSING:
            del changed[name]
        else:
            changed[name] = new
    return changed


def _check_blocked(value: Any, children: Mapping[str, Node], at: str, context: Context) -> None:
    """Nothing can be below `value`: an error, unless none of the changes minds."""
    for name, below in children.items():
        if isinstance(below, Change):
            if below.has_effect(context) or not (below.is_lenient or below.source):
                raise refusal(
                    PATH_NOT_VIABLE,
                    f"cannot create the field {name!r} in {at!r}: there is {shown(value)}, "
                    + ("an array; name a position" if isinstance(value, list) else "no document"),
                )
        elif isinstance(below, Elements):
            raise _no_array(f"{at}.{name}")
        else:
            place = f"{at}.{name}"
            _check_blocked(value, _children(below, place, context), place, context)


def _no_array(at: str) -> InvalidUpdate:
    return refusal(
        BAD_VALUE, f"the path {at!r} must exist in the document for array updates to be applied"
    )


def _apply_array(
    array: list[Any], children: Mapping[str, Node], at: str, context: Context
) -> list[Any]:
    changed = array
    for name, below in children.items():
        if not is_index(name):
            _check_blocked(array, {name: below}, at, context)
            continue
        place = f"{at}.{name}"
        if context.sources and any(
            each.source and each.has_effect(context) for each in changes(below)
        ):
            raise refusal(
                BAD_VALUE, f"$rename: the destination {place!r} cannot be an element of an array"
            )
        index = int(name[:10])
        old = changed[index] if index < len(changed) else MISSING
        new = _apply(old, below, place, context)
        if new is MISSING and old is not MISSING:
            # an element cannot be taken away without moving the others
            new = None
        if new is old:
            continue
        changed = list(changed) if changed is array else changed
        if old is MISSING:
            _pad(changed, index, place, context)
            changed.append(new)
        else:
            changed[index] = new
    return changed


def _pad(array: list[Any], index: int, place: str, context: Context) -> None:
    """Fill an array up with null to a position behind its end."""
    count = index - len(array)
    context.padding += count
    if count > ARRAY_PADDING_COUNT_MAX or context.padding > PADDING_TOTAL_MAX:
        raise refusal(
            PADDING_TOO_LONG,
            f"{place!r} would add {count} nulls to an array of {len(array)}; at most "
            f"{ARRAY_PADDING_COUNT_MAX} are added",
        )
    array.extend([None] * count)


def _apply_elements(old: Any, node: Elements, at: str, context: Context) -> Any:
    if old is MISSING:
        raise _no_array(at)
    if not isinstance(old, list):
        raise refusal(
            BAD_VALUE, f"cannot apply array updates to {at!r}, which is {shown(old)} and no array"
        )
    changed = old
    unions: dict[tuple[str, ...], Node] = {}
    for index, element in enumerate(old):
        names = tuple(name for name in node.children if not name or node.filters[name](element))
        if not names:
            continue
        place = f"{at}.{index}"
        if names not in unions:
            below = node.children[names[0]]
            for name in names[1:]:
                below = merged(below, node.children[name], place)
            unions[names] = below
        new = _apply(element, unions[names], place, context)
        new = None if new is MISSING else new
        if new is not element:
            changed = list(changed) if changed is old else changed
            changed[index] = new
    return changed


def value_at(document: Mapping[str, Any], parts: Sequence[str], path: str) -> Any:
    """The value that $rename moves, or MISSING. InvalidUpdate if the path cannot exist."""
    value: Any = document
    is_element = False
    for part in parts:
        if isinstance(value, DBRef):
            value = dict(value.as_doc())
        if isinstance(value, list) and is_index(part):
            if int(part[:10]) >= len(value):
                return MISSING
            is_element = True
            value = value[int(part)]
        elif isinstance(value, dict):
            if part not in value:
                return MISSING
            value = value[part]
        else:
            raise refusal(
                PATH_NOT_VIABLE,
                f"$rename: cannot use the part {part!r} of {path!r}: there is {shown(value)}",
            )
    if is_element:
        raise refusal(
            BAD_VALUE, f"$rename: the source {path!r} cannot be, or be in, an element of an array"
        )
    return value
