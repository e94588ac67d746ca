"""The commands of MongoDB's wire protocol, as calls of Rango's API.

Terms       command: a document like `{"update": "c", "updates": [...]}`.
Failure     NotACase for a command that is malformed as such: there is no such document in our API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bson.objectid import ObjectId

from rango.errors import BulkWriteError, DuplicateKey, RangoError
from tests.conformance.regress.sql import NotACase
from tests.conformance.regress.world import World, create_index

IGNORED = frozenset(
    (
        *("$db", "lsid", "txnNumber", "readConcern", "writeConcern", "maxTimeMS", "comment"),
        *("cursor", "batchSize", "singleBatch", "$clusterTime", "apiVersion", "apiStrict"),
        *("apiDeprecationErrors", "allowDiskUse", "noCursorTimeout", "awaitData", "tailable"),
        *("$readPreference", "stmtId", "autocommit", "startTransaction", "allowPartialResults"),
        *("bypassDocumentValidation", "oplogReplay", "returnKey_", "ordered", "stmtIds"),
        *("fromMongos", "needsMerge", "bypassEmptyTsReplacement", "maxTimeMSOpOnly", "$audit"),
        *("mayBypassWriteBlocking", "databaseVersion", "shardVersion", "planCacheKey"),
        *("$client", "$configServerState", "$configTime", "$topologyTime", "isClusteredIndex"),
        *("$replData", "$oplogQueryData", "commitQuorum", "sampleId", "encryptionInformation"),
    )
)
FLAGS = ("multi", "upsert")
# of commands, to arguments of methods
READ_OPTIONS = {"let": "let", "hint": "hint", "collation": "collation"}
WRITE_OPTIONS = {**READ_OPTIONS, "arrayFilters": "array_filters", "sort": "sort"}


def command_fields(command: Any, name: str, *fields: str) -> dict[str, Any]:
    """The fields of a command that have a meaning; NotACase if it is malformed."""
    if not isinstance(command, Mapping):
        raise NotACase("a malformed command")
    if not isinstance(command.get("ordered", True), bool):
        raise NotACase("a malformed command")
    unknown = [key for key in command if key not in IGNORED and key not in (name, *fields)]
    if unknown:
        raise NotACase("a command with a field that has no argument in the API")
    if not isinstance(command.get(name), str):
        raise NotACase("a malformed command")
    return dict(command)


def renamed(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The options that were given, under our names."""
    return {ours: given[theirs] for theirs, ours in names.items() if theirs in given}


def entries_of(given: Mapping[str, Any], name: str, beside: Any) -> Any:
    """The entries of a write command, in it or beside it."""
    if beside is None:
        return given.get(name)
    if name in given or not isinstance(beside, Mapping):
        raise NotACase("a malformed command")
    return beside.get("")


# --- reads


def find(world: World, database: str, command: Any) -> list[Any]:
    """{find: ...}."""
    given = command_fields(
        command,
        "find",
        *("filter", "projection", "sort", "skip", "limit", "hint", "let", "collation"),
    )
    options = renamed(
        given, {**READ_OPTIONS, "projection": "projection", "skip": "skip", "limit": "limit"}
    )
    if given.get("sort"):
        options["sort"] = list(given["sort"].items())
    collection = world.collection(database, given["find"])
    return list(collection.find(given.get("filter", {}), **options))


def aggregate(world: World, database: str, command: Any) -> list[Any]:
    """{aggregate: ...}."""
    if isinstance(command, Mapping) and command.get("aggregate") == 1:
        given = {**command, "aggregate": "1"}
        options = renamed(given, READ_OPTIONS)
        return list(world.database(database).aggregate(command["pipeline"], **options))
    given = command_fields(command, "aggregate", "pipeline", *READ_OPTIONS, "explain")
    if "pipeline" not in given or "explain" in given:
        raise NotACase("a malformed command" if "pipeline" not in given else "explain")
    for stage in given["pipeline"] if isinstance(given["pipeline"], list) else ():
        if isinstance(stage, Mapping) and {"$out", "$merge"} & set(stage):
            target = next(iter(stage.values()))
            into = target.get("into", target.get("coll")) if isinstance(target, dict) else target
            world.changed(database, into if isinstance(into, str) else "unnamed")
    options = renamed(given, READ_OPTIONS)
    return list(
        world.collection(database, given["aggregate"]).aggregate(given["pipeline"], **options)
    )


def count(world: World, database: str, command: Any) -> dict[str, Any]:
    """{count: ...}."""
    given = command_fields(command, "count", "query", "skip", "limit", "hint", "collation")
    options = renamed(given, {**READ_OPTIONS, "skip": "skip", "limit": "limit"})
    number = world.collection(database, given["count"]).count_documents(
        given.get("query") or {}, **options
    )
    return {"n": number, "ok": 1.0}


