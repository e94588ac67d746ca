"""Time zones: names of the IANA database and offsets from UTC.

Terms       local ms: what a clock in the zone shows, as milliseconds since 1970-01-01.
Invariants  A local time that a change of the clocks skips is read with the offset before it; one
            that comes twice is the first of the two.
Failure     ExpressionFailed 40485 for a name that is not known; the database is that of the system
            or of the package tzdata.
Sources     MongoDB manual, "Timezone"; Python's zoneinfo.
"""

from __future__ import annotations

import re
from datetime import UTC, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from rango.engine.expression.calendar import MINUTE_MS, date_of, day_of
from rango.engine.values import EPOCH, MILLISECOND, MISSING, shown, type_name
from rango.errors import ExpressionFailed

OFFSET: Final = re.compile(r"([+-])([0-9]{2})(?::?([0-9]{2}))?")
UTC_NAMES: Final = frozenset({"UTC", "GMT", "Z", "Etc/UTC"})
DAY_MS: Final = 86_400_000


class Zone:
    """A time zone."""

    __slots__ = ("fixed_ms", "rules")

    def __init__(self, fixed_ms: int | None, rules: tzinfo) -> None:
        self.fixed_ms = fixed_ms
        self.rules = rules

    def offset_ms(self, ms: int) -> int:
        """What is added to UTC at this moment."""
        if self.fixed_ms is not None:
            return self.fixed_ms
        moment = EPOCH + timedelta(milliseconds=_within(ms))
        offset = moment.astimezone(self.rules).utcoffset()
        return 0 if offset is None else offset // MILLISECOND

    def to_local(self, ms: int) -> int:
        """Local ms of a moment."""
        return ms + self.offset_ms(ms)

    def to_utc(self, local: int) -> int:
        """The moment at which a clock in the zone shows this."""
        if self.fixed_ms is not None:
            return local - self.fixed_ms
        shown_there = (EPOCH + timedelta(milliseconds=_within(local))).replace(tzinfo=self.rules)
        offset = shown_there.utcoffset()
        return local if offset is None else local - offset // MILLISECOND


def _within(ms: int) -> int:
    """A moment of a year that datetime has, at the same place of the calendar's 400 years."""
    day, rest = divmod(ms, DAY_MS)
    year, month, day_of_month = date_of(day)
    if 1 < year < 9999:
        return ms
    return day_of(2000 + year % 400, month, day_of_month) * DAY_MS + rest


UTC_ZONE: Final = Zone(0, UTC)


@lru_cache(maxsize=256)
def zone_of(name: str) -> Zone:
    """The zone of a name or an offset such as +05:30."""
    if name in UTC_NAMES:
        return UTC_ZONE
    match = OFFSET.fullmatch(name)
    if match:
        minutes = int(match[2]) * 60 + int(match[3] or 0)
        minutes = -minutes if match[1] == "-" else minutes
        return Zone(minutes * MINUTE_MS, UTC)
    try:
        return Zone(None, ZoneInfo(name))
    except (KeyError, ValueError, OSError):
        raise ExpressionFailed(
            f"unrecognized time zone identifier: {name!r:.60}; use a name such as Europe/Berlin or "
            "an offset such as +05:30",
            code=40485,
        ) from None


def zone_argument(value: Any) -> Zone | None:
    """The zone of an operand; None if it is null or missing."""
    if value is None or value is MISSING:
        return None
    if not isinstance(value, str):
        raise ExpressionFailed(
            f"a time zone must be a string, not {type_name(value)}: {shown(value)}", code=40517
        )
    return zone_of(value)
