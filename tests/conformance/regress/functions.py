"""The functions of the other implementation, as calls of Rango's API.

Terms       function: what a statement calls; gets the world and its arguments evaluated, gives a
            value, or Table for several lines and columns.
            spec: the argument that is MongoDB's language, parsed from Extended JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bson import json_util

from rango._ext.record import encode
from rango.engine.filters import program_of
from tests.conformance.regress import commands
from tests.conformance.regress.sql import NotACase
from tests.conformance.regress.world import World, made

Function = Callable[..., Any]


@dataclass
class Table:
    """Lines of values, with the columns' names."""

    columns: list[str]
    lines: list[tuple[Any, ...]]
    is_ordered: bool = False
    # (path, direction): what the documents in the last column are sorted by
    sort: tuple[tuple[str, int], ...] = ()


OPTIONS = json_util.JSONOptions(tz_aware=True, uuid_representation=4)
# sign -> operator, for `document @= '{ "path": operand }'`
SIGNS = {
    "@=": "$eq",
    "@>": "$gt",
    "@>=": "$gte",
    "@<": "$lt",
    "@<=": "$lte",
    "@!=": "$ne",
    "@*=": "$in",
    "@!*=": "$nin",
    "@&=": "$all",
    "@?": "$exists",
    "@@#": "$size",
    "@#": "$type",
    "@#?": "$elemMatch",
    "@%": "$mod",
    "@~": "$regex",
    "@!&": "$bitsAllClear",
    "@!|": "$bitsAnyClear",
    "@&": "$bitsAllSet",
    "@|": "$bitsAnySet",
}
NAMES = {
    "elemmatch": "$elemMatch",
    "bits_all_clear": "$bitsAllClear",
    "bits_any_clear": "$bitsAnyClear",
    "bits_all_set": "$bitsAllSet",
    "bits_any_set": "$bitsAnySet",
}
OPERATORS = (
    *("eq", "gt", "gte", "lt", "lte", "ne", "in", "nin", "all", "exists", "size", "type", "mod"),
    *("regex", "elemmatch", "bits_all_clear", "bits_any_clear", "bits_all_set", "bits_any_set"),
)


@dataclass(frozen=True)
class Unchanged:
    """What an update leaves as it is; there the answer is nothing, or the document."""

    document: Any


def value_of(text: Any) -> Any:
    """The value that an Extended JSON text means."""
    if text is None or not isinstance(text, str):
        return text
    try:
        return json_util.loads(text, json_options=OPTIONS)
    except (ValueError, TypeError, KeyError) as error:
        raise NotACase("text that is not Extended JSON") from error


def has_double_names(text: str) -> bool:
    """True if an object in this JSON names a field twice: a dict cannot hold it."""
    text = text.strip()

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal is_double
        is_double = is_double or len({name for name, _ in found}) < len(found)
        return dict(found)

    is_double = False
    if text.startswith(("{", "[")):
        with suppress(ValueError):
            json.loads(text, object_pairs_hook=pairs)
    return is_double


def filter_of_sign(sign: str, spec: Any) -> Any:
    """The filter that an operator of SQL means; `@@` has a whole filter."""
    if sign == "@@":
        return spec
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise NotACase("an operand of an SQL operator that is not one field")
    ((path, operand),) = spec.items()
    if sign == "@~" and not isinstance(operand, str):
        return {path: operand}
    if sign == "@?":
        operand = bool(operand)
    return {path: {SIGNS[sign]: operand}}


# --- one document, without a collection


def matches(world: World, document: Any, spec: Any) -> Any:
    """Whether a document matches a filter."""
    if document is None or spec is None:
        return None
    return program_of(spec).matches_bson(encode(document))


def through(world: World, document: Any, stages: list[Any], let: Any = None) -> list[Any]:
    """What a pipeline makes of one document, which need not have an `_id`."""
    if document is None:
        return []
    if not isinstance(document, Mapping):
        raise NotACase("a document that is none")
    scratch = world.scratch()
    prefix: list[Any] = [] if "_id" in document else [{"$unset": "_id"}]
    scratch.insert_one({"_id": 0, **document} if prefix else document)
    options = {"let": let} if let is not None else {}
    return list(scratch.aggregate([*prefix, *stages], **options))


