"""Run unified tests: entities, operations, results, errors and outcomes.

Terms       entity: a client, database or collection that a test names. A client is a folder, a
            database of it one Rango database.
Why         Commands are not observed: there is no wire, so `expectEvents` is left out.
Sources     unified-test-format.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from bson import json_util

import rango
from rango.bulk import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from rango.collection import Collection
from rango.database import Database
from rango.errors import BulkWriteError, RangoError
from rango.results import ReturnDocument
from tests.conformance.unified.matching import mismatch
from tests.conformance.unified.needs import needs_server

JSON = json_util.JSONOptions(
    json_mode=json_util.JSONMode.RELAXED, tz_aware=True, uuid_representation=4
)
REQUESTS: Mapping[str, Callable[..., Any]] = {
    "insertOne": InsertOne,
    "updateOne": UpdateOne,
    "updateMany": UpdateMany,
    "replaceOne": ReplaceOne,
    "deleteOne": DeleteOne,
    "deleteMany": DeleteMany,
}
# operation -> method, where they differ by more than spelling
METHODS = {"listIndexNames": "list_indexes", "count": "count_documents", "modifyIndex": "none"}
CODES = {
    "BadValue": 2,
    "FailedToParse": 9,
    "TypeMismatch": 14,
    "NamespaceNotFound": 26,
    "IndexNotFound": 27,
    "NamespaceExists": 48,
    "IndexOptionsConflict": 85,
    "IndexKeySpecsConflict": 86,
    "DuplicateKey": 11000,
}


class CannotRun(Exception):
    """The runner has no reading of something; its text says of what."""


@dataclass
class Outcome:
    """One test. `kind`: passed, failed or needs a server."""

    file: str
    description: str
    kind: str
    detail: str = ""


def run_file(path: Path, folder: Path) -> Iterator[Outcome]:
    """Every test of a file."""
    text = path.read_text(encoding="utf-8")
    suite = json_util.loads(text, json_options=JSON)
    plain = json.loads(text)
    for place, test in enumerate(suite["tests"]):
        reason = needs_server(plain, plain["tests"][place])
        if reason:
            yield Outcome(path.name, test["description"], "needs a server", reason)
            continue
        place_folder = folder / f"{path.stem}-{place}"
        place_folder.mkdir()
        with _Run(suite, place_folder) as run:
            detail = run.test(test)
        yield Outcome(path.name, test["description"], "failed" if detail else "passed", detail)


def snake(name: str) -> str:
    """camelCase as snake_case; `MS` is a unit."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


class _Run:
    """The entities of one test."""

    def __init__(self, suite: Mapping[str, Any], folder: Path) -> None:
        self._folder = folder
        self._databases: dict[str, Database] = {}
        self._entities: dict[str, Any] = {}
        for entity in suite.get("createEntities", []):
            ((kind, given),) = entity.items()
            if kind == "database":
                self._entities[given["id"]] = self._database(given["databaseName"])
            elif kind == "collection":
                database = self._entities[given["database"]]
                self._entities[given["id"]] = database[given["collectionName"]]
            elif kind != "client":
                raise CannotRun(f"an entity of kind {kind}")
        for data in suite.get("initialData", []):
            collection = self._database(data["databaseName"])[data["collectionName"]]
            if data["documents"]:
                collection.insert_many(data["documents"])

    def __enter__(self) -> _Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for database in self._databases.values():
            database.close()

    def _database(self, name: str) -> Database:
        if name not in self._databases:
            self._databases[name] = rango.open(str(self._folder / name), durability="memory")
        return self._databases[name]

    def test(self, test: Mapping[str, Any]) -> str:
        """Empty if the test passes, otherwise why not."""
        for place, operation in enumerate(test["operations"]):
            found = self._operation(operation)
            if found:
                return f"operation {place} ({operation['name']}): {found}"
        for outcome in test.get("outcome", []):
            collection = self._database(outcome["databaseName"])[outcome["collectionName"]]
            documents = list(collection.find({}, sort=[("_id", 1)]))
            found = mismatch(outcome["documents"], documents, "outcome", is_root=False)
            if found:
                return found
        return ""

    def _operation(self, operation: Mapping[str, Any]) -> str:
        arguments = dict(operation.get("arguments", {}))
        try:
            if operation["object"] == "testRunner":
                return self._assertion(operation["name"], arguments)
            result = call(self._entities[operation["object"]], operation["name"], arguments)
        except (RangoError, CannotRun, TypeError, AttributeError, ValueError) as error:
            if "expectError" not in operation or not isinstance(error, RangoError):
                return f"{type(error).__name__}: {error}"
            return _error(operation["expectError"], error)
        if "expectError" in operation:
            return f"an error is expected, found {result!r}"
        if operation.get("ignoreResultAndError") or "expectResult" not in operation:
            return ""
        return mismatch(operation["expectResult"], result)

    def _assertion(self, name: str, given: Mapping[str, Any]) -> str:
        if name in ("assertCollectionExists", "assertCollectionNotExists"):
            names = self._database(given["databaseName"]).list_collection_names()
            exists = given["collectionName"] in names
            return "" if exists == (name == "assertCollectionExists") else name
        if name in ("assertIndexExists", "assertIndexNotExists"):
            collection = self._database(given["databaseName"])[given["collectionName"]]
            names = [index["name"] for index in collection.list_indexes()]
            exists = given["indexName"] in names
            return "" if exists == (name == "assertIndexExists") else name
        raise CannotRun(f"the assertion {name}")


