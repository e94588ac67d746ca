"""A statement's tree, evaluated against Rango.

Terms       scope: the columns of the line at hand, by name.
Why         The part of a WHERE that is a filter goes to find() whole, so that what is tested is a
            query of ours with its plan, and not SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.conformance.regress.functions import (
    FUNCTIONS,
    SIGNS,
    Table,
    filter_of_sign,
    matches,
    value_of,
)
from tests.conformance.regress.sql import Call, Literal, Member, Name, NotACase, Operation, Select
from tests.conformance.regress.world import World

LOGIC: Mapping[str, Callable[[Any, Any], bool]] = {
    "and": lambda left, right: bool(left and right),
    "or": lambda left, right: bool(left or right),
    "not": lambda _left, right: not right,
    "=": lambda left, right: bool(left == right),
}
Scope = Mapping[str, Any]
# what gives documents, passed on as they come
PASSED = ("bson_aggregation_find", "bson_aggregation_pipeline")
# functions of text, whatever it looks like
TEXTUAL = ("format", "repeat")
COUNTS = ("count",)
COLUMNS = {"bson_update_document": "newdocument"}


def answer_to(world: World, query: Select, outer: Scope | None = None) -> Table:
    """The table that a query gives."""
    if isinstance(query.source, Call) and len(query.items) == 1 and not query.where:
        first = query.items[0][0]
        if isinstance(first, Name) and first.text == "document" and not query.order:
            value = expression(world, query.source, {}) if query.source.name in PASSED else None
            if isinstance(value, Table):
                return value
    scopes, is_ordered = _lines(world, query)
    if query.order and not _is_collection(query.source):
        # sorted by PostgreSQL, which we leave alone
        is_ordered = False
    if _is_count(query):
        if len(query.items) > 1:
            raise NotACase("SQL: count() beside other columns")
        return Table(["count"], [(len(scopes),)], True)
    for item, _ in query.items:
        # an aggregate of PostgreSQL would be called for no line at all
        if isinstance(item, Call) and item.name not in FUNCTIONS:
            raise NotACase(f"function {item.name}")
    columns, lines = [], []
    for scope in scopes:
        found = [_item(world, item, alias, scope) for item, alias in query.items]
        columns = [name for names, _, _ in found for name in names]
        lines += _expanded([values for _, values, _ in found])
    if query.offset:
        lines = lines[query.offset :]
    if query.limit is not None:
        lines = lines[: query.limit]
    table = Table(columns, lines, is_ordered)
    if _is_collection(query.source):
        table.sort = tuple(_order(world, query) or ())
    return table


def _is_collection(source: Any) -> bool:
    return isinstance(source, Call) and source.name == "collection"


def _is_count(query: Select) -> bool:
    first = query.items[0][0]
    return isinstance(first, Call) and first.name in COUNTS


def _expanded(columns: list[list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """A set-returning function among the columns gives several lines."""
    size = max(len(column) for column in columns)
    if any(not column for column in columns):
        return []
    return [
        tuple(value for column in columns for value in column[min(place, len(column) - 1)])
        for place in range(size)
    ]


def _item(
    world: World, item: Any, alias: str | None, scope: Scope
) -> tuple[list[str], list[tuple[Any, ...]], bool]:
    """Column names and lines of one item of a SELECT."""
    if item == "*":
        names = list(scope)
        return names, [tuple(scope[name] for name in names)], True
    value = expression(world, item, scope)
    name = alias or (item.text if isinstance(item, Name) else "?column?")
    if isinstance(value, Table):
        if len(value.columns) == 1:
            return [name], value.lines, value.is_ordered
        return [name], [(line,) for line in value.lines], True
    return [name], [(value,)], True


def _lines(world: World, query: Select) -> tuple[list[Scope], bool]:
    """The lines of FROM that WHERE lets through, and whether their order was asked for."""
    source = query.source
    if source is None:
        return [{}], True
    alias = query.source_alias
    if isinstance(source, Name):
        source = query.named.get(source.text, source)
    if _is_collection(source):
        return _documents(world, query, source)
    if isinstance(source, Select):
        table = answer_to(world, source)
    elif isinstance(source, Call) and source.name == "generate_series":
        first, last = (expression(world, each, {}) for each in source.arguments)
        table = Table([alias or "generate_series"], [(n,) for n in range(first, last + 1)], True)
    elif isinstance(source, Call):
        value = expression(world, source, {})
        name = COLUMNS.get(source.name, alias or source.name)
        table = value if isinstance(value, Table) else Table([name], [(value,)], True)
    else:
        raise NotACase("SQL: a table of the other implementation")
    scopes = [dict(zip(table.columns, line, strict=True)) for line in table.lines]
    if query.where is not None:
        scopes = [scope for scope in scopes if expression(world, query.where, scope)]
    return scopes, table.is_ordered


def _documents(world: World, query: Select, source: Call) -> tuple[list[Scope], bool]:
    """FROM collection(...): one find()."""
    database, name = (expression(world, each, {}) for each in source.arguments[:2])
    filters: list[Any] = []
    rest: list[Any] = []
    for part in _conjuncts(query.where):
        found = _as_filter(world, part)
        if found is None:
            rest.append(part)
        else:
            filters.append(found)
    if any(each is _NOTHING for each in filters):
        return [], True
    options: dict[str, Any] = {}
    order = _order(world, query)
    if order is not None:
        options["sort"] = order
        if query.limit is not None and not rest:
            options |= {"limit": query.offset + query.limit}
    whole = filters[0] if len(filters) == 1 else ({"$and": filters} if filters else {})
    scopes = []
    for document in world.collection(database, name).find(whole, **options):
        scope = {"document": document, "object_id": {"": document["_id"]}}
        if all(expression(world, part, scope) for part in rest):
            scopes.append(scope)
    return scopes, order is not None


_NOTHING = object()


def _conjuncts(where: Any) -> list[Any]:
    if where is None:
        return []
    if isinstance(where, Operation) and where.sign == "and":
        return [*_conjuncts(where.left), *_conjuncts(where.right)]
    return [where]


def _as_filter(world: World, part: Any) -> Any:
    """The filter that a condition on `document` is; None if it is none."""
    if isinstance(part, Operation) and part.sign == "or":
        sides = [_as_filter(world, part.left), _as_filter(world, part.right)]
        return {"$or": sides} if None not in sides and _NOTHING not in sides else None
    if isinstance(part, Operation) and (part.sign in SIGNS or part.sign == "@@"):
        if not _is_document(part.left):
            return None
        spec = value_of(expression(world, part.right, {}))
        return _NOTHING if spec is None else filter_of_sign(part.sign, spec)
    if isinstance(part, Call) and part.arguments and _is_document(part.arguments[0]):
        spec = value_of(expression(world, part.arguments[1], {}))
        if part.name == "bson_dollar_json_schema":
            return spec
    return None


def _is_document(part: Any) -> bool:
    return isinstance(part, Name) and part.text == "document"


def _order(world: World, query: Select) -> list[tuple[str, int]] | None:
    """ORDER BY as a sort of find(), if it is one."""
    keys: list[tuple[str, int]] = []
    for key, direction in query.order:
        if isinstance(key, Name) and key.text in ("object_id", "document"):
            # documents that begin with their _id sort by it
            keys.append(("_id", direction))
        elif isinstance(key, Operation) and key.sign in ("->", "->>") and _is_document(key.left):
            keys.append((expression(world, key.right, {}), direction))
        elif isinstance(key, Call) and key.name == "bson_orderby":
            keys += list(value_of(expression(world, key.arguments[1], {})).items())
        else:
            return None
    return keys or None


def expression(world: World, node: Any, scope: Scope) -> Any:
    """The value of an expression; text of JSON stays text until a function wants a document."""
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, Name):
        if node.text not in scope:
            raise NotACase("SQL: a column of the other implementation")
        return scope[node.text]
    if isinstance(node, Call):
        return call(world, node, scope)
    if isinstance(node, Member):
        return _member(expression(world, node.inner, scope), node.name)
    if isinstance(node, Operation):
        return _operation(world, node, scope)
    if isinstance(node, Select):
        table = answer_to(world, node)
        return table.lines[0][0] if table.lines else None
    raise NotACase("SQL: an expression that is not read")


def _member(value: Any, name: str) -> Any:
    if name == "newdocument":
        return value
    if isinstance(value, Table) and name in value.columns:
        at = value.columns.index(name)
        return value.lines[0][at]
    raise NotACase("SQL: a member of a row")


def _operation(world: World, node: Operation, scope: Scope) -> Any:
    left = None if node.left is None else expression(world, node.left, scope)
    if node.sign in SIGNS or node.sign == "@@":
        spec = value_of(expression(world, node.right, scope))
        if spec is None:
            return None
        return matches(world, value_of(left), filter_of_sign(node.sign, spec))
    if node.sign == "->":
        return call(world, Call("bson_get_value", [node.left, node.right]), scope)
    if node.sign in ("is null", "is not null"):
        return (left is None) == (node.sign == "is null")
    if node.sign in LOGIC:
        return LOGIC[node.sign](left, expression(world, node.right, scope))
    raise NotACase(f"SQL: the operator {node.sign}")


def call(world: World, node: Call, scope: Scope) -> Any:
    """Call a function of the other implementation by its name here."""
    function = FUNCTIONS.get(node.name)
    if function is None:
        raise NotACase(f"function {node.name}")
    arguments = []
    names: dict[str, Any] = {}
    for each in node.arguments:
        if isinstance(each, tuple):
            names[each[1]] = value_of_argument(expression(world, each[2], scope))
        elif each == "*":
            raise NotACase(f"function {node.name}")
        elif node.name in TEXTUAL:
            arguments.append(expression(world, each, scope))
        else:
            arguments.append(value_of_argument(expression(world, each, scope)))
    if names:
        arguments += [value for name, value in names.items() if value is not None]
    try:
        return function(world, *arguments)
    except TypeError as error:
        if "positional argument" in str(error) and f"{function.__name__}()" in str(error):
            raise NotACase(f"function {node.name} with other arguments") from error
        raise


def value_of_argument(value: Any) -> Any:
    """Text that looks like an object or array is one."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        return value_of(value)
    return value
