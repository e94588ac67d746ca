"""`python3 ci demo`: the main job on real input, through a SIGKILL and the loss of the data file.

Remembers every public name of the standard library that it runs on, and this repository's commits,
in an encrypted database. Every claim that it prints was just compared with what was read from the
sources; the first that does not hold ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bson

import rango
from ci.standard_library import Document, commits, standard_library
from rango.errors import DuplicateKey, KeyRejected, RangoError

ROOT = Path(__file__).resolve().parent.parent
PASSPHRASE = "correct horse battery staple"
NAMES, COMMITS = "names", "commits"
BATCH_SIZE = 25
KILL_DELAY_MAX = 0.002
DOCUMENTS_MIN = 10_000
POINT_READS = 5_000
LONG_LINES = 200
ASKED_MODULE = "asyncio.events"
DROPPED_MODULE = "antigravity"
UNITS_OF_1000 = 1000.0


class CheckFailed(Exception):
    """Something is not as it must be; the message says what."""


def say(text: str) -> None:
    """One line for the reader, at once."""
    print(text, flush=True)


def require(claim: bool, text: str) -> None:
    """Go on only if the claim holds."""
    if not claim:
        raise CheckFailed(text)


@contextmanager
def step(title: str) -> Iterator[None]:
    """A part of the story and how long it took."""
    say(f"\n{title}")
    start = time.perf_counter()
    yield
    say(f"  ({time.perf_counter() - start:.2f} s)")


def digest(documents: Iterable[Document]) -> str:
    """One hash over all documents in the order of their _ids."""
    total = hashlib.blake2b(digest_size=16)
    for document in sorted(documents, key=lambda each: str(each["_id"])):
        total.update(bson.encode(document))
    return total.hexdigest()


def rate(count: int, seconds: float) -> str:
    """How many a second, for people."""
    return f"{count / max(seconds, 1e-9):,.0f}/s"


# --- the child: remembers until it is killed


def child(folder: str) -> int:
    """Read the sources, insert them in batches, acknowledge each batch on standard output."""
    documents, _ = standard_library()
    acknowledge(f"read {len(documents)} {digest(documents)}")
    with rango.open(folder, passphrase=sys.stdin.readline().rstrip("\n")) as db:
        names = db[NAMES]
        names.create_index("module")
        names.create_index("kind")
        for at in range(0, len(documents), BATCH_SIZE):
            batch = documents[at : at + BATCH_SIZE]
            names.insert_many(batch)
            # only now: insert_many returns when the batch is on the disk
            acknowledge(f"stored {at} {len(batch)}")
    acknowledge("finished")
    return 0


def acknowledge(line: str) -> None:
    """Past Python's buffers, so that nothing said is lost with the process."""
    os.write(sys.stdout.fileno(), line.encode() + b"\n")


# --- the parent


def remember_and_kill(folder: Path, documents: list[Document]) -> int:
    """Let a child remember; kill it half-way; how many documents it had acknowledged."""
    command = [sys.executable, "-m", "ci.demonstration", "--child", str(folder)]
    acknowledged = 0
    is_killed = False
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise CheckFailed("the child has no pipes")
        process.stdin.write(PASSPHRASE + "\n")
        process.stdin.close()
        for line in process.stdout:
            match line.split():
                case ["read", count, found]:
                    require(
                        (int(count), found) == (len(documents), digest(documents)),
                        "the child read other sources than this process",
                    )
                    say(f"  the child (process {process.pid}) has read the same {int(count):,}")
                case ["stored", start, count]:
                    require(int(start) == acknowledged, "an acknowledgement is missing")
                    acknowledged += int(count)
            if not is_killed and acknowledged >= len(documents) // 2:
                # so that it dies anywhere within a batch, not always at its beginning
                time.sleep(random.uniform(0.0, KILL_DELAY_MAX))
                os.kill(process.pid, signal.SIGKILL)
                is_killed = True
    require(is_killed, f"the child ended by itself: exit code {process.returncode}")
    require(
        process.returncode == -signal.SIGKILL,
        f"the child was not killed half-way: exit code {process.returncode}",
    )
    say(f"  killed it with SIGKILL; it had acknowledged {acknowledged:,} documents")
    return acknowledged