def stage(name: str) -> Function:
    """A function that puts a document through one stage."""

    def function(world: World, document: Any, spec: Any, let: Any = None, *rest: Any) -> Any:
        found = through(world, document, [{name: spec}], let)
        return found[0] if found else None

    return function


def project_find(world: World, document: Any, spec: Any, query: Any = None, let: Any = None) -> Any:
    """The projection of a find."""
    if not isinstance(document, Mapping) or "_id" not in document:
        document = {"_id": 0, **document}
    scratch = world.scratch()
    scratch.insert_one(document)
    options = {"let": let} if let is not None else {}
    found = list(scratch.find(query or {}, spec, **options))
    if not found:
        raise NotACase("a projection of a document that its query does not match")
    return found[0]


def unwind(world: World, document: Any, spec: Any, *rest: Any) -> Table:
    """One document for each element."""
    if rest:
        raise NotACase("a function of the other implementation with an argument of its own")
    found = through(world, document, [{"$unwind": spec}])
    return Table(["document"], [(each,) for each in found], True)


def replace_root(world: World, document: Any, spec: Any, let: Any = None, *rest: Any) -> Any:
    """$replaceRoot."""
    if isinstance(spec, Mapping) and "" in spec:
        spec = {"newRoot": spec[""]}
    found = through(world, document, [{"$replaceRoot": spec}], let)
    return found[0] if found else None


def unset(world: World, document: Any, spec: Any) -> Any:
    """$unset, whose paths are in a field without a name."""
    found = through(world, document, [{"$unset": spec.get("", spec)}])
    return found[0] if found else None


def expression_get(
    world: World, document: Any, spec: Any, is_null: Any = False, let: Any = None, *rest: Any
) -> Any:
    """The value of one expression in a field; without a value no field, or null."""
    if document is None:
        return None
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise NotACase("an expression that is not one field")
    ((name, expression),) = spec.items()
    found = through(world, document, [{"$replaceWith": {"v": expression}}], let)[0]
    if "v" in found:
        return {name: found["v"]}
    return {name: None} if is_null else {}


def expression_map(
    world: World, document: Any, path: Any, spec: Any, is_null: Any = False, *rest: Any
) -> Any:
    """The values of an expression for each document in an array, in one array."""
    if not isinstance(spec, Mapping) or len(spec) != 1 or document is None:
        raise NotACase("an expression that is not one field")
    ((name, _),) = spec.items()
    if not isinstance(document.get(path), list):
        raise NotACase("an argument that only the other implementation has")
    found = [expression_get(world, each, spec, is_null) for each in document[path]]
    return {name: [each[name] for each in found if name in each]}


def get_value(world: World, document: Any, path: Any) -> Any:
    """The value of a field in a field without a name."""
    found = through(world, document, [{"$replaceWith": {"v": f"${path}"}}])[0]
    return {"": found["v"]} if "v" in found else None


def formatted(world: World, text: Any, *rest: Any) -> Any:
    """format() of PostgreSQL."""
    for each in rest:
        text = text.replace("%s", str(each), 1)
    return value_of(text)


def repeated(world: World, text: Any, count: Any) -> Any:
    """repeat() of PostgreSQL."""
    return text * count


def update_document(
    world: World, document: Any, change: Any, query: Any, filters: Any = None, *rest: Any
) -> Any:
    """What an update makes of a document; of an empty one, what an upsert inserts."""
    if not isinstance(change, Mapping) or "" not in change or any(each for each in rest):
        raise NotACase("an update without its envelope")
    if document is None or query is None:
        raise NotACase("an update without its envelope")
    scratch = world.scratch()
    spec = change[""]
    options: dict[str, Any] = {}
    if filters is not None:
        # a replacement has none: that is for the update to say
        options["array_filters"] = filters.get("") if isinstance(filters, Mapping) else filters
    is_replacement = isinstance(spec, Mapping) and not any(key.startswith("$") for key in spec)
    method = scratch.replace_one if is_replacement and not filters else scratch.update_one
    if not document:
        method(query, spec, True, **options)
        return scratch.find_one({})
    if "_id" not in document:
        found = update_document(world, {"_id": 0, **document}, change, query, filters)
        found = found.document if isinstance(found, Unchanged) else found
        return {name: found[name] for name in found if name != "_id"}
    scratch.insert_one(document)
    if ".$" not in json_util.dumps(spec):
        query = {}
    elif scratch.find_one(query) is None:
        query = {**_positional(query), "_id": document["_id"]}
    result = method(query, spec, **options)
    if not result.matched_count:
        raise NotACase("an update of a document that its query does not match")
    found = scratch.find_one({})
    return found if result.modified_count else Unchanged(found)


