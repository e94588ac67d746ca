"""Arrays: elements, parts, joins, order, $map $filter $reduce, and arrays of pairs.

Invariants  null or missing in place of an array gives null, but for $size, $in, $isArray, $maxN and
            their kin, as in MongoDB. An array that is made never holds MISSING: null stands for it.
Failure     ExpressionFailed names the operator and the operand.
Sources     MongoDB manual, "Array Expression Operators".
"""

from __future__ import annotations

from typing import Any, Final

from rango.engine.expression.operands import (
    fixed,
    named,
    operands,
    refuse_kind,
    size_check,
    unary,
    variadic,
)
from rango.engine.expression.places import finder, provided
from rango.engine.expression.scope import Compiler, Run, Scope, check_variable_written
from rango.engine.expression.string import index_argument
from rango.engine.numbers import whole_of
from rango.engine.values import (
    INT32_MAX,
    INT32_MIN,
    MISSING,
    fields_of,
    is_number,
    shown,
    truth,
)
from rango.errors import ExpressionFailed, InvalidExpression

RANGE_COUNT_MAX: Final = 4_000_000
"""Elements that $range makes: about 64 MiB of references and integers."""


def position(name: str, what: str, value: Any, codes: tuple[int, int]) -> int:
    """An operand that is a 32-bit integer."""
    if not is_number(value):
        raise refuse_kind(name, f"a number as {what}", value, codes[0])
    whole = whole_of(value)
    if whole is None or not INT32_MIN <= whole <= INT32_MAX:
        raise ExpressionFailed(
            f"{name} needs a {what} that is a 32-bit integer, not {shown(value)}", code=codes[1]
        )
    return whole


def _array_elem_at(array: Any, index: Any) -> Any:
    if array is None or array is MISSING or index is None or index is MISSING:
        return None
    if type(array) is not list:
        raise refuse_kind("$arrayElemAt", "an array as its first argument", array, 28689)
    place = position("$arrayElemAt", "position", index, (28690, 28691))
    return array[place] if -len(array) <= place < len(array) else MISSING


def _first(value: Any) -> Any:
    if type(value) is not list:
        raise refuse_kind("$first", "an array", value, 28689)
    return value[0] if value else MISSING


def _last(value: Any) -> Any:
    if type(value) is not list:
        raise refuse_kind("$last", "an array", value, 28689)
    return value[-1] if value else MISSING


def count_argument(operator: str, value: Any) -> int:
    """The 'n' of $firstN and its kin."""
    whole = whole_of(value) if is_number(value) else None
    if whole is None:
        raise refuse_kind(operator, "an integral 'n'", value, 5787902)
    if whole <= 0:
        raise ExpressionFailed(
            f"{operator} needs an 'n' greater than 0, not {shown(value)}", code=5787908
        )
    return whole


