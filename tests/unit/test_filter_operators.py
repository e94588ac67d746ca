"""Operators of the filter language beyond comparison: MongoDB's semantics by example."""

from __future__ import annotations

import math
import random
import re
from typing import Any

import pytest
from bson import Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from rango._ext.filter import compile_filter
from rango._ext.record import encode
from rango.engine.filters import program_of
from rango.errors import Corrupted, InvalidExpression, InvalidFilter, LimitExceeded, RangoError
from tests.property.filter_cases import random_document, random_filter

Cases = list[tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]]

TYPES: Cases = [
    (
        {"a": {"$type": "number"}},
        [{"a": 1}, {"a": 1.5}, {"a": [1]}, {"a": Int64(1)}, {"a": Decimal128("1")}],
        [{}, {"a": "x"}, {"a": ["x"]}, {"a": True}, {"a": None}],
    ),
    ({"a": {"$type": "array"}}, [{"a": []}, {"a": [[1]]}], [{"a": 1}, {}]),
    ({"a": {"$type": 16.0}}, [{"a": 1}, {"a": ["x", 1]}], [{"a": Int64(1)}, {"a": 1.0}]),
    ({"a": {"$type": [-1, 127]}}, [{"a": MinKey()}, {"a": MaxKey()}], [{"a": 1}]),
    ({"a": {"$type": ["null", "bool"]}}, [{"a": None}, {"a": False}], [{}, {"a": 0}]),
    ({"a": {"$type": "regex"}}, [{"a": Regex("x")}], [{"a": "x"}]),
    (
        {"a": {"$type": "objectId"}},
        [{"a": ObjectId("0123456789abcdef01234567")}],
        [{"a": Timestamp(1, 1)}],
    ),
    ({"a": {"$not": {"$type": "string"}}}, [{}, {"a": 1}], [{"a": "x"}, {"a": [1, "x"]}]),
    ({"a.b": {"$type": "int"}}, [{"a": [{"b": "x"}, {"b": [1]}]}], [{"a": [1]}]),
]

NUMBERS: Cases = [
    (
        {"a": {"$mod": [3, 1]}},
        [{"a": 4}, {"a": 4.9}, {"a": [1]}, {"a": Decimal128("4.99")}, {"a": Int64(7)}],
        [{"a": -2}, {"a": "4"}, {"a": float("nan")}, {"a": Decimal128("1E+30")}, {}, {"a": True}],
    ),
    ({"a": {"$mod": [-3.9, -1]}}, [{"a": -4}, {"a": -1.5}], [{"a": 4}]),
    ({"a": {"$mod": [Decimal128("2"), 0]}}, [{"a": 1e18}, {"a": 0}], [{"a": 1e19}, {"a": 3}]),
    ({"a": {"$mod": [-1, 0]}}, [{"a": Int64(-(2**63))}, {"a": 5}], [{"a": "5"}]),
    (
        {"a": {"$bitsAllSet": 5}},
        [{"a": 5}, {"a": 7.0}, {"a": -1}, {"a": b"\x05"}, {"a": Decimal128("5")}],
        [{"a": 4}, {"a": 5.5}, {"a": b"\x04"}, {"a": b""}, {"a": "5"}, {}],
    ),
    ({"a": {"$bitsAllSet": [70]}}, [{"a": -1}], [{"a": 5}, {"a": b"\xff" * 8}]),
    ({"a": {"$bitsAnyClear": [70]}}, [{"a": 5}, {"a": b"\xff" * 8}], [{"a": -1}]),
    (
        {"a": {"$bitsAllClear": b"\x05"}},
        [{"a": 2}, {"a": b"\x02"}, {"a": b""}],
        [{"a": 4}, {"a": "x"}, {}],
    ),
    ({"a": {"$bitsAnySet": [1, 5.0]}}, [{"a": 2}, {"a": [0, 32]}], [{"a": 1}]),
    ({"a": {"$bitsAllSet": []}}, [{"a": 0}, {"a": b""}], [{"a": 0.5}, {"a": 1e300}]),
    ({"a": {"$bitsAnySet": []}}, [], [{"a": 1}]),
    ({"a": {"$bitsAllSet": 2**63 - 1}}, [{"a": -1}, {"a": 2**63 - 1}], [{"a": Int64(-(2**63))}]),
    ({"a": {"$bitsAnySet": [63]}}, [{"a": Int64(-(2**63))}, {"a": -1.0}], [{"a": 2**62}]),
]

