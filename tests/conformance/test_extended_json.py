"""The Extended JSON of the BSON corpus, and two sets of hostile JSON.

The codec has a language-native representation, so the assertions are those of bson-corpus.md for
such codecs. DEVIATIONS names what is different on purpose.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import extended_json
from rango._ext import record
from rango.errors import InvalidJson, InvalidName, RangoError
from tests.conformance.test_bson_corpus import corpus_cases, is_converted
from tests.corpus import corpus_path, report_cases

# (file, reason): the suites whose text comes out in its converted form
DEVIATIONS = {
    "symbol.json": "BSON deprecates symbols; they become strings (converted_extjson)",
    "undefined.json": "BSON deprecates undefined; it becomes null (converted_extjson)",
    "dbpointer.json": "BSON deprecates DBPointer; it becomes a DBRef (converted_extjson)",
    "multi-type-deprecated.json": "the three of them together",
}


def plain(text: str) -> Any:
    """JSON to compare: numbers by value and type, order of fields included."""
    return json.loads(text, object_pairs_hook=lambda pairs: pairs, parse_float=normal_float)


def normal_float(text: str) -> tuple[str, float]:
    return ("float", float(text))


def same_double(found: Any) -> Any:
    """The texts of doubles differ between platforms: by value."""
    if isinstance(found, list):
        return [same_double(each) for each in found]
    if isinstance(found, tuple) and found and found[0] == "$numberDouble":
        return ("$numberDouble", repr(float(found[1])))
    return tuple(same_double(each) for each in found) if isinstance(found, tuple) else found


def is_same(first: str, second: str) -> bool:
    return bool(same_double(plain(first)) == same_double(plain(second)))


def expected_text(case: dict[str, Any], key: str) -> str:
    return str(case["converted_extjson"] if is_converted(case) else case[key])


def expected_bytes(case: dict[str, Any]) -> bytes:
    return bytes.fromhex(case["converted_bson" if is_converted(case) else "canonical_bson"])


def test_values_are_written_in_the_canonical_form(capsys: pytest.CaptureFixture[str]) -> None:
    cases = corpus_cases("valid")
    failures = []
    for where, case in cases:
        if is_converted(case):
            assert where.split(":")[0] in DEVIATIONS, where
        value = record.decode(bytes.fromhex(case["canonical_bson"]))
        text = extended_json.dumps(value, mode="canonical")
        if not is_same(text, expected_text(case, "canonical_extjson")):
            failures.append((where, text))
    assert failures == []
    report_cases(capsys, "bson-corpus canonical_extjson, written", len(cases))


def test_values_are_written_in_the_relaxed_form(capsys: pytest.CaptureFixture[str]) -> None:
    cases = [each for each in corpus_cases("valid") if "relaxed_extjson" in each[1]]
    failures = []
    for where, case in cases:
        value = record.decode(bytes.fromhex(case["canonical_bson"]))
        again = extended_json.loads(case["relaxed_extjson"], document=True)
        for each in (value, again):
            text = extended_json.dumps(each)
            if not is_converted(case) and not is_same(text, case["relaxed_extjson"]):
                failures.append((where, text))
    assert failures == []
    report_cases(capsys, "bson-corpus relaxed_extjson, written and read", len(cases))


def test_canonical_text_reads_as_the_canonical_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    cases = corpus_cases("valid")
    failures = []
    for where, case in cases:
        value = extended_json.loads(case["canonical_extjson"], document=True)
        if not case.get("lossy") and record.encode(value) != expected_bytes(case):
            failures.append((where, value))
        text = extended_json.dumps(value, mode="canonical")
        if not is_same(text, expected_text(case, "canonical_extjson")):
            failures.append((where, text))
    assert failures == []
    report_cases(capsys, "bson-corpus canonical_extjson, read", len(cases))


def test_degenerate_text_reads_as_the_canonical_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    cases = [each for each in corpus_cases("valid") if "degenerate_extjson" in each[1]]
    for where, case in cases:
        value = extended_json.loads(case["degenerate_extjson"], document=True)
        text = extended_json.dumps(value, mode="canonical")
        assert is_same(text, expected_text(case, "canonical_extjson")), where
        assert case.get("lossy") or record.encode(value) == expected_bytes(case), where
    report_cases(capsys, "bson-corpus degenerate_extjson", len(cases))


def test_every_mode_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    cases = corpus_cases("valid")
    for where, case in cases:
        value = record.decode(bytes.fromhex(case["canonical_bson"]))
        text = extended_json.dumps(value, mode="canonical", ensure_ascii=True)
        assert text.isascii()
        read = extended_json.loads(text, document=True)
        if not case.get("lossy"):
            assert record.encode(read) == record.encode(value), where
    report_cases(capsys, "bson-corpus valid, through canonical text", len(cases))


def test_parse_errors_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    cases = corpus_cases("parseErrors")
    for where, case in cases:
        text = case["string"]
        if case["suite"]["bson_type"] == "0x13":
            text = json.dumps({"d": {"$numberDecimal": text}})
        else:
            json.loads(text)  # the error is one of Extended JSON, not of JSON
        with pytest.raises(InvalidJson) as caught:
            extended_json.loads(text, document=True)
            pytest.fail(f"accepted: {where}")
        assert caught.value.place.startswith("at "), where
    report_cases(capsys, "bson-corpus parseErrors", len(cases))


def test_json_is_read_as_strictly_as_the_test_suite_wants(
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = sorted(corpus_path("json-test-suite").glob("*.json"))
    failures = []
    for path in paths:
        data = path.read_bytes()
        try:
            value = extended_json.loads(data)
        except RangoError as error:
            if path.name.startswith("y_"):
                failures.append(f"{path.name}: {error}")
            continue
        if path.name.startswith("n_"):
            failures.append(f"{path.name}: read as {value!r:.60}")
    assert failures == []
    assert len(paths) > 100
    report_cases(capsys, "JSONTestSuite", len(paths))


def naughty_strings() -> list[str]:
    folder = corpus_path("naughty-strings")
    found: list[str] = []
    for path in sorted(folder.rglob("*.json")):
        found += [each for each in json.loads(path.read_text("utf-8")) if isinstance(each, str)]
    return found


def test_naughty_strings_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strings = naughty_strings()
    assert strings
    collections = 0
    with rango.open(tmp_path / "db") as db:
        db["values"].insert_many([{"_id": at, "s": text} for at, text in enumerate(strings)])
        for at, text in enumerate(strings):
            document = {"_id": at, "s": text, "n": {text: [text]}}
            for mode in ("relaxed", "canonical", "legacy"):
                written = extended_json.dumps(document, mode=mode)
                assert extended_json.loads(written, document=True) == document
            assert record.decode(record.encode(document)) == document
            found = db["values"].find_one({"s": text, "_id": at})
            assert found == {"_id": at, "s": text}
            try:
                collection = db[text]
            except InvalidName:
                continue
            collection.insert_one({"_id": at})
            assert text in db.list_collection_names()
            collections += 1
    assert collections > len(set(strings)) / 2
    report_cases(capsys, f"naughty strings ({collections} as names of collections)", len(strings))
