"""What the tests of aggregation share: an engine, a pipeline over a few documents, refusals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rango.database import Database
from rango.engine.values import type_name
from rango.errors import RangoError
from tests.unit.api_case import engine_database

Documents = list[dict[str, Any]]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    database = engine_database(tmp_path / "db")
    yield database
    database.close()


def filled(db: Database, documents: Sequence[dict[str, Any]], name: str = "c") -> None:
    """Store documents."""
    db[name].insert_many([dict(document) for document in documents])


def run(db: Database, *stages: dict[str, Any], **options: Any) -> Documents:
    """What a pipeline on the collection "c" returns."""
    return db["c"].aggregate(list(stages), **options).to_list()


def over(
    db: Database, documents: Sequence[dict[str, Any]], *stages: dict[str, Any], **options: Any
) -> Documents:
    """What a pipeline makes of documents that need not be stored."""
    source = {"$documents": {"$literal": list(documents)}}
    return db.aggregate([source, *stages], **options).to_list()


def refused(db: Database, code: int | None, *stages: Any, text: str = "") -> None:
    """Assert that a pipeline is refused before it runs, with this code."""
    with pytest.raises(RangoError) as raised:
        db["c"].aggregate(list(stages))
    assert raised.value.code == code, repr(raised.value)
    assert text in str(raised.value)


def typed(value: Any) -> tuple[str, Any]:
    """The kind of a value, and the value."""
    return type_name(value), value
