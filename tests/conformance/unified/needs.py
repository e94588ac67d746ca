"""Which unified tests need a server, by rules that also read files never seen.

Terms       reason: what of a server the test uses; the first that applies.
            out of scope: a part of the server that this product leaves out on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# The server that is stood in for.
VERSION = (8, 2, 0)
TOPOLOGIES = {"single", "replicaset"}
ENTITIES = ("client", "database", "collection")
SERVER_ENTITIES = {
    "session": "sessions",
    "thread": "threads of a driver",
    "bucket": "GridFS",
    "clientEncryption": "client-side encryption",
}
SERVER_OPERATIONS = {
    "clientBulkWrite": "clientBulkWrite",
    "runCommand": "commands on the wire",
    "runCursorCommand": "commands on the wire",
    "createChangeStream": "change streams",
    "iterateUntilDocumentOrError": "change streams",
    "startTransaction": "sessions",
    "commitTransaction": "sessions",
    "abortTransaction": "sessions",
    "withTransaction": "sessions",
    "endSession": "sessions",
    "createFindCursor": "cursors that are watched on the wire",
    "mapReduce": "JavaScript",
    "createSearchIndex": "Atlas Search",
    "createSearchIndexes": "Atlas Search",
    "dropSearchIndex": "Atlas Search",
    "updateSearchIndex": "Atlas Search",
    "listSearchIndexes": "Atlas Search",
    "modifyCollection": "collMod",
}
SERVER_OPTIONS = {
    "rawData": "rawData, which is looked at on the wire",
    "session": "sessions",
    "timeoutMS": "time limits of a server",
    "maxTimeMS": "time limits of a server",
    "encrypted": "client-side encryption",
    "clusteredIndex": "clustered collections",
    "timeseries": "time series collections",
    "changeStreamPreAndPostImages": "change streams",
    "encryptedFields": "client-side encryption",
    "viewOn": "views",
    "validator": "validators of collections",
}
SERVER_STAGES = {
    "$listLocalSessions": "sessions",
    "$currentOp": "operations of a server",
    "$changeStream": "change streams",
    "$listSessions": "sessions",
    "$planCacheStats": "plan caches of a server",
    "$search": "Atlas Search",
}


def needs_server(suite: Mapping[str, Any], test: Mapping[str, Any]) -> str | None:
    """Why a test needs a server, or None."""
    required = [*suite.get("runOnRequirements", []), None, *test.get("runOnRequirements", [])]
    cut = required.index(None)
    for group in (required[:cut], required[cut + 1 :]):
        found = _refused(group)
        if found:
            return found
    clients: set[str] = set()
    for entity in suite.get("createEntities", []):
        ((kind, given),) = entity.items()
        if kind not in ENTITIES:
            return SERVER_ENTITIES.get(kind, f"an entity of kind {kind}")
        if kind == "client":
            clients.add(given["id"])
    for operation in test["operations"]:
        reason = _operation(operation)
        if reason is None and operation["object"] in clients:
            reason = "operations on a client, which are about a server"
        if reason:
            return reason
    if _is_unacknowledged(suite, test):
        return "unacknowledged writes"
    if _is_events_only(suite, test):
        return "commands on the wire are all that is looked at"
    return None


def _refused(group: list[Any]) -> str | None:
    """Why no entry of runOnRequirements fits; None if one does or there is none."""
    reasons = []
    for entry in group:
        reason = _requirement(entry)
        if reason is None:
            return None
        reasons.append(reason)
    return reasons[0] if reasons else None


def _requirement(entry: Mapping[str, Any]) -> str | None:
    if _version(entry.get("maxServerVersion", "99")) < VERSION:
        return "older servers only"
    if _version(entry.get("minServerVersion", "0")) > VERSION:
        return "newer servers only"
    if not TOPOLOGIES & set(entry.get("topologies", TOPOLOGIES)):
        return "sharded clusters only"
    if entry.get("auth") or entry.get("csfle"):
        return "authentication or client-side encryption"
    return None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _operation(operation: Mapping[str, Any]) -> str | None:
    """The first reason that an operation gives."""
    name, arguments = operation["name"], operation.get("arguments", {})
    if operation["object"] == "testRunner" and name in ("failPoint", "targetedFailPoint"):
        return "fail points"
    if name in SERVER_OPERATIONS:
        return SERVER_OPERATIONS[name]
    for option, reason in SERVER_OPTIONS.items():
        if arguments.get(option) is not None:
            return reason
    stages = arguments.get("pipeline") or []
    names = [each for stage in stages if isinstance(stage, Mapping) for each in stage]
    return next((SERVER_STAGES[each] for each in names if each in SERVER_STAGES), None)


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _mappings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _mappings(inner)


def _is_unacknowledged(suite: Mapping[str, Any], test: Mapping[str, Any]) -> bool:
    """True if an entity that the test uses, or an operation, has a write concern of w: 0."""
    used = {operation["object"] for operation in test["operations"]}
    for entity in suite.get("createEntities", []):
        ((_kind, description),) = entity.items()
        if description["id"] in used and _has_w_0(description):
            return True
    return any(_has_w_0(operation.get("arguments", {})) for operation in test["operations"])


def _has_w_0(value: Any) -> bool:
    return any(each.get("writeConcern", {}).get("w", 1) == 0 for each in _mappings(value))


def _is_events_only(suite: Mapping[str, Any], test: Mapping[str, Any]) -> bool:
    """True if no operation has an expected result or error, and no outcome is looked at."""
    if "outcome" in test or not test.get("expectEvents"):
        return False
    return not any(
        {"expectResult", "expectError"} & set(operation)
        or (operation["object"] == "testRunner" and operation["name"].startswith("assert"))
        for operation in test["operations"]
    )