def call(entity: Any, name: str, arguments: dict[str, Any]) -> Any:
    """Call the method that an operation means; the result as the format has it."""
    options = {snake(key): value for key, value in arguments.items()}
    if "sort" in options and isinstance(options["sort"], Mapping):
        options["sort"] = list(options["sort"].items())
    if "return_document" in options:
        options["return_document"] = getattr(ReturnDocument, options["return_document"].upper())
    if "requests" in options:
        options["requests"] = [request_of(each) for each in options["requests"]]
    if isinstance(entity, Database):
        return _of_database(entity, name, options)
    if not isinstance(entity, Collection):
        raise CannotRun(f"the operation {name} of a client")
    method: Callable[..., Any] = getattr(entity, METHODS.get(name, snake(name)))
    if name == "distinct":
        return method(options.pop("field_name"), **options)
    result = method(*_keys(options), **options)
    return result_of(name, result)


def _keys(options: dict[str, Any]) -> list[Any]:
    """The positional argument of create_index(), drop_index() and rename()."""
    for name in ("name", "to"):
        if name in options and "keys" not in options:
            return [options.pop(name)]
    if "keys" in options:
        keys = options.pop("keys")
        return [list(keys.items()) if isinstance(keys, Mapping) else keys]
    return []


def _of_database(database: Database, name: str, options: dict[str, Any]) -> Any:
    if name == "aggregate":
        return list(database.aggregate(**options))
    if name == "createCollection":
        database.create_collection(options.pop("collection"), **options)
        return ABSENT_RESULT
    if name == "dropCollection":
        database.drop_collection(options.pop("collection"), **options)
        return ABSENT_RESULT
    if name == "listCollectionNames":
        return database.list_collection_names(**options)
    raise CannotRun(f"the operation {name} of a database")


ABSENT_RESULT: dict[str, Any] = {}


def request_of(given: Mapping[str, Any]) -> Any:
    """One request of a bulkWrite."""
    ((name, arguments),) = given.items()
    if name not in REQUESTS:
        raise CannotRun(f"the request {name}")
    options = {snake(key): value for key, value in arguments.items()}
    if isinstance(options.get("sort"), Mapping):
        options["sort"] = list(options["sort"].items())
    return REQUESTS[name](**options)


def result_of(name: str, result: Any) -> Any:
    """A result in the format's terms."""
    reading = RESULTS.get(name)
    return result if reading is None else reading(result)


def _updated(result: Any) -> dict[str, Any]:
    found = {
        "matchedCount": result.matched_count,
        "modifiedCount": result.modified_count,
        "upsertedCount": int(result.upserted_id is not None),
    }
    if result.upserted_id is not None:
        found["upsertedId"] = result.upserted_id
    return found


def _numbered(values: Iterable[tuple[int, Any]]) -> dict[str, Any]:
    return {str(number): value for number, value in values}


def _bulk(result: Any) -> dict[str, Any]:
    return {
        "deletedCount": result.deleted_count,
        "insertedCount": result.inserted_count,
        "matchedCount": result.matched_count,
        "modifiedCount": result.modified_count,
        "upsertedCount": result.upserted_count,
        "upsertedIds": _numbered((result.upserted_ids or {}).items()),
    }


RESULTS: Mapping[str, Callable[[Any], Any]] = {
    "insertOne": lambda result: {"insertedId": result.inserted_id},
    "insertMany": lambda result: {"insertedIds": _numbered(enumerate(result.inserted_ids))},
    **dict.fromkeys(("updateOne", "updateMany", "replaceOne"), _updated),
    **dict.fromkeys(
        ("deleteOne", "deleteMany"), lambda result: {"deletedCount": result.deleted_count}
    ),
    "bulkWrite": _bulk,
    "listIndexNames": lambda result: [index["name"] for index in result],
    **dict.fromkeys(("find", "aggregate", "listIndexes"), list),
}


def _error(expected: Mapping[str, Any], error: RangoError) -> str:
    """Empty if the error is the one that is expected."""
    codes = {error.code}
    if isinstance(error, BulkWriteError):
        codes |= {entry.get("code") for entry in error.details.get("writeErrors", [])}
    wanted = expected.get("errorCode", CODES.get(expected.get("errorCodeName", "")))
    if wanted is not None and wanted not in codes:
        return f"code {wanted} is expected, found {codes} of {type(error).__name__}: {error}"
    if "errorCodeName" in expected and expected["errorCodeName"] not in CODES:
        raise CannotRun(f"the code {expected['errorCodeName']}")
    text = expected.get("errorContains", "")
    if text.lower() not in str(error).lower():
        return f"{text!r} is expected in {type(error).__name__}: {error}"
    if "expectResult" in expected and isinstance(error, BulkWriteError):
        return mismatch(expected["expectResult"], _bulk_details(error.details))
    return ""


def _bulk_details(details: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "nInserted": "insertedCount",
        "nMatched": "matchedCount",
        "nModified": "modifiedCount",
        "nRemoved": "deletedCount",
        "nUpserted": "upsertedCount",
    }
    found: dict[str, Any] = {
        theirs: details[ours] for ours, theirs in names.items() if ours in details
    }
    found["upsertedIds"] = {str(e["index"]): e["_id"] for e in details.get("upserted", [])}
    return found
