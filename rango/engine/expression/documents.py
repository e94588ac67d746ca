"""Documents: $getField $setField $unsetField, $mergeObjects, and documents as arrays of pairs.

Invariants  A name here is one name: dots and dollars in it mean nothing, so these operators reach
            fields that paths cannot.
Sources     MongoDB manual, "Object Expression Operators", "$arrayToObject".
"""

from __future__ import annotations

from typing import Any, Final

from rango.engine.expression.operands import named, operands, refuse_kind, unary
from rango.engine.expression.scope import Compiler, Run, Scope
from rango.engine.values import MISSING, fields_of, shown, type_name
from rango.errors import ExpressionFailed, InvalidExpression


def _get_field(operator: str, operand: Any, scope: Scope) -> Run:
    spec = operand
    if type(operand) is not dict or next(iter(operand), "").startswith("$"):
        spec = {"field": operand, "input": "$$CURRENT"}
    given = named(operator, spec, ("field",), ("input",), codes=(3041701, 3041701, 3041702))
    if "input" not in given:
        # MongoDB's manual names a default, its server has none; only the short form has one
        raise InvalidExpression(
            f"$getField needs 'input' beside 'field': {shown(operand)}; write '$$CURRENT' for the "
            "document itself, or the short form {'$getField': name}",
            code=3041703,
        )
    field = scope.compile(given["field"])
    if field.is_constant and not isinstance(field.value, str):
        raise InvalidExpression(
            f"$getField needs a string as its field, not {type_name(field.value)}: "
            f"{shown(field.value)}",
            code=5654602,
        )
    name_run, source = field.run, scope.run(given["input"])

    def run(root: Any, variables: dict[str, Any]) -> Any:
        name = name_run(root, variables)
        if not isinstance(name, str):
            raise refuse_kind(operator, "a string as its field", name, 3041704)
        value = source(root, variables)
        if value is None or value is MISSING:
            return value
        fields = fields_of(value)
        return MISSING if fields is None else fields.get(name, MISSING)

    return run


def _set_field(operator: str, operand: Any, scope: Scope) -> Run:
    needed = ("field", "input", "value") if operator == "$setField" else ("field", "input")
    given = named(operator, operand, needed, codes=(4161100, 4161101, 4161102))
    name = _constant_name(operator, given["field"], scope)
    source = scope.run(given["input"])
    made = scope.run(given["value"]) if operator == "$setField" else None

    def run(root: Any, variables: dict[str, Any]) -> Any:
        value = source(root, variables)
        if value is None or value is MISSING:
            return None
        fields = fields_of(value)
        if fields is None:
            raise refuse_kind(operator, "a document as its input", value, 4161105)
        fields = dict(fields)
        new = MISSING if made is None else made(root, variables)
        if new is MISSING:
            fields.pop(name, None)
        else:
            fields[name] = new
        return fields

    return run


def _constant_name(operator: str, spec: Any, scope: Scope) -> str:
    field = scope.compile(spec)
    if not field.is_constant:
        raise InvalidExpression(
            f"{operator} needs a constant as its field, not {shown(spec)}; for a name with a "
            "dollar write {'$literal': ...}",
            code=4161106,
        )
    if not isinstance(field.value, str):
        raise InvalidExpression(
            f"{operator} needs a string as its field, not {type_name(field.value)}: "
            f"{shown(field.value)}",
            code=4161107,
        )
    return field.value


def _merge_objects(operator: str, operand: Any, scope: Scope) -> Run:
    runs = [node.run for node in operands(operator, operand, scope, 0, -1)]

    def run(root: Any, variables: dict[str, Any]) -> Any:
        made: dict[str, Any] = {}
        for each in runs:
            value = each(root, variables)
            if value is None or value is MISSING:
                continue
            fields = fields_of(value)
            if fields is None:
                raise refuse_kind(operator, "documents", value, 40400)
            made.update(fields)
        return made

    return run


def _object_to_array(value: Any) -> Any:
    fields = fields_of(value)
    if fields is None:
        raise refuse_kind("$objectToArray", "a document", value, 40390)
    return [{"k": name, "v": each} for name, each in fields.items()]


def _array_to_object(value: Any) -> Any:
    name = "$arrayToObject"
    if type(value) is not list:
        raise refuse_kind(name, "an array", value, 40386)
    made: dict[str, Any] = {}
    are_lists = bool(value) and type(value[0]) is list
    for pair in value:
        if are_lists:
            if type(pair) is not list:
                raise ExpressionFailed(
                    f"{name} needs elements of one form, all arrays like the first one, "
                    f"not {shown(pair)}",
                    code=40396,
                )
            field, held = _of_list(pair)
        else:
            field, held = _of_document(pair, bool(made))
        if "\x00" in field:
            raise ExpressionFailed(
                f"{name}: a key cannot hold a NUL: {shown(field)}",
                code=4940400 if are_lists else 4940401,
            )
        made[field] = held
    return made


def _of_list(pair: list[Any]) -> tuple[str, Any]:
    if len(pair) != 2:
        raise ExpressionFailed(
            f"$arrayToObject needs arrays of size 2, this one has {len(pair)}: {shown(pair)}",
            code=40397,
        )
    if not isinstance(pair[0], str):
        raise refuse_kind("$arrayToObject", "strings as keys", pair[0], 40395)
    return pair[0], pair[1]


def _of_document(pair: Any, is_later: bool) -> tuple[str, Any]:
    fields = fields_of(pair)
    if fields is None:
        if is_later:
            raise ExpressionFailed(
                "$arrayToObject needs elements of one form, all documents like the first one, "
                f"not {shown(pair)}",
                code=40391,
            )
        raise refuse_kind("$arrayToObject", "pairs: [key, value] or {k:, v:}", pair, 40398)
    if len(fields) != 2:
        raise ExpressionFailed(
            f"$arrayToObject needs documents with the fields 'k' and 'v', not {shown(pair)}",
            code=40392,
        )
    if "k" not in fields or "v" not in fields:
        raise ExpressionFailed(
            f"$arrayToObject needs documents with the fields 'k' and 'v', not {shown(pair)}",
            code=40393,
        )
    if not isinstance(fields["k"], str):
        raise refuse_kind("$arrayToObject", "strings as 'k'", fields["k"], 40394)
    return fields["k"], fields["v"]


OPERATORS: Final[dict[str, Compiler]] = {
    "$arrayToObject": unary(_array_to_object),
    "$getField": _get_field,
    "$mergeObjects": _merge_objects,
    "$objectToArray": unary(_object_to_array),
    "$setField": _set_field,
    "$unsetField": _set_field,
}