ARRAYS: Cases = [
    ({"a": {"$size": 2}}, [{"a": [1, 2]}], [{"a": [[1, 2]]}, {"a": 2}, {}]),
    ({"a": {"$size": 0.0}}, [{"a": []}], [{"a": [0]}, {"a": None}]),
    ({"a.b": {"$size": 1}}, [{"a": [{"b": [1]}]}], [{"a": [{"b": 1}]}]),
    ({"a.0": {"$size": 2}}, [{"a": [[1, 2]]}], [{"a": [1, 2]}]),
    ({"a": {"$all": [1, 2]}}, [{"a": [1, 2, 3]}], [{"a": [1]}, {"a": [[1, 2]]}]),
    ({"a": {"$all": [[1, 2]]}}, [{"a": [1, 2]}, {"a": [[1, 2]]}], [{"a": [1]}]),
    ({"a": {"$all": []}}, [], [{"a": []}, {}]),
    ({"a": {"$all": [None]}}, [{}, {"a": [None]}], [{"a": []}]),
    ({"a": {"$all": [re.compile("x"), "b"]}}, [{"a": ["ax", "b"]}], [{"a": ["b"]}]),
    (
        {"a": {"$all": [{"$elemMatch": {"x": 1}}, {"$elemMatch": {"x": 2}}]}},
        [{"a": [{"x": 1}, {"x": 2}]}],
        [{"a": [{"x": 1}]}],
    ),
    (
        {"a": {"$elemMatch": {"$gt": 1, "$lt": 3}}},
        [{"a": [2]}, {"a": [0, 2]}],
        [{"a": [1, 3]}, {"a": 2}, {"a": [[2]]}, {}],
    ),
    (
        {"a": {"$elemMatch": {"b": 1, "c": 2}}},
        [{"a": [{"b": 1, "c": 2}]}],
        [{"a": [{"b": 1}, {"c": 2}]}, {"a": {"b": 1, "c": 2}}],
    ),
    ({"a": {"$elemMatch": {"0": 1}}}, [{"a": [[1]]}], [{"a": [1]}]),
    ({"a": {"$elemMatch": {"b": None}}}, [{"a": [{}]}, {"a": [[1]]}], [{"a": [1]}, {"a": []}]),
    ({"a": {"$elemMatch": {}}}, [{"a": [{}]}, {"a": [[]]}], [{"a": [1]}, {"a": []}]),
    ({"a": {"$elemMatch": {"$elemMatch": {"$gt": 1}}}}, [{"a": [[2]]}], [{"a": [2]}]),
    (
        {"a": {"$elemMatch": {"$or": [{"b": 1}, {"c": {"$elemMatch": {"d": 1}}}]}}},
        [{"a": [{"b": 1}]}, {"a": [0, {"c": [{"d": 1}]}]}],
        [{"a": [{"c": {"d": 1}}]}],
    ),
    ({"a": {"$elemMatch": {"$not": {"$gt": 1}}}}, [{"a": [1, 2]}], [{"a": [2]}, {"a": []}]),
    ({"a": {"$elemMatch": {"$ne": 1}}}, [{"a": [1, 2]}], [{"a": [1]}, {"a": []}]),
    ({"a": {"$elemMatch": {"$size": 1}}}, [{"a": [[1]]}], [{"a": [1]}]),
    ({"a": {"$elemMatch": {"$in": [[1], re.compile("x")]}}}, [{"a": [[1]]}, {"a": ["x"]}], [{}]),
    ({"a": {"$elemMatch": {"$exists": False}}}, [], [{"a": [1]}, {"a": []}, {}]),
    ({"a": {"$not": {"$elemMatch": {"$gt": 1}}}}, [{}, {"a": 2}, {"a": [1]}], [{"a": [2]}]),
    ({"a.b": {"$elemMatch": {"c": 1}}}, [{"a": [{"b": [{"c": 1}]}]}], [{"a": [{"b": {"c": 1}}]}]),
    (
        {"a": {"$elemMatch": {"$ref": "c", "$id": 1}}},
        [{"a": [{"$ref": "c", "$id": 1, "x": 2}]}],
        [{"a": [{"$ref": "c", "$id": 2}]}],
    ),
    ({"a": {"$elemMatch": {"_rev": "x"}}}, [{"a": [{"_rev": "x"}]}], [{"a": [{"_rev": "y"}]}]),
    ({"a": {"$elemMatch": {"$nor": [{"b": 1}]}}}, [{"a": [{"b": 2}]}], [{"a": [{"b": 1}]}]),
]