def reopen(folder: Path, documents: list[Document], acknowledged: int) -> rango.Database:
    """Open what the killed child left; nothing that it acknowledged may be missing."""
    start = time.perf_counter()
    db = rango.open(folder, passphrase=PASSPHRASE)
    seconds = time.perf_counter() - start
    names = db[NAMES]
    found = {document["_id"]: document for document in names.find({})}
    say(f"  opened in {seconds * UNITS_OF_1000:.0f} ms; found {len(found):,} documents")
    lost = [each["_id"] for each in documents[:acknowledged] if found.get(each["_id"]) != each]
    require(not lost, f"{len(lost)} acknowledged documents are lost or changed: {lost[:3]}")
    say(f"  every one of the {acknowledged:,} acknowledged documents is there, unchanged")
    attempted = {document["_id"]: document for document in documents}
    strange = [name for name, document in found.items() if attempted.get(name) != document]
    require(not strange, f"documents that nobody wrote: {strange[:3]}")
    extra = len(found) - acknowledged
    require(extra in {0, BATCH_SIZE}, f"{extra} documents without acknowledgement: not one batch")
    say(f"  stored but not yet acknowledged when it died: {extra} (a whole batch or nothing)")
    require_sound(db)
    return db


def require_sound(db: rango.Database) -> None:
    """`check()` finds nothing."""
    findings = list(db.check())
    require(not findings, f"check() finds {findings[:3]}")
    say("  check(): no findings")


def finish(db: rango.Database, documents: list[Document], history: list[Document]) -> None:
    """Remember the rest, and the commits one by one."""
    names = db[NAMES]
    there = names.count_documents({})
    start = time.perf_counter()
    for at in range(there, len(documents), BATCH_SIZE):
        names.insert_many(documents[at : at + BATCH_SIZE])
    seconds = time.perf_counter() - start
    rest = len(documents) - there
    say(f"  {rest:,} more names in durable batches of {BATCH_SIZE}: {rate(rest, seconds)}")
    if history:
        start = time.perf_counter()
        for commit in history:
            db[COMMITS].insert_one(commit)
        seconds = time.perf_counter() - start
        say(f"  {len(history):,} commits, each durable by itself: {rate(len(history), seconds)}")
    require_equal(db, documents, history)


def require_equal(
    db: rango.Database, documents: Iterable[Document], history: list[Document]
) -> None:
    """The database holds exactly these documents."""
    require(
        digest(db[NAMES].find({})) == digest(documents), "the names differ from what was written"
    )
    require(
        digest(db[COMMITS].find({})) == digest(history), "the commits differ from what was written"
    )
    say("  all documents equal what was read from the sources, by digest")


def answer(db: rango.Database, documents: list[Document]) -> None:
    """By _id, by filter, by index; each answer compared with the sources."""
    names = db[NAMES]
    asked = random.Random(1).choices(documents, k=POINT_READS)
    start = time.perf_counter()
    found = [names.find_one({"_id": document["_id"]}) for document in asked]
    seconds = time.perf_counter() - start
    require(found == asked, "a read by _id gave another document")
    say(f"  by _id: {POINT_READS:,} random reads, all right: {rate(POINT_READS, seconds)}")

    question = {"kind": "class", "lines": {"$gte": LONG_LINES}, "docstring": {"$exists": True}}
    expected = [
        each
        for each in documents
        if each["kind"] == "class" and each["lines"] >= LONG_LINES and "docstring" in each
    ]
    longest = compare(names, f"classes of {LONG_LINES} lines and more", question, expected)
    best = max(longest, key=lambda each: int(each["lines"]))
    top = names.find_one(question, sort=[("lines", -1)])
    require(top is not None and top["lines"] == best["lines"], "sort gave another first document")
    say(f"    the longest is {best['_id']} ({best['lines']} lines)")

    expected = [each for each in documents if each["module"] == ASKED_MODULE]
    compare(names, f"names in {ASKED_MODULE} (index)", {"module": ASKED_MODULE}, expected)
    example = next(each for each in expected if each["kind"] == "function")
    say(f"    for example {example['_id']}: {example['signature'][:70]}")


