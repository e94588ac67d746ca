"""$fill and $densify: values and documents that are not there.

Invariants  $fill: a field that is null or missing gets the constant, the last value before it, or
            the value on the line between its neighbours, within its partition.
            $densify: after it, each partition has documents at every step of the range; those that
            were there stay as they are, new ones hold the field and the partition's fields only.
            The answer is sorted by partition and field.
Failure     InvalidPipeline for a bad specification; LimitExceeded for more new documents than
            DENSIFIED_COUNT_MAX.
Sources     MongoDB manual, "$fill (aggregation)", "$densify (aggregation)".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rango.engine.aggregate.keys import group_keys
from rango.engine.aggregate.shape import add_fields_stage
from rango.engine.aggregate.spec import field_path, invalid, known_fields, whole_of
from rango.engine.aggregate.stage import Batches, Context, Document, Scope, Stage, in_batches
from rango.engine.aggregate.unwind import value_at, with_value
from rango.engine.aggregate.window import plain, window_stage
from rango.engine.aggregate.window_functions import UNITS, moved
from rango.engine.collation import order_keys
from rango.engine.values import MISSING, date_of_ms, is_date, is_number, ms_of_date, shown
from rango.errors import ExpressionFailed, LimitExceeded

DENSIFIED_COUNT_MAX: Final = 500_000
"""Documents that one $densify may add. MongoDB's limit."""

METHODS: Final = {"linear": "$linearFill", "locf": "$locf"}


def fill_stages(spec: object, scope: Scope) -> list[Stage]:
    """$fill: $setWindowFields for the methods, $addFields for the constants."""
    if not isinstance(spec, Mapping):
        raise invalid(9, f"$fill takes a document, not {shown(spec)}")
    known_fields("$fill", spec, ("partitionBy", "partitionByFields", "sortBy", "output"), 40415)
    output = spec.get("output")
    if not isinstance(output, Mapping) or not output:
        raise invalid(40414, f"$fill needs output, a document of fields, not {shown(output)}")
    if "partitionBy" in spec and "partitionByFields" in spec:
        raise invalid(6050204, "$fill has either partitionBy or partitionByFields")
    windows: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    for path, each in output.items():
        if not isinstance(each, Mapping) or len(each) != 1:
            raise invalid(6050202, f"$fill: {path!r} has either a value or a method")
        name, value = next(iter(each.items()))
        if name == "value":
            constants[path] = {"$ifNull": [f"${path}", value]}
        elif name == "method" and type(value) is str and value in METHODS:
            windows[path] = {METHODS[value]: f"${path}"}
        else:
            raise invalid(6050202, f"$fill: {path!r} takes a value, or the method linear or locf")
    stages: list[Stage] = []
    if windows:
        stages.append(_window(spec, windows, scope))
    if constants:
        stages.append(add_fields_stage(constants, scope))
    return stages


def _window(spec: Mapping[str, Any], output: dict[str, Any], scope: Scope) -> Stage:
    """The $setWindowFields of the methods."""
    if "sortBy" not in spec:
        raise invalid(9, "$fill: a method needs sortBy")
    window: dict[str, Any] = {"sortBy": spec["sortBy"], "output": output}
    if "partitionBy" in spec:
        window["partitionBy"] = spec["partitionBy"]
    if "partitionByFields" in spec:
        names = _names(spec["partitionByFields"])
        window["partitionBy"] = {name.replace(".", "_"): f"${name}" for name in names}
    return window_stage(window, scope)


def _names(spec: object) -> list[str]:
    if not isinstance(spec, list):
        raise invalid(14, f"the fields of a partition are a list, not {shown(spec)}")
    return [field_path("a field of the partition", each) for each in spec]


