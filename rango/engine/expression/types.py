"""Kinds: $convert and its short forms, $type, $isNumber, and the sizes of values.

Failure     'onError' of $convert takes failed conversions only, no other errors of its input.
Sources     MongoDB manual, "Type Expression Operators", "$binarySize", "$bsonSize".
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Final

from bson.int64 import Int64
from bson.timestamp import Timestamp

from rango._ext.record import encode
from rango.engine.expression.conversion import CONVERSION_FAILED, TARGETS, to_uuid
from rango.engine.expression.operands import fixed, named, operands, refuse_kind, unary
from rango.engine.expression.scope import Compiler, Run, Scope
from rango.engine.numbers import whole_of
from rango.engine.values import MISSING, fields_of, is_number, shown, type_name
from rango.errors import ExpressionFailed, InvalidExpression

CODES: Final = {
    1: "double",
    2: "string",
    3: "object",
    4: "array",
    5: "binData",
    6: "undefined",
    7: "objectId",
    8: "bool",
    9: "date",
    10: "null",
    11: "regex",
    12: "dbPointer",
    13: "javascript",
    14: "symbol",
    15: "javascriptWithScope",
    16: "int",
    17: "timestamp",
    18: "long",
    19: "decimal",
    -1: "minKey",
    127: "maxKey",
}
NAMES: Final = frozenset(CODES.values())


def target_of(value: Any) -> str:
    """The alias that 'to' of $convert means: a name, a number, or {type: ...}."""
    fields = fields_of(value)
    if fields is not None:
        if "type" not in fields:
            raise ExpressionFailed(
                f"$convert needs 'type' in its 'to' when that is a document: {shown(value)}", code=9
            )
        value = fields["type"]
    if isinstance(value, str):
        if value not in NAMES and value != "missing":
            raise ExpressionFailed(f"unknown type name: {value!r:.60}, in $convert", code=2)
        return value
    if not is_number(value):
        raise refuse_kind("$convert", "a string or a number as its 'to'", value, 9)
    whole = whole_of(value)
    if whole is None:
        raise refuse_kind("$convert", "an integral number as its 'to'", value, 9)
    if whole not in CODES:
        raise ExpressionFailed(
            f"in $convert, the numeric value {whole} for 'to' is no type of BSON", code=9
        )
    return CODES[whole]


def convert(value: Any, target: str) -> Any:
    """The value as another kind, or ExpressionFailed 241."""
    apply = TARGETS.get(target)
    if apply is None:
        raise ExpressionFailed(
            f"unsupported conversion from {type_name(value)} to {target} in $convert with no "
            f"onError value: {shown(value)}",
            code=CONVERSION_FAILED,
        )
    return apply(value)


def _convert(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(operator, operand, ("input", "to"), ("onError", "onNull", "format", "byteOrder"))
    source, target_run = scope.run(given["input"]), scope.run(given["to"])
    on_null = scope.run(given["onNull"]) if "onNull" in given else None
    on_error = scope.run(given["onError"]) if "onError" in given else None

    def run(root: Any, variables: dict[str, Any]) -> Any:
        wanted = target_run(root, variables)
        value = source(root, variables)
        target = None if wanted is None or wanted is MISSING else target_of(wanted)
        if value is None or value is MISSING:
            return None if on_null is None else on_null(root, variables)
        if target is None:
            return None
        if on_error is None:
            return convert(value, target)
        try:
            return convert(value, target)
        except ExpressionFailed as error:
            if error.code != CONVERSION_FAILED:
                raise
        return on_error(root, variables)

    return run


def _short(target: str) -> Compiler:
    compile_one = unary(TARGETS[target])

    def compile_short(operator: str, operand: Any, scope: Scope) -> Run:
        if isinstance(operand, list) and len(operand) != 1:
            raise InvalidExpression(
                f"{operator} takes a single argument, it was given {len(operand)}", code=50723
            )
        return compile_one(operator, operand, scope)

    return compile_short


def _type(operator: str, operand: Any, scope: Scope) -> Run:
    first = operands(operator, operand, scope, 1)[0].run
    return lambda root, variables: type_name(first(root, variables))


def _binary_size(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, uuid.UUID):
        return 16
    raise refuse_kind("$binarySize", "a string or binary data", value, 51276)


def _bson_size(value: Any) -> int:
    fields = fields_of(value)
    if fields is None:
        raise refuse_kind("$bsonSize", "a document", value, 31393)
    return len(encode(fields))


def _ts(name: str, part: Callable[[Any], int], code: int) -> Compiler:
    def apply(value: Any) -> Any:
        if not isinstance(value, Timestamp):
            raise refuse_kind(name, "a timestamp", value, code)
        return Int64(part(value))

    return unary(apply)


OPERATORS: Final[dict[str, Compiler]] = {
    "$binarySize": unary(_binary_size),
    "$bsonSize": unary(_bson_size),
    "$convert": _convert,
    "$isNumber": fixed(1, is_number),
    "$toBool": _short("bool"),
    "$toDate": _short("date"),
    "$toDecimal": _short("decimal"),
    "$toDouble": _short("double"),
    "$toInt": _short("int"),
    "$toLong": _short("long"),
    "$toObjectId": _short("objectId"),
    "$toString": _short("string"),
    "$toUUID": unary(to_uuid),
    "$tsIncrement": _ts("$tsIncrement", lambda value: int(value.inc), 5687302),
    "$tsSecond": _ts("$tsSecond", lambda value: int(value.time), 5687301),
    "$type": _type,
}
