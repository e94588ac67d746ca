"""Dates as text: formats with % specifiers, written and read, and text without a format.

Invariants  Text is read whole; year, month and day must be there (or their ISO 8601 or ordinal
            forms). Without a zone in the text or beside it, the time is UTC.
Failure     ExpressionFailed 241 for text that is no date, which 'onError' takes; 18535 and 18536
            for a format that is wrong.
Sources     MongoDB manual, "$dateToString" and "$dateFromString" (format specifiers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from rango.engine.expression.calendar import (
    DAY_MS,
    MINUTE_MS,
    Parts,
    date_of,
    day_of,
    day_of_iso_week,
    day_of_year,
    iso_week_of,
    iso_weekday_of,
    ms_of_parts,
    parts_of_ms,
    week_of,
    weekday_of,
)
from rango.engine.expression.zones import OFFSET, UTC_ZONE, Zone, zone_of
from rango.errors import ExpressionFailed

MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
MONTH_NUMBERS: Final = {
    name.lower(): place + 1
    for place, month in enumerate(MONTHS)
    for name in (month, month[:3], *(["Sept"] if month == "September" else []))
}

Writer = Callable[[Parts, int, int], str]
"""From parts, day and offset in minutes to text."""


def _sign(minutes: int) -> str:
    return "-" if minutes < 0 else "+"


WRITERS: Final[Mapping[str, Writer]] = {
    "%": lambda _parts, _day, _offset: "%",
    "b": lambda parts, _day, _offset: MONTHS[parts[1] - 1][:3],
    "B": lambda parts, _day, _offset: MONTHS[parts[1] - 1],
    "d": lambda parts, _day, _offset: f"{parts[2]:02d}",
    "G": lambda _parts, day, _offset: f"{iso_week_of(day)[0]:04d}",
    "H": lambda parts, _day, _offset: f"{parts[3]:02d}",
    "j": lambda _parts, day, _offset: f"{day_of_year(day):03d}",
    "L": lambda parts, _day, _offset: f"{parts[6]:03d}",
    "m": lambda parts, _day, _offset: f"{parts[1]:02d}",
    "M": lambda parts, _day, _offset: f"{parts[4]:02d}",
    "S": lambda parts, _day, _offset: f"{parts[5]:02d}",
    "u": lambda _parts, day, _offset: str(iso_weekday_of(day)),
    "U": lambda _parts, day, _offset: f"{week_of(day):02d}",
    "V": lambda _parts, day, _offset: f"{iso_week_of(day)[1]:02d}",
    "w": lambda _parts, day, _offset: str(weekday_of(day) + 1),
    "Y": lambda parts, _day, _offset: f"{parts[0]:04d}",
    "z": lambda _parts, _day, offset: (
        f"{_sign(offset)}{abs(offset) // 60:02d}{abs(offset) % 60:02d}"
    ),
    "Z": lambda _parts, _day, offset: f"{_sign(offset)}{abs(offset):d}",
}

READERS: Final[Mapping[str, str]] = {
    "%": "%",
    "b": r"(?P<b>[A-Za-z]{3})",
    "B": r"(?P<B>[A-Za-z]+)",
    "d": r"(?P<d>[0-9]{1,2})",
    "G": r"(?P<G>[0-9]{4})",
    "H": r"(?P<H>[0-9]{1,2})",
    "j": r"(?P<j>[0-9]{1,3})",
    "L": r"(?P<L>[0-9]{1,3})",
    "m": r"(?P<m>[0-9]{1,2})",
    "M": r"(?P<M>[0-9]{2})",
    "S": r"(?P<S>[0-9]{2})",
    "u": r"(?P<u>[1-7])",
    "V": r"(?P<V>[0-9]{1,2})",
    "Y": r"(?P<Y>[0-9]{4})",
    "z": r"(?P<z>[A-Za-z][A-Za-z_]*(?:/[A-Za-z_+\-0-9]+)*|[+-][0-9]{2}(?::?[0-9]{2})?)",
    "Z": r"(?P<Z>[+-][0-9]{1,4})",
}

_TIME: Final = (
    r"(?P<H>[0-9]{1,2})(?::(?P<M>[0-9]{2})(?::(?P<S>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?)?"
    r"(?:\s*(?P<half>[aApP])\.?[mM]\.?(?![A-Za-z]))?"
)
_ZONE: Final = (
    r"\s*(?:(?:GMT|UTC)(?=[+-]))?"
    r"(?P<z>[A-Za-z][A-Za-z_]*(?:/[A-Za-z_+\-0-9]+)*|[+-][0-9]{1,2}(?::?[0-9]{2})?)"
)
_MONTH: Final = r"(?P<B>[A-Za-z]+)\.?"
_WEEKDAY: Final = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+)?"
_DAYS: Final = (
    r"(?P<Y>[+-]?[0-9]{4})-(?P<m>[0-9]{1,2})-(?P<d>[0-9]{1,2})",
    r"(?P<Y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})",
    r"(?P<Y>[0-9]{4})/(?P<m>[0-9]{1,2})/(?P<d>[0-9]{1,2})",
    r"(?P<Y>[0-9]{4})-?(?P<j>[0-9]{3})",
    r"(?P<G>[0-9]{4})-?W(?P<V>[0-9]{2})(?:-?(?P<u>[1-7]))?",
    r"(?P<m>[0-9]{1,2})/(?P<d>[0-9]{1,2})/(?P<Y>[0-9]{4})",
    r"(?P<d>[0-9]{1,2})[.-](?P<m>[0-9]{1,2})[.-](?P<Y>[0-9]{4})",
    rf"{_WEEKDAY}{_MONTH}[\s-]*(?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?,?[\s-]+(?P<Y>[0-9]{{4}})",
    rf"{_WEEKDAY}(?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?[\s-]*{_MONTH},?[\s-]*(?P<Y>[0-9]{{4}})",
)
FREE: Final = tuple(
    re.compile(rf"\s*{day}(?:(?:\s*[Tt]\s*|,?\s+(?:at\s+)?){_TIME})?(?:{_ZONE})?\s*", re.I)
    for day in _DAYS
)
BASIC: Final = re.compile(
    r"(?P<Y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})[Tt ]?"
    r"(?P<H>[0-9]{2})(?P<M>[0-9]{2})(?P<S>[0-9]{2})?(?:[.,](?P<fraction>[0-9]+))?"
    rf"(?:{_ZONE})?"
)
TEXT_SIZE_MAX: Final = 200


def written(ms: int, pattern: str, zone: Zone) -> str:
    """A moment as text of this format."""
    offset = zone.offset_ms(ms)
    local = ms + offset
    parts = parts_of_ms(local)
    if not 0 <= parts[0] <= 9999:
        raise ExpressionFailed(
            f"$dateToString is only defined on the years 0 to 9999, not {parts[0]}", code=18537
        )
    out = []
    pieces = iter(pattern)
    for char in pieces:
        if char != "%":
            out.append(char)
            continue
        specifier = _specifier(next(pieces, None), WRITERS, "$dateToString")
        out.append(WRITERS[specifier](parts, local // DAY_MS, offset // MINUTE_MS))
    return "".join(out)


def _specifier(char: str | None, known: Mapping[str, object], operator: str) -> str:
    if char is None:
        raise ExpressionFailed(f"{operator}: unmatched '%' at the end of the format", code=18535)
    if char not in known:
        raise ExpressionFailed(
            f"{operator}: invalid format character '%{char}'; known are "
            f"{' '.join('%' + name for name in known)}",
            code=18536,
        )
    return char


def no_date(text: str, why: str) -> ExpressionFailed:
    """The error for text that is no date; the caller raises it."""
    return ExpressionFailed(
        f"error parsing date string {text!r:.60}: {why}; give 'onError', or a 'format'", code=241
    )


def parse_date(text: str, zone: Zone | None = None) -> int:
    """The moment that text without a format means."""
    if len(text) <= TEXT_SIZE_MAX:
        for pattern in (BASIC, *FREE):
            match = pattern.fullmatch(text)
            if match:
                return _moment(text, match.groupdict(), zone)
    raise no_date(text, "it is no date with year, month and day")


def parse_format(text: str, pattern: str, zone: Zone | None) -> int:
    """The moment that text of this format means."""
    source = []
    seen = set()
    pieces = iter(pattern)
    for char in pieces:
        if char != "%":
            source.append(re.escape(char))
            continue
        specifier = _specifier(next(pieces, None), READERS, "$dateFromString")
        if specifier in seen and specifier != "%":
            raise no_date(text, f"the format has %{specifier} twice")
        seen.add(specifier)
        source.append(READERS[specifier])
    match = re.fullmatch("".join(source), text) if len(text) <= TEXT_SIZE_MAX else None
    if match is None:
        raise no_date(text, f"it does not have the format {pattern!r:.60}")
    return _moment(text, match.groupdict(), zone)


def _moment(text: str, found: dict[str, str | None], zone: Zone | None) -> int:
    given = {name: value for name, value in found.items() if value is not None}
    day = _day(text, given)
    local = day * DAY_MS + _time_ms(text, given)
    inner = _zone(text, given)
    if inner is not None and zone is not None:
        raise no_date(text, "it has a time zone of its own, and 'timezone' was given too")
    return (inner or zone or UTC_ZONE).to_utc(local)


def _day(text: str, given: dict[str, str]) -> int:
    if "G" in given and "V" in given:
        return day_of_iso_week(int(given["G"]), int(given["V"]), int(given.get("u", "1")))
    month = given.get("m") or _month(text, given.get("B") or given.get("b"))
    if "Y" in given and "j" in given:
        day = day_of(int(given["Y"]), 1, 1) + int(given["j"]) - 1
        if int(given["j"]) < 1 or date_of(day)[0] != int(given["Y"]):
            raise no_date(text, "the year does not have that day")
        return day
    if "Y" not in given or month is None or "d" not in given:
        raise no_date(text, "an incomplete date has been found, with elements missing")
    year, number, day_of_month = int(given["Y"]), int(month), int(given["d"])
    if not 1 <= number <= 12:
        raise no_date(text, f"there is no month {number}")
    day = day_of(year, number, day_of_month)
    if date_of(day)[1:] != (number, day_of_month):
        raise no_date(text, f"the month does not have a day {day_of_month}")
    return day


def _month(text: str, name: str | None) -> str | None:
    if name is None:
        return None
    number = MONTH_NUMBERS.get(name.lower())
    if number is None:
        raise no_date(text, f"{name!r} is no month")
    return str(number)


def _time_ms(text: str, given: dict[str, str]) -> int:
    hour, minute, second = (int(given.get(name, "0")) for name in "HMS")
    if "half" in given:
        if not 1 <= hour <= 12:
            raise no_date(text, "an hour before am or pm is 1 to 12")
        hour = hour % 12 + (12 if given["half"] in "pP" else 0)
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second)):
        raise no_date(text, "the time is out of range")
    fraction = given.get("fraction", given.get("L", "")).ljust(3, "0")[:3]
    if "L" in given:
        fraction = given["L"].rjust(3, "0")
    return ms_of_parts((1970, 1, 1, hour, minute, second, int(fraction)))


def _zone(text: str, given: dict[str, str]) -> Zone | None:
    if "Z" in given:
        return Zone(int(given["Z"]) * MINUTE_MS, UTC_ZONE.rules)
    name = given.get("z")
    if name is None:
        return None
    if OFFSET.fullmatch(name):
        return zone_of(name)
    if name[0] in "+-":
        return zone_of(f"{name[0]}0{name[1:]}" if len(name) == 2 else name)
    try:
        return zone_of(name.upper() if name.upper() in ("UTC", "GMT", "Z") else name)
    except ExpressionFailed:
        raise no_date(text, f"{name!r} is no time zone") from None
