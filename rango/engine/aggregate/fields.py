"""Fields: the documents that $project, $addFields, $set and $unset build.

Terms       kept: a field that passes as it is; computed: one whose value an expression gives.
Invariants  A path goes into documents and into the documents of arrays, never into positions.
            Inclusion keeps the named fields in the document's order, `_id` with them unless it is
            left out; computed fields follow in the order of the specification; whatever else an
            array holds is left out. Exclusion keeps the rest. Adding keeps everything, and where a
            path meets a value that is no document, a document takes its place. An expression sees
            the document as it came in. A value that is missing leaves no field.
Failure     InvalidPipeline: two modes in one specification, a path twice or inside another one, an
            empty part; InvalidExpression from the expressions.
Sources     MongoDB manual, "$project (aggregation)", "$addFields (aggregation)".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rango.engine.aggregate.spec import Known, expression_of, field_path, invalid, names_in
from rango.engine.expression import Expression
from rango.engine.values import MISSING, is_number, shown, truth, type_name

Document = dict[str, Any]
Builder = Callable[[Document, dict[str, Any]], Document]


class Node:
    """One level of a specification."""

    __slots__ = ("below", "computed", "has_computed", "kept", "order")

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.below: dict[str, Node] = {}
        self.computed: dict[str, Expression] = {}
        self.order: list[str] = []  # of computed names, and of levels that have some
        self.has_computed = False

    def level(self, path: str) -> tuple[Node, str]:
        """The node of the last part of a path, made where it is missing, and that part."""
        node = self
        parts = path.split(".")
        for part in parts[:-1]:
            if part in node.kept or part in node.computed:
                raise collision(path)
            node = node.below.setdefault(part, Node())
        last = parts[-1]
        if last in node.kept or last in node.computed or last in node.below:
            raise collision(path)
        return node, last

    def keep(self, path: str) -> None:
        """Name a path that passes (or, in an exclusion, one that does not)."""
        node, last = self.level(path)
        node.kept.add(last)

    def compute(self, path: str, expression: Expression) -> None:
        """Give a path its expression."""
        node, last = self.level(path)
        node.computed[last] = expression
        node.order.append(last)
        node.has_computed = True
        node = self
        for part in path.split(".")[:-1]:
            node.has_computed = True
            if part not in node.order:
                node.order.append(part)
            node = node.below[part]


def collision(path: str) -> Exception:
    """The error of a path that is given twice, or together with a part of itself."""
    return invalid(31250, f"the path {path!r} is given twice, or with a longer path through it")


def include(node: Node, document: Document) -> Document:
    """The kept fields, in the document's order."""
    kept, below = node.kept, node.below
    found: Document = {}
    for name, value in document.items():
        if name in kept:
            found[name] = value
        elif name in below:
            if isinstance(value, dict):
                found[name] = include(below[name], value)
            elif isinstance(value, list):
                found[name] = _include_all(below[name], value)
    return found


def _include_all(node: Node, values: list[Any]) -> list[Any]:
    # what is neither a document nor an array has no field that could be returned
    return [
        include(node, value) if isinstance(value, dict) else _include_all(node, value)
        for value in values
        if isinstance(value, (dict, list))
    ]


def exclude(node: Node, value: Any) -> Any:
    """All but the named fields."""
    if isinstance(value, dict):
        kept, below = node.kept, node.below
        return {
            name: exclude(below[name], each) if name in below else each
            for name, each in value.items()
            if name not in kept
        }
    if isinstance(value, list):
        return [exclude(node, each) for each in value]
    return value


def compute(node: Node, found: Document, root: Document, variables: dict[str, Any]) -> None:
    """Put the computed fields of a level into `found`, which is the caller's own."""
    for name in node.order:
        expression = node.computed.get(name)
        if expression is not None:
            value = expression.evaluate(root, variables)
        else:
            value = _compute_in(node.below[name], found.get(name, MISSING), root, variables)
        if value is MISSING:
            found.pop(name, None)
        else:
            found[name] = value


def _compute_in(node: Node, value: Any, root: Document, variables: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_compute_in(node, each, root, variables) for each in value]
    found = dict(value) if isinstance(value, dict) else {}
    compute(node, found, root, variables)
    return found


def entries(
    name: str, spec: Mapping[Any, Any], prefix: str, is_added: bool
) -> Iterator[tuple[str, Any]]:
    """(path, value) of each field: {"a": {"b": 1}} is a.b, unless the inner one is an operator."""
    for key, value in spec.items():
        path = field_path(name, prefix + key if isinstance(key, str) else key)
        if isinstance(value, Mapping) and not is_operator(name, path, value):
            if not value:
                if not is_added:
                    raise invalid(51270, f"{name}: an empty document is no value for {path!r}")
                yield path, {}
            else:
                yield from entries(name, value, path + ".", is_added)
        else:
            yield path, value


def is_operator(name: str, path: str, value: Mapping[Any, Any]) -> bool:
    """Is it an expression such as {"$add": ...}?"""
    first = next(iter(value), "")
    if isinstance(first, str) and first.startswith("$"):
        if len(value) > 1:
            raise invalid(
                15983, f"{name}: the expression at {path!r} has one operator, not {shown(value)}"
            )
        return True
    return False