def _positional(query: Any) -> Any:
    return {key: value for key, value in query.items() if key != "_id"}


def json_schema(world: World, document: Any, spec: Any, *rest: Any) -> Any:
    """$jsonSchema as a filter."""
    return matches(world, document, spec)


def operator(name: str) -> Function:
    """bson_dollar_eq and its family."""
    sign = NAMES.get(name, f"${name}")

    def function(world: World, document: Any, spec: Any) -> Any:
        if spec is None:
            return None
        ((path, operand),) = spec.items()
        return matches(world, document, {path: {sign: operand}})

    return function


# --- commands


def page(work: Callable[..., list[Any]], name: str) -> Function:
    """A function that answers with the first page of a cursor."""

    def function(world: World, database: Any, command: Any, *rest: Any) -> Table:
        found = work(world, database, command)
        answer = commands.first_page(found, command, name, database)
        columns = ["cursorpage", "continuation", "persistconnection", "cursorid"]
        return Table(columns, [(answer, None, False, 0)], True)

    return function


def documents(work: Callable[..., list[Any]], is_ordered: Callable[[Any], bool]) -> Function:
    """A function that answers with the documents themselves."""

    def function(world: World, database: Any, command: Any, *rest: Any) -> Table:
        found = work(world, database, command)
        table = Table(["document"], [(each,) for each in found], is_ordered(command))
        pairs = sort_of(command).items()
        table.sort = tuple((path, -1 if way == -1 else 1) for path, way in pairs)
        return table

    return function


def once(world: World, rest: tuple[Any, ...]) -> None:
    """A write with a transaction number: done once, answered from memory when it is repeated."""
    for number in rest:
        if number is None:
            continue
        if number in world.numbers:
            world.numbers.remove(number)
            raise NotACase("a write that is repeated under its transaction number")
        world.numbers.add(number)


def result(work: Callable[..., Any], columns: tuple[str, str]) -> Function:
    """A function that answers with a document and whether all went well."""

    def function(world: World, database: Any, command: Any, extra: Any = None, *rest: Any) -> Table:
        if database is None or command is None:
            raise NotACase("a malformed command")
        once(world, rest)
        answer = work(world, database, command, *([extra] if extra is not None else []))
        return Table(list(columns), [(answer, not answer.get("writeErrors"))], True)

    return function


def single(work: Callable[..., Any], name: str = "document") -> Function:
    """A function that answers with one document."""

    def function(world: World, database: Any, command: Any, *rest: Any) -> Any:
        if database is None or command is None:
            raise NotACase("a malformed command")
        return work(world, database, command)

    return function


def find_and_modify(world: World, database: Any, command: Any, *rest: Any) -> Table:
    """find_and_modify(database, command, transaction number)."""
    return result(commands.find_and_modify, ("p_result", "p_success"))(
        world, database, command, None, *rest
    )


def insert_one(world: World, database: Any, name: Any, document: Any, *rest: Any) -> Any:
    """insert_one(database, collection, document)."""
    once(world, rest)
    return commands.insert_one(world, database, name, document)


def list_indexes(world: World, database: Any, command: Any, *rest: Any) -> Any:
    """The indexes as a cursor."""
    given = commands.command_fields(command, "listIndexes")
    found = world.collection(database, given["listIndexes"]).list_indexes()
    answer = commands.first_page(found, command, "listIndexes", database)
    return Table(
        ["cursorpage", "continuation", "persistconnection", "cursorid"], [(answer, *3 * (None,))]
    )


