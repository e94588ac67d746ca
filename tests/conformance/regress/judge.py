"""Whether an answer that was recorded and one of ours say the same.

Terms       exact: documents are compared as BSON, so types, field order and NaN count.
            loose: answers of commands, whose field order and error codes are of the server.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

import bson
from bson import json_util
from bson.codec_options import CodecOptions
from bson.objectid import ObjectId

from rango.engine.values import order_key
from tests.conformance.regress.functions import (
    OPTIONS,
    Table,
    Unchanged,
    has_double_names,
    value_of,
)
from tests.conformance.regress.sql import NotACase
from tests.conformance.regress.transcript import Answer

COMPOSITE = re.compile(r'\("(?P<document>.*)",(?P<flag>[tf]?)\)\Z', re.DOTALL)
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, uuid_representation=4)
# of commands, what our API does not say
UNSAID = ("id", "ns", "ok", "error", "v", "background")


def disagreement(answer: Answer, table: Table) -> str | None:
    """What differs, or None."""
    if len(answer.columns) != len(table.columns) and table.lines:
        raise NotACase("an answer whose columns cannot be told apart")
    wanted = [
        cells(line, len(answer.columns)) for line in answer.lines if not has_double_names(line)
    ]
    if len(wanted) != len(table.lines):
        return f"{len(wanted)} lines expected, {len(table.lines)} found"
    if all(
        all(same(text, value) for text, value in zip(line, found, strict=True))
        for line, found in zip(wanted, table.lines, strict=True)
    ):
        return None
    left = Counter(_line(map(text_value, line)) for line in wanted)
    right = Counter(_line(found) for found in table.lines)
    if left == right and table.sort and _sort_keys(wanted, table) == _sort_keys(None, table):
        return None
    if left == right:
        return "the same lines in another order" if table.is_ordered else None
    missing = [line for line in wanted if _line(map(text_value, line)) not in right]
    extra = [found for found in table.lines if _line(found) not in left]
    return f"expected {missing[:1]}, found {extra[:1]}"


def _line(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(normal(value) for value in values)


def _sort_keys(wanted: list[list[str]] | None, table: Table) -> list[list[bytes]]:
    """What documents are sorted by, in their order: equal ones may change places."""
    lines = table.lines if wanted is None else [[text_value(line[-1])] for line in wanted]
    keys = []
    for line in lines:
        document = line[-1] if isinstance(line[-1], Mapping) else {}
        keys.append([_sort_key(document, path.split("."), way) for path, way in table.sort])
    return keys


def _sort_key(document: Any, names: list[str], direction: int) -> bytes:
    found = [order_key(value) for value in values_at(document, names)]
    return (min if direction == 1 else max)(found, default=order_key(None))


def values_at(value: Any, names: list[str]) -> list[Any]:
    """Every value that a path leads to, arrays as their elements; an empty one is no value."""
    if isinstance(value, list) and not (names and names[0].isdigit()):
        return [found for each in value for found in values_at(each, names)]
    if not names:
        return [value]
    if isinstance(value, list):
        return values_at(value[int(names[0])], names[1:]) if int(names[0]) < len(value) else []
    if isinstance(value, Mapping) and names[0] in value:
        return values_at(value[names[0]], names[1:])
    return [None]


def cells(line: str, count: int) -> list[str]:
    """The cells of a line."""
    if count == 1:
        return [line.strip()]
    parts = re.split(r" \| ", line)
    if len(parts) != count:
        raise NotACase("an answer whose columns cannot be told apart")
    return [part.strip() for part in parts]


def text_value(text: str) -> Any:
    """The value that a cell shows."""
    if text == "":
        return None
    found = COMPOSITE.match(text)
    if found:
        document = value_of(found["document"].replace('""', '"'))
        return ("composite", document, found["flag"] == "t") if found["flag"] else document
    if text.startswith(("{", "[")):
        return json_util.loads(text, json_options=OPTIONS)
    if text in ("t", "f"):
        return text == "t"
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return text


def same(text: str, value: Any) -> bool:
    """One cell against one value."""
    if isinstance(value, Unchanged) and text == "":
        return True
    return normal(text_value(text)) == normal(value)


def normal(value: Any) -> Any:
    """Equal for equal values: bytes of BSON, or the loose form of an answer of a command."""
    if isinstance(value, Unchanged):
        return normal(value.document)
    if isinstance(value, tuple) and value and value[0] == "composite":
        return ("command", loose(value[1]), value[2])
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], Mapping):
        return ("command", loose(value[0]), bool(value[1]))
    if isinstance(value, Mapping):
        if is_answer(value):
            return ("command", loose(value))
        return encoded(value)
    return value


def is_answer(value: Mapping[str, Any]) -> bool:
    """True for the answer of a command."""
    return "ok" in value and (
        {"n", "cursor", "values", "raw", "nIndexesWas", "lastErrorObject", "writeErrors"}
        & set(value)
        != set()
    )


def loose(value: Any, name: str = "") -> Any:
    """An answer without what only a server says."""
    if name in READINGS:
        return READINGS[name](value)
    if isinstance(value, Mapping):
        return frozenset(
            (key, loose(inner, key)) for key, inner in value.items() if key not in UNSAID
        )
    if isinstance(value, list):
        return tuple(loose(each) for each in value)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


READINGS: Mapping[str, Callable[[Any], Any]] = {
    "writeErrors": lambda value: tuple(
        each["index"] if isinstance(each, Mapping) else each for each in value
    ),
    "_id": lambda value: "generated" if isinstance(value, ObjectId | UUID) else encoded(value),
    # in no order here and there
    "values": lambda value: tuple(sorted(encoded(each) for each in value)),
    "value": lambda value: encoded(value),  # noqa: PLW0108 - encoded is below
    "firstBatch": lambda value: loose(value) if _is_listing(value) else encoded(value),
}


def _is_listing(value: Any) -> bool:
    return all(isinstance(each, Mapping) and {"key", "name"} <= set(each) for each in value)


def encoded(value: Any) -> bytes:
    """The value as BSON."""
    return bson.encode({"v": _one_nan(value)}, codec_options=CODEC)


def _one_nan(value: Any) -> Any:
    """The value with every NaN of the same bits: the text of one says nothing about its sign."""
    if isinstance(value, float):
        return math.nan if math.isnan(value) else value
    if isinstance(value, dict):
        return {name: _one_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_one_nan(inner) for inner in value]
    return value