TEXTS: Cases = [
    (
        {"a": re.compile("^ab")},
        [{"a": "abc"}, {"a": ["x", "ab"]}, {"a": re.compile("^ab")}],
        [{"a": "xab"}, {"a": 1}, {"a": Regex("^ab")}, {}],
    ),
    ({"a": Regex("b", "i")}, [{"a": "ABC"}, {"a": Regex("b", "i")}], [{"a": "ac"}]),
    ({"a": {"$regex": ""}}, [{"a": ""}, {"a": "x"}], [{}, {"a": 1}, {"a": None}]),
    ({"a": {"$regex": "b"}}, [{"a": "abc"}, {"a": "b"}], [{"a": "ac"}, {"a": ""}]),
    ({"a": {"$regex": "a\\.b"}}, [{"a": "xa.b"}], [{"a": "axb"}]),
    (
        {"a": {"$regex": "^ab.*c$", "$options": "i"}},
        [{"a": "ABxC"}, {"a": "abc\n"}],
        [{"a": "abcd"}],
    ),
    ({"a": {"$options": "x", "$regex": "a b # c"}}, [{"a": "ab"}], [{"a": "a b"}]),
    ({"a": {"$regex": "a.b", "$options": "s"}}, [{"a": "a\nb"}], [{"a": "ab"}]),
    ({"a": {"$regex": "^b", "$options": "m"}}, [{"a": "a\nb"}], [{"a": "ab"}]),
    ({"a": {"$regex": "Ä", "$options": "iu"}}, [{"a": "ä"}], [{"a": "a"}]),
    ({"a": {"$regex": Regex("b", "i")}}, [{"a": "B"}], [{"a": "c"}]),
    (
        {"a": {"$in": [1, re.compile("^z"), "b"]}},
        [{"a": "b"}, {"a": "zz"}, {"a": [1]}],
        [{"a": "az"}],
    ),
    (
        {"a": {"$nin": [1, re.compile("^z"), "b"]}},
        [{"a": "az"}, {}],
        [{"a": "b"}, {"a": "zz"}, {"a": [1]}],
    ),
    ({"a": {"$not": re.compile("b+c")}}, [{"a": "ac"}, {}], [{"a": "abbc"}]),
    ({"a": {"$not": {"$regex": "b", "$options": "i"}}}, [{"a": "c"}], [{"a": "B"}]),
    ({"a": {"$eq": Regex("b")}}, [{"a": Regex("b")}], [{"a": "b"}]),
]

WHOLE: Cases = [
    ({"$expr": {"$gt": ["$a", "$b"]}}, [{"a": 2, "b": 1}], [{"a": 1, "b": 2}]),
    ({"c": 1, "$expr": "$a"}, [{"a": 2, "c": 1}], [{"a": 0, "c": 1}, {"a": 2}]),
    ({"$nor": [{"$expr": "$a"}]}, [{"a": 0}], [{"a": 1}]),
    ({"$alwaysTrue": 1}, [{}], []),
    ({"$alwaysFalse": 1}, [], [{}]),
    ({"$comment": 5, "$and": [{"$comment": "x", "a": 1}]}, [{"a": 1}], [{}]),
    ({"$id": 5}, [{"$id": 5}], [{}]),
]


