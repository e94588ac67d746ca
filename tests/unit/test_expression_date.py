"""Dates: parts, arithmetic, text, time zones, the calendar beyond datetime."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from rango.engine.expression.calendar import (
    date_of,
    day_of,
    day_of_iso_week,
    iso_week_of,
    iso_weekday_of,
    ms_of_parts,
    parts_of_ms,
    week_of,
)
from tests.unit.expression_case import fails, refused, typed, value_of

MOMENT = datetime(2017, 1, 1, 12, 34, 56, 789000, tzinfo=UTC)  # a Sunday
ROOT = {"d": MOMENT, "n": None, "s": "x", "tz": "America/New_York"}


def at(*parts: int) -> datetime:
    """A moment in UTC."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("$year", 2017),
        ("$month", 1),
        ("$dayOfMonth", 1),
        ("$hour", 12),
        ("$minute", 34),
        ("$second", 56),
        ("$millisecond", 789),
        ("$dayOfWeek", 1),
        ("$dayOfYear", 1),
        ("$week", 1),
        ("$isoWeek", 52),
        ("$isoWeekYear", Int64(2016)),
        ("$isoDayOfWeek", 7),
    ],
)
def test_parts(operator: str, value: int) -> None:
    assert value_of({operator: "$d"}, ROOT) == value
    assert value_of({operator: ["$d"]}, ROOT) == value
    assert value_of({operator: {"date": "$d", "timezone": "UTC"}}, ROOT) == value
    assert value_of({operator: "$n"}, ROOT) is None
    assert value_of({operator: {"date": "$d", "timezone": "$n"}}, ROOT) is None
    fails({operator: "$s"}, ROOT, 16006)
    refused({operator: {"date": 1, "x": 1}}, 40535)
    refused({operator: {"timezone": "UTC"}}, 40539)
    refused({operator: [1, 2]}, 40536)


def test_parts_in_a_time_zone() -> None:
    zoned = {"date": "$d", "timezone": "$tz"}
    assert value_of({"$hour": zoned}, ROOT) == 7
    assert value_of({"$hour": {"date": "$d", "timezone": "+05:30"}}, ROOT) == 18
    assert value_of({"$minute": {"date": "$d", "timezone": "-0445"}}, ROOT) == 49
    fails({"$hour": {"date": "$d", "timezone": "Mars/Base"}}, ROOT, 40485)
    fails({"$hour": {"date": "$d", "timezone": "../etc/passwd"}}, ROOT, 40485)
    fails({"$hour": {"date": "$d", "timezone": 5}}, ROOT, 40517)


def test_timestamps_and_object_ids_have_a_time() -> None:
    assert value_of({"$year": {"$literal": Timestamp(1483273000, 1)}}) == 2017
    assert value_of({"$year": ObjectId("5ab9c3da31c2ab715d421285")}) == 2018


def test_a_date_as_parts_and_back() -> None:
    parts = {"year": 2017, "month": 1, "day": 1, "hour": 12, "minute": 34, "second": 56}
    assert value_of({"$dateToParts": {"date": "$d"}}, ROOT) == {**parts, "millisecond": 789}
    iso = value_of({"$dateToParts": {"date": "$d", "iso8601": True}}, ROOT)
    assert (iso["isoWeekYear"], iso["isoWeek"], iso["isoDayOfWeek"]) == (2016, 52, 7)
    assert value_of({"$dateFromParts": iso}) == MOMENT
    assert value_of({"$dateFromParts": {**parts, "millisecond": 789}}) == MOMENT
    assert value_of({"$dateToParts": {"date": "$n"}}, ROOT) is None
    assert value_of({"$dateToParts": {"date": "$d", "iso8601": None}}, ROOT) is None
    fails({"$dateToParts": {"date": "$d", "iso8601": 1}}, ROOT, 40521)


