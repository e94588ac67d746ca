"""The catalog: what its definitions mean, and that it travels with the views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rango._ext.collection_info import IndexInfo
from rango._ext.record import encode
from rango.engine.catalog import (
    BUILDING,
    READY,
    Catalog,
    collection_definition,
    database_definition,
    index_definition,
)
from rango.errors import FormatTooNew, InvalidName, NotFound
from tests.unit.engine_case import asked, by_index, documents_of, insert, opened

DEFINITIONS = {
    0: database_definition("node"),
    1: collection_definition("a"),
    2: index_definition(1, IndexInfo("x_1", 2, (("x", 1),), unique=True), READY),
    3: index_definition(1, IndexInfo("y_1", 3, (("y", -1),)), BUILDING),
    5: collection_definition("b"),
}


def test_definitions_and_what_they_mean() -> None:
    catalog = Catalog(DEFINITIONS, {2: 1}, 1)
    assert catalog.settings["node_id"] == "node"
    assert sorted(catalog.collections) == ["a", "b"]
    assert catalog.trees == {"a": 1, "b": 5}
    info = catalog.collections["a"]
    assert [index.name for index in info.indexes] == ["x_1"]
    assert [index.name for index in info.maintained] == ["x_1", "y_1"]
    index = info.indexes[0]
    assert (index.path, index.direction, index.unique, index.multikey) == ("x", 1, True, True)
    assert catalog.tree_next == 6
    assert catalog.building() == [3]


def test_a_change_makes_another_catalog_and_ids_are_never_used_again() -> None:
    catalog = Catalog(DEFINITIONS, {}, 1)
    changed = catalog.changed([(5, None), (9, collection_definition("c")), (9, None)], {})
    assert sorted(catalog.collections) == ["a", "b"]
    assert sorted(changed.collections) == ["a"]
    assert changed.tree_next == 10


@pytest.mark.parametrize(
    "definition",
    [
        encode({"kind": "view", "name": "v"}),
        encode(
            {**{"kind": "index", "collection": 1, "name": "z", "unique": False}, "state": READY}
            | {"keys": {f"a{number}": 1 for number in range(33)}}
        ),
    ],
)
def test_what_a_newer_rango_wrote_is_refused(definition: bytes) -> None:
    with pytest.raises(FormatTooNew):
        Catalog({1: collection_definition("a"), 7: definition}, {}, 1)


def test_a_definition_says_all_that_an_index_is() -> None:
    options: dict[str, Any] = {
        "unique": True,
        "sparse": True,
        "partial": {"a": {"$gt": 3}},
        "expire_after_s": 0,
        "hidden": True,
    }
    fields = (("a", 1), ("b.c", -1))
    definition = index_definition(1, IndexInfo("n", 2, fields, **options), READY)
    info = Catalog({1: collection_definition("a"), 2: definition}, {}, 1).collections["a"]
    assert info.indexes == () and [index.name for index in info.ready] == ["n"]
    (index,) = info.maintained
    assert index.fields == fields and (index.path, index.direction) == ("a", 1)
    assert {name: getattr(index, name) for name in options} == options
    assert (index.multikey, index.multikey_paths, index.shortened) == (False, frozenset(), False)


def test_the_marks_of_an_index_say_which_fields_met_an_array() -> None:
    index = IndexInfo("n", 2, (("a", 1), ("b", 1)), marks=2)
    assert (index.multikey, index.multikey_paths, index.shortened) == (True, {"b"}, False)
    index = IndexInfo("n", 2, (("a", 1), ("b", 1)), marks=1 << 32)
    assert (index.multikey, index.multikey_paths, index.shortened) == (True, set(), True)


def test_a_view_keeps_the_catalog_of_its_commit(tmp_path: Path) -> None:
    core = opened(tmp_path / "db")
    insert(core, "a", [{"_id": 1}])
    before = core.view()
    core.rename_collection("a", "b")
    core.create_collection("a")
    assert sorted(before.catalog.collections) == ["a"]
    assert before.find_named("a", 1) == {"_id": 1}
    assert core.view().find_named("a", 1) is None
    assert core.view().find_named("b", 1) == {"_id": 1}
    assert core.drop_collection("b") and not core.drop_collection("b")
    assert before.find_named("a", 1) == {"_id": 1}
    core.checkpoint()
    assert before.find_named("a", 1) == {"_id": 1}
    core.release()


def test_renames_and_drops_are_checked(tmp_path: Path) -> None:
    core = opened(tmp_path / "db")
    core.create_collection("a")
    core.create_collection("b")
    with pytest.raises(NotFound):
        core.rename_collection("none", "c")
    with pytest.raises(InvalidName):
        core.rename_collection("a", "b")
    core.release()


@pytest.mark.parametrize("how", ["live", "reopen", "checkpoint"])
def test_a_new_collection_does_not_make_other_indexes_forget_their_arrays(
    tmp_path: Path, how: str
) -> None:
    """An index that turned multikey stays so, or documents come twice."""
    core = opened(tmp_path / "db")
    core.create_index("a", asked("tags"))
    txn = core.begin()
    txn.insert(txn.create_collection("a"), encode({"_id": 1, "tags": ["x", "y"]}))
    txn.insert(txn.create_collection("new"), encode({"_id": 1}))
    txn.commit()
    core.create_collection("newer")
    if how == "checkpoint":
        core.checkpoint()
    if how != "live":
        core.release()
        core = opened(tmp_path / "db")
    core.create_collection("newest")
    assert core.collections()["a"].indexes[0].multikey
    assert by_index(core, "a", "tags_1") == [1]
    assert documents_of(core, "new") == {1: {"_id": 1}}
    core.release()