@pytest.mark.parametrize(
    ("filter", "yes", "no"),
    [*TYPES, *NUMBERS, *ARRAYS, *TEXTS, *WHOLE],
    ids=lambda value: str(value)[:60],
)
def test_operator_examples(
    filter: dict[str, Any], yes: list[dict[str, Any]], no: list[dict[str, Any]]
) -> None:
    program = program_of(filter)
    for document in yes:
        assert program.matches_bson(encode(document)), document
    for document in no:
        assert not program.matches_bson(encode(document)), document


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"a": {"$type": 0}}, "exists"),
    ({"a": {"$type": 20}}, "number of a type"),
    ({"a": {"$type": 1.5}}, "number of a type"),
    ({"a": {"$type": "text"}}, "known are"),
    ({"a": {"$type": []}}, "at least one"),
    ({"a": {"$type": True}}, "name of a type"),
    ({"a": {"$mod": [0, 1]}}, "cannot be 0"),
    ({"a": {"$mod": [0.5, 1]}}, "cannot be 0"),
    ({"a": {"$mod": [1]}}, "divisor, remainder"),
    ({"a": {"$mod": [1, 2, 3]}}, "divisor, remainder"),
    ({"a": {"$mod": 5}}, "divisor, remainder"),
    ({"a": {"$mod": ["2", 1]}}, "divisor"),
    ({"a": {"$mod": [2, float("nan")]}}, "remainder"),
    ({"a": {"$mod": [1e300, 1]}}, "64 bits"),
    ({"a": {"$mod": [Decimal128("1E+6000"), 1]}}, "64 bits"),
    ({"a": {"$size": -1}}, "negative"),
    ({"a": {"$size": 1.5}}, "whole number"),
    ({"a": {"$size": "2"}}, "whole number"),
    ({"a": {"$bitsAllSet": -1}}, "mask"),
    ({"a": {"$bitsAllSet": 1.5}}, "mask"),
    ({"a": {"$bitsAllSet": "5"}}, "mask"),
    ({"a": {"$bitsAnySet": [-1]}}, "position"),
    ({"a": {"$bitsAnyClear": [2**31]}}, "position"),
    ({"a": {"$all": 5}}, "list"),
    ({"a": {"$all": [{"$gt": 1}]}}, "elemMatch only"),
    ({"a": {"$all": [{"$elemMatch": {"x": 1}}, 5]}}, "every entry or in none"),
    ({"a": {"$all": [5, {"$elemMatch": {"x": 1}}]}}, "every entry or in none"),
    ({"a": {"$elemMatch": 5}}, "document"),
    ({"a": {"$elemMatch": {"$expr": 1}}}, "top of a filter"),
    ({"a": {"$elemMatch": {"$where": "1"}}}, "JavaScript"),
    ({"a": {"$elemMatch": {"$gt": 1, "b": 2}}}, "mixed"),
    ({"a": {"$options": "i"}}, "beside it"),
    ({"a": {"$regex": 5}}, "string or a regular"),
    ({"a": {"$regex": "x", "$options": "iq"}}, "'q'"),
    ({"a": {"$regex": "x", "$options": 1}}, "needs a string"),
    ({"a": {"$regex": Regex("x", "i"), "$options": "m"}}, "both"),
    ({"a": {"$regex": "x\x00y"}}, "NUL"),
    ({"a": {"$regex": "x" * 40000}}, "too long"),
    ({"a": {"$id": 5}}, "unknown operator"),
    ({"$where": "1"}, "JavaScript"),
    ({"$text": {"$search": "x"}}, "text index"),
    ({"a": {"$near": [0, 0]}}, "geographical"),
    ({"$jsonSchema": 5}, "document"),
    ({"$alwaysTrue": 2}, "number 1"),
    ({"a": {"$expr": 1}}, "unknown operator"),
    ({"a": {"$comment": "x", "$foo": 1}}, "unknown operator"),
]


@pytest.mark.parametrize(("filter", "message"), REFUSED, ids=lambda value: str(value)[:50])
def test_what_is_refused_is_named(filter: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidFilter, match=message):
        program_of(filter)


@pytest.mark.parametrize("zero", [0, 0.0, Decimal128("0")])
def test_a_sample_rate_is_the_chance_of_each_document(zero: Any) -> None:
    document = encode({"_id": 1, "a": 1})
    assert program_of({"$sampleRate": 1}).matches_bson(document)
    assert not program_of({"$sampleRate": zero}).matches_bson(document)
    assert not program_of({"$and": [{"a": 1}, {"$sampleRate": zero}]}).matches_bson(document)
    half = program_of({"a": 1, "$sampleRate": 0.5})
    found = sum(half.matches_bson(document) for _ in range(2000))
    # both ends are more than 40 standard deviations away
    assert 0 < found < 2000


