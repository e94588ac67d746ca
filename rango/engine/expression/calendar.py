"""The calendar: days, weeks, months and years of milliseconds, far beyond the years of datetime.

Terms       ms: milliseconds since 1970-01-01 of a clock, whose zone the caller knows; day: days
            since that date; weekday: 0 is Sunday, ISO weekday: 1 is Monday.
Invariants  The Gregorian calendar, extended in both directions. Everything is exact in integers.
Sources     H. Hinnant, "chrono-Compatible Low-Level Date Algorithms"; ISO 8601.
"""

from __future__ import annotations

from typing import Final

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
MINUTE_MS: Final = 60_000
SECOND_MS: Final = 1000
ERA_DAYS: Final = 146_097

Parts = tuple[int, int, int, int, int, int, int]
"""Year, month, day, hour, minute, second, millisecond."""


def day_of(year: int, month: int, day: int) -> int:
    """The day of a date; the day of the month may be outside the month."""
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return (
        era * ERA_DAYS
        + year_of_era * 365
        + year_of_era // 4
        - year_of_era // 100
        + (day_of_year - 719_468)
    )


def date_of(day: int) -> tuple[int, int, int]:
    """Year, month and day of the month of a day."""
    era, rest = divmod(day + 719_468, ERA_DAYS)
    year = (rest - rest // 1460 + rest // 36_524 - rest // 146_096) // 365
    rest -= 365 * year + year // 4 - year // 100
    month = (5 * rest + 2) // 153
    day_of_month = rest - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    return era * 400 + year + (month <= 2), month, day_of_month


def parts_of_ms(ms: int) -> Parts:
    """Year to millisecond."""
    day, rest = divmod(ms, DAY_MS)
    year, month, day_of_month = date_of(day)
    return (
        year,
        month,
        day_of_month,
        rest // HOUR_MS,
        rest // MINUTE_MS % 60,
        rest // SECOND_MS % 60,
        rest % SECOND_MS,
    )


def ms_of_parts(parts: Parts) -> int:
    """Milliseconds of year to millisecond; what is out of its range carries over."""
    year, month, day, hour, minute, second, ms = parts
    more_years, month_index = divmod(month - 1, 12)
    days = day_of(year + more_years, month_index + 1, 1) + day - 1
    return days * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS + second * SECOND_MS + ms


def weekday_of(day: int) -> int:
    """0 (Sunday) to 6."""
    return (day + 4) % 7


def iso_weekday_of(day: int) -> int:
    """1 (Monday) to 7."""
    return (day + 3) % 7 + 1


def day_of_year(day: int) -> int:
    """1 to 366."""
    return day - day_of(date_of(day)[0], 1, 1) + 1


def week_of(day: int) -> int:
    """0 to 53: weeks begin on Sundays, and what lies before the first one is week 0."""
    return (day_of_year(day) - 1 + 7 - weekday_of(day)) // 7


def iso_week_of(day: int) -> tuple[int, int]:
    """The ISO year and week: the week belongs to the year of its Thursday."""
    thursday = day + 4 - iso_weekday_of(day)
    year = date_of(thursday)[0]
    return year, (thursday - day_of(year, 1, 1)) // 7 + 1


def day_of_iso_week(year: int, week: int, weekday: int) -> int:
    """The day of an ISO year, week and weekday; week and weekday may be out of range."""
    fourth = day_of(year, 1, 4)
    return fourth + 1 - iso_weekday_of(fourth) + (week - 1) * 7 + weekday - 1


def add_months(ms: int, months: int) -> int:
    """The same day and time so many months later, or the last day of a month that is shorter."""
    year, month, day, *_ = parts_of_ms(ms)
    more_years, month_index = divmod(month - 1 + months, 12)
    year += more_years
    first = day_of(year, month_index + 1, 1)
    after = day_of(year + (month_index == 11), (month_index + 1) % 12 + 1, 1)
    return (first + min(day, after - first) - 1) * DAY_MS + ms % DAY_MS