class Densify(Stage):
    """$densify"""

    name = "$densify"

    def __init__(self, spec: Any, path: str, names: list[str], scope: Scope) -> None:
        self.spec = spec
        self.path = path.split(".")
        self.names = [name.split(".") for name in names]
        self.step = plain(spec["range"]["step"])
        self.unit: str | None = spec["range"].get("unit")
        self.is_dated = self.unit is not None
        self.bounds = spec["range"]["bounds"]
        self.group_of = group_keys(scope.collation)
        self.order_of = order_keys(scope.collation)

    def run(self, source: Batches, context: Context) -> Batches:
        account = context.memory.account(self.name)
        rest: list[Document] = []
        parts: dict[Any, list[tuple[Any, Document]]] = {}
        for batch in source:
            if not batch:
                yield batch
                continue
            context.environment.check()
            account.charge_documents(batch)
            for document in batch:
                value = value_at(document, self.path)
                if value is None or value is MISSING:
                    rest.append(document)
                    continue
                key = tuple(self.group_of(value_at(document, name)) for name in self.names)
                parts.setdefault(key, []).append((self._place(value), document))
        yield from in_batches(rest)
        if not self.names and isinstance(self.bounds, list):
            # two values are a range even where no document lies in it
            parts.setdefault((), [])
        places = [place for part in parts.values() for place, _ in part]
        added = 0
        for part in self._ordered(parts):
            made = []
            for document, is_new in self._dense(part, places):
                added += is_new
                if added > DENSIFIED_COUNT_MAX:
                    raise LimitExceeded(
                        "DENSIFIED_COUNT_MAX",
                        added,
                        f"$densify would add more than {DENSIFIED_COUNT_MAX:,} documents; take a "
                        "larger step or narrower bounds",
                    )
                made.append(document)
            yield from in_batches(made)

    def _ordered(self, parts: dict[Any, list[tuple[Any, Document]]]) -> list[Any]:
        def key(part: list[tuple[Any, Document]]) -> list[bytes]:
            return [self.order_of(value_at(part[0][1], name)) for name in self.names]

        return sorted(parts.values(), key=key)

    def _place(self, value: Any) -> Any:
        if self.is_dated and is_date(value):
            return ms_of_date(value)
        if not self.is_dated and is_number(value):
            return plain(value)
        wanted = "a date, because there is a unit" if self.is_dated else "a number"
        raise ExpressionFailed(
            f"$densify: {'.'.join(self.path)!r} must be {wanted}, not {shown(value)}", code=5733201
        )

    def _dense(
        self, part: list[tuple[Any, Document]], places: list[Any]
    ) -> Iterator[tuple[Document, bool]]:
        """The documents of a partition, and those that were missing, in order."""
        part.sort(key=lambda each: each[0])
        if self.bounds == "partition":
            low, high, is_closed = part[0][0], part[-1][0], True
        elif self.bounds == "full":
            low, high, is_closed = min(places), max(places), True
        else:
            low, high, is_closed = *map(self._place, self.bounds), False
        made: Document = {}
        for name in self.names:
            made = with_value(made, name, value_at(part[0][1], name))
        turn = 0
        place = low
        count = 0
        while place <= high if is_closed else place < high:
            while turn < len(part) and part[turn][0] < place:
                yield part[turn][1], False
                turn += 1
            if turn < len(part) and part[turn][0] == place:
                while turn < len(part) and part[turn][0] == place:
                    yield part[turn][1], False
                    turn += 1
            else:
                value = date_of_ms(int(place)) if self.is_dated else place
                yield with_value(made, self.path, value), True
            count += 1
            place = moved(low, count * self.step, self.unit)
        for _, document in part[turn:]:
            yield document, False


def densify_stage(spec: object, scope: Scope) -> Stage:
    """$densify"""
    if not isinstance(spec, Mapping):
        raise invalid(9, f"$densify takes a document, not {shown(spec)}")
    known_fields("$densify", spec, ("field", "partitionByFields", "range"), 40415)
    path = field_path("$densify: field", spec.get("field"))
    names = _names(spec.get("partitionByFields", []))
    span = spec.get("range")
    if not isinstance(span, Mapping):
        raise invalid(40414, f"$densify needs range, a document, not {shown(span)}")
    known_fields("$densify: range", span, ("step", "unit", "bounds"), 40415)
    step = span.get("step")
    if not is_number(step) or plain(step) <= 0:
        raise invalid(5733401, f"$densify: the step is a positive number, not {shown(step)}")
    if "unit" in span and span["unit"] not in UNITS:
        raise invalid(5733409, f"$densify: the unit is one of {', '.join(UNITS)}")
    if "unit" in span and whole_of(step) is None:
        raise invalid(6586400, f"$densify: the step of dates is a whole number, not {shown(step)}")
    bounds = span.get("bounds")
    is_pair = isinstance(bounds, list) and len(bounds) == 2
    if bounds not in ("full", "partition") and not is_pair:
        raise invalid(5733402, "$densify: the bounds are 'full', 'partition', or two values")
    stage = Densify(spec, path, names, scope)
    if isinstance(bounds, list):
        for bound in bounds:
            if is_date(bound) != stage.is_dated or not (is_date(bound) or is_number(bound)):
                raise invalid(5733402, f"$densify: {shown(bound)} is no bound of this range")
    return stage