def test_variables_of_expressions() -> None:
    filter = {"$expr": {"$gt": ["$a", "$$least"]}}
    assert program_of(filter, let={"least": 1}).matches_bson(encode({"a": 2}))
    assert not program_of(filter, let={"least": 3}).matches_bson(encode({"a": 2}))
    with pytest.raises(InvalidExpression, match="least"):
        program_of(filter)


def test_an_error_of_an_expression_reaches_the_caller() -> None:
    program = program_of({"a": {"$exists": True}, "$expr": {"$add": ["$a", 1]}})
    assert not program.matches_bson(encode({"b": 1}))
    with pytest.raises(RangoError, match="add"):
        program.matches_bson(encode({"a": "x"}))
    assert program.matches_bson(encode({"a": 1}))


@pytest.mark.parametrize(
    ("filter", "document", "place"),
    [
        ({"a": 2}, {"a": [1, 2]}, 1),
        ({"a": [1]}, {"a": [1]}, None),
        ({"a.b": 2}, {"a": [{"b": [1]}, {"b": [3, 2]}]}, 1),
        ({"a.b": 2}, {"a": {"b": [3, 2]}}, 1),
        ({"a.1": 5}, {"a": [1, 5]}, 1),
        ({"a.0.b": 5}, {"a": [{"b": [1, 5]}]}, 1),
        ({"a.b": None}, {"a": [{"b": 1}, {}]}, 1),
        ({"a": {"$elemMatch": {"x": 1}}}, {"a": [{}, {"x": 1}]}, 1),
        ({"a.b": {"$elemMatch": {"x": 1}}}, {"a": [{}, {}, {"b": [{"x": 1}]}]}, 2),
        ({"a": 1, "b": 2}, {"a": [0, 1], "b": [2]}, 0),
        ({"b": 2, "a": 1}, {"a": [0, 1], "b": [2]}, 1),
        ({"a": 1, "b": 2}, {"a": [0, 1], "b": 2}, 1),
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {"a": [2]}, None),
        ({"$or": [{"a": 1}, {"b": 1}]}, {"a": [0, 1]}, None),
        ({"$or": [{"a": 6}, {"a": 5}]}, {"a": [4, 5, 6]}, 1),
        ({"$or": [{"a": 6}, {"a": {"$gt": 5}}]}, {"a": [4, 5, 6]}, None),
        ({"$and": [{"$and": [{"a": 1}]}, {"c": 1}]}, {"a": [0, 1], "c": 1}, 1),
        ({"a": {"$not": {"$gt": 5}}}, {"a": [0, 1]}, None),
        ({"a": {"$ne": 5}, "b": 1}, {"a": [0, 1], "b": [0, 0, 1]}, 2),
        ({"a": {"$in": [3, re.compile("b")]}}, {"a": [0, 1, "abc"]}, 2),
        ({"a": {"$in": [3, 1]}}, {"a": [0, 1]}, 1),
        ({"a": {"$all": [1, 2]}}, {"a": [1, 2]}, 1),
        ({"$expr": True, "a": 2}, {"a": [1, 2]}, 1),
    ],
)
def test_the_place_for_the_positional_operator(
    filter: dict[str, Any], document: dict[str, Any], place: int | None
) -> None:
    assert program_of(filter).position(encode(document)) == place


def test_a_string_never_becomes_an_operator() -> None:
    for value in ("$gt", "$where", '{"$gt": ""}', "$expr"):
        program = program_of({"a": value})
        assert program.normal == ("$eq", "a", value)
        assert not program.matches_bson(encode({"a": "z"}))


def test_large_filters_are_answered() -> None:
    many = list(range(0, 200_000, 2))
    program = program_of({"a": {"$in": many}})
    assert program.matches_bson(encode({"a": 99_998}))
    assert not program.matches_bson(encode({"a": 99_999}))
    wide = program_of({"$or": [{"a": number} for number in range(20_000)]})
    assert wide.matches_bson(encode({"a": 19_999}))
    assert program_of({"a": {"$bitsAllSet": [2**31 - 1]}}).matches_bson(encode({"a": -1}))
    array = encode({"a": list(range(200_000))})
    assert program_of({"a": {"$elemMatch": {"$gt": 199_998}}}).matches_bson(array)