def compare(names: Any, title: str, question: Document, expected: list[Document]) -> list[Document]:
    """Ask, compare with the sources, tell how long it took."""
    start = time.perf_counter()
    found: list[Document] = names.find_many(question)
    seconds = time.perf_counter() - start
    require(
        digest(found) == digest(expected) and len(found) == len(expected) > 0,
        f"{title}: {len(found)} documents instead of {len(expected)}",
    )
    say(f"  {title}: {len(found):,} found, all right, in {seconds * UNITS_OF_1000:.2f} ms")
    return found


def change(db: rango.Database, model: dict[str, Document]) -> None:
    """Update and delete, in the database and in the model."""
    names = db[NAMES]
    changed = [each for each in model.values() if each["kind"] == "module"]
    start = time.perf_counter()
    result = names.update_many({"kind": "module"}, {"$set": {"is_read": True}, "$inc": {"line": 1}})
    seconds = time.perf_counter() - start
    for document in changed:
        document |= {"is_read": True, "line": document["line"] + 1}
    require(result.modified_count == len(changed), f"updated {result.modified_count} modules")
    say(f"  updated {len(changed):,} modules: {rate(len(changed), seconds)}")
    gone = [name for name, each in model.items() if each["module"] == DROPPED_MODULE]
    deleted = names.delete_many({"module": DROPPED_MODULE}).deleted_count
    require(deleted == len(gone) > 0, f"deleted {deleted} documents instead of {len(gone)}")
    for name in gone:
        del model[name]
    require(names.find_one(gone[0]) is None, f"{gone[0]} is still there")
    say(f"  deleted the {deleted} documents of the module {DROPPED_MODULE}")


def fail_a_transaction(db: rango.Database, model: dict[str, Document]) -> None:
    """Delete, update and insert a name twice: all of it must be undone."""
    names = db[NAMES]
    known = next(iter(model))
    seen = -1
    try:
        with db.transaction():
            names.delete_many({"kind": "class"})
            names.update_many({}, {"$set": {"is_lost": True}})
            db["elsewhere"].insert_one({"_id": 1})
            seen = names.count_documents({"kind": "class"})
            names.insert_one({"_id": known})
    except DuplicateKey as error:
        say(f"  refused as it should be: {type(error).__name__}: {str(error)[:80]}")
    else:
        raise CheckFailed(f"{known} could be inserted twice")
    require(seen == 0, "the transaction did not see its own deletes")
    require(names.count_documents({"is_lost": True}) == 0, "an update outlived its transaction")
    require(db["elsewhere"].count_documents({}) == 0, "an insert outlived its transaction")
    say("  nothing of the transaction is left")


def lose_the_data_file(db: rango.Database, folder: Path) -> rango.Database:
    """Delete data.rango and open again: rebuilt from the oplog, equal with all revisions."""
    before = digest(db[NAMES].find({}, meta=True)), digest(db[COMMITS].find({}, meta=True))
    db.checkpoint()
    db.close()
    size = (folder / "data.rango").stat().st_size
    (folder / "data.rango").unlink()
    say(f"  deleted data.rango ({size / 1e6:.1f} MB)")
    start = time.perf_counter()
    db = rango.open(folder, passphrase=PASSPHRASE)
    seconds = time.perf_counter() - start
    after = digest(db[NAMES].find({}, meta=True)), digest(db[COMMITS].find({}, meta=True))
    require(before == after, "the rebuilt database differs from the one before")
    count = db[NAMES].count_documents({})
    say(f"  rebuilt from the oplog in {seconds:.2f} s ({rate(count, seconds)} documents)")
    say(f"  equal to the one before, revisions included: digest {after[0]}")
    require_sound(db)
    return db


