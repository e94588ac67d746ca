"""$unwind: one document for each element of an array.

Invariants  The path is followed through documents only. A value that is no array is its own single
            element. Without `preserveNullAndEmptyArrays`, a document whose value is missing, null
            or an empty array leaves nothing. The index is an int64, null where there was no array.
Sources     MongoDB manual, "$unwind (aggregation)".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from bson.int64 import Int64

from rango._ext.normal import HEADER_NAMES
from rango.engine.aggregate.spec import field_path, flag_of, invalid
from rango.engine.aggregate.stage import Batches, Context, Document, Names, Scope, Stage
from rango.engine.values import MISSING, shown, type_name

UNWOUND_COUNT_MAX: Final = 4096
"""Documents after which a batch is handed on: one of large arrays would hold far more."""


def value_at(document: Any, parts: list[str]) -> Any:
    """What a path leads to through documents only, or MISSING."""
    value = document
    for part in parts:
        if not isinstance(value, dict):
            return MISSING
        value = value.get(part, MISSING)
    return value


def with_value(document: Document, parts: list[str], value: Any) -> Document:
    """A copy with another value at a path; MISSING takes the field away.

    Documents are made where the path meets none.
    """
    found = document.copy()
    if len(parts) == 1:
        if value is MISSING:
            found.pop(parts[0], None)
        else:
            found[parts[0]] = value
        return found
    below = found.get(parts[0])
    if isinstance(below, dict):
        found[parts[0]] = with_value(below, parts[1:], value)
    elif value is not MISSING:
        found[parts[0]] = with_value({}, parts[1:], value)
    return found


class Unwind(Stage):
    """$unwind"""

    name = "$unwind"

    def __init__(self, path: str, index: str | None, preserve: bool) -> None:
        self.parts = path.split(".")
        self.index = None if index is None else index.split(".")
        self.preserve = preserve
        self.spec: dict[str, Any] = {"path": f"${path}"}
        if index is not None:
            self.spec["includeArrayIndex"] = index
        if preserve:
            self.spec["preserveNullAndEmptyArrays"] = True

    def run(self, source: Batches, context: Context) -> Batches:
        if len(self.parts) == 1 and self.index is None:
            yield from self._plain(source, self.parts[0], context)
            return
        for batch in source:
            found: list[Document] = []
            for document in batch:
                for each in self._unwound(document):
                    found.append(each)
                    if len(found) == UNWOUND_COUNT_MAX:
                        context.environment.check()
                        yield found
                        found = []
            yield found

    def _plain(self, source: Batches, name: str, context: Context) -> Batches:
        """A top-level array without an index, in as few steps as there are elements."""
        preserve = self.preserve
        for batch in source:
            found: list[Document] = []
            for document in batch:
                value = document.get(name)
                if type(value) is list and value:
                    for at in range(0, len(value), UNWOUND_COUNT_MAX):
                        for each in value[at : at + UNWOUND_COUNT_MAX]:
                            other = document.copy()
                            other[name] = each
                            found.append(other)
                        if len(found) >= UNWOUND_COUNT_MAX:
                            context.environment.check()
                            yield found
                            found = []
                elif value is not None and value != []:
                    found.append(document)
                elif preserve:
                    found.append(
                        document if value is None else with_value(document, [name], MISSING)
                    )
            yield found

    def _unwound(self, document: Document) -> Iterator[Document]:
        value = value_at(document, self.parts)
        if isinstance(value, list) and value:
            for at, each in enumerate(value):
                yield self._indexed(with_value(document, self.parts, each), Int64(at))
        elif isinstance(value, list):
            if self.preserve:
                yield self._indexed(with_value(document, self.parts, MISSING), None)
        elif (value is not None and value is not MISSING) or self.preserve:
            yield self._indexed(document, None)

    def _indexed(self, document: Document, at: Any) -> Document:
        return document if self.index is None else with_value(document, self.index, at)

    def reads(self, wanted: Names) -> Names:
        # that of the index is read, so that a document that it lies in is kept
        names = {self.parts[0]} if self.index is None else {self.parts[0], self.index[0]}
        return None if wanted is None else wanted | names

    def passes(self, names: Names) -> bool:
        """Whether these top-level fields are the same after it as before it."""
        if names is None or names & set(HEADER_NAMES):
            return False
        return self.parts[0] not in names and (self.index is None or self.index[0] not in names)


def unwind_stage(spec: object, scope: Scope) -> Stage:
    """$unwind"""
    if isinstance(spec, str):
        spec = {"path": spec}
    if not isinstance(spec, Mapping):
        raise invalid(15981, f"$unwind takes a path or a document, not {shown(spec)}")
    known = ("path", "includeArrayIndex", "preserveNullAndEmptyArrays")
    for name in spec:
        if name not in known:
            raise invalid(28811, f"$unwind has no field {name!r}; it has {', '.join(known)}")
    if "path" not in spec:
        raise invalid(28812, "$unwind needs a path")
    path = spec["path"]
    if not isinstance(path, str):
        raise invalid(
            28808, f"$unwind: the path is a string, not {shown(path)} ({type_name(path)})"
        )
    if not path:
        raise invalid(28812, "$unwind: the path is empty")
    if not path.startswith("$"):
        raise invalid(28818, f"$unwind: the path {path!r} must start with $")
    preserve = flag_of(
        "$unwind: preserveNullAndEmptyArrays", spec.get("preserveNullAndEmptyArrays", False), 28809
    )
    index = spec.get("includeArrayIndex")
    if "includeArrayIndex" in spec and (not isinstance(index, str) or not index):
        raise invalid(28810, f"$unwind: includeArrayIndex names a field, not {shown(index)}")
    if index is not None and index.startswith("$"):
        raise invalid(28822, f"$unwind: includeArrayIndex {index!r} must not start with $")
    if index is not None:
        index = field_path("$unwind: includeArrayIndex", index)
    return Unwind(field_path("$unwind", path[1:]), index, preserve)
