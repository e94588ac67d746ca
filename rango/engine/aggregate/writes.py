"""$out and $merge: the end of a pipeline that writes what it gives.

Invariants  One transaction: all of it or nothing, and readers see it at once. The documents are
            those of the snapshot that the pipeline reads, whatever is written meanwhile. $out
            leaves the target with exactly these documents and with its indexes. A document that
            would not change is not written.
Failure     DuplicateKey, InvalidDocument, LimitExceeded (TRANSACTION_SIZE_BYTES_MAX): nothing was
            written.
Sources     MongoDB manual, "$out (aggregation)", "$merge (aggregation)".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rango._ext.key import key_of
from rango._ext.record import record_parts
from rango.engine.aggregate.lookup import let_of
from rango.engine.aggregate.source import open_query
from rango.engine.aggregate.spec import field_path, invalid, text_of
from rango.engine.aggregate.stage import Batches, Context, Document, Scope, Stage
from rango.engine.aggregate.unwind import value_at
from rango.engine.filters import program_of
from rango.engine.returned import record_document
from rango.engine.values import MISSING, equal, shown
from rango.errors import DuplicateKey, InvalidUpdate, NotFound

if TYPE_CHECKING:
    from rango._ext.collection_info import CollectionInfo
    from rango.engine.aggregate.pipeline import Pipeline
    from rango.engine.txn import Txn

WHEN_MATCHED: Final = ("replace", "keepExisting", "merge", "fail")
WHEN_NOT_MATCHED: Final = ("insert", "discard", "fail")
IN_MERGE: Final = ("$addFields", "$set", "$project", "$unset", "$replaceRoot", "$replaceWith")


class Writing(Stage):
    """A stage that writes; the documents that reach it go to `write`."""

    name: ClassVar[str] = ""
    target: str

    def write(self, batches: Batches, context: Context) -> None:
        """Write all documents in one transaction."""
        context.environment.write(lambda txn: self.work(txn, batches, context))

    def work(self, txn: Txn, batches: Batches, context: Context) -> None:
        """What is done inside the transaction."""
        raise AssertionError(f"{self.name} does not say what it writes")


class Out(Writing):
    """$out"""

    name = "$out"

    def __init__(self, spec: Any, target: str) -> None:
        self.spec = spec
        self.target = target

    def work(self, txn: Txn, batches: Batches, context: Context) -> None:
        info = txn.create_collection(self.target)
        for record in _records(txn, info, context):
            txn.delete(info, record)
        encoded = context.environment.encoded
        for batch in batches:
            context.environment.check()
            for document in batch:
                txn.insert(info, encoded(document))


def _records(txn: Txn, info: CollectionInfo, context: Context) -> Iterator[bytes]:
    view = txn.view
    query = open_query(program_of({}))
    query.stop = context.environment.stop
    for batch in query.records(view, info):
        yield from batch


class Merge(Writing):
    """$merge"""

    name = "$merge"

    def __init__(self, spec: Any, target: str, on: Sequence[str]) -> None:
        self.spec = spec
        self.target = target
        self.on = [(path, path.split(".")) for path in on]
        self.matched = "merge"
        self.not_matched = "insert"
        self.pipeline: Pipeline | None = None
        self.let: Mapping[str, Any] = {}

    def work(self, txn: Txn, batches: Batches, context: Context) -> None:
        info = txn.create_collection(self.target)
        by_id = [path for path, _ in self.on] == ["_id"]
        if not by_id:
            self._index_check(info)
        find = self._by_id if by_id else self._by_fields
        for batch in batches:
            context.environment.check()
            for document in batch:
                self._merge(txn, info, document, find(txn, info, document), context)

    def _index_check(self, info: CollectionInfo) -> None:
        """The fields of `on` must tell documents apart: a unique index on just them."""
        wanted = {path for path, _ in self.on}
        if not any(
            index.unique and index.partial is None and {path for path, _ in index.fields} == wanted
            for index in info.ready
        ):
            error = NotFound(
                f"$merge: collection {self.target!r} has no unique index on {sorted(wanted)}, "
                "which `on` needs; create one"
            )
            error.code = 51183
            raise error

    @staticmethod
    def _by_id(txn: Txn, info: CollectionInfo, document: Document) -> bytes | None:
        if "_id" not in document:
            return None
        return txn.view.get(info.tree_id, key_of(document["_id"]))

    def _by_fields(self, txn: Txn, info: CollectionInfo, document: Document) -> bytes | None:
        filter = {}
        for path, parts in self.on:
            value = value_at(document, parts)
            if value is MISSING and path == "_id":
                return None
            if value is None or value is MISSING or isinstance(value, list):
                raise InvalidUpdate(
                    f"$merge: {path!r} of `on` is {shown(value)} in {shown(document)}; it must "
                    "have a value that is neither null nor an array",
                    code=51132,
                )
            filter[path] = {"$eq": value}
        query = open_query(program_of(filter))
        query.limit = 1
        for batch in query.records(txn.view, info):
            for record in batch:
                return record
        return None

    def _merge(
        self,
        txn: Txn,
        info: CollectionInfo,
        document: Document,
        record: bytes | None,
        context: Context,
    ) -> None:
        encoded = context.environment.encoded
        if record is None:
            if self.not_matched == "fail":
                error = NotFound(
                    f"$merge: nothing in {self.target!r} matches {shown(document)}, and "
                    "whenNotMatched is 'fail'; nothing was written"
                )
                error.code = 13113
                raise error
            if self.not_matched == "insert":
                txn.insert(info, encoded(document))
            return
        if self.matched == "keepExisting":
            return
        existing = record_document(record)
        if self.matched == "fail":
            raise DuplicateKey("_id_", {"_id": existing["_id"]})
        changed = self._changed(existing, document, context)
        if not equal(changed.get("_id", MISSING), existing["_id"]):
            raise InvalidUpdate(
                f"$merge must not change the _id {shown(existing['_id'])} of the document it "
                f"matches to {shown(changed.get('_id'))}",
                code=66,
            )
        bson = encoded({"_id": existing["_id"], **changed})
        if bson != record_parts(record)[6]:
            txn.replace(info, record, bson)

    def _changed(self, existing: Document, document: Document, context: Context) -> Document:
        """What becomes of a document that is there already."""
        if self.pipeline is not None:
            variables = {
                name: expression.evaluate(document, context.variables)
                for name, expression in self.let.items()
            }
            inner = context.with_variables(variables)
            (batch,) = self.pipeline.over(iter([[existing]]), inner)
            return batch[0]
        if self.matched == "replace":
            return {"_id": existing["_id"], **document}
        return {**existing, **document}


def _collection_of(stage: str, spec: object, code: int) -> str:
    if isinstance(spec, Mapping):
        if "db" in spec:
            raise invalid(code, f"{stage}: there are no other databases; name the collection only")
        for name in spec:
            if name != "coll":
                raise invalid(code, f"{stage} has no field {name!r}; it has coll")
        spec = spec.get("coll")
    return text_of(f"{stage}: the collection's name", spec, code)


def out_stage(spec: object, scope: Scope) -> Stage:
    """$out"""
    if not isinstance(spec, (str, Mapping)):
        raise invalid(16990, f"$out takes a collection's name, not {shown(spec)}")
    return Out(spec, _collection_of("$out", spec, 16994))


def merge_stage(spec: object, scope: Scope) -> Stage:
    """$merge"""
    if isinstance(spec, str):
        spec = {"into": spec}
    if not isinstance(spec, Mapping):
        raise invalid(51182, f"$merge takes a collection's name or a document, not {shown(spec)}")
    known = ("into", "on", "let", "whenMatched", "whenNotMatched")
    for name in spec:
        if name not in known:
            raise invalid(40415, f"$merge has no field {name!r}; it has {', '.join(known)}")
    if "into" not in spec:
        raise invalid(40414, "$merge needs into, the collection to write to")
    merge = Merge(spec, _collection_of("$merge: into", spec["into"], 51178), _on(spec))
    merge.not_matched = _choice("whenNotMatched", spec, WHEN_NOT_MATCHED, "insert", 51190)
    matched = spec.get("whenMatched", "merge")
    if isinstance(matched, list):
        let = spec.get("let", {"new": "$$ROOT"})
        merge.matched = "pipeline"
        merge.let = let_of(let, scope)
        merge.pipeline = _matched_pipeline(matched, scope, frozenset(merge.let))
        return merge
    if "let" in spec:
        raise invalid(51199, "$merge: let is for a pipeline in whenMatched, and there is none")
    merge.matched = _choice("whenMatched", spec, WHEN_MATCHED, "merge", 51191)
    return merge


def _on(spec: Mapping[str, Any]) -> list[str]:
    on = spec.get("on", "_id")
    paths = [on] if isinstance(on, str) else on
    if not isinstance(paths, list) or not paths:
        raise invalid(51186, f"$merge: on is a field or a list of fields, not {shown(on)}")
    for path in paths:
        if not isinstance(path, str):
            raise invalid(51134, f"$merge: on names fields by strings, not {shown(path)}")
        field_path("$merge: on", path)
    if len(set(paths)) != len(paths):
        raise invalid(31465, f"$merge: on names a field twice: {shown(on)}")
    return paths


def _choice(name: str, spec: Mapping[str, Any], known: Sequence[str], usual: str, code: int) -> str:
    value = spec.get(name, usual)
    if value not in known:
        raise invalid(code, f"$merge: {name} is one of {', '.join(known)}, not {shown(value)}")
    found: str = value
    return found


def _matched_pipeline(spec: list[Any], scope: Scope, names: frozenset[str]) -> Pipeline:
    for stage in spec:
        name = next(iter(stage), None) if isinstance(stage, Mapping) else None
        if name not in IN_MERGE:
            raise invalid(
                72, f"$merge: whenMatched may have {', '.join(IN_MERGE)}, not {shown(name)}"
            )
    inner = replace(
        scope,
        collection=None,
        variables=scope.variables | names,
        inside="$merge",
        depth=scope.depth + 1,
    )
    return scope.compile(spec, inner)
