"""The BSON corpus of mongodb/specifications against the codec.

Canonical bytes must decode and encode to themselves; degenerate bytes to the canonical ones; bytes
of `decodeErrors` must be refused. The text of the corpus is in test_extended_json.py.

Lossy on purpose: undefined, symbol and DBPointer, which BSON deprecates and which have no Python
type. They decode as PyMongo decodes them (None, str, DBRef), so encoding gives the corpus'
`converted_bson`. At rest their bytes are kept as they are.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from rango._ext import record
from rango.errors import InvalidDocument
from tests.corpus import corpus_path, report_cases


def corpus_cases(section: str) -> list[tuple[str, dict[str, Any]]]:
    """(where, case) of every case of a section of all the files."""
    found = []
    for path in sorted(
        corpus_path("mongodb-specifications", "bson-corpus", "tests").glob("*.json")
    ):
        suite = json.loads(path.read_text(encoding="utf-8"))
        found += [
            (f"{path.name}: {case['description']}", {**case, "suite": suite})
            for case in suite.get(section, [])
        ]
    return found


def is_converted(case: dict[str, Any]) -> bool:
    return (
        "converted_bson" in case
        and case["converted_bson"].upper() != case["canonical_bson"].upper()
    )


def test_canonical_bytes_round_trip(capsys: pytest.CaptureFixture[str]) -> None:
    failures = []
    converted = 0
    cases = corpus_cases("valid")
    for where, case in cases:
        canonical = bytes.fromhex(case["canonical_bson"])
        expected = canonical
        if is_converted(case):
            assert case["suite"].get("deprecated"), where
            expected = bytes.fromhex(case["converted_bson"])
            converted += 1
        record.validate(canonical)
        if record.encode(record.decode(canonical)) != expected:
            failures.append(where)
    assert failures == []
    report_cases(
        capsys,
        f"bson-corpus valid ({converted} of deprecated types, as their converted form)",
        len(cases),
    )


def test_degenerate_bytes_read_as_the_canonical_ones(capsys: pytest.CaptureFixture[str]) -> None:
    cases = [(where, case) for where, case in corpus_cases("valid") if "degenerate_bson" in case]
    for where, case in cases:
        degenerate = record.decode(bytes.fromhex(case["degenerate_bson"]))
        assert record.encode(degenerate) == bytes.fromhex(case["canonical_bson"]), where
    report_cases(capsys, "bson-corpus degenerate", len(cases))


def test_malformed_bytes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    cases = corpus_cases("decodeErrors")
    for where, case in cases:
        data = bytes.fromhex(case["bson"])
        for door in (record.validate, record.decode):
            with pytest.raises(InvalidDocument):
                door(data)
                pytest.fail(f"accepted: {where}")
    report_cases(capsys, "bson-corpus decodeErrors", len(cases))


def test_malformed_bytes_stay_inside_when_nobody_validated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # an answer or a typed error, never a read out of bounds (the sanitizer build watches)
    cases = corpus_cases("decodeErrors")
    for _, case in cases:
        try:
            record.decode_trusted(bytes.fromhex(case["bson"]))
        except InvalidDocument:
            continue
    report_cases(capsys, "bson-corpus decodeErrors, unvalidated", len(cases))


@pytest.mark.parametrize(
    "document",
    [{"a\0b": 1}, {"x": {"a\0b": 1}}, {"x": [{"\0": 1}]}],
    ids=["root", "sub-document", "in an array"],
)
def test_nul_in_a_field_name_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument, match="NUL"):
        record.encode(document)


def test_nul_in_a_regular_expression_is_refused() -> None:
    regex = pytest.importorskip("bson.regex").Regex
    with pytest.raises(InvalidDocument, match="NUL"):
        record.encode({"r": regex("a\0b", "i")})


def test_binary_vectors_round_trip(capsys: pytest.CaptureFixture[str]) -> None:
    cases = []
    for path in sorted(
        corpus_path("mongodb-specifications", "bson-binary-vector", "tests").glob("*.json")
    ):
        suite = json.loads(path.read_text(encoding="utf-8"))
        cases += [case["canonical_bson"] for case in suite["tests"] if "canonical_bson" in case]
    for canonical in map(bytes.fromhex, cases):
        assert record.encode(record.decode(canonical)) == canonical
    report_cases(capsys, "bson-binary-vector", len(cases))
