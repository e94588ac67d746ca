"""Expressions: paths, variables, literals, documents, arrays, $let, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from bson.dbref import DBRef

from rango.engine.expression import compile_expression
from rango.engine.values import MISSING
from rango.errors import ExpressionFailed, LimitExceeded
from tests.unit.expression_case import refused, value_of


def test_a_path_goes_through_documents_and_arrays() -> None:
    root = {"a": {"b": {"c": 1}}, "l": [{"b": 1}, {"c": 2}, 3, [{"b": 4}], {"b": None}]}
    assert value_of("$a.b.c", root) == 1
    assert value_of("$a.b", root) == {"c": 1}
    assert value_of("$l.b", root) == [1, None]
    assert value_of("$a.x", root) is MISSING
    assert value_of("$a.b.c.d", root) is MISSING
    assert value_of("$x.y.z", root) is MISSING


def test_a_number_in_a_path_is_a_name_and_no_position() -> None:
    assert value_of("$l.0", {"l": [1, 2]}) == []
    assert value_of("$l.0", {"l": {"0": 1}}) == 1
    assert value_of("$l.0", {"l": [{"0": 1}, {"1": 2}]}) == [1]


def test_a_path_reads_the_parts_of_a_dbref() -> None:
    assert value_of("$r.$id", {"r": DBRef("c", 5)}) == 5


def test_strings_of_documents_are_never_expressions() -> None:
    assert value_of("$a", {"a": "$b", "b": 1}) == "$b"
    assert value_of({"x": "$a"}, {"a": {"$add": [1, 2]}}) == {"x": {"$add": [1, 2]}}


def test_system_variables() -> None:
    root = {"a": [{"b": 1}, {"b": 2}]}
    assert value_of("$$ROOT", root) is root
    assert value_of("$$CURRENT.a.b", root) == [1, 2]
    assert value_of("$$ROOT.a.b", root) == [1, 2]
    assert value_of("$$REMOVE") is MISSING
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    assert compile_expression("$$NOW").evaluate({}, {"NOW": moment}) == moment
    assert compile_expression("$$NOW").evaluate({}, {}).tzinfo is UTC


def test_variables_of_the_caller() -> None:
    assert value_of("$$v.a", {}, v={"a": 1}) == 1
    assert value_of("$$v.a.b", {}, v=[{"a": {"b": 1}}, 2, {"a": 1}]) == [1]
    assert value_of("$$v", {}, v=[1]) == [1]


def test_let_binds_for_its_body_only_and_all_at_once() -> None:
    spec = {
        "$let": {
            "vars": {"x": 1, "y": "$a"},
            "in": {"$let": {"vars": {"x": "$$y", "z": "$$x"}, "in": ["$$x", "$$y", "$$z"]}},
        }
    }
    assert value_of(spec, {"a": 5}) == [5, 5, 1]
    refused({"$add": [{"$let": {"vars": {"x": 1}, "in": 1}}, "$$x"]}, 17276)


def test_let_can_move_current() -> None:
    spec = {"$let": {"vars": {"CURRENT": "$a"}, "in": ["$b", "$$CURRENT.b", "$$ROOT.b"]}}
    assert value_of(spec, {"a": {"b": 1}, "b": 2}) == [1, 1, 2]


def test_documents_leave_missing_fields_out_and_arrays_hold_null_for_them() -> None:
    assert value_of({"a": "$x", "b": {"c": "$x"}, "d": ["$x", 1]}) == {"b": {}, "d": [None, 1]}
    assert value_of({"a": "$$REMOVE", "b": 1}) == {"b": 1}


def test_literal_keeps_what_it_holds() -> None:
    assert value_of({"$literal": {"$add": [1, "$a"]}}) == {"$add": [1, "$a"]}
    assert value_of({"$eq": ["$a", {"$literal": "$1"}]}, {"a": "$1"}) is True


def test_constant_parts_are_evaluated_once() -> None:
    assert compile_expression({"$add": [1, {"$multiply": [2, 3]}]}).value == 7
    assert compile_expression({"a": [1, {"$literal": "$x"}]}).value == {"a": [1, "$x"]}
    assert not compile_expression({"$add": [1, "$a"]}).is_constant
    assert not compile_expression("$$NOW").is_constant
    assert not compile_expression({"$rand": {}}).is_constant


def test_a_constant_part_that_fails_is_an_error_of_the_whole_expression() -> None:
    spec = {"$and": ["$a", {"$divide": [1, 0]}]}
    with pytest.raises(ExpressionFailed):
        compile_expression(spec)
    assert compile_expression(spec, fold=False).evaluate({"a": False}, {}) is False


def test_rand_is_at_least_0_and_less_than_1() -> None:
    values = {value_of({"$rand": {}}) for _ in range(10)}
    assert len(values) > 1
    assert all(0 <= value < 1 for value in values)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"$nope": 1}, 168),
        ({"a": {"$nope": 1}}, 168),
        ({"$add": [1], "b": 2}, 15983),
        ({"a": 1, "$add": [1]}, 16410),
        ({"a.b": 1}, 16412),
        ({"a": 1, "": 1}, 15998),
        ("$", 16872),
        ("$a.", 40353),
        ("$a..b", 15998),
        ("$.a", 15998),
        ("$a.$b", 16410),
        ("$a\x00b", 16411),
        ("$$", 16869),
        ("$$nope", 17276),
        ("$$1a", 16870),
        ("$$a-b", 16871),
        ("$$ROOT.", 40352),
        ("$$CLUSTER_TIME", 51144),
        ({"$let": {"vars": {"X": 1}, "in": 1}}, 16867),
        ({"$let": {"vars": {"x-y": 1}, "in": 1}}, 16868),
        ({"$let": {"vars": {"": 1}, "in": 1}}, 16866),
        ({"$let": {"vars": [], "in": 1}}, 16874),
        ({"$let": {"vars": {}, "in": 1, "x": 1}}, 16875),
        ({"$let": {"vars": {}}}, 16876),
        ({"$function": {}}, 168),
        ({"$meta": "textScore"}, 168),
        ({"$rand": 1}, 3040501),
    ],
)
def test_what_is_not_understood_is_refused_with_the_code_of_mongodb(
    spec: object, code: int
) -> None:
    refused(spec, code)


def test_nesting_is_bounded() -> None:
    spec: object = 1
    for _ in range(200):
        spec = {"$not": [spec]}
    with pytest.raises(LimitExceeded):
        compile_expression(spec)


def test_a_value_that_bson_cannot_hold_is_refused() -> None:
    refused({"$add": [1, 2**70]}, None, "64 bits")
