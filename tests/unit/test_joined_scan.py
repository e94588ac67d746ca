"""Two indexes at once: the documents that have a key in both, in the order of `_id`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango.collection import Collection

BOTH = {"a": 1, "b": 1}


@pytest.fixture
def numbers(tmp_path: Path) -> Iterator[Collection]:
    with rango.open(tmp_path / "db", durability="memory") as db:
        found = db["numbers"]
        found.insert_many(
            [{"_id": n, "a": int(n % 2 == 0), "b": int(n % 5 == 0), "n": n} for n in range(4000)]
        )
        found.create_index([("a", 1)])
        found.create_index([("b", -1)])
        yield found


@pytest.mark.parametrize("sort", [None, [("_id", 1)], [("_id", -1)], [("n", -1)]])
@pytest.mark.parametrize(("skip", "limit"), [(0, 0), (3, 0), (0, 150), (20, 200)])
@pytest.mark.parametrize("projection", [None, {"n": 1}, {"n": 0}])
def test_two_indexes_give_what_a_scan_gives(
    numbers: Collection, sort: Any, skip: int, limit: int, projection: Any
) -> None:
    options: dict[str, Any] = {"sort": sort, "skip": skip, "limit": limit}
    expected = numbers.find_many(BOTH, projection, hint={"$natural": 1}, **options)
    assert numbers.find_many(BOTH, projection, **options) == expected


def test_explain_names_both_and_few_documents_are_read(numbers: Collection) -> None:
    plan = numbers.find(BOTH).explain()
    assert (plan["index"], plan["intersects"], plan["returned"]) == ("a_1", "b_-1", 400)
    assert plan["docs_examined"] < 600
    fetch = plan["queryPlanner"]["winningPlan"]
    stages = [each["indexName"] for each in fetch["inputStage"]["inputStages"]]
    assert (fetch["inputStage"]["stage"], stages) == ("AND_SORTED", ["a_1", "b_-1"])


def test_a_count_and_writes_go_by_both(numbers: Collection) -> None:
    assert numbers.count_documents(BOTH) == 400
    assert numbers.update_many(BOTH, {"$set": {"b": 2}}).modified_count == 400
    assert numbers.count_documents(BOTH) == 0
    assert numbers.delete_many({"a": 1, "b": 2}).deleted_count == 400


def test_a_second_index_that_excludes_nothing_is_given_up(numbers: Collection) -> None:
    numbers.update_many({}, {"$set": {"b": 1}})
    plan = numbers.find(BOTH).explain()
    assert plan["docs_examined"] == plan["returned"] == 2000
    assert plan["keys_examined"] < 2600


@pytest.mark.parametrize(
    "filter", [{"a": 1}, {"a": 1, "b": {"$gt": 0}}, {"a": 1, "b": None}, {"a": 1, "n": 4}]
)
def test_one_index_is_used_alone(numbers: Collection, filter: dict[str, Any]) -> None:
    plan = numbers.find(filter).explain()
    assert (plan["index"], plan["intersects"]) == ("a_1", None)


def test_the_other_commands_are_explained(numbers: Collection) -> None:
    counted = numbers.explain({"a": 1}, command="count")
    assert (counted["covered"], counted["docs_examined"], counted["returned"]) == (True, 0, 2000)
    for command in ("update", "delete"):
        plan = numbers.explain(BOTH, command=command)  # type: ignore[arg-type]
        assert (plan["intersects"], plan["returned"]) == ("b_-1", 400)
    assert numbers.explain(BOTH, limit=1)["returned"] == 1
    assert numbers.count_documents({}) == 4000
    with pytest.raises(rango.errors.InvalidArgument, match="drop"):
        numbers.explain({}, command="drop")  # type: ignore[arg-type]