def test_nesting_is_limited() -> None:
    deep: dict[str, Any] = {"$gt": 1}
    for _ in range(98):
        deep = {"$elemMatch": deep}
    value: Any = 2
    for _ in range(98):
        value = [value]
    assert program_of({"a": deep}).matches_bson(encode({"a": value}))
    for _ in range(10):
        deep = {"$elemMatch": deep}
    with pytest.raises(LimitExceeded, match="100"):
        program_of({"a": deep})


def test_without_the_engine_what_needs_it_is_refused() -> None:
    for filter in ({"a": {"$regex": "x"}}, {"$expr": 1}, {"$jsonSchema": {}}):
        with pytest.raises(InvalidFilter, match="program_of"):
            compile_filter(filter)


def test_malformed_documents_are_named() -> None:
    whole = encode({"a": [{"b": "x"}]})
    damaged = whole.replace(b"\x02b\x00", b"\x55b\x00")
    with pytest.raises(Corrupted):
        program_of({"a": {"$elemMatch": {"b": "x"}}}).matches_bson(damaged)
    damaged = whole.replace(b"\x030\x00", b"\x550\x00")
    for filter in ({"a": {"$size": 1}}, {"a": {"$elemMatch": {"$gt": 1}}}, {"a": {"$type": 1}}):
        with pytest.raises(Corrupted):
            program_of(filter).matches_bson(damaged)


@pytest.mark.parametrize(
    ("filter", "code"),
    [
        ({"a": {"$foo": 1}}, 2),
        ({"$foo": 1}, 2),
        ({"a": {"$in": 5}}, 2),
        ({"a": {"$mod": [0, 1]}}, 2),
        ({"a": {"$size": -1}}, 2),
        ({"a": {"$type": []}}, 9),
        ({"a": {"$type": {}}}, 14),
        ({"a": {"$type": [True]}}, 14),
        ({"a": {"$type": "nothing"}}, 2),
        ({"a": {"$bitsAllSet": -1}}, 9),
        ({"a": {"$bitsAllSet": 1.5}}, 9),
        ({"a": {"$bitsAllSet": math.nan}}, 9),
        ({"a": {"$bitsAllSet": "x"}}, 2),
        ({"a": {"$bitsAllSet": [-1]}}, 2),
        ({"$sampleRate": 1.5}, 2),
        ({"$sampleRate": -1}, 2),
        ({"$sampleRate": math.nan}, 2),
        ({"$sampleRate": True}, 2),
        ({"$sampleRate": "x"}, 2),
        ({"a": {"$elemMatch": {"$sampleRate": 0.5}}}, 2),
        ({"a": {"$regex": "("}}, 51091),
        ({"a": {"$regex": "(?=x)"}}, 51091),
        ({"a": {"$regex": "x", "$options": "q"}}, 51108),
        ({"a": {"$regex": re.compile("x"), "$options": "i"}}, 51075),
        ({"a": {"$elemMatch": {"$expr": 1}}}, 224),
        ({"$jsonSchema": 5}, 14),
        ({"$alwaysTrue": 0}, 9),
    ],
)
def test_errors_have_mongodbs_codes(filter: dict[str, Any], code: int) -> None:
    with pytest.raises(InvalidFilter) as caught:
        program_of(filter)
    assert caught.value.code == code


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**64))
def test_damaged_documents_end_in_an_answer(seed: int) -> None:
    rng = random.Random(seed)
    programs = [program_of(random_filter(rng)) for _ in range(8)]
    programs.append(program_of(random_filter(rng), collation={"locale": "en", "strength": 2}))
    for _ in range(20):
        data = bytearray(encode(random_document(rng)))
        for _ in range(rng.randrange(3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        for program in programs:
            try:
                assert program.matches_bson(bytes(data)) in (True, False)
                program.position(bytes(data))
            except (RangoError, ValueError):
                continue
