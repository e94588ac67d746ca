"""Limits that a database was given for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rango
from rango import errors


def test_limits_are_kept_in_the_database(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        assert db.limits() == {}
        db.set_limits(document_size_bytes_max=1000)
        assert db.set_limits(cache_size_bytes=1 << 20) == {
            "document_size_bytes_max": 1000,
            "cache_size_bytes": 1 << 20,
        }
        node = db.node_id
    with rango.open(tmp_path / "db") as db:
        assert db.limits() == {"document_size_bytes_max": 1000, "cache_size_bytes": 1 << 20}
        assert db.node_id == node
        assert db.stats()["pages"]["cache_size"] == 1 << 20
        assert db.set_limits(cache_size_bytes=None) == {"document_size_bytes_max": 1000}
    with rango.open(tmp_path / "db", cache_size=1 << 21) as db:
        assert db.stats()["pages"]["cache_size"] == 1 << 21


def test_a_document_over_the_limit_is_refused_by_every_write(tmp_path: Path) -> None:
    large = {"text": "x" * 1000}
    with rango.open(tmp_path / "db") as db:
        documents = db["a"]
        documents.insert_one({"_id": "before", **large})
        db.set_limits(document_size_bytes_max=500)
        documents.insert_one({"_id": 1})
        writes: list[Any] = [
            lambda: documents.insert_one(dict(large)),
            lambda: documents.insert_many([dict(large)]),
            lambda: documents.replace_one({"_id": 1}, large),
            lambda: documents.update_one({"_id": 1}, {"$set": large}),
            lambda: documents.update_one({"_id": 2}, {"$set": large}, upsert=True),
        ]
        for write in writes:
            with pytest.raises(errors.LimitExceeded, match="at most 500"):
                write()
        with db.transaction(), pytest.raises(errors.LimitExceeded):
            documents.insert_one(dict(large))
        assert documents.find_many({}) == [{"_id": 1}, {"_id": "before", **large}]
        db.set_limits(document_size_bytes_max=None)
        documents.insert_one(dict(large))


@pytest.mark.parametrize(
    "limits",
    [
        {"document_size_bytes_max": 0},
        {"document_size_bytes_max": 1 << 30},
        {"document_size_bytes_max": "1"},
        {"cache_size_bytes": -1},
        {"cache_size_bytes": True},
        {"speed": 1},
    ],
)
def test_limits_out_of_range_are_refused(tmp_path: Path, limits: dict[str, Any]) -> None:
    with rango.open(tmp_path / "db") as db:
        with pytest.raises(errors.InvalidArgument):
            db.set_limits(**limits)
        assert db.limits() == {}
