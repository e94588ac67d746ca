"""Array filters: the conditions that `$[name]` stands for in the paths of an update.

Terms       identifier: the name that every condition of a filter starts with.
Failure     InvalidUpdate names the identifier, with MongoDB's code; InvalidFilter as in find().
Sources     MongoDB manual, "$[<identifier>]".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from rango._ext.record import encode
from rango.engine.filters import program_of
from rango.engine.update.paths import is_array_filter
from rango.engine.update.refusal import BAD_VALUE, FAILED_TO_PARSE, TYPE_MISMATCH, refusal
from rango.engine.values import shown

ArrayFilters = Mapping[str, Callable[[Any], bool]]

_IDENTIFIER: Final = re.compile(r"[a-z][a-zA-Z0-9]*")


def array_filters_of(filters: object, *, collation: Any = None) -> ArrayFilters:
    """Tests of elements by identifier. Raises InvalidUpdate, InvalidFilter."""
    if filters is None:
        return {}
    if isinstance(filters, str | bytes | Mapping) or not isinstance(filters, Sequence):
        raise refusal(TYPE_MISMATCH, f"array_filters is a list of filters, not {shown(filters)}")
    found: dict[str, Callable[[Any], bool]] = {}
    for filter in filters:
        name = identifier(filter)
        if name in found:
            raise refusal(
                FAILED_TO_PARSE,
                f"array_filters has two filters for {name!r}; combine them with $and",
            )
        found[name] = _test(name, program_of(filter, collation=collation))
    return found


def _test(name: str, program: Any) -> Callable[[Any], bool]:
    return lambda element: program.matches_bson(encode({name: element}))


def identifier(filter: object) -> str:
    """The identifier of one array filter."""
    if not isinstance(filter, Mapping):
        raise refusal(TYPE_MISMATCH, f"an array filter is a mapping, not {shown(filter)}")
    encode(filter)  # refuses what is nested too deep to be walked
    names = list(dict.fromkeys(_names(filter)))
    if not names:
        raise refusal(
            FAILED_TO_PARSE, f"an array filter needs an identifier before its condition: {filter!r}"
        )
    if len(names) > 1:
        raise refusal(
            FAILED_TO_PARSE,
            f"an array filter has one identifier, not both {names[0]!r} and {names[1]!r}",
        )
    if not _IDENTIFIER.fullmatch(names[0]):
        raise refusal(
            BAD_VALUE,
            "an identifier is letters and digits, beginning with a lowercase letter, "
            f"not {shown(names[0])}",
        )
    return names[0]


def _names(filter: Mapping[str, Any]) -> Iterator[str]:
    for name, value in filter.items():
        if not isinstance(name, str):
            raise refusal(TYPE_MISMATCH, f"an array filter names fields by strings, not {name!r}")
        if name in ("$and", "$or", "$nor") and isinstance(value, list | tuple):
            for each in value:
                if isinstance(each, Mapping):
                    yield from _names(each)
        elif name != "$comment":
            yield name.split(".", 1)[0]


def check_used(filters: ArrayFilters, parts: Sequence[str], used: set[str], path: str) -> None:
    """Note which identifiers a path uses. InvalidUpdate if there is no filter for one."""
    for part in parts:
        if is_array_filter(part) and part != "$[]":
            name = part[2:-1]
            if name not in filters:
                raise refusal(
                    BAD_VALUE, f"no array filter for the identifier {name!r} in the path {path!r}"
                )
            used.add(name)


def check_unused(filters: ArrayFilters, used: set[str]) -> None:
    """InvalidUpdate if an array filter is for nothing."""
    for name in filters:
        if name not in used:
            raise refusal(
                FAILED_TO_PARSE, f"the array filter for {name!r} is not used in the update"
            )