def drop_collection(world: World, database: Any, name: Any, *rest: Any) -> bool:
    """Whether there was one."""
    exists = name in world.database(database).list_collection_names()
    world.changed(database, name).drop()
    return exists


def create_collection(world: World, database: Any, name: Any) -> bool:
    """Whether there was none."""
    if name in world.database(database).list_collection_names():
        return False
    world.changed(database, name)
    made(world.database(database), name)
    return True


def check_scan(world: World, query: Any, _examined: Any, expected: Any) -> None:
    """and3.sql defines it: an error unless a query returns so many documents."""
    found = len(list(world.collection("db", "and3").find(query)))
    if found != expected:
        raise AssertionError(f"{found} documents instead of {expected}")


def index_argument(world: World, name: Any, index: Any, key: Any) -> Any:
    """A command that creates one index."""
    return {"createIndexes": name, "indexes": [{"key": key, "name": index}]}


def shard_collection(world: World, database: Any, name: Any, *rest: Any) -> None:
    """There are no shards here; what differs on this collection from now on is about them."""
    world.sharded.add(name)


def nothing(world: World, *rest: Any) -> None:
    """What there is nothing to do for."""


# stages behind which the order of a $sort is gone
SHUFFLING = frozenset(
    ("$group", "$bucket", "$bucketAuto", "$sortByCount", "$sample", "$unionWith", "$facet")
)


def sort_of(command: Any) -> Mapping[str, Any]:
    """What the answer of a find or a pipeline is sorted by; empty if its order is free."""
    if not isinstance(command, Mapping):
        return {}
    found = command.get("sort")
    for each in command.get("pipeline", ()):
        if isinstance(each, Mapping):
            found = None if SHUFFLING & set(each) else each.get("$sort", found)
    return found if isinstance(found, Mapping) else {}


def is_sorted(command: Any) -> bool:
    """True if the order of an answer is asked for."""
    return bool(sort_of(command))


FUNCTIONS: Mapping[str, Function] = {
    **{f"bson_dollar_{name}": operator(name) for name in OPERATORS},
    "bson_dollar_json_schema": json_schema,
    "bson_query_match": matches,
    "bson_dollar_project": stage("$project"),
    "bson_dollar_add_fields": stage("$addFields"),
    "bson_dollar_set": stage("$set"),
    "bson_dollar_project_find": project_find,
    "bson_dollar_replace_root": replace_root,
    "bson_dollar_unset": unset,
    "bson_dollar_unwind": unwind,
    "bson_expression_get": expression_get,
    "bson_expression_map": expression_map,
    "bson_get_value": get_value,
    "format": formatted,
    "repeat": repeated,
    "bson_update_document": update_document,
    "bson_aggregation_find": documents(commands.find, is_sorted),
    "bson_aggregation_pipeline": documents(commands.aggregate, is_sorted),
    "bson_aggregation_count": single(commands.count),
    "bson_aggregation_distinct": single(commands.distinct),
    "count_query": single(commands.count),
    "distinct_query": single(commands.distinct),
    "find_cursor_first_page": page(commands.find, "find"),
    "aggregate_cursor_first_page": page(commands.aggregate, "aggregate"),
    "list_indexes_cursor_first_page": list_indexes,
    "insert": result(commands.insert, ("p_result", "p_success")),
    "insert_bulk": result(commands.insert, ("p_result", "p_success")),
    "update": result(commands.update, ("p_result", "p_success")),
    "update_bulk": result(commands.update, ("p_result", "p_success")),
    "delete": result(commands.delete, ("p_result", "p_success")),
    "find_and_modify": find_and_modify,
    "insert_one": insert_one,
    "create_indexes_non_concurrently": single(commands.create_indexes),
    "drop_indexes": single(commands.drop_indexes),
    "drop_collection": drop_collection,
    "create_collection": create_collection,
    "checkscanmatch": check_scan,
    "generate_create_index_arg": index_argument,
    "shard_collection": shard_collection,
    "drop_primary_key": nothing,
}