@pytest.mark.parametrize(
    ("parts", "moment"),
    [
        ({"year": 2017, "month": 14}, at(2018, 2, 1)),
        ({"year": 2017, "month": 0}, at(2016, 12, 1)),
        ({"year": 2017, "month": 2, "day": 30, "hour": -1}, at(2017, 3, 1, 23)),
        ({"year": 2017, "timezone": "America/New_York"}, at(2017, 1, 1, 5)),
        ({"isoWeekYear": 2017, "isoWeek": 6}, at(2017, 2, 6)),
        ({"year": 2017, "month": "$n"}, None),
    ],
)
def test_parts_carry_over(parts: Any, moment: Any) -> None:
    assert value_of({"$dateFromParts": parts}, ROOT) == moment


@pytest.mark.parametrize(
    ("spec", "result"),
    [
        ({"startDate": at(2020, 1, 31), "unit": "month", "amount": 1}, at(2020, 2, 29)),
        ({"startDate": at(2020, 2, 29), "unit": "year", "amount": 1}, at(2021, 2, 28)),
        ({"startDate": at(2020, 1, 1), "unit": "quarter", "amount": -1}, at(2019, 10, 1)),
        ({"startDate": at(2020, 1, 1), "unit": "week", "amount": 2}, at(2020, 1, 15)),
        ({"startDate": at(2020, 1, 1), "unit": "hour", "amount": 25}, at(2020, 1, 2, 1)),
        # the clocks went forward on March 14: a day is 23 hours there, an hour is an hour
        (
            {"startDate": at(2021, 3, 13, 17), "unit": "day", "amount": 1, "timezone": "$tz"},
            at(2021, 3, 14, 16),
        ),
        (
            {"startDate": at(2021, 3, 13, 17), "unit": "hour", "amount": 24, "timezone": "$tz"},
            at(2021, 3, 14, 17),
        ),
        ({"startDate": "$n", "unit": "day", "amount": 1}, None),
    ],
)
def test_date_add(spec: Any, result: Any) -> None:
    assert value_of({"$dateAdd": spec}, ROOT) == result
    if spec["unit"] in ("hour", "week") and result is not None:
        back = {**spec, "startDate": result}
        assert value_of({"$dateSubtract": back}, ROOT) == spec["startDate"]


@pytest.mark.parametrize(
    ("start", "end", "unit", "count"),
    [
        (at(2020, 12, 31, 23, 59), at(2021, 1, 1), "year", 1),
        (at(2021, 1, 1), at(2020, 12, 31), "year", -1),
        (at(2020, 3, 31), at(2020, 4, 1), "quarter", 1),
        (at(2020, 1, 31), at(2020, 3, 1), "month", 2),
        (at(2021, 1, 2), at(2021, 1, 3), "week", 1),
        (at(2021, 1, 1, 23), at(2021, 1, 2, 1), "day", 1),
        (at(2021, 1, 1, 1, 59), at(2021, 1, 1, 2, 1), "hour", 1),
        (at(2021, 1, 1, 2, 1), at(2021, 1, 1, 2, 59), "hour", 0),
        (at(2021, 1, 1), at(2021, 1, 1, 0, 0, 1), "millisecond", 1000),
    ],
)
def test_date_diff_counts_boundaries(start: Any, end: Any, unit: str, count: int) -> None:
    spec = {"startDate": start, "endDate": end, "unit": unit}
    assert typed({"$dateDiff": spec}) == ("long", count)
    assert value_of({"$dateDiff": {**spec, "startDate": end, "endDate": start}}) == -count


def test_weeks_begin_when_they_are_told_to() -> None:
    spec = {"startDate": at(2021, 1, 3), "endDate": at(2021, 1, 4), "unit": "week"}
    assert value_of({"$dateDiff": spec}) == 0
    assert value_of({"$dateDiff": {**spec, "startOfWeek": "Mon"}}) == 1
    fails({"$dateDiff": {**spec, "startOfWeek": "someday"}}, None, 5439016)
    fails({"$dateDiff": {**spec, "startOfWeek": 1}}, None, 5439015)


