"""Workloads of what writes many documents: $out, $merge, bulk_write, expiry, index builds.

Terms       commit: what the documentation promises to come whole or not at all. $out and $merge are
            one each; of a bulk write the requests of single documents that stand together, and each
            request of many; of an expiry so many documents; of an index build the last, which makes
            it ready.
Invariants  the bounds of a commit are made small, so that each statement takes several where it
            may.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from unittest.mock import patch

from rango import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from rango.engine import expiry, index
from rango.errors import DuplicateKey
from tests.crash.scribe import Changes, Scribe
from tests.crash.simulator import Session

START = datetime(2024, 1, 1, tzinfo=UTC)
WORDS = ("alpha", "beta", "gamma", "")


def numbered(rng: Random, key: Any, size: int = 80) -> dict[str, Any]:
    """A document with a number, a group and an array."""
    return {
        "_id": key,
        "n": rng.randrange(1000),
        "group": rng.choice(WORDS),
        "tags": [rng.choice(WORDS) for _ in range(rng.randrange(4))],
        "text": "".join(rng.choices("abcdefghij", k=size)),
    }


def filled(scribe: Scribe, rng: Random, count: int, size: int = 80) -> None:
    """Documents 0..count-1 in collection a."""
    scribe.insert_many("a", [numbered(rng, n, size) for n in range(count)])


def documents(scribe: Scribe, collection: str) -> dict[Any, dict[str, Any]]:
    """What a collection should have, by `_id`."""
    return {key[1]: value for key, value in scribe.ledger.now.items() if key[0] == collection}


def replaced(scribe: Scribe, target: str, found: list[dict[str, Any]]) -> Changes:
    """What $out does to its target."""
    changes: Changes = {(target, key): None for key in documents(scribe, target)}
    changes["#collection", target] = True
    return changes | {(target, each["_id"]): each for each in found}


def outputs(session: Session) -> None:
    """$out into collections that are new, full, indexed, and the one that is read."""
    scribe, rng = Scribe(session), session.rng
    filled(scribe, rng, 25, 700)
    scribe.create_index("b", "n")
    scribe.create_index("b", "tags")
    for turn in range(6):
        least = rng.randrange(600)
        chosen = [each for each in documents(scribe, "a").values() if each["n"] >= least]
        found = [{**each, "turn": turn} for each in chosen]
        stages = [{"$match": {"n": {"$gte": least}}}, {"$set": {"turn": turn}}]
        target = ("b", "b", "c", "b", "a", "b")[turn]
        scribe.aggregate("a", [*stages, {"$out": target}], replaced(scribe, target, found))
        scribe.insert("a", numbered(rng, 100 + turn))
        if turn == 3:
            scribe.checkpoint()
    scribe.aggregate("a", [{"$match": {"n": -1}}, {"$out": "b"}], replaced(scribe, "b", []))
    scribe.verify()


def merges(session: Session) -> None:
    """$merge that inserts, merges, replaces, keeps, computes, and is refused half-way."""
    scribe, rng = Scribe(session), session.rng
    filled(scribe, rng, 12, 300)
    scribe.create_index("b", "n")
    scribe.create_index("b", "key", unique=True)
    for turn, matched in enumerate(("merge", "replace", "keepExisting", "pipeline", "merge")):
        merge_once(scribe, turn, matched)
        scribe.insert_many("a", [numbered(rng, 100 * turn + n, 300) for n in range(20, 26)])
        scribe.update("a", rng.choice(scribe.ids("a")), {"n": -turn})
    refused = [{"$set": {"key": 1}}, {"$merge": {"into": "b"}}]
    scribe.refused(lambda: scribe.database["a"].aggregate(refused), DuplicateKey)
    scribe.verify()


def merge_once(scribe: Scribe, turn: int, matched: str) -> None:
    """All of a into b."""
    how: Any = [{"$set": {"seen": {"$add": ["$turn", 1]}}}] if matched == "pipeline" else matched
    merge = {"into": "b", "whenMatched": how}
    stages = [{"$set": {"turn": turn, "key": "$_id"}}, {"$unset": "text"}, {"$merge": merge}]
    there = documents(scribe, "b")
    changes: Changes = {("#collection", "b"): True}
    for key, document in documents(scribe, "a").items():
        given = {**document, "turn": turn, "key": key}
        del given["text"]
        old = there.get(key)
        if old is None or matched == "replace":
            changes["b", key] = given
        elif matched == "merge":
            changes["b", key] = {**old, **given}
        elif matched == "pipeline":
            changes["b", key] = {**old, "seen": old["turn"] + 1}
    scribe.aggregate("a", stages, changes)


def bulks(session: Session) -> None:
    """Bulk writes, ordered and not, of one and of many commits, some with requests refused."""
    scribe, rng = Scribe(session), session.rng
    filled(scribe, rng, 20)
    scribe.create_index("a", "group")
    for turn in range(8):
        bulk_once(scribe, rng, turn, is_ordered=turn % 2 == 0)
        if turn == 4:
            scribe.checkpoint()
    scribe.verify()


def bulk_once(scribe: Scribe, rng: Random, turn: int, *, is_ordered: bool) -> None:
    """Single documents, many documents, single documents; the second insert may be refused."""
    now = documents(scribe, "a")
    first, second, third, taken = rng.sample(sorted(now), 4)
    new = [numbered(rng, 1000 * (turn + 1) + n, 400) for n in range(4)]
    group = rng.choice(WORDS)
    is_refused = turn % 4 > 1
    put = {**new[3], "_id": third}
    single = {
        new[0]["_id"]: new[0],
        first: {**now[first], "n": turn},
        second: None,
    }
    requests: list[Any] = [
        InsertOne(dict(new[0])),
        UpdateOne({"_id": first}, {"$set": {"n": turn}}),
        DeleteOne({"_id": second}),
    ]
    if is_refused:
        requests.append(InsertOne({"_id": taken}))
    requests.append(InsertOne(dict(new[1])))
    requests.append(UpdateMany({"group": group}, {"$set": {"many": turn}}))
    requests.append(ReplaceOne({"_id": third}, dict(put)))
    requests.append(DeleteMany({"n": {"$gte": 940}}))
    commits: list[Changes] = []

    def commit(changed: dict[Any, Any]) -> None:
        commits.append({("a", key): value for key, value in changed.items()})
        now.update(changed)
        for key in [key for key, value in changed.items() if value is None]:
            del now[key]

    if is_refused and is_ordered:
        commit(single)
    else:
        commit({**single, new[1]["_id"]: new[1]})
        commit({k: {**v, "many": turn} for k, v in now.items() if v["group"] == group})
        commit({third: put})
        commit({k: None for k, v in now.items() if v["n"] >= 940})
    scribe.bulk("a", requests, commits, ordered=is_ordered, is_refused=is_refused)


def expiries(session: Session) -> None:
    """Documents that end by two indexes, several commits at a time."""
    scribe, rng = Scribe(session), session.rng

    def aged(key: int) -> dict[str, Any]:
        at = START + timedelta(minutes=rng.randrange(40))
        return {**numbered(rng, key, 150), "at": rng.choice((at, [at, START + timedelta(days=9)]))}

    scribe.insert_many("a", [aged(n) for n in range(30)])
    scribe.create_index("a", "at", expire_after_s=60)
    scribe.create_index("a", "tags")
    with patch.object(expiry, "EXPIRE_RECORDS", 4):
        for turn in range(6):
            scribe.insert_many("a", [aged(100 * (turn + 1) + n) for n in range(5)])
            later = {"at": START + timedelta(minutes=50), "turn": turn}
            scribe.update("a", rng.choice(scribe.ids("a")), later)
            due = START + timedelta(minutes=5 * turn)
            scribe.expire_in_commits("a", "at", 60, due, 4)
    scribe.reopen()
    scribe.expire_in_commits("a", "at", 60, START + timedelta(days=20), expiry.EXPIRE_RECORDS)
    scribe.verify()


def index_builds(session: Session) -> None:
    """Indexes that are filled in many commits while documents come, change and go; some fail."""
    scribe, rng = Scribe(session), session.rng
    filled(scribe, rng, 20)
    with patch.multiple(index, FILL_RECORDS=6, FILL_STEP=3):
        build(scribe, rng, 1000, "tags")
        build(scribe, rng, 2000, "key", unique=True, partial_filter={"key": {"$exists": True}})
        scribe.update("a", scribe.ids("a")[0], {"key": 1})
        build(scribe, rng, 3000, [("tags", 1), ("n", -1)], partial_filter={"n": {"$lt": 500}})
        scribe.drop_index("a", "tags_1")
        for key in scribe.ids("a")[:2]:
            scribe.update("a", key, {"twin": 1})
        make = scribe.database["a"].create_index
        scribe.refused(lambda: make("twin", unique=True, sparse=True), DuplicateKey)
        build(scribe, rng, 4000, "at", expire_after_s=60)
    scribe.verify()


def build(scribe: Scribe, rng: Random, first: int, keys: Any, **options: Any) -> None:
    """Make an index; between its commits a document comes, one changes, one goes."""

    def between(step: int) -> None:
        scribe.insert("a", numbered(rng, first + step, 200))
        scribe.update(
            "a", rng.choice(scribe.ids("a")), {"tags": ["x", str(step)], "n": first + step}
        )
        scribe.delete("a", [rng.choice(scribe.ids("a"))])

    scribe.build_index("a", keys, between, **options)
