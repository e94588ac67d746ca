"""Arithmetic of dates: $dateAdd $dateSubtract $dateDiff $dateTrunc.

Terms       unit: year, quarter, month, week, day, hour, minute, second, millisecond.
Invariants  Years to days are counted on the clock of the time zone, hours and less in elapsed time.
            $dateDiff counts boundaries that lie between two moments; $dateTrunc cuts off to bins
            that are counted from 2000-01-01 (weeks: from the first one after it).
Sources     MongoDB manual, "$dateAdd", "$dateDiff", "$dateTrunc".
"""

from __future__ import annotations

from typing import Any, Final

from rango.engine.expression.calendar import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    add_months,
    date_of,
    day_of,
    iso_weekday_of,
    parts_of_ms,
)
from rango.engine.expression.dateparts import date_in_range, moment_of
from rango.engine.expression.operands import named, refuse_kind
from rango.engine.expression.scope import Compiler, Run, Scope
from rango.engine.expression.zones import Zone, zone_argument
from rango.engine.numbers import integer, whole_of
from rango.engine.values import INT64_MIN, MISSING, is_number, shown
from rango.errors import ExpressionFailed

MONTHS_OF: Final = {"month": 1, "quarter": 3, "year": 12}
DAYS_OF: Final = {"day": 1, "week": 7}
MS_OF: Final = {"millisecond": 1, "second": SECOND_MS, "minute": MINUTE_MS, "hour": HOUR_MS}
UNITS: Final = (*MONTHS_OF, *DAYS_OF, *MS_OF)
WEEKDAYS: Final = {
    name: number
    for number, day in enumerate(
        ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"), 1
    )
    for name in (day, day[:3])
}
ORIGIN_YEAR: Final = 2000
ORIGIN_DAY: Final = day_of(ORIGIN_YEAR, 1, 1)
AMOUNT_MAX: Final = 2**62


def _is_absent(value: Any) -> bool:
    return value is None or value is MISSING


def _unit(operator: str, value: Any, kind_code: int, name_code: int) -> str:
    if not isinstance(value, str):
        raise refuse_kind(operator, "a string as its 'unit'", value, kind_code)
    if value not in UNITS:
        raise ExpressionFailed(
            f"{operator}: unknown time unit {value!r:.60}; known are {' '.join(UNITS)}",
            code=name_code,
        )
    return value


def _weekday(operator: str, value: Any) -> int:
    if not isinstance(value, str):
        raise refuse_kind(operator, "a string as its 'startOfWeek'", value, 5439015)
    number = WEEKDAYS.get(value.lower())
    if number is None:
        raise ExpressionFailed(
            f"{operator}: unknown day of the week in 'startOfWeek': {value!r:.60}", code=5439016
        )
    return number