@pytest.mark.parametrize(
    ("spec", "result"),
    [
        ({"unit": "month"}, at(2021, 3, 1)),
        ({"unit": "quarter"}, at(2021, 1, 1)),
        ({"unit": "year", "binSize": 5}, at(2020, 1, 1)),
        ({"unit": "day", "timezone": "America/New_York"}, at(2021, 3, 20, 4)),
        ({"unit": "hour", "binSize": 2}, at(2021, 3, 20, 10)),
        ({"unit": "week"}, at(2021, 3, 14)),
        (
            {
                "unit": "week",
                "binSize": 2,
                "timezone": "America/Los_Angeles",
                "startOfWeek": "Monday",
            },
            at(2021, 3, 15, 7),
        ),
        ({"unit": "$nope"}, None),
    ],
)
def test_date_trunc(spec: Any, result: Any) -> None:
    assert value_of({"$dateTrunc": {"date": at(2021, 3, 20, 11, 30, 5), **spec}}) == result


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2017-02-08T12:10:40.787", at(2017, 2, 8, 12, 10, 40, 787000)),
        ("2017-02-08T12:10:40.787Z", at(2017, 2, 8, 12, 10, 40, 787000)),
        ("2017-02-08T12:10:40+02:00", at(2017, 2, 8, 10, 10, 40)),
        ("2017-02-08", at(2017, 2, 8)),
        ("20170208T121040Z", at(2017, 2, 8, 12, 10, 40)),
        ("2017-039", at(2017, 2, 8)),
        ("2017-W06-3", at(2017, 2, 8)),
        ("02/08/2017", at(2017, 2, 8)),
        ("8 Feb 2017 3:05 pm", at(2017, 2, 8, 15, 5)),
        ("July 4th, 2017", at(2017, 7, 4)),
        ("Tue, 3 Jun 2008 11:05:30 +0110", at(2008, 6, 3, 9, 55, 30)),
        ("2017-07-14 02:00 America/New_York", at(2017, 7, 14, 6)),
        ("2017-07-14 02:00:00 GMT+02:00", at(2017, 7, 14)),
    ],
)
def test_text_without_a_format(text: str, moment: datetime) -> None:
    assert value_of({"$dateFromString": {"dateString": text}}) == moment


@pytest.mark.parametrize(
    "text", ["", "now", "2017", "2017-13-01", "2017-02-30", "10:00", "2017-02-08 25:00", "a" * 999]
)
def test_text_that_is_no_date(text: str) -> None:
    fails({"$dateFromString": {"dateString": text}}, None, 241)
    assert value_of({"$dateFromString": {"dateString": text, "onError": "bad"}}) == "bad"


def test_text_with_a_format() -> None:
    def read(text: str, pattern: str, **more: Any) -> Any:
        return value_of({"$dateFromString": {"dateString": text, "format": pattern, **more}})

    assert read("06-15-2018", "%m-%d-%Y") == at(2018, 6, 15)
    assert read("2017.5 3 at 01:30 +0100", "%G.%V %u at %H:%M %z") == at(2017, 2, 1, 0, 30)
    assert read("100%2018/166", "100%%%Y/%j") == at(2018, 6, 15)
    assert read("June 15 2018", "%B %d %Y") == at(2018, 6, 15)
    assert read("2018-01-01", "%Y-%m-%d", timezone="Europe/Berlin") == at(2017, 12, 31, 23)
    assert read("x", "%Y", onError=None) is None
    fails({"$dateFromString": {"dateString": "x", "format": "%q"}}, None, 18536)
    fails({"$dateFromString": {"dateString": "x", "format": 5}}, None, 40684)
    assert value_of({"$dateFromString": {"dateString": None, "onNull": 0}}) == 0
    fails({"$dateFromString": {"dateString": 5}}, None, 241)
    fails({"$dateFromString": {"dateString": "2018-01-01T00:00Z", "timezone": "UTC"}}, None, 241)


