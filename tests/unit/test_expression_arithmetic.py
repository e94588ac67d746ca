"""Arithmetic, rounding, powers and bits: examples of MongoDB's manual, kinds, nulls and errors."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from tests.unit.expression_case import fails, refused, typed, value_of

DAY = datetime(2020, 1, 1, tzinfo=UTC)
LATER = datetime(2020, 1, 1, 0, 0, 1, tzinfo=UTC)
ROOT = {"i": 5, "l": Int64(5), "d": 2.5, "m": Decimal128("2.5"), "n": None, "s": "x", "t": DAY}


@pytest.mark.parametrize(
    ("spec", "kind", "value"),
    [
        ({"$add": ["$i", "$i"]}, "int", 10),
        ({"$add": ["$i", "$l", 1]}, "long", 11),
        ({"$add": ["$i", "$d"]}, "double", 7.5),
        ({"$add": ["$i", "$m"]}, "decimal", Decimal128("7.5")),
        ({"$add": []}, "int", 0),
        ({"$add": "$i"}, "int", 5),
        ({"$add": [1000, "$t"]}, "date", LATER),
        ({"$add": ["$t", 999.6]}, "date", LATER),
        ({"$add": ["$t", Decimal128("1000")]}, "date", LATER),
        ({"$add": ["$i", "$n", "$s"]}, "null", None),
        ({"$subtract": ["$i", 2]}, "int", 3),
        ({"$subtract": ["$t", LATER]}, "long", -1000),
        ({"$subtract": [LATER, 1000]}, "date", DAY),
        ({"$subtract": ["$i", "$x"]}, "null", None),
        ({"$multiply": ["$i", "$i"]}, "int", 25),
        ({"$multiply": ["$i", 2**31 - 1, "$l"]}, "long", 25 * (2**31 - 1)),
        ({"$multiply": ["$d", "$d"]}, "double", 6.25),
        ({"$multiply": []}, "int", 1),
        ({"$multiply": ["$x", "$i"]}, "null", None),
        ({"$divide": ["$i", 2]}, "double", 2.5),
        ({"$divide": ["$m", 2]}, "decimal", Decimal128("1.25")),
        ({"$divide": ["$n", 0]}, "null", None),
        ({"$mod": [-7, "$i"]}, "int", -2),
        ({"$mod": ["$d", 2]}, "double", 0.5),
        ({"$mod": ["$n", 2]}, "null", None),
        ({"$abs": -5}, "int", 5),
        ({"$abs": -(2**31)}, "long", 2**31),
        ({"$abs": Decimal128("-1.5")}, "decimal", Decimal128("1.5")),
        ({"$ceil": "$d"}, "double", 3.0),
        ({"$ceil": "$l"}, "long", 5),
        ({"$floor": -2.5}, "double", -3.0),
        ({"$floor": "$m"}, "decimal", Decimal128("2")),
        ({"$floor": math.inf}, "double", math.inf),
        ({"$round": ["$d"]}, "double", 2.0),
        ({"$round": 3.5}, "double", 4.0),
        ({"$round": [19.25, 1]}, "double", 19.2),
        ({"$round": [28.73, 1]}, "double", 28.7),
        ({"$round": [2.675, 2]}, "double", 2.67),
        ({"$round": [10.5, 0]}, "double", 10.0),
        ({"$round": [1234.5, -2]}, "double", 1200.0),
        ({"$round": [25, -1]}, "int", 20),
        ({"$round": [Int64(35), -1]}, "long", 40),
        ({"$round": [7, 1]}, "int", 7),
        ({"$round": ["$m", 0]}, "decimal", Decimal128("2")),
        ({"$round": [1e300, 20]}, "double", 1e300),
        ({"$round": ["$d", "$n"]}, "null", None),
        ({"$trunc": [7.85, 1]}, "double", 7.8),
        ({"$trunc": [-155, -1]}, "int", -150),
        ({"$trunc": [Decimal128("Infinity")]}, "decimal", Decimal128("Infinity")),
        ({"$exp": 0}, "double", 1.0),
        ({"$exp": 1000}, "double", math.inf),
        ({"$exp": Decimal128("0")}, "decimal", Decimal128("1")),
        ({"$ln": 1}, "double", 0.0),
        ({"$log": [100, 10]}, "double", 2.0),
        ({"$log": ["$n", 10]}, "null", None),
        ({"$log10": 1000}, "double", 3.0),
        ({"$sqrt": 25}, "double", 5.0),
        ({"$sqrt": Decimal128("4")}, "decimal", Decimal128("2")),
        ({"$pow": [5, 2]}, "int", 25),
        ({"$pow": [2, 31]}, "long", 2**31),
        ({"$pow": [Int64(2), 3]}, "long", 8),
        ({"$pow": [2, 63]}, "double", 2.0**63),
        ({"$pow": [5, -2]}, "double", 0.04),
        ({"$pow": [0, 0]}, "int", 1),
        ({"$pow": [-1, 2**40]}, "long", 1),
        ({"$pow": [-1, 3]}, "int", -1),
        ({"$pow": [0, 5]}, "int", 0),
        ({"$pow": [4, 0.5]}, "double", 2.0),
        ({"$pow": [1e300, 2]}, "double", math.inf),
        ({"$pow": [-1e200, 3]}, "double", -math.inf),
        ({"$pow": [Decimal128("2"), 2]}, "decimal", Decimal128("4")),
        ({"$pow": [Decimal128("0"), 0]}, "decimal", Decimal128("1")),
        ({"$sigmoid": 0}, "double", 0.5),
        ({"$sigmoid": Decimal128("0")}, "decimal", Decimal128("0.5")),
        ({"$bitAnd": [6, 3]}, "int", 2),
        ({"$bitAnd": []}, "int", -1),
        ({"$bitOr": [4, Int64(1)]}, "long", 5),
        ({"$bitXor": [5, 1]}, "int", 4),
        ({"$bitXor": [5, "$n"]}, "null", None),
        ({"$bitNot": 5}, "int", -6),
        ({"$bitNot": "$n"}, "null", None),
    ],
)
def test_kind_and_value(spec: Any, kind: str, value: Any) -> None:
    assert typed(spec, ROOT) == (kind, value)


@pytest.mark.parametrize("name", ["$abs", "$ceil", "$floor", "$exp", "$ln", "$log10", "$sqrt"])
def test_one_number_is_wanted_and_null_is_let_through(name: str) -> None:
    assert value_of({name: "$x"}) is None
    assert value_of({name: None}) is None
    assert math.isnan(value_of({name: math.nan}))
    fails({name: "$s"}, ROOT, 28765, "string")
    refused({name: [1, 2]}, 16020)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"$add": ["$i", "$s"]}, 14),
        ({"$add": ["$t", "$t"]}, 16612),
        ({"$add": ["$t", 2**62, 2**62]}, 15),
        ({"$add": ["$t", math.nan]}, 15),
        ({"$subtract": ["$s", 1]}, 14),
        ({"$subtract": ["$t", "$s"]}, 14),
        ({"$subtract": [1, "$t"]}, 14),
        ({"$multiply": ["$i", "$s"]}, 14),
        ({"$divide": ["$i", 0]}, 2),
        ({"$divide": ["$i", "$s"]}, 14),
        ({"$mod": ["$i", 0]}, 16610),
        ({"$mod": ["$i", "$s"]}, 16611),
        ({"$abs": -(2**63)}, 28680),
        ({"$round": ["$s"]}, 51081),
        ({"$round": ["$i", 0.5]}, 51082),
        ({"$round": ["$i", 101]}, 51083),
        ({"$round": ["$i", -21]}, 51083),
        ({"$round": [2**63 - 1, -19]}, 51080),
        ({"$ln": 0}, 28766),
        ({"$ln": Decimal128("-0")}, 28766),
        ({"$log10": -1}, 28761),
        ({"$log": ["$s", 10]}, 28756),
        ({"$log": [10, "$s"]}, 28757),
        ({"$log": [0, 10]}, 28758),
        ({"$log": [10, 1]}, 28759),
        ({"$sqrt": -1}, 28714),
        ({"$pow": ["$s", 1]}, 28762),
        ({"$pow": [1, "$s"]}, 28763),
        ({"$pow": [0, -1]}, 28764),
        ({"$bitAnd": [1, 2.0]}, 14),
        ({"$bitNot": 1.5}, 14),
        ({"$bitNot": "x"}, 28765),
    ],
)
def test_errors_have_the_code_of_mongodb(spec: Any, code: int) -> None:
    fails(spec, ROOT, code)


@pytest.mark.parametrize("name", ["$subtract", "$divide", "$mod", "$pow", "$log"])
def test_two_operands_are_wanted(name: str) -> None:
    refused({name: [1]}, 16020, name)
    refused({name: [1, 2, 3]}, 16020, "3 were passed in")


def test_rounding_takes_one_or_two_operands() -> None:
    refused({"$round": []}, 28667)
    refused({"$trunc": [1, 2, 3]}, 28667)
