"""replay(): a state rebuilt from the oplog; and digests, which depend on the history alone."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rango
from rango.errors import InvalidArgument, KeyRejected, LogCorrupted, NotFound
from tests.security.attacks import FIELDS, ordinal_of, segments_of

KEY = bytes(range(32))

GOLDEN = "26c57a4c490182f71e223ae5628c0909624c85d22ae5900b9d983c79bd04a88f"
"""The digest of golden(): it changes only if a format does, and then a changelog says so."""


NOW = [1_700_000_000_000]
"""What the clock of fixed() says: how often it is asked must not matter."""


def fixed(**more: Any) -> dict[str, Any]:
    """Arguments of open() that make two runs the same."""
    NOW[0] = 1_700_000_000_000
    return {"node_id": "here", "clock": lambda: NOW[0], "ttl_interval_s": 0, **more}


Step = Callable[[rango.Database], object]


def steps() -> list[Step]:
    """The same commits each time."""
    drawn = random.Random(11)
    made: list[Step] = [lambda db: db["notes"].create_index("n")]
    for number in range(120):
        size, n = drawn.randrange(300), drawn.randrange(40)
        kind = drawn.choice(["insert", "insert", "many", "update", "delete", "upsert", "all"])
        made.append(step(kind, number, n, size))
    made.insert(60, lambda db: db["notes"].create_index([("text", -1), ("n", 1)], sparse=True))
    made.insert(90, lambda db: db["notes"].rename("known"))
    made.insert(91, lambda db: db["notes"].insert_one({"_id": "afresh"}))
    return made


def step(kind: str, number: int, n: int, size: int) -> Step:
    """One commit."""
    document = {"_id": 1_000 + number, "n": n, "text": "tea " * size}
    if kind == "insert":
        return lambda db: db["notes"].insert_one(document)
    if kind == "many":
        return lambda db: db["other"].insert_many(
            [{"_id": f"{number}-{each}", "n": each} for each in range(n)] or [{"_id": number}]
        )
    if kind == "update":
        return lambda db: db["notes"].update_one({"n": {"$lt": n}}, {"$inc": {"seen": 1}})
    if kind == "delete":
        return lambda db: db["notes"].delete_one({"n": n})
    if kind == "upsert":
        return lambda db: db["notes"].update_one({"_id": n}, {"$set": {"n": n}}, upsert=True)
    return lambda db: db["notes"].update_many({"n": n}, {"$set": {"text": "all"}})


def plain_run(path: Path, **more: Any) -> str:
    """All steps in one session."""
    with rango.open(path, **fixed(**more)) as db:
        run(db, steps())
        return db.digest()


def run(db: rango.Database, wanted: list[Step]) -> None:
    """Some steps, each a second later."""
    for each in wanted:
        NOW[0] += 1_000
        each(db)


def ragged_run(path: Path, seed: int, **more: Any) -> str:
    """All steps with checkpoints and reopenings in between, and caches of all sizes."""
    drawn = random.Random(seed)
    arguments = fixed(**more)
    db = rango.open(path, cache_size=drawn.choice([0, 1 << 16, 1 << 24]), **arguments)
    for each in steps():
        run(db, [each])
        match drawn.randrange(12):
            case 0 | 1:
                db.checkpoint()
            case 2:
                db.close()
                db = rango.open(path, cache_size=drawn.choice([0, 1 << 20]), **arguments)
            case 3:
                db.close()
                (path / "data.rango").unlink()  # rebuilt from the log
                db = rango.open(path, **arguments)
            case 4 if "key" in more:
                db.keys.rotate()
    found = db.digest()
    db.close()
    return found


def digest_of(path: Path, **secret: Any) -> str:
    with rango.open(path, **secret) as db:
        return db.digest()


def test_the_digest_of_a_fixed_history_is_for_ever(tmp_path: Path) -> None:
    assert plain_run(tmp_path / "plain") == GOLDEN
    assert plain_run(tmp_path / "sealed", key=KEY) == GOLDEN


@pytest.mark.parametrize("seed", range(6))
def test_the_digest_depends_on_the_history_alone(tmp_path: Path, seed: int) -> None:
    more = {"key": KEY} if seed % 2 else {}
    if seed == 2:
        more["durability"] = "memory"
    assert ragged_run(tmp_path / "db", seed, **more) == GOLDEN
    more.pop("durability", None)
    with rango.open(tmp_path / "db", **more) as db:
        assert db.digest() == GOLDEN
        db.backup(tmp_path / "backup")
    rango.restore(tmp_path / "backup", to=tmp_path / "restored", **more)
    assert digest_of(tmp_path / "restored", **more) == GOLDEN
    done = rango.replay(tmp_path / "db", to=tmp_path / "replayed", **more)
    assert done["digest"] == digest_of(tmp_path / "replayed", **more) == GOLDEN
    if seed % 2:
        rango.rekey(tmp_path / "db", key=KEY, new_key=bytes(32))
        assert digest_of(tmp_path / "db", key=bytes(32)) == GOLDEN


def test_the_digest_says_every_difference(tmp_path: Path) -> None:
    path = tmp_path / "db"
    plain_run(path)
    seen = {GOLDEN}
    with rango.open(path, **fixed()) as db:
        for change in (
            lambda: db["known"].insert_one({"_id": "one more"}),
            lambda: db["known"].delete_one({"_id": "one more"}),  # leaves a tombstone
            lambda: db["known"].update_one({"_id": 2}, {"$set": {"n": 1}}, upsert=True),
            lambda: db["known"].drop_index("n_1"),
            lambda: db["known"].create_index("n", unique=False, sparse=True),
            lambda: db["other"].rename("others"),
            db["others"].drop,
        ):
            change()
            assert db.digest() not in seen
            seen.add(db.digest())


def history(path: Path) -> dict[int, str]:
    """A database with purges, new keys, large commits; the digest after each step's ordinal."""
    digests: dict[int, str] = {}
    with rango.open(path, **fixed(key=KEY)) as db:
        for at, each in enumerate(steps()):
            run(db, [each])
            digests[db.stats()["ordinal"]] = db.digest()
            if at % 40 == 39:
                db.keys.rotate()
            if at % 25 == 24:
                db.checkpoint()
        db["notes"].insert_one({"_id": "large", "text": "x" * 200_000})
        digests[db.stats()["ordinal"]] = db.digest()
    return digests