def test_dates_as_text() -> None:
    def write(pattern: str, **more: Any) -> Any:
        return value_of({"$dateToString": {"date": "$d", "format": pattern, **more}}, ROOT)

    assert write("%Y-%m-%d %H:%M:%S.%L %%") == "2017-01-01 12:34:56.789 %"
    assert write("%G-W%V-%u %j %U %w %b %B") == "2016-W52-7 001 01 1 Jan January"
    assert write("%H%z %Z", timezone="$tz") == "07-0500 -300"
    assert value_of({"$dateToString": {"date": "$d"}}, ROOT) == "2017-01-01T12:34:56.789Z"
    zoned = {"$dateToString": {"date": "$d", "timezone": "+01"}}
    assert value_of(zoned, ROOT) == "2017-01-01T13:34:56.789"
    assert value_of({"$dateToString": {"date": "$n", "onNull": "-"}}, ROOT) == "-"
    assert value_of({"$dateToString": {"date": "$n"}}, ROOT) is None
    fails({"$dateToString": {"date": "$d", "format": "%"}}, ROOT, 18535)
    fails({"$dateToString": {"date": "$d", "format": "%q"}}, ROOT, 18536)
    fails({"$dateToString": {"date": DatetimeMS(2**60)}}, ROOT, 18537)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"$dateFromParts": {"year": 0}}, 40523),
        ({"$dateFromParts": {"year": "a"}}, 40515),
        ({"$dateFromParts": {"year": 2017, "month": 2**20}}, 31034),
        ({"$dateAdd": {"startDate": "$s", "unit": "day", "amount": 1}}, 5166403),
        ({"$dateAdd": {"startDate": "$d", "unit": 1, "amount": 1}}, 5166404),
        ({"$dateAdd": {"startDate": "$d", "unit": "eon", "amount": 1}}, 9),
        ({"$dateAdd": {"startDate": "$d", "unit": "day", "amount": 0.5}}, 5166405),
        ({"$dateAdd": {"startDate": "$d", "unit": "year", "amount": 2**40}}, 5166406),
        ({"$dateDiff": {"startDate": "$s", "endDate": "$d", "unit": "day"}}, 5166307),
        ({"$dateDiff": {"startDate": "$d", "endDate": "$d", "unit": "eon"}}, 5439014),
        ({"$dateTrunc": {"date": "$s", "unit": "day"}}, 5439012),
        ({"$dateTrunc": {"date": "$d", "unit": "day", "binSize": 0}}, 5439018),
        ({"$dateTrunc": {"date": "$d", "unit": "day", "binSize": "a"}}, 5439017),
    ],
)
def test_errors_have_the_code_of_mongodb(spec: Any, code: int) -> None:
    fails(spec, ROOT, code)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"$dateFromParts": 1}, 40519),
        ({"$dateFromParts": {"x": 1}}, 40518),
        ({"$dateFromParts": {"month": 1}}, 40516),
        ({"$dateFromParts": {"year": 1, "isoWeek": 1}}, 40489),
        ({"$dateToString": 1}, 18629),
        ({"$dateToString": {"date": 1, "x": 1}}, 18534),
        ({"$dateToString": {}}, 18628),
        ({"$dateFromString": 1}, 40540),
        ({"$dateFromString": {"x": 1}}, 40541),
        ({"$dateFromString": {}}, 40542),
        ({"$dateAdd": {}}, 5166402),
        ({"$dateTrunc": {"date": 1}}, 5439009),
    ],
)
def test_what_is_malformed_is_refused(spec: Any, code: int) -> None:
    refused(spec, code)


@given(st.dates())
def test_the_calendar_agrees_with_datetime(moment: date) -> None:
    day = (moment - date(1970, 1, 1)).days
    assert date_of(day) == (moment.year, moment.month, moment.day)
    assert day_of(moment.year, moment.month, moment.day) == day
    year, week, weekday = moment.isocalendar()
    assert (*iso_week_of(day), iso_weekday_of(day)) == (year, week, weekday)
    assert day_of_iso_week(year, week, weekday) == day
    assert week_of(day) == int(moment.strftime("%U"))


@given(st.integers(-(2**62), 2**62))
def test_parts_and_milliseconds_are_inverse(ms: int) -> None:
    parts = parts_of_ms(ms)
    assert ms_of_parts(parts) == ms
    assert all(part >= 0 for part in parts[1:])


def test_a_time_that_the_clocks_skip_is_read_with_the_offset_before() -> None:
    spec = {"year": 2021, "month": 3, "day": 14, "hour": 2, "minute": 30, "timezone": "$tz"}
    assert value_of({"$dateFromParts": spec}, ROOT) == at(2021, 3, 14, 7, 30)
