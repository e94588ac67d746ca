"""Dates taken apart and put together: $year ... $millisecond, $dateToParts, $dateFromParts,
$dateToString, $dateFromString.

Terms       date operand: a date, a timestamp or an ObjectId, whose time is meant.
Invariants  null or missing in any operand gives null, 'onNull' and 'onError' apart.
Failure     ExpressionFailed names the operator and the operand.
Sources     MongoDB manual, "Date Expression Operators".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from rango.engine.expression.calendar import (
    DAY_MS,
    day_of_iso_week,
    day_of_year,
    iso_week_of,
    iso_weekday_of,
    ms_of_parts,
    parts_of_ms,
    week_of,
    weekday_of,
)
from rango.engine.expression.datetext import no_date, parse_date, parse_format, written
from rango.engine.expression.operands import named, refuse_kind
from rango.engine.expression.scope import Compiler, Run, Scope
from rango.engine.expression.zones import UTC_ZONE, zone_argument
from rango.engine.numbers import whole_of
from rango.engine.values import (
    INT64_MAX,
    INT64_MIN,
    MISSING,
    date_of_ms,
    is_date,
    is_number,
    ms_of_date,
    shown,
    type_name,
)
from rango.errors import ExpressionFailed, InvalidExpression

ISO_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%L"
PART_MAX: Final = 32_767


def moment_of(operator: str, value: Any, code: int = 16006) -> int:
    """The milliseconds of a date operand."""
    if is_date(value):
        return ms_of_date(value)
    if isinstance(value, Timestamp):
        return value.time * 1000
    if isinstance(value, ObjectId):
        return ms_of_date(value.generation_time)
    raise refuse_kind(operator, "a date, a timestamp or an ObjectId", value, code)


def date_in_range(operator: str, ms: int, code: int = 15) -> Any:
    """A date of milliseconds, which must fit into 64 bits."""
    if not INT64_MIN <= ms <= INT64_MAX:
        raise ExpressionFailed(f"{operator}: the date overflows 64 bits", code=code)
    return date_of_ms(ms)


def _part(part: Callable[[int], Any]) -> Compiler:
    """An operator whose operand is a date, or {date:, timezone:}."""

    def compile_part(operator: str, operand: Any, scope: Scope) -> Run:
        spec, zone_spec = _date_and_zone(operator, operand)
        source = scope.run(spec)
        if zone_spec is NO_ZONE:

            def run_utc(root: Any, variables: dict[str, Any]) -> Any:
                value = source(root, variables)
                if value is None or value is MISSING:
                    return None
                return part(moment_of(operator, value))

            return run_utc
        zone_run = scope.run(zone_spec)

        def run(root: Any, variables: dict[str, Any]) -> Any:
            value = source(root, variables)
            if value is None or value is MISSING:
                return None
            zone = zone_argument(zone_run(root, variables))
            if zone is None:
                return None
            return part(zone.to_local(moment_of(operator, value)))

        return run

    return compile_part


NO_ZONE: Final = object()


def _date_and_zone(operator: str, operand: Any) -> tuple[Any, Any]:
    if type(operand) is dict and not next(iter(operand), "").startswith("$"):
        given = named(operator, operand, ("date",), ("timezone",), codes=(40535, 40535, 40539))
        return given["date"], given.get("timezone", NO_ZONE)
    if type(operand) is list:
        if len(operand) != 1:
            raise InvalidExpression(
                f"{operator} takes exactly one argument if given an array, not {len(operand)}",
                code=40536,
            )
        return operand[0], NO_ZONE
    return operand, NO_ZONE


def _date_to_parts(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(
        operator, operand, ("date",), ("timezone", "iso8601"), codes=(40524, 40520, 40522)
    )
    source = scope.run(given["date"])
    zone_run = scope.run(given.get("timezone", "UTC"))
    iso_run = scope.run(given.get("iso8601", False))

    def run(root: Any, variables: dict[str, Any]) -> Any:
        zone = zone_argument(zone_run(root, variables))
        is_iso = iso_run(root, variables)
        value = source(root, variables)
        if zone is None or value is None or value is MISSING:
            return None
        if is_iso is None or is_iso is MISSING:
            return None
        if type(is_iso) is not bool:
            raise refuse_kind(operator, "a bool in 'iso8601'", is_iso, 40521)
        local = zone.to_local(moment_of(operator, value))
        year, month, day, hour, minute, second, ms = parts_of_ms(local)
        time = {"hour": hour, "minute": minute, "second": second, "millisecond": ms}
        if is_iso:
            days = local // DAY_MS
            iso_year, week = iso_week_of(days)
            weekday = iso_weekday_of(days)
            return {"isoWeekYear": iso_year, "isoWeek": week, "isoDayOfWeek": weekday, **time}
        return {"year": year, "month": month, "day": day, **time}

    return run


TIME_PARTS: Final = ("hour", "minute", "second", "millisecond")
CIVIL_PARTS: Final = ("year", "month", "day")
ISO_PARTS: Final = ("isoWeekYear", "isoWeek", "isoDayOfWeek")


def _date_from_parts(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(
        operator,
        operand,
        (),
        (*CIVIL_PARTS, *ISO_PARTS, *TIME_PARTS, "timezone"),
        codes=(40519, 40518, 40516),
    )
    is_iso = any(name in given for name in ISO_PARTS)
    if is_iso and any(name in given for name in CIVIL_PARTS):
        raise InvalidExpression(
            f"{operator} does not allow year, month and day together with isoWeekYear, isoWeek "
            "and isoDayOfWeek",
            code=40489 if "year" in given else 40525,
        )
    if ("isoWeekYear" if is_iso else "year") not in given:
        raise InvalidExpression(
            f"{operator} needs 'year' or 'isoWeekYear': {shown(operand)}", code=40516
        )
    names = (*(ISO_PARTS if is_iso else CIVIL_PARTS), *TIME_PARTS)
    runs = [(name, scope.run(given[name]) if name in given else None) for name in names]
    zone_run = scope.run(given.get("timezone", "UTC"))

    def run(root: Any, variables: dict[str, Any]) -> Any:
        parts: list[int] = []
        for name, each in runs:
            if each is None:
                parts.append(0 if name in TIME_PARTS else 1)
                continue
            value = each(root, variables)
            if value is None or value is MISSING:
                return None
            parts.append(_part_value(name, value))
        zone = zone_argument(zone_run(root, variables))
        if zone is None:
            return None
        year, middle, day, hour, minute, second, ms = parts
        if is_iso:
            days = day_of_iso_week(year, middle, day)
            local = days * DAY_MS + ms_of_parts((1970, 1, 1, hour, minute, second, ms))
        else:
            local = ms_of_parts((year, middle, day, hour, minute, second, ms))
        return date_in_range(operator, zone.to_utc(local))

    return run


def _part_value(name: str, value: Any) -> int:
    whole = whole_of(value) if is_number(value) else None
    if whole is None:
        raise ExpressionFailed(
            f"$dateFromParts: {name!r} must be an integer, not {type_name(value)}: {shown(value)}",
            code=40515,
        )
    if name in ("year", "isoWeekYear"):
        if not 1 <= whole <= 9999:
            raise ExpressionFailed(
                f"$dateFromParts: {name!r} must be in the range [1, 9999], not {whole}", code=40523
            )
    elif name in ("second", "millisecond"):
        # these two have no bound of their own
        if abs(whole) > INT64_MAX // DAY_MS:
            raise ExpressionFailed(f"$dateFromParts: {name!r} is too large: {whole}", code=31034)
    elif not -PART_MAX - 1 <= whole <= PART_MAX:
        raise ExpressionFailed(
            f"$dateFromParts: {name!r} must be in the range [{-PART_MAX - 1}, {PART_MAX}], "
            f"not {whole}",
            code=31034,
        )
    return whole


def _date_to_string(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(
        operator,
        operand,
        ("date",),
        ("format", "timezone", "onNull"),
        codes=(18629, 18534, 18628),
    )
    source = scope.run(given["date"])
    format_run = scope.run(given["format"]) if "format" in given else None
    zone_run = scope.run(given["timezone"]) if "timezone" in given else None
    on_null = scope.run(given.get("onNull"))

    def run(root: Any, variables: dict[str, Any]) -> Any:
        value = source(root, variables)
        pattern: Any = None
        if format_run is not None:
            pattern = format_run(root, variables)
            if pattern is not None and pattern is not MISSING and not isinstance(pattern, str):
                raise refuse_kind(operator, "a string as its format", pattern, 18533)
        zone = UTC_ZONE if zone_run is None else zone_argument(zone_run(root, variables))
        if value is None or value is MISSING:
            return on_null(root, variables)
        if zone is None:
            return None
        if format_run is None:
            pattern = ISO_FORMAT + ("Z" if zone is UTC_ZONE else "")
        elif pattern is None or pattern is MISSING:
            return None
        return written(moment_of(operator, value), pattern, zone)

    return run


def _date_from_string(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(
        operator,
        operand,
        ("dateString",),
        ("format", "timezone", "onError", "onNull"),
        codes=(40540, 40541, 40542),
    )
    source = scope.run(given["dateString"])
    format_run = scope.run(given["format"]) if "format" in given else None
    zone_run = scope.run(given["timezone"]) if "timezone" in given else None
    on_null = scope.run(given.get("onNull"))
    on_error = scope.run(given["onError"]) if "onError" in given else None

    def run(root: Any, variables: dict[str, Any]) -> Any:
        text = source(root, variables)
        zone = None if zone_run is None else zone_argument(zone_run(root, variables))
        pattern = None if format_run is None else format_run(root, variables)
        if pattern is not None and pattern is not MISSING and not isinstance(pattern, str):
            raise refuse_kind(operator, "a string as its format", pattern, 40684)
        if text is None or text is MISSING:
            return on_null(root, variables)
        if (zone_run is not None and zone is None) or (
            format_run is not None and (pattern is None or pattern is MISSING)
        ):
            return None
        try:
            if not isinstance(text, str):
                raise no_date(str(text), f"it must be a string, not {type_name(text)}")
            ms = (
                parse_format(text, pattern, zone)
                if isinstance(pattern, str)
                else parse_date(text, zone)
            )
        except ExpressionFailed as error:
            if on_error is None or error.code != 241:
                raise
            return on_error(root, variables)
        return date_in_range(operator, ms)

    return run


def _civil(place: int) -> Callable[[int], int]:
    return lambda local: parts_of_ms(local)[place]


OPERATORS: Final[dict[str, Compiler]] = {
    "$dateFromParts": _date_from_parts,
    "$dateFromString": _date_from_string,
    "$dateToParts": _date_to_parts,
    "$dateToString": _date_to_string,
    "$dayOfMonth": _part(_civil(2)),
    "$dayOfWeek": _part(lambda local: weekday_of(local // DAY_MS) + 1),
    "$dayOfYear": _part(lambda local: day_of_year(local // DAY_MS)),
    "$hour": _part(_civil(3)),
    "$isoDayOfWeek": _part(lambda local: iso_weekday_of(local // DAY_MS)),
    "$isoWeek": _part(lambda local: iso_week_of(local // DAY_MS)[1]),
    "$isoWeekYear": _part(lambda local: Int64(iso_week_of(local // DAY_MS)[0])),
    "$millisecond": _part(_civil(6)),
    "$minute": _part(_civil(4)),
    "$month": _part(_civil(1)),
    "$second": _part(_civil(5)),
    "$week": _part(lambda local: week_of(local // DAY_MS)),
    "$year": _part(_civil(0)),
}
