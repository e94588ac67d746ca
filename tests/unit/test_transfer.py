"""Import and export: formats, what is refused, duplicates, resumption after kill -9, no loss."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

import rango
from ci.environment import ROOT
from rango import extended_json
from rango._ext.record import decode, encode
from rango.errors import DuplicateKey, InvalidArgument, TransactionError
from rango.transfer import export_documents, import_documents
from rango.transfer.sources import detected
from tests.corpus import corpus_path, report_cases


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with rango.open(tmp_path / "db", durability="memory") as opened:
        yield opened


def text(*documents: Any) -> bytes:
    """JSON Lines."""
    return "".join(json.dumps(each) + "\n" for each in documents).encode()


def ids(collection: rango.Collection) -> list[Any]:
    return [each["_id"] for each in collection.find()]


SOURCES = {
    "lines": b'{"_id": 1}\n{"_id": 2}\n',
    "no newline at the end": b'{"_id": 1}\n{"_id": 2}',
    "blank lines and CRLF": b'\r\n{"_id": 1}\r\n  \r\n{"_id": 2}\r\n',
    "byte order mark": b'\xef\xbb\xbf{"_id": 1}\n{"_id": 2}\n',
    "array": b'[{"_id": 1},\n {"_id": 2}]',
    "array with byte order mark": b'\xef\xbb\xbf [\n{"_id": 1}, {"_id": 2}\n]\n',
    "pretty": b'{\n\t"_id": 1\n}\n{\n\t"_id": 2\n}\n',
    "BSON": encode({"_id": 1}) + encode({"_id": 2}),
    "gzip": gzip.compress(b'{"_id": 1}\n{"_id": 2}\n'),
    "gzip of BSON": gzip.compress(encode({"_id": 1}) + encode({"_id": 2})),
    "old dates": b'{"_id": 1, "d": {"$date": 5}}\n{"_id": 2, "d": {"$date": 6}}\n',
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_kind_of_source_is_recognised(db: rango.Database, name: str, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(SOURCES[name])
    for source, collection in ((path, db["a"]), (io.BytesIO(SOURCES[name]), db["b"])):
        report = import_documents(collection, source)
        assert (report.imported, report.refusals) == (2, [])
        assert ids(collection) == [1, 2]


@pytest.mark.parametrize(
    "source", [b"", b"\xef\xbb\xbf", b"[]", b"\n\n", gzip.compress(b"", mtime=0)]
)
def test_nothing_is_imported_from_nothing(db: rango.Database, source: bytes) -> None:
    report = import_documents(db["a"], io.BytesIO(source))
    assert (report.imported, report.errors) == (0, 0)


def test_text_is_never_taken_for_bson() -> None:
    assert detected(b"{\r\n\t\t") == "json"
    assert detected(encode({})) == "bson"


def test_bad_lines_are_counted_named_and_written_aside(db: rango.Database, tmp_path: Path) -> None:
    bad = [b'{"a": }\n', b"[1]\n", b'{"a": "\xff"}\n', b'{"_rev": "1"}\n', b'{"_id": [1]}\n']
    source = b'{"_id": 1}\n' + b"".join(bad) + b'{"_id": 2}\n{"$date": 1'
    report = import_documents(db["a"], io.BytesIO(source), rejects=tmp_path / "rejects")
    assert (report.imported, report.errors) == (2, 6)
    assert [each.number for each in report.refusals] == [2, 3, 4, 5, 6, 8]
    assert "drop_meta" in report.refusals[3].reason
    assert (tmp_path / "rejects").read_bytes() == b"".join(bad) + b'{"$date": 1\n'
    assert (tmp_path / "rejects").stat().st_mode & 0o777 == 0o600
    assert ids(db["a"]) == [1, 2]


def test_a_document_that_is_too_large_for_the_database_is_refused_alone(
    db: rango.Database,
) -> None:
    db.set_limits(document_size_bytes_max=100)
    source = text({"_id": 1}, {"_id": 2, "t": "x" * 200}, {"_id": 3})
    report = import_documents(db["a"], io.BytesIO(source))
    assert ([each.number for each in report.refusals], ids(db["a"])) == ([2], [1, 3])


def test_a_document_that_an_index_does_not_take_is_refused_alone(db: rango.Database) -> None:
    db["a"].create_index([("x", 1), ("y", 1)])
    source = text({"_id": 1}, {"_id": 2, "x": [1, 2], "y": [1, 2]}, {"_id": 3})
    report = import_documents(db["a"], io.BytesIO(source))
    assert ([each.number for each in report.refusals], ids(db["a"])) == ([2], [1, 3])


@pytest.mark.parametrize(
    ("source", "stored"),
    [
        (b'[{"_id": 1}, {"_id": }]', 1),
        (b'[{"_id": 1}, 2]', 1),
        (b'[{"_id": 1}', 1),
        (b'[{"_id": 1}] x', 1),
        (b'[{"_id": 1} {"_id": 2}]', 1),
        (b'[{"_id": 1}, {"_id": "\xff"}]', 0),
        (encode({"_id": 1}) + b"\xff\xff\xff\xff\x00", 1),
        (encode({"_id": 1}) + encode({"_id": 2})[:-3], 1),
        (gzip.compress(b'{"_id": 1}\n' * 3, mtime=0)[:-9], 0),
        (b"\x1f\x8b garbage", 0),
    ],
)
def test_a_source_that_breaks_off_keeps_what_came_before_and_says_where(
    db: rango.Database, source: bytes, stored: int
) -> None:
    report = import_documents(db["a"], io.BytesIO(source), on_duplicate="skip")
    assert report.broken
    assert report.errors == 1
    assert db["a"].count_documents({}) >= stored


def test_a_bson_document_that_is_damaged_is_refused_alone(
    db: rango.Database, tmp_path: Path
) -> None:
    bad = bytearray(encode({"_id": 2, "a": "text"}))
    bad[4] = 0x55
    source = encode({"_id": 1}) + bytes(bad) + encode({"_id": 3})
    report = import_documents(db["a"], io.BytesIO(source), rejects=tmp_path / "rejects")
    assert ([each.number for each in report.refusals], ids(db["a"])) == ([2], [1, 3])
    assert (tmp_path / "rejects").read_bytes() == bytes(bad)


@pytest.mark.parametrize("format", ["jsonl", "bson"])
@pytest.mark.parametrize("batch", [7, 1000])
def test_a_source_of_many_pieces_is_read_whole(
    db: rango.Database, tmp_path: Path, format: str, batch: int
) -> None:
    # usual and unusual documents, small ones and some that are larger than a piece
    documents: list[dict[str, Any]] = []
    for at in range(3000):
        size = 3_000_000 if at in {40, 2999} else at % 900
        documents.append({"n": at, "text": "é" * (size // 2)} | ({} if at % 3 else {"_id": at}))
        if at % 100 == 0:
            documents[-1]["d"] = Decimal128("1.50")
    documents[1234]["_rev"] = "refused"
    if format == "bson":
        pieces = [encode(each) for each in documents]
    else:
        pieces = [extended_json.dumps(each).encode() + b"\n" for each in documents]
    source, rejects = io.BytesIO(b"".join(pieces)), tmp_path / "rejects"
    report = import_documents(db["a"], source, rejects=rejects, batch=batch)
    assert (report.imported, [each.number for each in report.refusals]) == (2999, [1235])
    assert rejects.read_bytes() == pieces[1234]
    del documents[1234]
    found = db["a"].find({}, {"_id": 0}).sort("n").to_list()
    assert found == [{name: each[name] for name in each if name != "_id"} for each in documents]
    assert db["a"].count_documents({"$expr": {"$eq": ["$_id", "$n"]}}) == 1000


def test_duplicates_by_policy(db: rango.Database) -> None:
    a = db["a"]
    source = text({"_id": 1, "n": 1}, {"_id": 2, "n": 1}, {"_id": 3, "n": 1}, {"_id": 3, "n": 2})
    a.insert_one({"_id": 2, "n": 0})
    with pytest.raises(DuplicateKey, match="number 2"):
        import_documents(a, io.BytesIO(source))
    assert ids(a) == [1, 2]
    report = import_documents(a, io.BytesIO(source), on_duplicate="skip")
    assert (report.imported, report.skipped, report.errors) == (1, 3, 0)
    assert a.find_one(2) == {"_id": 2, "n": 0}
    report = import_documents(a, io.BytesIO(source), on_duplicate="replace")
    assert (report.imported, report.replaced) == (0, 4)
    assert [each["n"] for each in a.find()] == [1, 1, 2]


def test_a_value_of_another_document_is_not_replaced(db: rango.Database) -> None:
    db["a"].create_index("mail", unique=True)
    db["a"].insert_one({"_id": 1, "mail": "x"})
    source = text({"_id": 2, "mail": "x"}, {"_id": 3, "mail": "y"})
    report = import_documents(db["a"], io.BytesIO(source), on_duplicate="replace")
    assert (report.imported, report.errors, ids(db["a"])) == (1, 1, [1, 3])


def test_what_rango_keeps_itself_is_exported_and_dropped(db: rango.Database) -> None:
    db["a"].insert_one({"_id": 1, "x": 1})
    out = io.BytesIO()
    export_documents(db["a"], out, meta=True)
    assert {"_rev", "_updated_at", "_source_node"} < json.loads(out.getvalue()).keys()
    report = import_documents(db["b"], io.BytesIO(out.getvalue()), drop_meta=True)
    assert report.imported == 1
    assert db["b"].find_one(1) == {"_id": 1, "x": 1}


def test_arguments_are_checked(db: rango.Database) -> None:
    wrong: list[dict[str, Any]] = [{"format": "csv"}, {"on_duplicate": "maybe"}, {"batch": 0}]
    for arguments in wrong:
        with pytest.raises(InvalidArgument):
            import_documents(db["a"], io.BytesIO(b""), **arguments)
    text_stream: Any = io.StringIO("")
    with pytest.raises(InvalidArgument):
        import_documents(db["a"], text_stream)
    bad_format: Any = "csv"
    with pytest.raises(InvalidArgument):
        export_documents(db["a"], io.BytesIO(), format=bad_format)
    with db.transaction(), pytest.raises(TransactionError):
        import_documents(db["a"], io.BytesIO(b""))


# --- no loss

LOSSLESS = ["canonical-jsonl", "canonical-json", "bson"]


def round_trip(db: rango.Database, documents: list[dict[str, Any]], format: Any) -> None:
    """Documents, exported and imported, are the same bytes."""
    for at, document in enumerate(documents):
        db["from"].insert_one({"_id": at, "value": document})
    out = io.BytesIO()
    assert export_documents(db["from"], out, format=format).exported == len(documents)
    report = import_documents(db["to"], io.BytesIO(out.getvalue()))
    assert (report.imported, report.refusals) == (len(documents), [])
    first, second = list(db["from"].find()), list(db["to"].find())
    assert [encode(each) for each in first] == [encode(each) for each in second]


@pytest.mark.parametrize("format", LOSSLESS)
def test_the_bson_corpus_comes_through(
    db: rango.Database, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = []
    for path in sorted(corpus_path("mongodb-specifications", "bson-corpus").rglob("*.json")):
        for case in json.loads(path.read_text(encoding="utf-8")).get("valid", []):
            document = decode(bytes.fromhex(case["canonical_bson"]))
            # text has no escape for names that are a wrapper's, nor words for every bit pattern
            value = document.get("d")
            is_text_exact = (
                not isinstance(value, Decimal128) or Decimal128(str(value)).bid == value.bid
            )
            if format == "bson" or (is_text_exact and not any(n[:1] == "$" for n in document)):
                documents.append(document)
    assert len(documents) > 200
    round_trip(db, documents, format)
    report_cases(capsys, f"transfer {format}", len(documents))


@pytest.mark.parametrize("format", [*LOSSLESS, "jsonl", "json"])
def test_naughty_strings_come_through(db: rango.Database, format: str) -> None:
    strings = json.loads(corpus_path("naughty-strings", "blns.json").read_text(encoding="utf-8"))
    names = [each for each in strings if each and "\0" not in each and each[:1] != "$"]
    documents: list[dict[str, Any]] = [{"text": each} for each in strings]
    documents += [{each: 1} for each in names]
    round_trip(db, documents, format)


def test_relaxed_text_loses_only_the_width_of_small_integers(db: rango.Database) -> None:
    db["a"].insert_one({"_id": 1, "n": Int64(5), "w": Int64(1 << 40)})
    out = io.BytesIO()
    export_documents(db["a"], out)
    assert out.getvalue() == b'{"_id": 1, "n": 5, "w": 1099511627776}\n'


def test_an_exported_file_is_whole_or_absent(db: rango.Database, tmp_path: Path) -> None:
    db["a"].insert_many([{"_id": n} for n in range(10)])
    path = tmp_path / "out.jsonl.gz"
    export_documents(db["a"], path, filter={"_id": {"$lt": 3}})
    assert gzip.decompress(path.read_bytes()).count(b"\n") == 3
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()

    def stop(_done: int, _total: int | None) -> None:
        raise KeyboardInterrupt

    db["a"].insert_many([{"_id": n} for n in range(10, 1010)])
    with pytest.raises(KeyboardInterrupt):
        export_documents(db["a"], path, progress=stop)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir() if "part" in each.name] == []


# --- resumption

IMPORT = """
import sys, os, rango
from rango.transfer import import_documents, importing
path, source, resume, rejects, place, after = sys.argv[1:]
left = int(after)
def step():
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), 9)
note = importing._Importer._note
def noted(self, *rest):  # between a commit and the note of it
    if place == "before":
        step()
    note(self, *rest)
    if place == "after":
        step()