def distinct(world: World, database: str, command: Any) -> dict[str, Any]:
    """{distinct: ...}."""
    given = command_fields(command, "distinct", "key", "query", "hint", "collation")
    if "key" not in given:
        raise NotACase("a malformed command")
    options = renamed(given, READ_OPTIONS)
    values = world.collection(database, given["distinct"]).distinct(
        given["key"], given.get("query") or {}, **options
    )
    return {"values": values, "ok": 1.0}


def first_page(found: list[Any], command: Any, name: str, database: str) -> dict[str, Any]:
    """The answer of a command with a cursor; batchSize is heeded."""
    size = command.get("batchSize", command.get("cursor", {}).get("batchSize"))
    batch = found if size is None else found[: int(size)]
    space = f"{database}.{command[name]}"
    return {"cursor": {"id": 0, "ns": space, "firstBatch": batch}, "ok": 1.0}


# --- writes


def insert(world: World, database: str, command: Any, documents: Any = None) -> dict[str, Any]:
    """{insert: ...}."""
    given = command_fields(command, "insert", "documents")
    given["documents"] = entries_of(given, "documents", documents)
    if not isinstance(given.get("documents"), list) or not all(
        isinstance(each, Mapping) for each in given["documents"]
    ):
        raise NotACase("a malformed command")
    collection = world.changed(database, given["insert"])
    try:
        result = collection.insert_many(given["documents"], bool(given.get("ordered", True)))
    except BulkWriteError as error:
        return {
            "n": error.details["nInserted"],
            "ok": 1.0,
            "writeErrors": [entry["index"] for entry in error.details["writeErrors"]],
        }
    return {"n": len(result.inserted_ids), "ok": 1.0}


def each_write(
    entries: list[Any], is_ordered: bool, work: Callable[[Any], None]
) -> tuple[list[int], Exception | None]:
    """Do the entries of a write command; the indexes of those that failed, and the first error."""
    failed = []
    first = None
    for place, entry in enumerate(entries):
        try:
            work(entry)
        except RangoError as error:
            first = first or error
            failed.append(place)
            if is_ordered:
                break
    return failed, first


def answer_of(answer: dict[str, Any], failed: list[int], first: Exception | None) -> Any:
    """With what failed, and `error` for a judge who expects one of the whole statement."""
    if failed:
        answer["writeErrors"] = failed
        answer["error"] = first
    return answer


def update(world: World, database: str, command: Any, updates: Any = None) -> dict[str, Any]:
    """{update: ...}."""
    given = command_fields(command, "update", "updates", "let")
    entries = entries_of(given, "updates", updates)
    if not isinstance(entries, list) or not all(
        isinstance(each, Mapping) and {"q", "u"} <= set(each) for each in entries
    ):
        raise NotACase("a malformed command")
    if not all(isinstance(each.get(key, True), bool) for each in entries for key in FLAGS):
        raise NotACase("a malformed command")
    known = {"q", "u", "multi", "upsert", "arrayFilters", "collation", "hint", "sort", "comment"}
    if any(set(each) - known for each in entries):
        raise NotACase("a command with a field that has no argument in the API")
    collection = world.changed(database, given["update"])
    answer: dict[str, Any] = {"ok": 1.0, "nModified": 0, "n": 0}
    upserted: list[Any] = []

    def work(entry: Any) -> None:
        options = {**renamed(given, {"let": "let"}), **renamed(entry, WRITE_OPTIONS)}
        if isinstance(options.get("sort"), Mapping):
            options["sort"] = list(options["sort"].items())
        is_replacement = isinstance(entry["u"], Mapping) and not any(
            key.startswith("$") for key in entry["u"]
        )
        if entry.get("multi"):
            method = collection.update_many
        else:
            method = collection.replace_one if is_replacement else collection.update_one
        result = method(entry["q"], entry["u"], bool(entry.get("upsert", False)), **options)
        answer["nModified"] += result.modified_count
        answer["n"] += result.matched_count
        if result.upserted_id is not None:
            answer["n"] += 1
            upserted.append({"index": entries.index(entry), "_id": result.upserted_id})

    failed, first = each_write(entries, given.get("ordered", True), work)
    if upserted:
        answer["upserted"] = upserted
    return answer_of(answer, failed, first)


def delete(world: World, database: str, command: Any, deletes: Any = None) -> dict[str, Any]:
    """{delete: ...}."""
    given = command_fields(command, "delete", "deletes", "let")
    entries = entries_of(given, "deletes", deletes)
    if not isinstance(entries, list) or not all(
        isinstance(each, Mapping) and {"q", "limit"} <= set(each) for each in entries
    ):
        raise NotACase("a malformed command")
    if any(set(each) - {"q", "limit", "collation", "hint", "comment"} for each in entries):
        raise NotACase("a command with a field that has no argument in the API")
    # what is no number means no limit there and on MongoDB's server
    if any(is_number(each["limit"]) and each["limit"] not in (0, 1) for each in entries):
        raise NotACase("a malformed command")
    collection = world.changed(database, given["delete"])
    answer: dict[str, Any] = {"n": 0, "ok": 1.0}

    def work(entry: Any) -> None:
        options = {**renamed(given, {"let": "let"}), **renamed(entry, READ_OPTIONS)}
        is_one = is_number(entry["limit"]) and entry["limit"] == 1
        method = collection.delete_one if is_one else collection.delete_many
        answer["n"] += method(entry["q"], **options).deleted_count

    failed, first = each_write(entries, given.get("ordered", True), work)
    return answer_of(answer, failed, first)