def _date_add(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(
        operator,
        operand,
        ("startDate", "unit", "amount"),
        ("timezone",),
        codes=(5166400, 5166401, 5166402),
    )
    start_run, unit_run, amount_run = (
        scope.run(given[name]) for name in ("startDate", "unit", "amount")
    )
    zone_run = scope.run(given.get("timezone", "UTC"))
    sign = -1 if operator == "$dateSubtract" else 1

    def run(root: Any, variables: dict[str, Any]) -> Any:
        start = start_run(root, variables)
        unit = unit_run(root, variables)
        amount = amount_run(root, variables)
        zone = zone_argument(zone_run(root, variables))
        if _is_absent(start) or _is_absent(unit) or _is_absent(amount) or zone is None:
            return None
        ms = moment_of(operator, start, 5166403)
        unit = _unit(operator, unit, 5166404, 9)
        whole = whole_of(amount) if is_number(amount) else None
        if whole is None:
            raise refuse_kind(operator, "an integer as its 'amount'", amount, 5166405)
        if sign < 0 and whole == INT64_MIN:
            raise ExpressionFailed(f"{operator}: the amount {whole} is too large", code=6045000)
        return _moved(operator, ms, unit, whole * sign, zone)

    return run


def _moved(operator: str, ms: int, unit: str, amount: int, zone: Zone) -> Any:
    if abs(amount) > AMOUNT_MAX:
        raise ExpressionFailed(f"{operator}: the date overflows: {amount} {unit}s", code=5976500)
    if unit in MS_OF:
        return date_in_range(operator, ms + amount * MS_OF[unit], 5166406)
    local = zone.to_local(ms)
    if unit in DAYS_OF:
        local += amount * DAYS_OF[unit] * DAY_MS
    else:
        local = add_months(local, amount * MONTHS_OF[unit])
    return date_in_range(operator, zone.to_utc(local), 5166406)


def _date_diff(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(
        operator,
        operand,
        ("startDate", "endDate", "unit"),
        ("timezone", "startOfWeek"),
        codes=(5166301, 5166302, 5166303),
    )
    start_run, end_run, unit_run = (
        scope.run(given[name]) for name in ("startDate", "endDate", "unit")
    )
    zone_run = scope.run(given.get("timezone", "UTC"))
    week_run = scope.run(given.get("startOfWeek", "sunday"))

    def run(root: Any, variables: dict[str, Any]) -> Any:
        start, end = start_run(root, variables), end_run(root, variables)
        unit = unit_run(root, variables)
        zone = zone_argument(zone_run(root, variables))
        if _is_absent(start) or _is_absent(end) or _is_absent(unit) or zone is None:
            return None
        unit = _unit(operator, unit, 5439013, 5439014)
        weekday = 7
        if unit == "week":
            first = week_run(root, variables)
            if _is_absent(first):
                return None
            weekday = _weekday(operator, first)
        count = _between(
            moment_of(operator, start, 5166307),
            moment_of(operator, end, 5166307),
            unit,
            zone,
            weekday,
        )
        return integer(count, True)

    return run


def _between(start: int, end: int, unit: str, zone: Zone, weekday: int) -> int:
    """Boundaries of the unit from start to end."""
    if unit in MS_OF:
        size = MS_OF[unit]
        # what is cut off is cut off on the clock of the zone, whose offset may not be whole hours
        rest = zone.to_local(end) % size - zone.to_local(start) % size
        return (end - start - rest) // size
    first, last = zone.to_local(start) // DAY_MS, zone.to_local(end) // DAY_MS
    if unit == "day":
        return last - first
    if unit == "week":
        return (_week_start(last, weekday) - _week_start(first, weekday)) // 7
    return _month_index(last) // MONTHS_OF[unit] - _month_index(first) // MONTHS_OF[unit]


def _week_start(day: int, weekday: int) -> int:
    """The last day, at or before `day`, on which a week begins."""
    return day - (iso_weekday_of(day) - weekday) % 7


def _month_index(day: int) -> int:
    year, month, _day = date_of(day)
    return (year - ORIGIN_YEAR) * 12 + month - 1


def _date_trunc(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(
        operator,
        operand,
        ("date", "unit"),
        ("binSize", "timezone", "startOfWeek"),
        codes=(5439007, 5439008, 5439009),
    )
    source, unit_run = scope.run(given["date"]), scope.run(given["unit"])
    size_run = scope.run(given.get("binSize", 1))
    zone_run = scope.run(given.get("timezone", "UTC"))
    week_run = scope.run(given.get("startOfWeek", "sunday"))

    def run(root: Any, variables: dict[str, Any]) -> Any:
        value, unit = source(root, variables), unit_run(root, variables)
        size = size_run(root, variables)
        zone = zone_argument(zone_run(root, variables))
        if _is_absent(value) or _is_absent(unit) or _is_absent(size) or zone is None:
            return None
        ms = moment_of(operator, value, 5439012)
        unit = _unit(operator, unit, 5439013, 5439014)
        whole = whole_of(size) if is_number(size) else None
        if whole is None:
            raise refuse_kind(operator, "an integer as its 'binSize'", size, 5439017)
        if whole <= 0:
            raise ExpressionFailed(
                f"{operator} needs a 'binSize' greater than 0, not {shown(size)}", code=5439018
            )
        weekday = 7
        if unit == "week":
            first = week_run(root, variables)
            if _is_absent(first):
                return None
            weekday = _weekday(operator, first)
        return date_in_range(operator, _cut(ms, unit, whole, zone, weekday))

    return run


def _cut(ms: int, unit: str, size: int, zone: Zone, weekday: int) -> int:
    """The beginning of the bin that a moment is in."""
    if unit in MS_OF:
        origin = zone.to_utc(ORIGIN_DAY * DAY_MS)
        return ms - (ms - origin) % (size * MS_OF[unit])
    local = zone.to_local(ms)
    if unit in DAYS_OF:
        origin = ORIGIN_DAY
        if unit == "week":
            origin += (weekday - iso_weekday_of(ORIGIN_DAY)) % 7
        day = local // DAY_MS
        day -= (day - origin) % (size * DAYS_OF[unit])
        return zone.to_utc(day * DAY_MS)
    year, month, *_ = parts_of_ms(local)
    index = (year - ORIGIN_YEAR) * 12 + month - 1
    index -= index % (size * MONTHS_OF[unit])
    return zone.to_utc(day_of(ORIGIN_YEAR + index // 12, index % 12 + 1, 1) * DAY_MS)


OPERATORS: Final[dict[str, Compiler]] = {
    "$dateAdd": _date_add,
    "$dateDiff": _date_diff,
    "$dateSubtract": _date_add,
    "$dateTrunc": _date_trunc,
}