class Fields:
    """A compiled specification: `build(document, variables)` makes the new document."""

    __slots__ = ("build", "is_inclusion", "names", "node", "reads")

    def __init__(self, node: Node, build: Builder, names: frozenset[str], is_inclusion: bool):
        self.node = node
        self.build = build
        self.names = names
        """The top-level fields that it decides on."""
        self.is_inclusion = is_inclusion
        self.reads: frozenset[str] | None = frozenset()
        """The top-level fields that its expressions read, those kept included; None: all."""

    @property
    def has_computed(self) -> bool:
        """Does any field come from an expression?"""
        return self.node.has_computed

    @property
    def kept_whole(self) -> frozenset[str]:
        """The top-level fields that an inclusion passes as they are."""
        return frozenset(self.node.kept)


def additions_of(name: str, spec: object, scope: Known) -> Fields:
    """The fields that $addFields or $set adds. Raises InvalidPipeline, InvalidExpression."""
    if not isinstance(spec, Mapping):
        raise invalid(40272, f"{name} takes a document, not {shown(spec)} ({type_name(spec)})")
    if not spec:
        raise invalid(40177, f"{name} needs at least one field")
    node = Node()
    for path, value in entries(name, spec, "", True):
        node.compute(path, expression_of(value, scope))
    fields = Fields(node, _adder(node), frozenset(node.order), False)
    fields.reads = names_in(list(spec.values()))
    return fields


def _adder(node: Node) -> Builder:
    flat = [(name, node.computed[name]) for name in node.order if name in node.computed]
    if len(flat) == len(node.order):

        def build_flat(document: Document, variables: dict[str, Any]) -> Document:
            found = document.copy()
            for name, expression in flat:
                value = expression.evaluate(document, variables)
                if value is not MISSING:
                    found[name] = value
                elif name in found:
                    del found[name]
            return found

        return build_flat

    def build(document: Document, variables: dict[str, Any]) -> Document:
        found = document.copy()
        compute(node, found, document, variables)
        return found

    return build


def exclusion_of(name: str, spec: object) -> Fields:
    """The fields that $unset takes away: a path or a list of them. Raises InvalidPipeline."""
    paths = [spec] if isinstance(spec, str) else spec
    if not isinstance(paths, (list, tuple)) or not all(isinstance(each, str) for each in paths):
        raise invalid(31002, f"{name} takes a path or a list of paths, not {shown(spec)}")
    if not paths:
        raise invalid(31119, f"{name} needs at least one path")
    node = Node()
    for path in paths:
        node.keep(field_path(name, path))
    return _excluding(node)


def _excluding(node: Node) -> Fields:
    names = frozenset(node.kept | set(node.below))

    def build(document: Document, variables: dict[str, Any]) -> Document:
        result: Document = exclude(node, document)
        return result

    return Fields(node, build, names, False)


def projection_of(name: str, spec: object, scope: Known) -> Fields:
    """The fields of $project. Raises InvalidPipeline, InvalidExpression."""
    if not isinstance(spec, Mapping):
        raise invalid(15969, f"{name} takes a document, not {shown(spec)} ({type_name(spec)})")
    if not spec:
        raise invalid(51272, f"{name} needs at least one field")
    listed = list(entries(name, spec, "", False))
    if not _is_inclusion(name, listed):
        node = Node()
        for path, value in listed:
            if not truth(value):
                node.keep(path)
        return _excluding(node)
    node = Node()
    reads: set[str] = set()
    is_known = True
    has_id = not any(path == "_id" or path.startswith("_id.") for path, _ in listed)
    if has_id:
        node.kept.add("_id")
    for path, value in listed:
        if not _is_flag(value):
            node.compute(path, expression_of(value, scope))
            found = names_in(value)
            is_known = is_known and found is not None
            reads.update(found or ())
        elif truth(value):
            node.keep(path)
    names = frozenset(node.kept | set(node.below) | set(node.computed))
    fields = Fields(node, _includer(node), names, True)
    reads |= node.kept | set(node.below)
    fields.reads = frozenset(reads) if is_known else None
    return fields


def _is_flag(value: object) -> bool:
    return isinstance(value, bool) or is_number(value)


def _is_inclusion(name: str, listed: list[tuple[str, Any]]) -> bool:
    """Which of the two it is; the first field but `_id` decides."""
    mode: bool | None = None
    first = ""
    for path, value in listed:
        is_kept = not _is_flag(value) or truth(value)
        if path == "_id" and (_is_flag(value)):
            continue
        if mode is None:
            mode, first = is_kept, path
        elif mode != is_kept:
            if mode:
                raise invalid(
                    31254, f"{name}: {path!r} is left out, but {first!r} makes it an inclusion"
                )
            code = 31253 if _is_flag(value) else 31252
            raise invalid(
                code, f"{name}: {path!r} is included, but {first!r} makes it an exclusion"
            )
    if mode is not None:
        return mode
    return any(truth(value) for _, value in listed)


def _includer(node: Node) -> Builder:
    if not node.has_computed:

        def build_plain(document: Document, variables: dict[str, Any]) -> Document:
            return include(node, document)

        return build_plain

    def build(document: Document, variables: dict[str, Any]) -> Document:
        found = include(node, document)
        compute(node, found, document, variables)
        return found

    return build
