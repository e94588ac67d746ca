"""Random calls of the public API, right and wrong, on data with and without indexes.

Whatever is asked: it ends soon, with an answer or with a RangoError. What has an index answers as
what has none. A write that raised has changed nothing. Afterwards check() finds nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import rango
from rango._ext.record import encode
from rango.errors import RangoError
from tests.fuzz.specs import UPDATES, Specs

CALLS_PUSH = 12_000
SEED_PUSH = 4
SECONDS_PUSH = 40.0
SECONDS_CALL_MAX = 5.0
ROUND = 2_000
"""Calls on one database."""

Call = tuple[str, Callable[[], object]]


class Subject:
    """A database, and random calls of it."""

    def __init__(self, path: Path, random: Random) -> None:
        self.db = rango.open(path, durability="group", group_delay_ms=1000)
        self.specs = Specs(random)
        self.random = random
        self.counts: Counter[str] = Counter()
        self.fill()

    def fill(self) -> None:
        """Twenty documents, the same with and without indexes."""
        documents = [
            {"_id": at, "a": at % 5, "arr": [{"x": at}, {"x": [at, 2]}, at], "s": "abc"[at % 3 :]}
            for at in range(10)
        ] + [{"_id": at, "d": {"e": [at, None]}, "a": [at, "a"]} for at in range(10, 20)]
        for name in ("plain", "indexed", "written"):
            self.db[name].drop()
            self.db[name].insert_many(documents)
        for name in ("indexed", "written"):
            self.db[name].create_index("a")
            self.db[name].create_index([("arr.x", 1), ("s", -1)])
            self.db[name].create_index("d.e", sparse=True)
            self.db[name].create_index("s", name="p", partialFilterExpression={"a": {"$gt": 1}})

    def content(self) -> list[bytes]:
        """What the collection that is written holds, byte by byte."""
        return [encode(document) for document in self.db["written"].find({}, sort=[("_id", 1)])]

    def read(self) -> Call:
        """A call that reads, of a collection with indexes or without."""
        specs = self.specs
        name = specs.choice(("plain", "indexed"))
        it = self.db[name]
        filter = specs.filter()
        options: dict[str, Any] = {}
        if specs.chance(0.2):
            word = specs.choice(("skip", "limit", "hint", "collation", "let", "max_time_ms"))
            options[word] = specs.value(1)
        projection = specs.projection() if specs.chance(0.5) else None
        sort = specs.sort() if specs.chance(0.4) else None
        pipeline = specs.pipeline() if specs.chance(0.97) else specs.value()
        calls: tuple[Call, ...] = (
            ("find", lambda: it.find_many(filter, projection, sort=sort, **options)),
            ("count_documents", lambda: it.count_documents(filter, **options)),
            ("distinct", lambda: it.distinct(specs.path(), filter, **options)),
            ("explain", lambda: it.find(filter, projection, sort=sort).explain()),
            ("expression", lambda: list(it.aggregate([{"$set": {"z": specs.expression()}}]))),
            ("aggregate", lambda: list(it.aggregate(pipeline, **options))),
            ("aggregate", lambda: list(it.aggregate([specs.stage()]))),
        )
        return calls[self.random.randrange(len(calls))]

    def write(self) -> Call:
        """A call that writes one document, or that changes indexes."""
        specs = self.specs
        it = self.db["written"]
        filter = {"_id": specs.number()} if specs.chance(0.7) else specs.filter(1)
        update = specs.update() if specs.chance(0.5) else specs.update(specs.choice(UPDATES))
        options: dict[str, Any] = {}
        if specs.chance(0.3):
            options["array_filters"] = specs.choice(
                ([{"i": 1}], [{"i.x": {"$gt": 1}}], [specs.filter(1)], specs.value())
            )
        if specs.chance(0.2):
            word = specs.choice(("upsert", "hint", "collation", "let", "sort"))
            options[word] = specs.value(1)
        document = specs.document()
        index = {
            specs.choice((
                "unique", "sparse", "name", "hidden", "expireAfterSeconds",
                "partialFilterExpression",
            )): specs.choice((True, specs.value(1), specs.filter(1)))
        }  # fmt: skip
        calls: tuple[Call, ...] = (
            ("update_one", lambda: it.update_one(filter, update, **options)),
            ("update_many", lambda: it.update_many(filter, update)),
            ("find_one_and_update", lambda: it.find_one_and_update(filter, update, **options)),
            ("find_one_and_replace", lambda: it.find_one_and_replace(filter, document)),
            ("replace_one", lambda: it.replace_one(filter, document, specs.chance(0.3))),
            ("insert_one", lambda: it.insert_one(document)),
            ("delete_one", lambda: it.delete_one(filter)),
            ("create_index", lambda: it.create_index(specs.sort(), **index)),
            ("drop_index", lambda: it.drop_index(specs.choice((specs.value(1), "a_1")))),
            ("bulk_write", lambda: it.bulk_write([rango.UpdateOne(filter, update)])),
        )
        return calls[self.random.randrange(len(calls))]

    def run(self, calls: int, until: float) -> None:
        """So many calls, unless the time is over."""
        for _ in range(calls):
            if time.monotonic() > until:
                break
            is_write = self.specs.chance(0.4)
            name, call = self.write() if is_write else self.read()
            before = self.content() if is_write else []
            start = time.monotonic()
            try:
                call()
            except RangoError:
                self.counts[f"{name}: refused"] += 1
                assert not is_write or self.content() == before, f"{name} raised, and changed"
            else:
                self.counts[f"{name}: answered"] += 1
            seconds = time.monotonic() - start
            assert seconds < SECONDS_CALL_MAX, f"{name} took {seconds:.1f} s"

    def compare(self, filters: int) -> None:
        """Every filter finds the same with and without indexes."""
        for _ in range(filters):
            filter = self.specs.filter()
            answers = []
            for name in ("plain", "indexed"):
                try:
                    answers.append(sorted(encode(d) for d in self.db[name].find_many(filter)))
                except RangoError as error:
                    answers.append([type(error).__name__.encode()])
            # an index may skip a document for which an expression would have failed
            if len({type(answer) for answer in answers}) == 1 and "$expr" not in str(filter):
                assert answers[0] == answers[1], f"an index changes the answer of {filter}"


def test_whatever_is_asked_ends_in_an_answer_or_a_typed_error(
    tmp_path: Path, minutes: float, seed: int, count_cases: Callable[[str, int], None]
) -> None:
    until = time.monotonic() + (minutes * 60 if minutes else SECONDS_PUSH)
    most = 1 << 60 if minutes else CALLS_PUSH
    done, turn = 0, 0
    seed = seed if minutes else SEED_PUSH  # a push must not fail for what it did not change
    counts: Counter[str] = Counter()
    while done < most and time.monotonic() < until:
        random = Random(f"{seed}-{turn}")
        subject = Subject(tmp_path / str(turn), random)
        subject.run(ROUND, until)
        subject.compare(ROUND // 10)
        assert list(subject.db.check()) == []
        subject.db.close()
        counts += subject.counts
        done, turn = sum(counts.values()), turn + 1
    count_cases("fuzzed calls of the language", done)
    methods = {name.partition(":")[0] for name in counts}
    assert all(counts[f"{method}: answered"] for method in methods), counts
    assert all(counts[f"{method}: refused"] for method in methods), counts