importing._Importer._note = noted
with rango.open(path) as db:
    report = import_documents(db["a"], source, resume=resume, rejects=rejects, batch=50)
print(report.imported, report.errors)
"""


def run_import(
    folder: Path, source: str, data: bytes | None = None, place: str = "", after: int = 0
) -> Any:
    words = [folder / "db2", source, folder / "state", folder / "rejects", place, after]
    return subprocess.run(
        [sys.executable, "-c", IMPORT, *map(str, words)],
        cwd=ROOT,
        input=data,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("kind", "has_id"),
    [
        ("lines", True),
        ("lines", False),
        ("array", False),
        ("bson", True),
        ("gzip", False),
        ("pipe", False),
    ],
)
def test_an_import_that_is_killed_goes_on_and_each_document_is_there_once(
    tmp_path: Path, kind: str, has_id: bool
) -> None:
    documents = [{"_id": n, "n": n} if has_id else {"n": n} for n in range(500)]
    data = text(*documents)
    bad = b'{"_id": [1]}\n' if kind != "bson" else encode({"_id": [1]})
    pieces = {
        "array": b"[" + b",\n".join([bad.strip(), *data.splitlines()]) + b"]",
        "bson": bad + b"".join(map(encode, documents)),
    }
    whole = pieces.get(kind, bad + data)
    path = tmp_path / "source"
    path.write_bytes(gzip.compress(whole) if kind == "gzip" else whole)
    source, piped = ("-", whole) if kind == "pipe" else (str(path), None)
    for place, after in (("after", 2), ("before", 2), ("before", 1)):
        assert run_import(tmp_path, source, piped, place, after).returncode == -9
    done = run_import(tmp_path, source, piped)
    assert done.stdout.split() == [b"500", b"1"], done.stderr
    assert run_import(tmp_path, source, piped).stdout.split() == [b"500", b"1"]
    assert (tmp_path / "rejects").read_bytes() == bad
    with rango.open(tmp_path / "db2") as db:
        assert sorted(each["n"] for each in db["a"].find()) == list(range(500))
        assert list(db.check()) == []


def test_a_resume_file_of_another_import_is_refused(db: rango.Database, tmp_path: Path) -> None:
    state = tmp_path / "state"
    source = text({"_id": 1}, {"_id": 2})
    import_documents(db["a"], io.BytesIO(source), resume=state)
    assert state.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InvalidArgument, match="another source"):
        import_documents(db["a"], io.BytesIO(text({"_id": 7}, {"_id": 8})), resume=state)
    with pytest.raises(InvalidArgument, match="into 'a'"):
        import_documents(db["b"], io.BytesIO(source), resume=state)
    more = import_documents(db["a"], io.BytesIO(source + text({"_id": 3})), resume=state)
    assert (more.imported, more.resumed_at, ids(db["a"])) == (3, 2, [1, 2, 3])
    state.write_bytes(b"{}")
    with pytest.raises(InvalidArgument, match="not a resume file"):
        import_documents(db["a"], io.BytesIO(source), resume=state)


def test_a_duplicate_is_still_one_after_a_resumption(db: rango.Database, tmp_path: Path) -> None:
    state = tmp_path / "state"
    db["a"].insert_one({"_id": 2, "mine": True})
    for _ in range(2):
        with pytest.raises(DuplicateKey):
            import_documents(db["a"], io.BytesIO(text({"_id": 1}, {"_id": 2})), resume=state)
    assert db["a"].find_one(2) == {"_id": 2, "mine": True}
    assert os.path.exists(state)
