"""The short way of usual writes does what the long one does: on bytes, and on whole databases."""

from __future__ import annotations

import copy
import itertools
import struct
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import rango
from rango._ext.bson_set import bson_set
from rango._ext.record import encode
from rango._ext.vfs import PythonVfs
from rango.engine.update import compile_update
from rango.errors import RangoError
from rango.statements import changed_bson
from tests.property.test_update import DOCUMENTS, NAMES, VALUES
from tests.unit.memory_disk import MemoryDisk

FIELD_NAMES = st.sampled_from(["a", "b", "c", "d", "e", "ü", "aa", "0", "10", "name_of_a_field"])
FIELDS = st.dictionaries(FIELD_NAMES, VALUES, min_size=1, max_size=4)
TAKEN: Counter[bool] = Counter()


def text(value: bytes) -> bytes:
    return struct.pack("<i", len(value) + 1) + value + b"\0"


def frame(elements: list[bytes]) -> bytes:
    body = b"".join(elements) + b"\0"
    return struct.pack("<i", len(body) + 4) + body


ODD_VALUES = st.sampled_from(
    [
        (0x06, b""),  # undefined
        (0x0E, text(b"symbol")),
        (0x0C, text(b"pointer") + bytes(12)),
        (0x0B, b"a\0xi\0"),
        (0x0D, text(b"code")),
        (0x05, struct.pack("<iB", 8, 2) + struct.pack("<i", 4) + b"abcd"),
        (0x05, struct.pack("<iB", 3, 4) + b"abc"),
        (0x05, struct.pack("<iB", 16, 4) + bytes(16)),
        (0x05, struct.pack("<iB", 3, 128) + b"abc"),
        (0x12, struct.pack("<q", 5)),
        (0x01, struct.pack("<Q", 0x7FF0_0000_0000_0001)),
        (0x09, struct.pack("<q", 1 << 60)),
        (0x04, frame([b"\x0a0\0", b"\x0a2\0"])),
        (0x04, frame([b"\x0a00\0"])),
        (0x03, frame([b"\x0aa\0", b"\x10a\0" + bytes(4)])),
        (0x03, frame([b"\x02$ref\0" + text(b"c"), b"\x10$id\0" + bytes(4)])),
        (0x03, frame([b"\x10$id\0" + bytes(4), b"\x02$ref\0" + text(b"c")])),
        (0x11, bytes(range(8))),
        (0x13, bytes(range(16))),
        (0xFF, b""),
        (0x7F, b""),
    ]
)
ELEMENTS = st.builds(
    lambda name, value: bytes([value[0]]) + name.encode() + b"\0" + value[1],
    st.one_of(FIELD_NAMES, st.just("_id")),
    ODD_VALUES,
)
RAW = st.builds(
    lambda first, elements: frame([*first, *elements]),
    st.sampled_from([[], [b"\x10_id\0" + bytes(4)]]),
    st.lists(ELEMENTS, max_size=4),
)


def general(bson: bytes, fields: dict[str, Any]) -> bytes:
    """What the long way makes of a document."""
    return changed_bson(compile_update({"$set": fields}), bson, None, lambda: 0)


@given(DOCUMENTS, FIELDS)
def test_fields_are_set_in_usual_documents(
    document: dict[str, Any], fields: dict[str, Any]
) -> None:
    bson = encode(document, document["_id"])
    found = bson_set(bson, encode(fields))
    TAKEN[found is not None] += 1
    is_numbered = len(fields) > 1 and any(name[0].isdigit() for name in fields)
    is_named_oddly = b"\0$x\0" in bson or b"$x\0" in bson
    assert found is not None or is_numbered or is_named_oddly
    if found is not None:
        assert found == general(bson, fields)


@given(RAW, FIELDS)
def test_what_is_not_settled_is_left_alone(bson: bytes, fields: dict[str, Any]) -> None:
    found = bson_set(bson, encode(fields))
    if found is not None:
        assert found == general(bson, fields)


@given(RAW)
def test_a_field_that_is_the_same_stays(bson: bytes) -> None:
    for name in ("a", "b"):
        found = bson_set(bson, encode({name: 5}))
        if found is not None:
            again = bson_set(found, encode({name: 5}))
            assert again is found