def keep_the_secret(folder: Path, documents: list[Document]) -> None:
    """No name may be readable in any file, and no other passphrase may open it."""
    longest = sorted(documents, key=lambda each: len(each["_id"]), reverse=True)[:20]
    canaries = [str(each["_id"]).encode() for each in longest]
    canaries += [b"docstring", b"signature", NAMES.encode() + b"\0"]
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        data = path.read_bytes()
        found = [canary for canary in canaries if canary in data]
        require(not found, f"{path.name} holds {found[:1]} in clear")
    say(f"  none of {len(canaries)} names and field names can be read in the {len(files)} files")
    try:
        rango.open(folder, passphrase=PASSPHRASE + "!").close()
    except KeyRejected:
        say("  another passphrase is rejected")
    else:
        raise CheckFailed("another passphrase opened the database")


def tell_statistics(db: rango.Database, folder: Path) -> None:
    """What there is in the end."""
    db.checkpoint()
    stats = db.stats()
    total = 0
    for name, collection in stats["collections"].items():
        total += int(collection["documents"])
        indexes = ", ".join(collection["indexes"]) or "none"
        say(f"  {name:10} {collection['documents']:8,} documents; indexes: {indexes}")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            say(f"  {path.relative_to(folder).as_posix():34} {path.stat().st_size:12,} bytes")
    data = (folder / "data.rango").stat().st_size
    say(f"  data file: {data / max(total, 1):,.0f} bytes a document, indexes included")


def tell_the_story(folder: Path) -> None:
    """All of it, in order."""
    with step("Reading the sources of this Python's standard library"):
        documents, files = standard_library()
        require(
            len(documents) >= DOCUMENTS_MIN,
            f"only {len(documents):,} public names in {files} files of {sys.prefix}: "
            f"at least {DOCUMENTS_MIN:,} are needed (is a full standard library installed?)",
        )
        texts = sum("docstring" in each for each in documents)
        say(f"  {files:,} files, {len(documents):,} public names, {texts:,} with a docstring")
        history = commits(ROOT)
        if history is None:
            say("  this folder has no git history: going on without commits")
        else:
            say(f"  {len(history):,} commits of this repository")
        history = history or []
    with step("Remembering them in an encrypted database, in a child that is killed half-way"):
        acknowledged = remember_and_kill(folder, documents)
    with step("Opening what the dead child left"):
        db = reopen(folder, documents, acknowledged)
    with step("Finishing its work"):
        finish(db, documents, history)
    with step("Answering"):
        answer(db, documents)
    model = {document["_id"]: dict(document) for document in documents}
    with step("Updating and deleting"):
        change(db, model)
        require_equal(db, model.values(), history)
    with step("Failing a transaction"):
        fail_a_transaction(db, model)
        require_equal(db, model.values(), history)
    with step("Losing the data file"):
        db = lose_the_data_file(db, folder)
    with step("Statistics"):
        tell_statistics(db, folder)
        db.close()
    with step("Looking at the files with a stranger's eyes"):
        keep_the_secret(folder, documents)


def main(argv: list[str]) -> int:
    """Run the demonstration, or (--child) the part of it that is killed."""
    parser = argparse.ArgumentParser(prog="python -m ci.demonstration", description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the database there")
    parser.add_argument("--child", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        return child(options.child)
    start = time.perf_counter()
    parent = options.keep or Path(tempfile.mkdtemp(prefix="rango-demo-"))
    folder = parent / "memory"
    if folder.exists():
        say(f"{folder} is already there; choose another folder for --keep")
        return 1
    parent.mkdir(parents=True, exist_ok=True)
    try:
        tell_the_story(folder)
    except (CheckFailed, RangoError) as error:
        say(f"\nFAILED: {type(error).__name__}: {error}")
        return 1
    finally:
        if options.keep:
            say(f"\nThe database is in {folder}; its passphrase is {PASSPHRASE!r}.")
        else:
            shutil.rmtree(parent)
    say(f"\nEverything held, in {time.perf_counter() - start:.1f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
