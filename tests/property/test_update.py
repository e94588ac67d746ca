"""Updates equal their readable twin on random documents, whatever operators meet in whatever order.

`python3 -m tests.property.test_update 100000` runs as many pairs as it is told.
"""

from __future__ import annotations

import copy
import sys
from collections import Counter
from typing import Any

from bson import Decimal128, Int64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rango._ext.record import decode, encode
from rango.engine.update import compile_update
from rango.errors import InvalidUpdate
from tests.reference import update as twin

OUTCOMES: Counter[bool] = Counter()
NAMES = st.sampled_from(["a", "b", "c", "0", "1", "3", "10", "01", "$x"])
TOP_NAMES = st.sampled_from(["_id", "a", "b", "c", "0", "10"])
INTEGERS = st.one_of(
    st.integers(-5, 5),
    st.sampled_from([2**31 - 1, -(2**31)]),
    st.sampled_from([Int64(3), Int64(2**63 - 1), Int64(-(2**63))]),
)
NUMBERS = st.one_of(
    INTEGERS,
    st.sampled_from([0.5, 2.0, -0.0, 1e300, float("nan"), float("inf")]),
    st.sampled_from([Decimal128("2"), Decimal128("0.10"), Decimal128("NaN")]),
)
SCALARS = st.one_of(INTEGERS, NUMBERS, st.sampled_from(["", "x", "y", None, True, False]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
DOCUMENTS = st.builds(
    lambda fields, id_value: {"_id": id_value, **fields},
    st.dictionaries(TOP_NAMES, VALUES, max_size=4),
    st.sampled_from([1, "k"]),
)
PARTS = st.one_of(NAMES, NAMES, st.sampled_from(["$", "$[]", "$[x]", "$[y]"]))
PATHS = st.builds(
    lambda first, rest: ".".join([first, *rest]),
    TOP_NAMES,
    st.lists(PARTS, max_size=3).filter(lambda parts: parts.count("$") < 2),
)
PLAIN_PATHS = st.builds(
    lambda first, rest: ".".join([first, *rest]), TOP_NAMES, st.lists(NAMES, max_size=2)
)
CONDITIONS = st.one_of(
    SCALARS,
    st.dictionaries(st.sampled_from(["$gt", "$lte", "$ne", "$eq"]), SCALARS, min_size=1),
    st.fixed_dictionaries({"$in": st.lists(SCALARS, max_size=3)}),
)
ARRAY_FILTERS = st.fixed_dictionaries(
    {
        "x": st.builds(lambda condition: {"x": condition}, CONDITIONS),
        "y": st.builds(lambda name, condition: {f"y.{name}": condition}, NAMES, CONDITIONS),
    }
)
PUSHES = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {"$each": st.lists(VALUES, max_size=3)},
        optional={
            "$position": st.integers(-4, 4),
            "$slice": st.integers(-4, 4),
            "$sort": st.one_of(
                st.sampled_from([1, -1]),
                st.dictionaries(PLAIN_PATHS, st.sampled_from([1, -1]), min_size=1, max_size=2),
            ),
        },
    ),
)
PULLS = st.one_of(
    VALUES.filter(lambda value: not isinstance(value, dict)),
    CONDITIONS,
    st.dictionaries(st.sampled_from(["a", "b", "a.b"]), CONDITIONS, max_size=2),
)
OPERANDS = {
    "$set": VALUES,
    "$setOnInsert": VALUES,
    "$unset": st.just(""),
    "$inc": NUMBERS,
    "$mul": NUMBERS,
    "$min": VALUES,
    "$max": VALUES,
    "$bit": st.dictionaries(st.sampled_from(["and", "or", "xor"]), INTEGERS, min_size=1),
    "$push": PUSHES,
    "$addToSet": st.one_of(VALUES, st.fixed_dictionaries({"$each": st.lists(VALUES, max_size=3)})),
    "$pop": st.sampled_from([1, -1]),
    "$pull": PULLS,
    "$pullAll": st.lists(VALUES, max_size=3),
}
UPDATES = st.lists(
    st.one_of(
        *[st.tuples(st.just(name), PATHS, operands) for name, operands in OPERANDS.items()],
        st.tuples(st.just("$rename"), PLAIN_PATHS, PLAIN_PATHS),
    ),
    min_size=1,
    max_size=3,
)


def update_of(changes: list[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    """The update of a list of changes."""
    update: dict[str, dict[str, Any]] = {}
    for operator, path, operand in changes:
        update.setdefault(operator, {})[path] = operand
    return update


def stored(document: dict[str, Any]) -> dict[str, Any]:
    """A document as it comes from the store."""
    return decode(encode(document))


def compare_with_twin(
    given_document: dict[str, Any],
    update: dict[str, dict[str, Any]],
    array_filters: list[dict[str, Any]],
    position: int | None,
    is_insert: bool,
) -> bool:
    """Apply an update and its twin; False if both refuse it."""
    document = stored(given_document)
    before = encode(document)
    used = [each for each in array_filters if f"$[{twin.name_of(each)}]" in repr(update)]
    asked = copy.deepcopy(update)
    try:
        compiled = compile_update(update, array_filters=used)
        found = compiled.apply(document, position=position, is_insert=is_insert)
    except InvalidUpdate as error:
        found = None
        assert error.code is not None
    assert encode(document) == before
    assert repr(update) == repr(asked)
    try:
        expected = twin.apply_update(document, update, used, position, is_insert)
    except twin.Refused:
        expected = None
    assert (found is None) == (expected is None), (found, expected)
    if found is None or expected is None:
        return False
    assert encode(found) == encode(expected)
    assert list(found) == list(expected)
    if found is document:
        assert encode(expected) == before
    return True


@given(
    DOCUMENTS,
    UPDATES.map(update_of),
    ARRAY_FILTERS.map(lambda filters: list(filters.values())),
    st.one_of(st.none(), st.integers(0, 3)),
    st.booleans(),
)
def test_updates_equal_their_twin(
    document: dict[str, Any],
    update: dict[str, dict[str, Any]],
    array_filters: list[dict[str, Any]],
    position: int | None,
    is_insert: bool,
) -> None:
    applied = compare_with_twin(document, update, array_filters, position, is_insert)
    OUTCOMES[applied] += 1


IDEMPOTENT = ("$set", "$unset", "$min", "$max", "$addToSet", "$pull", "$pullAll")


@given(
    DOCUMENTS,
    st.sampled_from(IDEMPOTENT).flatmap(
        lambda name: st.tuples(st.just(name), PLAIN_PATHS, OPERANDS[name])
    ),
)
def test_the_second_time_changes_nothing(
    given_document: dict[str, Any], change: tuple[str, str, Any]
) -> None:
    document = stored(given_document)
    compiled = compile_update(update_of([change]))
    try:
        once = stored(compiled.apply(document))
    except InvalidUpdate:
        return
    assert encode(compiled.apply(once)) == encode(once)


if __name__ == "__main__":
    pairs = int(sys.argv[1])
    settings(
        max_examples=pairs,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(test_updates_equal_their_twin)()
    print(f"{OUTCOMES.total()} pairs, {OUTCOMES[True]} of them applied, 0 differences")
