"""A small database with a known history, ways to damage it, and the judge of what it says then.

Terms       case: a database directory as a value, with the content after each commit. Live bytes:
            those that something vouches for: superblock slots, page images that either slot
            reaches, segment headers, frames, both copies of the keys.
            Outcome: what opening, reading everything and check() came to.
Invariants  judged: an answer equals the truth or an error names file and offset (I-4, I-11, I-18).
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Any

from rango._ext import layout
from rango._ext.generation import generation_slot, generation_trees
from rango._ext.pager import Pager
from rango._ext.vfs import PythonVfs
from rango.database import Database
from rango.engine.check import Walk, link_place
from rango.errors import (
    Corrupted,
    FormatTooNew,
    KeyRejected,
    KeysCorrupted,
    LogCorrupted,
    PageCorrupted,
    SuperblockCorrupted,
)
from rango.storage.superblock import Slot, slot_load, slots_read
from tests.engine_case import (
    FOLDER,
    SECRETS,
    Content,
    Folder,
    content_of,
    disk_folder,
    open_folder,
    open_tiny,
)
from tests.unit.memory_disk import MemoryDisk

DATA = "data.rango"
PLACE = re.compile(r"(data\.rango|oplog/\d{16}\.rgo|oplog|keys)(:\d+)?")
RIGHT_ERRORS: dict[str, tuple[type[Exception], ...]] = {
    "data.rango": (PageCorrupted, SuperblockCorrupted),
    "oplog": (LogCorrupted,),
    "keys": (KeysCorrupted, KeyRejected, FormatTooNew),
}


@dataclass
class Case:
    """A database with its history."""

    mode: str
    closed: Folder = field(default_factory=dict)
    """The directory after close()."""
    crashed: Folder = field(default_factory=dict)
    """The directory a moment before close(), as SIGKILL would leave it."""
    older: Folder = field(default_factory=dict)
    """The directory at the first checkpoint."""
    states: dict[int, Content] = field(default_factory=dict)
    """Ordinal of each commit -> content after it."""

    @property
    def truth(self) -> Content:
        """The content after the last commit."""
        return self.states[max(self.states)]

    @property
    def secret(self) -> dict[str, Any]:
        return SECRETS[self.mode]

    @property
    def segments(self) -> list[str]:
        """The names of the segment files, oldest first."""
        return sorted(name for name in self.closed if name.endswith(".rgo"))


def build(mode: str, seed: int = 1) -> Case:
    """Two checkpoints, two collections, an index, overflow pages, several segments, a tail."""
    chance = random.Random(seed)
    case = Case(mode)
    disk = MemoryDisk()
    sizes = {"segment_size_max": 8 * 1024, "overlay_entries_max": 100_000}
    db = open_tiny(FOLDER, vfs=PythonVfs(disk), node_id="node-a", **sizes, **case.secret)

    def note() -> None:
        case.states[db.stats()["ordinal"]] = content_of(db)

    note()
    things, others = db["things"], db["others"]
    for start in range(0, 90, 10):
        things.insert_many(
            [{"_id": start + at, "n": (start + at) % 7, "text": "x" * 40} for at in range(10)]
        )
        note()
    things.create_index("n")
    note()
    others.insert_one({"_id": "large", "data": chance.randbytes(9_000)})
    note()
    db.checkpoint()
    case.older = disk_folder(disk)
    for at in range(0, 60, 3):
        things.update_one({"_id": at}, {"$inc": {"n": 1}, "$set": {"text": "y" * 30}})
        note()
    things.delete_many({"_id": {"$gte": 80}})
    note()
    db.checkpoint()
    for at in range(100, 130):
        with db.transaction():
            things.insert_one({"_id": at, "n": at % 7})
            things.update_one({"_id": at - 99}, {"$set": {"text": "z" * (at % 50)}})
        note()
    case.crashed = disk_folder(disk)
    db.close()
    case.closed = disk_folder(disk)
    return case


@dataclass
class Outcome:
    """What a damaged database came to."""

    error: Exception | None = None
    """Why it did not open."""
    read_errors: list[Corrupted] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    content: Content | None = None
    """What a whole scan answered; None if it did not."""
    wrong: list[str] = field(default_factory=list)
    """Answers that are not the truth."""

    @property
    def is_noticed(self) -> bool:
        """Whether anybody said anything."""
        return bool(self.error or self.read_errors or self.findings)

    @property
    def errors(self) -> list[Exception]:
        return [*([self.error] if self.error else []), *self.read_errors]


def judge(folder: Folder, case: Case, *, truth: Content | None = None, **options: Any) -> Outcome:
    """Open, read every document in three ways, check(). An error without a type passes through."""
    outcome = Outcome()
    truth = case.truth if truth is None else truth
    try:
        db = open_folder(folder, **{**case.secret, **options})
    except (Corrupted, KeyRejected, FormatTooNew) as error:
        outcome.error = error
        return outcome
    with db:
        try:
            outcome.content = content_of(db)
        except Corrupted as error:
            outcome.read_errors.append(error)
        if outcome.content is not None and outcome.content != truth:
            outcome.wrong.append(f"a scan: {difference(outcome.content, truth)}")
        ask(db, truth, outcome)
        outcome.findings += db.stats()["findings"]
        outcome.findings += [f"{each.where}: {each.what}" for each in db.check()]
    return outcome


def ask(db: Database, truth: Content, outcome: Outcome) -> None:
    """Every document by `_id`, and by index: compared with the truth."""
    for name, documents in truth.items():
        for id_value, document in documents.items():
            expected = {key: value for key, value in document.items() if key not in META}
            try:
                answer = db[name].find_one({"_id": id_value})
            except Corrupted as error:
                outcome.read_errors.append(error)
            else:
                if answer != expected:
                    outcome.wrong.append(f"{name} {id_value!r}: {answer!r:.60}")
    for value in range(8):
        wanted = {at for at, each in truth.get("things", {}).items() if each["n"] == value}
        try:
            found = {each["_id"] for each in db["things"].find({"n": value})}
        except Corrupted as error:
            outcome.read_errors.append(error)
        else:
            if found != wanted:
                outcome.wrong.append(f"by index, n={value}: {found ^ wanted}")


META = ("_rev", "_updated_at", "_source_node")


def difference(found: Content, truth: Content) -> str:
    """Where two contents part, in a line."""
    if found.keys() != truth.keys():
        return f"collections {sorted(found)} instead of {sorted(truth)}"
    for name, documents in truth.items():
        for id_value in {**documents, **found[name]}:
            if documents.get(id_value) != found[name].get(id_value):
                return f"{name} {id_value!r}: {found[name].get(id_value)!r:.80}"
    return "nothing"


def class_mistakes(outcome: Outcome, name: str) -> list[str]:
    """Errors of another class than damage of this file should give, or without a place."""
    right = RIGHT_ERRORS[name.split("/", maxsplit=1)[0]]
    mistakes = [
        f"{type(error).__name__} for {name}: {error}"
        for error in outcome.errors
        if not isinstance(error, right)
    ]
    mistakes += [
        f"no place is named: {error}"
        for error in outcome.errors
        if isinstance(error, Corrupted) and not PLACE.search(error.where)
    ]
    mistakes += [
        f"no place is named: {each}" for each in outcome.findings if not PLACE.search(each)
    ]
    return mistakes


# --- which bytes something vouches for ------------------------------------------------------------


class Places(Walk):
    """A walk that remembers where each image starts."""

    def __init__(self, pager: Pager) -> None:
        super().__init__(pager)
        self.images: dict[int, int] = {}

    def take(self, first: int, count: int, what: str) -> None:
        super().take(first, count, what)
        self.images[first] = count


def images_of(folder: Folder, case: Case) -> list[dict[int, int]]:
    """For each whole slot, newest first: first unit -> units of every page image it reaches."""
    with open_folder(folder, read_only=True, **case.secret) as db:
        core = db._handle.core
        slots = [
            slot
            for slot in slots_read(core.vfs, core.data_fd, f"{FOLDER}/{DATA}", core.keyring)
            if slot is not None
        ]
        slots.sort(key=lambda slot: -slot.generation)
        return [reached(core.store.pager, slot) for slot in slots]


def reached(pager: Pager, slot: Slot) -> dict[int, int]:
    """First unit -> units of every page image below one slot."""
    generation, _definitions = slot_load(pager, slot)
    places = Places(pager)
    for link in generation_slot(generation)["bitmap_links"]:
        places.take(*link_place(link), "bitmap")
    places.tree(slot.catalog_link, slot.catalog_height, None, "catalog")
    for link, height, _entries, _live in generation_trees(generation).values():
        places.tree(link, height, None, "tree")
    assert not places.findings
    return places.images


def live_bytes(folder: Folder, case: Case) -> dict[str, set[int]]:
    """File -> the offsets that something vouches for."""
    live = {"keys": set(range(len(folder["keys"])))}
    data = folder[DATA]
    live[DATA] = set(range(layout.SLOT_UNITS * layout.UNIT_SIZE))
    for images in images_of(folder, case):
        for unit in images:
            start = unit * layout.UNIT_SIZE
            at = start + layout.IMAGE_LENGTH
            length = int.from_bytes(data[at : at + 4], "little") & ~layout.IMAGE_COMPRESSED
            live[DATA].update(range(start, start + layout.IMAGE_OVERHEAD + length))
    for name in (name for name in folder if name.endswith(".rgo")):
        live[name] = set(range(layout.SEGMENT_HEADER_SIZE))
        for start, end in frames_of(folder[name]):
            live[name].update(range(start, end))
    return live


def frames_of(data: bytes) -> list[tuple[int, int]]:
    """(start, end) of the frames of a segment, by their sizes."""
    found = []
    at = layout.SEGMENT_HEADER_SIZE
    while at + layout.FRAME_HEADER_SIZE <= len(data):
        if data[at : at + 4] != layout.FRAME_MAGIC_VALUE.to_bytes(4, "little"):
            ahead = -(-at // layout.BLOCK_SIZE) * layout.BLOCK_SIZE
            if ahead == at:
                break
            at = ahead
            continue
        size = int.from_bytes(data[at + 8 : at + 12], "little") + layout.FRAME_OVERHEAD
        found.append((at, at + size))
        at += -(-size // layout.FRAME_ALIGN) * layout.FRAME_ALIGN
    return found


def ordinal_at(data: bytes, start: int) -> int:
    """The ordinal in the frame header there."""
    at = start + layout.FRAME_ORDINAL
    return int.from_bytes(data[at : at + 8], "little")


def slot_reach(folder: Folder, case: Case) -> int:
    """How far the newest slot says that the log must reach."""
    with open_folder(folder, read_only=True, **case.secret) as db:
        slot = db._handle.core.slot
        assert slot is not None
        return slot.reach
