"""$jsonSchema: a schema compiled once into a function of a document.

Purpose     MongoDB's subset of JSON Schema draft 4 plus `bsonType`, for filters.
Terms       keyword: a field of a schema. Rule: a compiled keyword, a function of one value.
            Schema path: where a schema lies inside the given one, for messages.
Invariants  Everything that is wrong with a schema is found when it is compiled. A keyword for one
            type passes values of every other type, as JSON Schema says. Objects are equal
            whatever the order of their fields (`enum`, `uniqueItems`), which elsewhere in the
            query language they are not.
Failure     InvalidFilter with MongoDB's code: 14 the keyword has a value of a wrong type, 2 an
            unknown type name, 9 everything else. A schema may nest FILTER_DEPTH_MAX
            deep. A rule raises LimitExceeded only where a regular expression does.
Sources     MongoDB manual, "$jsonSchema"; JSON Schema draft 4 (draft-fge-json-schema-validation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Context
from functools import partial
from typing import Any, Final

from rango._ext.key import key_whole
from rango.engine.schema_arguments import (
    BAD_VALUE,
    FAILED_TO_PARSE,
    TYPE_MISMATCH,
    count_argument,
    decimal_of,
    filled_array,
    flag_argument,
    identity,
    is_nan,
    is_number,
    names_argument,
    number_argument,
    object_argument,
    refused,
    searcher,
    text_argument,
)
from rango.engine.values import type_name
from rango.limits import FILTER_DEPTH_MAX

Rule = Callable[[Any], bool]
Keyword = Callable[[Mapping[str, Any], str, int], Rule | None]

_NUMBERS: Final = ("int", "long", "double", "decimal")
# JSON Schema's names, which have no "integer" in MongoDB
_JSON_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "object": ("object",),
    "array": ("array",),
    "number": _NUMBERS,
    "boolean": ("bool",),
    "string": ("string",),
    "null": ("null",),
}
_BSON_TYPES: Final = frozenset(
    (
        *("double", "string", "object", "array", "binData", "undefined", "objectId", "bool"),
        *("date", "null", "regex", "dbPointer", "javascript", "symbol", "javascriptWithScope"),
        *("int", "timestamp", "long", "decimal", "minKey", "maxKey"),
    )
)
_NOT_SUPPORTED: Final = frozenset(
    ("$ref", "$schema", "default", "definitions", "format", "id", "encrypt", "encryptMetadata")
)
# Decimal128 has exponents to 6,176 on both sides; the remainder of any two is exact with these
_EXACT: Final = Context(prec=12_500)


def compile_schema(schema: Mapping[str, Any]) -> Callable[[dict[str, Any]], bool]:
    """The function that says whether a document obeys `schema`.

    Raises InvalidFilter, which names the keyword and what it may be.
    """
    return _compiled(schema, "$jsonSchema", 1)


def _compiled(schema: object, where: str, depth: int) -> Rule:
    """All the keywords of one schema as one rule."""
    if not isinstance(schema, Mapping):
        raise refused(f"{where} must be an object, not {type_name(schema)}", TYPE_MISMATCH)
    if depth > FILTER_DEPTH_MAX:
        raise refused(
            f"{where} nests deeper than FILTER_DEPTH_MAX, {FILTER_DEPTH_MAX}", FAILED_TO_PARSE
        )
    for keyword in schema:
        if keyword in _NOT_SUPPORTED:
            raise refused(
                f"$jsonSchema keyword {keyword!r} in {where} is not supported; leave it out",
                FAILED_TO_PARSE,
            )
        if keyword not in _KEYWORDS:
            raise refused(f"unknown $jsonSchema keyword {keyword!r} in {where}", FAILED_TO_PARSE)
    rules = [
        rule for keyword in schema if (rule := _KEYWORDS[keyword](schema, where, depth)) is not None
    ]
    if len(rules) == 1:
        return rules[0]

    def all_of(value: Any) -> bool:
        return all(rule(value) for rule in rules)

    return all_of


# --- keywords: types and values


def _type(keyword: str, schema: Mapping[str, Any], where: str, _depth: int) -> Rule:
    if "type" in schema and "bsonType" in schema:
        raise refused(
            f"{where} cannot have both 'type' and 'bsonType'; keep one of them", FAILED_TO_PARSE
        )
    given = schema[keyword]
    if not isinstance(given, str | list | tuple):
        raise refused(
            f"$jsonSchema keyword {keyword!r} in {where} must be a string or an array of strings, "
            f"not {type_name(given)}",
            TYPE_MISMATCH,
        )
    wanted: set[str] = set()
    for name in [given] if isinstance(given, str) else names_argument(given, keyword, where):
        wanted.update(_types_of(keyword, name, where))

    def is_of_type(value: Any) -> bool:
        return type_name(value) in wanted

    return is_of_type


def _types_of(keyword: str, name: str, where: str) -> tuple[str, ...]:
    name = str.__str__(name)  # Code is a str that cannot be hashed
    if keyword == "type":
        if name in _JSON_TYPES:
            return _JSON_TYPES[name]
        if name == "integer":
            raise refused(
                f"type 'integer' in {where} is not supported; use bsonType 'int' or 'long'",
                FAILED_TO_PARSE,
            )
    elif name == "number":
        return _NUMBERS
    elif name in _BSON_TYPES:
        return (name,)
    known = ", ".join(_JSON_TYPES) if keyword == "type" else f"number, {', '.join(_BSON_TYPES)}"
    raise refused(
        f"unknown type name {name!r} for {keyword!r} in {where}; there are {known}", BAD_VALUE
    )


def _enum(schema: Mapping[str, Any], where: str, _depth: int) -> Rule:
    values = filled_array(schema["enum"], "enum", where)
    identities = {identity(value) for value in values}
    if len(identities) < len(values):
        raise refused(
            f"$jsonSchema keyword 'enum' in {where} cannot name a value twice", FAILED_TO_PARSE
        )

    def is_listed(value: Any) -> bool:
        return identity(value) in identities

    return is_listed


def _bound(keyword: str, schema: Mapping[str, Any], where: str, _depth: int) -> Rule:
    limit = number_argument(schema, keyword, where)
    exclusive = f"exclusive{keyword.capitalize()}"
    is_strict = exclusive in schema and flag_argument(schema, exclusive, where)
    if is_nan(limit):
        return lambda value: not is_number(value) or (is_nan(value) and not is_strict)
    edge = key_whole(limit)
    is_upper = keyword == "maximum"

    def is_within(value: Any) -> bool:
        if not is_number(value):
            return True
        if is_nan(value):
            return False
        key = key_whole(value)
        if key == edge:
            return not is_strict
        return (key < edge) == is_upper

    return is_within


def _exclusive(keyword: str, schema: Mapping[str, Any], where: str, _depth: int) -> None:
    """Checked here, applied by _bound."""
    flag_argument(schema, keyword, where)
    bound = "minimum" if keyword == "exclusiveMinimum" else "maximum"
    if bound not in schema:
        raise refused(f"{where} has {keyword!r} without {bound!r}; give both", FAILED_TO_PARSE)


def _multiple_of(schema: Mapping[str, Any], where: str, _depth: int) -> Rule:
    divisor = decimal_of(number_argument(schema, "multipleOf", where))
    if not divisor.is_finite() or divisor <= 0:
        raise refused(
            f"$jsonSchema keyword 'multipleOf' in {where} must be a number above 0, "
            f"not {schema['multipleOf']!r}",
            FAILED_TO_PARSE,
        )

    def is_multiple(value: Any) -> bool:
        if not is_number(value):
            return True
        number = decimal_of(value)
        return number.is_finite() and _EXACT.remainder(number, divisor) == 0

    return is_multiple


# --- keywords: strings


def _length(keyword: str, schema: Mapping[str, Any], where: str, _depth: int) -> Rule:
    """Of strings in characters, of arrays in elements, of objects in fields."""
    count = count_argument(schema, keyword, where)
    sized = {"Length": (str,), "Items": (list, tuple), "Properties": (Mapping,)}[keyword[3:]]
    if keyword.startswith("min"):
        return lambda value: not isinstance(value, sized) or len(value) >= count
    return lambda value: not isinstance(value, sized) or len(value) <= count


def _pattern(schema: Mapping[str, Any], where: str, _depth: int) -> Rule:
    search = searcher(text_argument(schema, "pattern", where), where)
    return lambda value: not isinstance(value, str) or search(value)


# --- keywords: objects


def _required(schema: Mapping[str, Any], where: str, _depth: int) -> Rule:
    names = names_argument(schema["required"], "required", where)
    return lambda value: not isinstance(value, Mapping) or all(name in value for name in names)


def _properties(schema: Mapping[str, Any], where: str, depth: int) -> Rule:
    rules = {
        name: _compiled(each, f"{where}.properties.{name}", depth + 1)
        for name, each in object_argument(schema, "properties", where).items()
    }

    def are_valid(value: Any) -> bool:
        if not isinstance(value, Mapping):
            return True
        return all(rule(value[name]) for name, rule in rules.items() if name in value)

    return are_valid


def _patterned(
    schema: Mapping[str, Any], where: str, depth: int
) -> list[tuple[Callable[[str], bool], Rule]]:
    if "patternProperties" not in schema:
        return []
    return [
        (
            searcher(pattern, where),
            _compiled(each, f"{where}.patternProperties.{pattern}", depth + 1),
        )
        for pattern, each in object_argument(schema, "patternProperties", where).items()
    ]


def _pattern_properties(schema: Mapping[str, Any], where: str, depth: int) -> Rule:
    patterned = _patterned(schema, where, depth)

    def are_valid(value: Any) -> bool:
        if not isinstance(value, Mapping):
            return True
        return all(
            rule(inner)
            for name, inner in value.items()
            for search, rule in patterned
            if search(name)
        )

    return are_valid


def _additional_properties(schema: Mapping[str, Any], where: str, depth: int) -> Rule:
    rule = _allowed("additionalProperties", schema, where, depth)
    named = frozenset(
        object_argument(schema, "properties", where) if "properties" in schema else ()
    )
    patterned = _patterned(schema, where, depth)

    def are_valid(value: Any) -> bool:
        if not isinstance(value, Mapping):
            return True
        return all(
            rule(inner)
            for name, inner in value.items()
            if name not in named and not any(search(name) for search, _ in patterned)
        )

    return are_valid


def _allowed(keyword: str, schema: Mapping[str, Any], where: str, depth: int) -> Rule:
    """The rule of what nothing else speaks of: a boolean or a schema."""
    given = schema[keyword]
    if isinstance(given, bool):
        return lambda _value: given
    if not isinstance(given, Mapping):
        raise refused(
            f"$jsonSchema keyword {keyword!r} in {where} must be a boolean or an object, "
            f"not {type_name(given)}",
            TYPE_MISMATCH,
        )
    return _compiled(given, f"{where}.{keyword}", depth + 1)


def _dependencies(schema: Mapping[str, Any], where: str, depth: int) -> Rule:
    rules: list[tuple[str, Rule]] = []
    for name, given in object_argument(schema, "dependencies", where).items():
        if isinstance(given, Mapping):
            rules.append((name, _compiled(given, f"{where}.dependencies.{name}", depth + 1)))
        else:
            wanted = {"required": names_argument(given, f"dependencies.{name}", where)}
            rules.append((name, _required(wanted, where, depth)))

    def are_met(value: Any) -> bool:
        if not isinstance(value, Mapping):
            return True
        return all(rule(value) for name, rule in rules if name in value)

    return are_met


# --- keywords: arrays


def _items(schema: Mapping[str, Any], where: str, depth: int) -> Rule:
    given = schema["items"]
    if isinstance(given, Mapping):
        rule = _compiled(given, f"{where}.items", depth + 1)
        return lambda value: not isinstance(value, list) or all(map(rule, value))
    if not isinstance(given, list | tuple):
        raise refused(
            f"$jsonSchema keyword 'items' in {where} must be an object or an array, "
            f"not {type_name(given)}",
            TYPE_MISMATCH,
        )
    rules = [
        _compiled(each, f"{where}.items.{place}", depth + 1) for place, each in enumerate(given)
    ]

    def are_valid(value: Any) -> bool:
        if not isinstance(value, list):
            return True
        return all(rule(entry) for rule, entry in zip(rules, value, strict=False))

    return are_valid


def _additional_items(schema: Mapping[str, Any], where: str, depth: int) -> Rule | None:
    rule = _allowed("additionalItems", schema, where, depth)
    items = schema.get("items")
    if not isinstance(items, list | tuple):
        return None
    start = len(items)
    return lambda value: not isinstance(value, list) or all(map(rule, value[start:]))


def _unique_items(schema: Mapping[str, Any], where: str, _depth: int) -> Rule | None:
    if not flag_argument(schema, "uniqueItems", where):
        return None
    return lambda value: (
        not isinstance(value, list) or len({identity(entry) for entry in value}) == len(value)
    )


# --- keywords: combinations


def _schemas(keyword: str, schema: Mapping[str, Any], where: str, depth: int) -> list[Rule]:
    return [
        _compiled(each, f"{where}.{keyword}.{place}", depth + 1)
        for place, each in enumerate(filled_array(schema[keyword], keyword, where))
    ]


def _all_of(schema: Mapping[str, Any], where: str, depth: int) -> Rule:
    rules = _schemas("allOf", schema, where, depth)
    return lambda value: all(rule(value) for rule in rules)


def _any_of(schema: Mapping[str, Any], where: str, depth: int) -> Rule:
    rules = _schemas("anyOf", schema, where, depth)
    return lambda value: any(rule(value) for rule in rules)


def _one_of(schema: Mapping[str, Any], where: str, depth: int) -> Rule:
    rules = _schemas("oneOf", schema, where, depth)
    return lambda value: sum(rule(value) for rule in rules) == 1


def _not(schema: Mapping[str, Any], where: str, depth: int) -> Rule:
    rule = _compiled(object_argument(schema, "not", where), f"{where}.not", depth + 1)
    return lambda value: not rule(value)


def _remark(keyword: str, schema: Mapping[str, Any], where: str, _depth: int) -> None:
    """`title` and `description` say something to people only."""
    text_argument(schema, keyword, where)


_LENGTHS: Final = (
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
)
_KEYWORDS: Final[Mapping[str, Keyword]] = {
    **{name: partial(_type, name) for name in ("type", "bsonType")},
    **{name: partial(_bound, name) for name in ("minimum", "maximum")},
    **{name: partial(_exclusive, name) for name in ("exclusiveMinimum", "exclusiveMaximum")},
    **{name: partial(_length, name) for name in _LENGTHS},
    **{name: partial(_remark, name) for name in ("title", "description")},
    "enum": _enum,
    "multipleOf": _multiple_of,
    "pattern": _pattern,
    "required": _required,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "dependencies": _dependencies,
    "items": _items,
    "additionalItems": _additional_items,
    "uniqueItems": _unique_items,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
}