def test_names_that_are_paths_or_reserved_are_for_the_long_way() -> None:
    bson = encode({"_id": 1, "a": 1})
    for name in ("", "a.b", "$a", "a$", "_id", "_rev", "_x"):
        assert bson_set(bson, encode({name: 1})) is None
    assert bson_set(bson, encode({})) is None
    assert bson_set(bson, encode({f"n{number}": 1 for number in range(17)})) is None
    assert bson_set(bson, encode({f"n{number}": 1 for number in range(16)})) is not None
    for broken in (b"", bson[:-1], bson + b"\0", bson[:4] + b"\x20" + bson[5:]):
        assert bson_set(broken, encode({"a": 2})) is None
    large = encode({"_id": 1, "a": "x" * (16 * 1024 * 1024 - 100)})
    assert bson_set(large, encode({"b": "y" * 200})) is None


IDS = st.one_of(st.integers(0, 5), st.sampled_from(["k", "é", b"b", 2.0]))
NESTED = st.dictionaries(NAMES.filter(lambda name: name != "$x"), st.integers(0, 2), max_size=2)
CONTENTS = st.one_of(
    st.integers(0, 3), st.sampled_from(["x", "y", None, 1.0]), st.lists(NESTED, max_size=2), NESTED
)
BODIES = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), CONTENTS, max_size=4)
STEPS = st.one_of(
    st.tuples(st.just("insert"), IDS, BODIES),
    st.tuples(st.just("update"), IDS, BODIES.filter(bool)),
    st.tuples(st.just("update"), IDS, BODIES.filter(bool)),
    st.tuples(st.just("delete"), IDS, st.none()),
    st.tuples(st.just("checkpoint"), st.none(), st.none()),
)
INDEXES: list[tuple[Any, dict[str, Any]]] = [
    ("a", {"unique": True, "sparse": True}),
    ([("b", 1), ("c", -1)], {}),
    ("b.a", {}),
    ("d", {"partial_filter": {"c": {"$gt": 0}}}),
    ("c", {"hidden": True}),
]


def run(db: Any, step: tuple[str, Any, Any]) -> Any:
    """One step and what came of it."""
    operation, id_value, body = step
    notes = db["notes"]
    try:
        if operation == "insert":
            return notes.insert_one({"_id": id_value, **body}).inserted_id
        if operation == "update":
            done = notes.update_one({"_id": id_value}, {"$set": body})
            return done.matched_count, done.modified_count
        if operation == "delete":
            return notes.delete_one({"_id": id_value}).deleted_count
        return db.checkpoint()
    except RangoError as error:
        return type(error), str(error)


def left_behind(db: Any) -> list[Any]:
    """All that the writes have left: records, entries of indexes, marks, counters."""
    core = db._handle.core
    view = core.view()
    info = view.catalog.collections["notes"]
    found: list[Any] = [list(db["notes"].find({}, meta=True)), db.stats()["operations"]]
    for index in info.maintained:
        scan = view.scan(index.tree_id, None, None, False, None)
        found.append((scan.next_entries(1000), index.marks, core.store.marks.get(index.tree_id)))
    found.append((view.count(info.tree_id), core.store.overlay_count, core.store.overlay_bytes))
    return found


@given(st.lists(STEPS, max_size=12), st.sampled_from(["memory", "commit"]))
def test_both_ways_leave_the_same_database(steps: list[Any], durability: Any) -> None:
    answers = []
    for is_direct in (True, False):
        clock = itertools.count(1_700_000_000_000)
        with rango.open(
            "/db",
            vfs=PythonVfs(MemoryDisk()),
            durability=durability,
            node_id="n",
            # a refused write reads the clock once more on the short way
            clock=lambda ticks=clock: next(ticks) // 1000 * 1000,
        ) as db:
            for keys, options in INDEXES:
                db["notes"].create_index(keys, **options)
            assert db._handle.direct is not None
            if not is_direct:
                db._handle.direct = None
            outcomes = [run(db, copy.deepcopy(step)) for step in steps]
            assert list(db.check()) == []
            answers.append((outcomes, left_behind(db)))
    assert answers[0] == answers[1]
