"""Strings: bytes and code points, searching, cutting, trimming, replacing."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.timestamp import Timestamp

from tests.unit.expression_case import fails, refused, value_of

WORD = "c\u00e9l\u00e8bre"  # two characters of two bytes
ROOT = {"w": WORD, "n": None, "i": 5, "s": "  abc "}
MOMENT = datetime(2017, 1, 1, 12, 0, 0, 1000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ({"$concat": ["a", "$w", "b"]}, f"a{WORD}b"),
        ({"$concat": ["a", "$n", 5]}, None),
        ({"$concat": []}, ""),
        ({"$toLower": "AB\u00c9"}, "ab\u00c9"),
        ({"$toUpper": ["ab\u00e9"]}, "AB\u00e9"),
        ({"$toLower": "$x"}, ""),
        ({"$toUpper": 1e300}, "1E+300"),
        ({"$toLower": Decimal128("1E+3")}, "1e+3"),
        ({"$toLower": MOMENT}, "2017-01-01t12:00:00.001z"),
        ({"$toLower": Timestamp(1, 2)}, "timestamp(1, 2)"),
        ({"$strcasecmp": ["abc", "ABC"]}, 0),
        ({"$strcasecmp": ["a", "B"]}, -1),
        ({"$strcasecmp": ["b", None]}, 1),
        ({"$strLenBytes": "$w"}, 9),
        ({"$strLenCP": "$w"}, 7),
        ({"$substrBytes": ["hello", 1, 3]}, "ell"),
        ({"$substrBytes": ["$w", 0, 3]}, "c\u00e9"),
        ({"$substr": ["hello", 1, -1]}, "ello"),
        ({"$substr": ["hello", 9, 1]}, ""),
        ({"$substr": [12345, 1, 2]}, "23"),
        ({"$substr": ["$x", 0, 1]}, ""),
        ({"$substrBytes": ["hello", 1, math.inf]}, "ello"),
        ({"$substrCP": ["$w", 1, 3]}, "\u00e9l\u00e8"),
        ({"$substrCP": ["$n", 0, 1]}, ""),
        ({"$indexOfBytes": ["$w", "l"]}, 3),
        ({"$indexOfCP": ["$w", "l"]}, 2),
        ({"$indexOfCP": ["foobarfoo", "foo", 1]}, 6),
        ({"$indexOfCP": ["foobarfoo", "foo", 1, 8]}, -1),
        ({"$indexOfCP": ["abc", "", 3]}, 3),
        ({"$indexOfCP": ["abc", "", 4]}, -1),
        ({"$indexOfBytes": ["abc", "c", 2, 1]}, -1),
        ({"$indexOfBytes": ["$x", 1]}, None),
        ({"$split": ["a, b, c", ", "]}, ["a", "b", "c"]),
        ({"$split": ["headphone jack", "o"]}, ["headph", "ne jack"]),
        ({"$split": ["", ","]}, [""]),
        ({"$split": ["$n", ","]}, None),
        ({"$trim": {"input": "$s"}}, "abc"),
        ({"$ltrim": {"input": "$s"}}, "abc "),
        ({"$rtrim": {"input": "\u00a0$s\u2003\0"}}, "\u00a0$s"),
        ({"$trim": {"input": "ggggoodbyeeee", "chars": "ge"}}, "oodby"),
        ({"$trim": {"input": "aba", "chars": ""}}, "aba"),
        ({"$trim": {"input": "aba", "chars": None}}, None),
        ({"$trim": {"input": "$x"}}, None),
        ({"$replaceOne": {"input": "a.a", "find": "a", "replacement": "b"}}, "b.a"),
        ({"$replaceAll": {"input": "a.a", "find": "a", "replacement": "b"}}, "b.b"),
        ({"$replaceAll": {"input": "ab", "find": "", "replacement": "-"}}, "-a-b-"),
        ({"$replaceOne": {"input": "ab", "find": "x", "replacement": None}}, None),
        ({"$replaceOne": {"input": "$x", "find": "x", "replacement": "y"}}, None),
    ],
)
def test_value(spec: Any, value: Any) -> None:
    assert value_of(spec, ROOT) == value


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"$concat": ["a", "$i"]}, 16702),
        ({"$toLower": [{}]}, 16007),
        ({"$toUpper": True}, 16007),
        ({"$strLenBytes": "$n"}, 34473),
        ({"$strLenCP": "$x"}, 34471),
        ({"$substrBytes": ["$w", 2, 1]}, 28656),
        ({"$substrBytes": ["$w", 0, 2]}, 28657),
        ({"$substrBytes": ["a", -1, 2]}, 50752),
        ({"$substrBytes": ["a", "b", 2]}, 16034),
        ({"$substrBytes": ["a", 0, "b"]}, 16035),
        ({"$substrCP": ["a", "b", 2]}, 34450),
        ({"$substrCP": ["a", 0.5, 2]}, 34451),
        ({"$substrCP": ["a", 0, "b"]}, 34452),
        ({"$substrCP": ["a", 0, 2**40]}, 34453),
        ({"$substrCP": ["a", 0, -1]}, 34454),
        ({"$substrCP": ["a", -1, 1]}, 34455),
        ({"$indexOfBytes": [1, "a"]}, 40091),
        ({"$indexOfBytes": ["a", None]}, 40092),
        ({"$indexOfCP": [1, "a"]}, 40093),
        ({"$indexOfCP": ["a", 1]}, 40094),
        ({"$indexOfCP": ["a", "a", "b"]}, 40096),
        ({"$indexOfCP": ["a", "a", -1]}, 40097),
        ({"$split": [1, "a"]}, 40085),
        ({"$split": ["a", 1]}, 40086),
        ({"$split": ["a", ""]}, 40087),
        ({"$trim": {"input": "$i"}}, 50699),
        ({"$trim": {"input": "a", "chars": 1}}, 50700),
        ({"$replaceOne": {"input": 1, "find": "a", "replacement": "b"}}, 51746),
        ({"$replaceOne": {"input": "a", "find": 1, "replacement": "b"}}, 51745),
        ({"$replaceAll": {"input": None, "find": "a", "replacement": 1}}, 51744),
    ],
)
def test_errors_have_the_code_of_mongodb(spec: Any, code: int) -> None:
    fails(spec, ROOT, code)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"$strcasecmp": ["a"]}, 16020),
        ({"$substrCP": ["a", 1]}, 16020),
        ({"$indexOfCP": ["a"]}, 28667),
        ({"$indexOfCP": ["a", "b", 1, 2, 3]}, 28667),
        ({"$trim": "a"}, 50696),
        ({"$trim": {"input": "a", "x": 1}}, 50694),
        ({"$trim": {"chars": "a"}}, 50695),
        ({"$replaceAll": []}, 51751),
        ({"$replaceAll": {"input": "a", "find": "a", "x": 1}}, 51750),
        ({"$replaceAll": {"find": "a", "replacement": "b"}}, 51749),
    ],
)
def test_what_is_malformed_is_refused(spec: Any, code: int) -> None:
    refused(spec, code)