def is_number(value: Any) -> bool:
    """True for a number of BSON that Python compares."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def find_and_modify(world: World, database: str, command: Any) -> dict[str, Any]:
    """{findAndModify: ...}."""
    given = command_fields(
        command,
        "findAndModify",
        *("query", "sort", "remove", "update", "new", "fields", "upsert", "arrayFilters"),
        *READ_OPTIONS,
    )
    is_remove, is_upsert = bool(given.get("remove")), bool(given.get("upsert"))
    if is_remove == ("update" in given) or (is_remove and (is_upsert or given.get("new"))):
        raise NotACase("a malformed command")
    if not isinstance(given.get("sort", {}), Mapping):
        raise NotACase("a malformed command")
    collection = world.changed(database, given["findAndModify"])
    options = {**renamed(given, WRITE_OPTIONS), **renamed(given, {"fields": "projection"})}
    if isinstance(options.get("sort"), Mapping):
        options["sort"] = list(options["sort"].items())
    query = given.get("query") or {}
    if is_remove:
        value = collection.find_one_and_delete(query, **options)
        return {"lastErrorObject": {"n": int(value is not None)}, "value": value, "ok": 1.0}
    change = given["update"]
    is_replacement = isinstance(change, Mapping) and not any(key.startswith("$") for key in change)
    method = collection.find_one_and_replace if is_replacement else collection.find_one_and_update
    if not is_replacement or options.get("array_filters"):
        method = collection.find_one_and_update
    was = {id_key(each["_id"]) for each in collection.find({}, {"_id": 1})} if is_upsert else set()
    value = method(
        query, change, upsert=is_upsert, return_document=bool(given.get("new")), **options
    )
    state: dict[str, Any] = {"n": int(value is not None), "updatedExisting": value is not None}
    if is_upsert:
        now = [each["_id"] for each in collection.find({}, {"_id": 1})]
        new = [each for each in now if id_key(each) not in was]
        state = {"n": 1, "updatedExisting": not new}
        if new:
            state["upserted"] = new[0]
    return {"lastErrorObject": state, "value": value, "ok": 1.0}


def id_key(value: Any) -> str:
    """An `_id` as something that a set can hold."""
    return str(value) if isinstance(value, ObjectId) else repr(value)


# --- indexes


def create_indexes(world: World, database: str, command: Any) -> dict[str, Any]:
    """{createIndexes: ...}."""
    given = command_fields(command, "createIndexes", "indexes", "blocking")
    entries = given.get("indexes")
    if not isinstance(entries, list) or not entries:
        raise NotACase("a malformed command")
    for entry in entries:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("key"), Mapping):
            raise NotACase("a malformed command")
        if any("$**" in str(name) for name in entry["key"]) or not all(
            isinstance(each, int | float) for each in entry["key"].values()
        ):
            raise NotACase("an index of a kind that is not in this product")
    is_new = given["createIndexes"] not in world.database(database).list_collection_names()
    collection = world.changed(database, given["createIndexes"])
    before = len(collection.list_indexes()) or 1
    for entry in entries:
        create_index(collection, entry)
    shard = {
        "numIndexesBefore": before,
        "numIndexesAfter": len(collection.list_indexes()),
        "createdCollectionAutomatically": is_new,
        "ok": 1,
    }
    return {"raw": {"defaultShard": shard}, "ok": 1}


def drop_indexes(world: World, database: str, command: Any) -> dict[str, Any]:
    """{dropIndexes: ...}."""
    given = command_fields(command, "dropIndexes", "index")
    collection = world.changed(database, given["dropIndexes"])
    before = len(collection.list_indexes())
    wanted = given.get("index")
    if wanted is None:
        raise NotACase("a malformed command")
    if wanted == "*":
        collection.drop_indexes()
    else:
        for each in wanted if isinstance(wanted, list) else [wanted]:
            collection.drop_index(list(each.items()) if isinstance(each, Mapping) else each)
    return {"nIndexesWas": before, "ok": 1.0}


def insert_one(world: World, database: str, name: Any, document: Any) -> dict[str, Any]:
    """insert_one(): an answer with writeErrors for a duplicate key."""
    collection = world.changed(database, name)
    try:
        collection.insert_one(document)
    except DuplicateKey:
        return {"n": 0, "ok": 1.0, "writeErrors": [0]}
    return {"n": 1, "ok": 1.0}