def test_every_state_can_be_rebuilt(tmp_path: Path) -> None:
    path = tmp_path / "db"
    digests = history(path)
    before = {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
    for at, (ordinal, digest) in enumerate(digests.items()):
        if at % 9 and ordinal != max(digests):
            continue
        target = tmp_path / str(ordinal)
        done = rango.replay(path, to=target, until=ordinal, key=KEY)
        assert (done["ordinal"], done["start"], done["digest"]) == (ordinal, 0, digest)
        assert rango.verify(target).ok and rango.verify(target).signed_ordinal > ordinal
        with rango.open(target, key=KEY) as db:
            assert list(db.check()) == [] and db.digest() == digest
            assert db.node_id == done["node_id"] != "here"
            db["notes"].insert_one({"_id": "it goes on"})
        assert rango.verify(target).ok
    assert {file: file.read_bytes() for file in before} == before


def test_a_base_is_gone_on_from(tmp_path: Path) -> None:
    path, base = tmp_path / "db", tmp_path / "base"
    with rango.open(path, **fixed(key=KEY)) as db:
        run(db, steps()[:50])
    shutil.copytree(path, base)
    with rango.open(path, **fixed(key=KEY)) as db:
        run(db, steps()[50:])
        digest = db.digest()
    done = rango.replay(path, to=tmp_path / "new", base=base, key=KEY)
    assert done["digest"] == digest and 0 < done["start"] < done["ordinal"]
    with pytest.raises(InvalidArgument, match="later than"):
        rango.replay(path, to=tmp_path / "early", until=done["start"] - 5, base=base, key=KEY)
    # a copy that went another way
    with rango.open(base, **fixed(key=KEY)) as db:
        for number in range(3):
            db["notes"].insert_one({"_id": f"fork {number}"})
            db.checkpoint()
    with pytest.raises(LogCorrupted):
        rango.replay(path, to=tmp_path / "fork", base=base, key=KEY)
    assert not (tmp_path / "fork").exists()


def test_a_cut_within_a_purged_segment(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path, **fixed(key=KEY)) as db:
        for number in range(30):
            db["notes"].insert_one({"_id": number, "text": "tea"})
        ordinal = db.stats()["ordinal"]
        digest = db.digest()
        for number in range(30, 60):
            db["notes"].insert_one({"_id": number})
        db["notes"].purge({"_id": {"$in": [3, 40]}})
    with pytest.raises(NotFound, match="purged"):
        # it held what is in no state any more
        rango.replay(path, to=tmp_path / "before", until=ordinal, key=KEY)
    assert not (tmp_path / "before").exists()
    first = segments_of(path)[0]
    target = tmp_path / "new"
    until = max(ordinal_of(raw) for raw in first.frames)
    done = rango.replay(path, to=target, until=until, key=KEY)
    # 58, and the fact that there was a purge
    assert (done["ordinal"], done["documents"]) == (until, 59)
    assert done["digest"] != digest
    with rango.open(target, key=KEY) as db:
        assert list(db.check()) == []
        db["notes"].insert_one({"_id": "it goes on"})
    with rango.open(target, key=KEY) as db:
        assert db["notes"].find_one(3) is None and db["notes"].find_one("it goes on")
    assert rango.verify(target).ok


def test_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db"
    history(path)
    (tmp_path / "there").mkdir()
    with pytest.raises(InvalidArgument, match="exists"):
        rango.replay(path, to=tmp_path / "there", key=KEY)
    for until in (0, -1, True, "5"):
        with pytest.raises(InvalidArgument):
            rango.replay(path, to=tmp_path / "new", until=until, key=KEY)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        rango.replay(path, to=tmp_path / "new", until=100_000, key=KEY)
    with pytest.raises(KeyRejected):
        rango.replay(path, to=tmp_path / "new", key=bytes(32))
    segments_of(path)[0].patch(20, FIELDS["ciphertext"], is_checked=False)
    with pytest.raises(LogCorrupted):
        rango.replay(path, to=tmp_path / "new", key=KEY)
    assert rango.replay(path, to=tmp_path / "new", until=19, key=KEY)["ordinal"] == 19