def _some(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(operator, operand, ("n", "input"), codes=(5787900, 5787901, 5787906))
    count_run, source = scope.run(given["n"]), scope.run(given["input"])

    def run(root: Any, variables: dict[str, Any]) -> Any:
        count = count_argument(operator, count_run(root, variables))
        array = source(root, variables)
        if type(array) is not list:
            raise refuse_kind(operator, "an array as its 'input'", array, 5788200)
        if operator == "$firstN":
            return array[:count]
        if operator == "$lastN":
            return array[-count:]
        held = [value for value in array if value is not None]
        return sorted(held, key=scope.key_of, reverse=operator == "$maxN")[:count]

    return run


def _concat_arrays(values: list[Any]) -> Any:
    made: list[Any] = []
    for value in values:
        if value is None or value is MISSING:
            return None
        if type(value) is not list:
            raise refuse_kind("$concatArrays", "arrays", value, 28664)
        # an element of an array takes four bytes at the least
        size_check("$concatArrays", 4 * (len(made) + len(value)))
        made += value
    return made


def _filter(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(
        operator, operand, ("input", "cond"), ("as", "limit"), codes=(28646, 28647, 28648)
    )
    name = check_variable_written(operator, given.get("as", "this"))
    source = scope.run(given["input"])
    condition = scope.within((name,), given["cond"])
    limit_run = scope.run(given["limit"]) if "limit" in given else None

    def run(root: Any, variables: dict[str, Any]) -> Any:
        array = source(root, variables)
        if array is None or array is MISSING:
            return None
        if type(array) is not list:
            raise refuse_kind(operator, "an array as its 'input'", array, 28651)
        limit = len(array)
        if limit_run is not None:
            limit = _limit(limit_run(root, variables), limit)
        inner = provided(variables)
        made: list[Any] = []
        for element in array:
            inner[name] = element
            if truth(condition(root, inner)):
                made.append(element)
                if len(made) >= limit:
                    break
        return made

    return run


def _limit(value: Any, everything: int) -> int:
    if value is None or value is MISSING:
        return everything
    limit = position("$filter", "limit", value, (327391, 327391))
    if limit <= 0:
        raise ExpressionFailed(
            f"$filter needs a limit greater than 0, not {shown(value)}", code=327392
        )
    return limit


def _map(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(operator, operand, ("input", "in"), ("as",), codes=(16878, 16879, 16880))
    name = check_variable_written(operator, given.get("as", "this"))
    source = scope.run(given["input"])
    body = scope.within((name,), given["in"])

    def run(root: Any, variables: dict[str, Any]) -> Any:
        array = source(root, variables)
        if array is None or array is MISSING:
            return None
        if type(array) is not list:
            raise refuse_kind(operator, "an array as its 'input'", array, 16883)
        inner = provided(variables)
        made: list[Any] = []
        for element in array:
            inner[name] = element
            value = body(root, inner)
            made.append(None if value is MISSING else value)
        return made

    return run


def _reduce(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(operator, operand, ("input", "initialValue", "in"), codes=(40075, 40076, 40077))
    source, start = scope.run(given["input"]), scope.run(given["initialValue"])
    body = scope.within(("this", "value"), given["in"])

    def run(root: Any, variables: dict[str, Any]) -> Any:
        array = source(root, variables)
        if array is None or array is MISSING:
            return None
        if type(array) is not list:
            raise refuse_kind(operator, "an array as its 'input'", array, 40080)
        inner = provided(variables)
        value = start(root, variables)
        for element in array:
            inner["this"] = element
            inner["value"] = value
            value = body(root, inner)
        return value

    return run


def _in(operator: str, operand: Any, scope: Scope) -> Run:
    value_node, array_node = operands(operator, operand, scope, 2)
    value_run, array_run = value_node.run, array_node.run
    find = finder(scope, array_node)

    def run(root: Any, variables: dict[str, Any]) -> bool:
        value, array = value_run(root, variables), array_run(root, variables)
        if type(array) is not list:
            raise refuse_kind(operator, "an array as its second argument", array, 40081)
        return find(array, value, (0, len(array)), variables) >= 0

    return run


def _index_of_array(operator: str, operand: Any, scope: Scope) -> Run:
    nodes = operands(operator, operand, scope, 2, 4)
    find = finder(scope, nodes[0])

    def run(root: Any, variables: dict[str, Any]) -> Any:
        array, wanted, *bounds = [node.run(root, variables) for node in nodes]
        if array is None or array is MISSING:
            return None
        if type(array) is not list:
            raise refuse_kind(operator, "an array as its first argument", array, 40090)
        start = index_argument(operator, bounds[0], "starting index") if bounds else 0
        end = index_argument(operator, bounds[1], "ending index") if bounds[1:] else len(array)
        return find(array, wanted, (start, end), variables)

    return run


def _range(values: list[Any]) -> list[int]:
    start = position("$range", "start", values[0], (34443, 34444))
    end = position("$range", "end", values[1], (34445, 34446))
    step = position("$range", "step", values[2], (34447, 34448)) if len(values) > 2 else 1
    if step == 0:
        raise ExpressionFailed("$range needs a step other than 0", code=34449)
    made = range(start, end, step)
    if len(made) > RANGE_COUNT_MAX:
        raise ExpressionFailed(
            f"$range would make {len(made)} numbers, more than {RANGE_COUNT_MAX}: {shown(values)}",
            code=146,
        )
    return list(made)


def _reverse(value: Any) -> Any:
    if type(value) is not list:
        raise refuse_kind("$reverseArray", "an array", value, 34435)
    return value[::-1]


def _size(value: Any) -> int:
    if type(value) is not list:
        raise refuse_kind("$size", "an array", value, 17124)
    return len(value)


def _slice(values: list[Any]) -> Any:
    if any(value is None or value is MISSING for value in values):
        return None
    array = values[0]
    if type(array) is not list:
        raise refuse_kind("$slice", "an array as its first argument", array, 28724)
    first = position("$slice", "second argument", values[1], (28725, 28726))
    if len(values) == 2:
        return array[:first] if first >= 0 else array[first:]
    count = position("$slice", "third argument", values[2], (28727, 28728))
    if count <= 0:
        raise ExpressionFailed(
            f"$slice needs a third argument greater than 0, not {shown(values[2])}", code=28729
        )
    start = first if first >= 0 else max(0, len(array) + first)
    return array[start : start + count]


def _zip(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(
        operator,
        operand,
        ("inputs",),
        ("useLongestLength", "defaults"),
        codes=(34460, 34464, 34465),
    )
    is_longest = given.get("useLongestLength", False)
    if type(is_longest) is not bool:
        raise InvalidExpression(
            f"$zip needs a bool in 'useLongestLength', not {shown(is_longest)}", code=34463
        )
    if given["inputs"] == []:
        raise InvalidExpression("$zip needs at least one array in 'inputs'", code=34465)
    if given.get("defaults") not in (None, []) and not is_longest:
        raise InvalidExpression(
            "$zip cannot have 'defaults' unless 'useLongestLength' is true", code=34466
        )
    sources, defaults_run = scope.run(given["inputs"]), scope.run(given.get("defaults"))

    def run(root: Any, variables: dict[str, Any]) -> Any:
        arrays = sources(root, variables)
        if type(arrays) is not list:
            raise refuse_kind("$zip", "an array of arrays in 'inputs'", arrays, 34461)
        if not arrays:
            raise ExpressionFailed("$zip needs at least one array in 'inputs'", code=34465)
        for array in arrays:
            if array is None:
                return None
            if type(array) is not list:
                raise refuse_kind("$zip", "arrays as its inputs", array, 34468)
        fill = _defaults(defaults_run(root, variables), len(arrays))
        sizes = [len(array) for array in arrays]
        count = max(sizes) if is_longest else min(sizes)
        pairs = list(zip(arrays, fill, strict=True))
        return [
            [array[at] if at < len(array) else default for array, default in pairs]
            for at in range(count)
        ]

    return run


def _defaults(defaults: Any, count: int) -> list[Any]:
    """What fills up arrays that are shorter than the longest one."""
    if defaults is None or defaults is MISSING or defaults == []:
        return [None] * count
    if type(defaults) is not list:
        raise refuse_kind("$zip", "an array in 'defaults'", defaults, 34462)
    if len(defaults) != count:
        raise ExpressionFailed(
            f"$zip needs as many 'defaults' as 'inputs': {len(defaults)} and {count}", code=34467
        )
    return defaults


def _sort_array(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(operator, operand, ("input", "sortBy"), codes=(2942500, 2942501, 2942502))
    source = scope.run(given["input"])
    fields = _sort_fields(given["sortBy"])

    def run(root: Any, variables: dict[str, Any]) -> Any:
        array = source(root, variables)
        if array is None or array is MISSING:
            return None
        if type(array) is not list:
            raise refuse_kind(operator, "an array as its 'input'", array, 2942504)
        made = list(array)
        # from the last field to the first: each sort keeps what the ones before it made
        for names, direction in reversed(fields):
            made.sort(key=lambda each: scope.key_of(_dotted(each, names)), reverse=direction < 0)
        return made

    return run


def _sort_fields(spec: Any) -> list[tuple[tuple[str, ...], int]]:
    if is_number(spec):
        return [((), _direction("the whole value", spec))]
    if type(spec) is not dict or not spec:
        raise InvalidExpression(
            f"$sortArray needs 1, -1 or a document of fields in 'sortBy', not {shown(spec)}",
            code=2942505 if type(spec) is not dict else 15976,
        )
    return [(tuple(name.split(".")), _direction(name, given)) for name, given in spec.items()]


def _direction(name: str, value: Any) -> int:
    whole = whole_of(value) if is_number(value) else None
    if whole not in (1, -1):
        raise InvalidExpression(
            f"$sortArray orders {name!r} by 1 or -1, not by {shown(value)}", code=15975
        )
    return whole


def _dotted(value: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        if type(value) is list:
            value = value[int(name)] if name.isdigit() and int(name) < len(value) else None
            continue
        fields = fields_of(value)
        value = None if fields is None else fields.get(name)
    return value


OPERATORS: Final[dict[str, Compiler]] = {
    "$arrayElemAt": fixed(2, _array_elem_at),
    "$concatArrays": variadic(_concat_arrays),
    "$filter": _filter,
    "$first": unary(_first),
    "$firstN": _some,
    "$in": _in,
    "$indexOfArray": _index_of_array,
    "$isArray": fixed(1, lambda value: type(value) is list),
    "$last": unary(_last),
    "$lastN": _some,
    "$map": _map,
    "$maxN": _some,
    "$minN": _some,
    "$range": variadic(_range, 2, 3),
    "$reduce": _reduce,
    "$reverseArray": unary(_reverse),
    "$size": fixed(1, _size),
    "$slice": variadic(_slice, 2, 3),
    "$sortArray": _sort_array,
    "$zip": _zip,
}
