"""Columns: the fields `{name: {$sum: ...}}` of $group, $bucket and $bucketAuto, compiled.

Terms       column: a named accumulator, not opened yet; opening one gives it its account.
Failure     InvalidPipeline names the field and the accumulator; ExpressionFailed for an n that is
            no positive number.
Sources     MongoDB manual, "Accumulators ($group)".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rango.engine.aggregate import accumulators, ranked
from rango.engine.aggregate.accumulators import Accumulator
from rango.engine.aggregate.keys import group_keys, sort_key
from rango.engine.aggregate.memory import Account
from rango.engine.aggregate.order import sort_spec
from rango.engine.aggregate.spec import expression_of, invalid, known_fields, names_in, whole_of
from rango.engine.aggregate.stage import Batch, Context, Scope
from rango.engine.collation import order_keys
from rango.engine.values import MISSING, is_number, shown
from rango.errors import ExpressionFailed

Inputs = Callable[[Batch], Sequence[Any]]
Make = Callable[[Account, Context], Accumulator]
InputsOf = Callable[[Context], Inputs]

COUNT_MAX: Final = 2**31 - 1


class Column:
    """One named accumulator of a stage."""

    __slots__ = ("field", "inputs_of", "make", "name", "reads", "step")

    def __init__(
        self,
        name: str,
        make: Make,
        inputs_of: InputsOf,
        reads: frozenset[str] | None,
        step: int | None = None,
        field: str | None = None,
    ) -> None:
        self.name = name
        self.make = make
        self.inputs_of = inputs_of
        self.reads = reads
        self.step = step
        """What each document adds to a sum of a constant; None for everything else."""
        self.field = field
        """The top-level field whose values are the inputs, if that is all there is to it."""

    def open(self, account: Account, context: Context) -> tuple[Accumulator, Inputs]:
        """The accumulator and the function that gives its inputs, for one run."""
        return self.make(account, context), self.inputs_of(context)


def columns_of(stage: str, spec: Mapping[str, Any], scope: Scope) -> list[Column]:
    """The columns of a specification. Raises InvalidPipeline, InvalidExpression."""
    return [column_of(stage, name, each, scope) for name, each in spec.items()]


def column_of(stage: str, name: str, spec: object, scope: Scope) -> Column:
    """One field and its accumulator."""
    if "." in name:
        raise invalid(40235, f"{stage}: the field name {name!r} must not have a dot")
    if name.startswith("$"):
        raise invalid(40236, f"{stage}: the field name {name!r} must not start with $")
    if not isinstance(spec, Mapping):
        raise invalid(40234, f"{stage}: {name!r} needs an accumulator such as {{'$sum': '$a'}}")
    if len(spec) != 1:
        raise invalid(40238, f"{stage}: {name!r} has one accumulator, not {shown(spec)}")
    operator, operand = next(iter(spec.items()))
    make = ACCUMULATORS.get(operator)
    if make is None:
        raise invalid(
            15952,
            f"{stage}: {name!r} has an unknown accumulator {operator!r}; "
            f"known are {', '.join(sorted(ACCUMULATORS))}",
        )
    return make(name, operator, operand, scope)


def plain_field(spec: object) -> str | None:
    """The top-level field that an expression just reads, or None."""
    is_path = isinstance(spec, str) and spec[:1] == "$" and spec[1:2] != "$" and "." not in spec
    return spec[1:] if is_path and isinstance(spec, str) else None


def inputs_for(spec: object, scope: Scope) -> InputsOf:
    """The function from documents to the values of an expression."""
    field = plain_field(spec)
    if field is not None:
        expression_of(spec, scope)

        def by_field(batch: Batch) -> list[Any]:
            return [document.get(field, MISSING) for document in batch]

        return lambda context: by_field
    evaluate = expression_of(spec, scope).evaluate

    def opened(context: Context) -> Inputs:
        variables = context.variables
        return lambda batch: [evaluate(document, variables) for document in batch]

    return opened


def _simple(kind: Callable[[Account], Accumulator]) -> Callable[..., Column]:
    def column(name: str, operator: str, operand: object, scope: Scope) -> Column:
        spec = _one_argument(operator, operand)
        return _of_one(name, lambda account, _: kind(account), spec, scope)

    return column


def _of_one(name: str, make: Make, spec: object, scope: Scope) -> Column:
    """The column of an accumulator whose input is one expression."""
    field = plain_field(spec)
    return Column(name, make, inputs_for(spec, scope), names_in(spec), field=field)


def _one_argument(operator: str, operand: object) -> object:
    # {$sum: ["$a"]} is that of "$a"; an array of several is an array for $push and the like
    if isinstance(operand, (list, tuple)):
        if len(operand) != 1:
            raise invalid(40237, f"the accumulator {operator} takes one argument, {shown(operand)}")
        return operand[0]
    return operand


def _ordered(kind: Callable[..., Accumulator]) -> Callable[..., Column]:
    def column(name: str, operator: str, operand: object, scope: Scope) -> Column:
        spec = _one_argument(operator, operand)
        key = order_keys(scope.collation)
        return _of_one(name, lambda account, _: kind(account, key), spec, scope)

    return column


def _set(name: str, operator: str, operand: object, scope: Scope) -> Column:
    spec = _one_argument(operator, operand)
    key = group_keys(scope.collation)
    return _of_one(name, lambda account, _: accumulators.AddToSet(account, key), spec, scope)


def _nothing(context: Context) -> Inputs:
    return lambda batch: batch


def _sum(name: str, operator: str, operand: object, scope: Scope) -> Column:
    spec = _one_argument(operator, operand)
    if type(spec) is int and -(2**31) <= spec < 2**31:
        step = spec
        return Column(
            name,
            lambda account, _: accumulators.Constant(account, step),
            _nothing,
            frozenset(),
            step,
        )
    return _of_one(name, lambda account, _: accumulators.Sum(account), spec, scope)


def _count(name: str, operator: str, operand: object, scope: Scope) -> Column:
    if not (isinstance(operand, Mapping) and not operand):
        raise invalid(9, f"{operator} takes an empty document, not {shown(operand)}")
    return _sum(name, "$sum", 1, scope)


def _fields(operator: str, operand: object, fields: Sequence[str], code: int) -> Mapping[str, Any]:
    """The named arguments of an accumulator; all of them are required."""
    if not isinstance(operand, Mapping):
        raise invalid(code, f"{operator} takes a document of {', '.join(fields)}, {shown(operand)}")
    known_fields(operator, operand, fields, code)
    for field in fields:
        if field not in operand:
            raise invalid(code, f"{operator} needs the field {field!r}")
    return operand


def _count_for(operator: str, spec: object, scope: Scope) -> Callable[[Context], int]:
    """n, which is an expression without the fields of documents."""
    expression = expression_of(spec, scope)

    def of(context: Context) -> int:
        number = whole_of(expression.evaluate({}, context.variables))
        if number is None or not 0 < number <= COUNT_MAX:
            raise ExpressionFailed(
                f"{operator}: n is a positive whole number, not {shown(spec)}", code=5787908
            )
        return number

    return of


def _n_of(name: str, operator: str, operand: object, scope: Scope) -> Column:
    """$firstN, $lastN, $minN, $maxN."""
    options = _fields(operator, operand, ("input", "n"), 5787801)
    count = _count_for(operator, options["n"], scope)
    key = order_keys(scope.collation)

    def make(account: Account, context: Context) -> Accumulator:
        n = count(context)
        if operator == "$firstN":
            return ranked.FirstN(account, n)
        if operator == "$lastN":
            return ranked.LastN(account, n)
        return ranked.ExtremeN(account, n, operator == "$maxN", key)

    return Column(name, make, inputs_for(options["input"], scope), names_in(options["input"]))


def _top(name: str, operator: str, operand: object, scope: Scope) -> Column:
    """$top, $bottom, $topN, $bottomN."""
    is_one = not operator.endswith("N")
    fields = ("sortBy", "output") if is_one else ("sortBy", "output", "n")
    options = _fields(operator, operand, fields, 5788001)
    sort = sort_spec(f"{operator}: sortBy", options["sortBy"])
    key_of = sort_key(sort, scope.collation)
    count = _count_for(operator, 1 if is_one else options["n"], scope)
    values_of = inputs_for(options["output"], scope)
    is_bottom = operator.startswith("$bottom")

    def make(account: Account, context: Context) -> Accumulator:
        return ranked.Top(account, count(context), is_bottom, is_one)

    def opened(context: Context) -> Inputs:
        values = values_of(context)
        return lambda batch: list(zip(map(key_of, batch), values(batch), strict=True))

    read = names_in(options["output"])
    if read is not None:
        read |= {path.split(".")[0] for path, _ in sort}
    return Column(name, make, opened, read)


def _percentile(name: str, operator: str, operand: object, scope: Scope) -> Column:
    is_median = operator == "$median"
    fields = ("input", "method") if is_median else ("input", "p", "method")
    options = _fields(operator, operand, fields, 40414)
    if options["method"] not in ("approximate", "discrete"):
        raise invalid(2, f"{operator}: the method is 'approximate', not {shown(options['method'])}")
    given = [0.5] if is_median else options["p"]
    if not isinstance(given, list) or not given:
        raise invalid(7750301, f"{operator}: p is an array of numbers, not {shown(given)}")
    ranks = []
    for each in given:
        if not is_number(each) or not 0 <= float(str(each)) <= 1:
            raise invalid(7750303, f"{operator}: p holds numbers from 0 to 1, not {shown(each)}")
        ranks.append(float(str(each)))
    return Column(
        name,
        lambda account, _: ranked.Percentile(account, ranks, is_median),
        inputs_for(options["input"], scope),
        names_in(options["input"]),
    )


ACCUMULATORS: Final[Mapping[str, Callable[[str, str, object, Scope], Column]]] = {
    "$sum": _sum,
    "$count": _count,
    "$avg": _simple(accumulators.Average),
    "$min": _ordered(accumulators.Min),
    "$max": _ordered(accumulators.Max),
    "$first": _simple(accumulators.First),
    "$last": _simple(accumulators.Last),
    "$push": _simple(accumulators.Push),
    "$addToSet": _set,
    "$mergeObjects": _simple(accumulators.MergeObjects),
    "$stdDevPop": _simple(accumulators.DeviationPop),
    "$stdDevSamp": _simple(accumulators.DeviationSamp),
    "$firstN": _n_of,
    "$lastN": _n_of,
    "$minN": _n_of,
    "$maxN": _n_of,
    "$top": _top,
    "$topN": _top,
    "$bottom": _top,
    "$bottomN": _top,
    "$median": _percentile,
    "$percentile": _percentile,
}
