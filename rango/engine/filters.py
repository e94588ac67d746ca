"""Programs of filters: compiled once, kept while they are recent.

Terms       program: see rango/_ext/filter.pyx. Key: the BSON of a filter, which holds everything
            that the program depends on.
Invariants  A kept program is compiled from its own copy of the filter (what the key decodes to), so
            that no later change of the caller's dictionaries reaches it. A program is immutable,
            so any number of threads may share one.
Failure     A filter that cannot be encoded is compiled as it is, and the compiler says what is
            wrong with it.
Sources     rango/_ext/filter.pyx; ADR-0011.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from rango._ext.filter import Program, compile_filter
from rango._ext.record import decode_trusted, encode
from rango.errors import InvalidDocument, InvalidFilter, LimitExceeded

PROGRAMS_KEPT_MAX: Final = 256
"""Recent programs that are kept. With keys and programs of at most some 100 KiB each this is 25 MiB
in the worst case, and some 200 KiB with ordinary filters."""

KEY_SIZE_BYTES_MAX: Final = 4096
"""A filter that is longer as BSON is compiled each time: it is seldom asked twice."""


def program_of(
    filter: Mapping[str, Any],
    *,
    let: Mapping[str, Any] | None = None,
    collation: Any = None,
) -> Program:
    """The program of a filter.

    `let`         variables that $expr may use
    `collation`   how strings compare

    Raises InvalidFilter, which names the operator and the operand, or LimitExceeded.
    """
    if collation is not None:
        raise InvalidFilter("collation comes later")
    if let or _is_by_id(filter):
        return compile_filter(filter)
    try:
        key = encode(filter)
    except (InvalidDocument, LimitExceeded, TypeError, AttributeError):
        return compile_filter(filter)
    if len(key) > KEY_SIZE_BYTES_MAX:
        return compile_filter(filter)
    return _kept(key)


def _is_by_id(filter: object) -> bool:
    # each `_id` is asked for once: keeping such programs would drive the others out
    return isinstance(filter, dict) and len(filter) == 1 and "_id" in filter


@lru_cache(maxsize=PROGRAMS_KEPT_MAX)
def _kept(key: bytes) -> Program:
    return compile_filter(decode_trusted(key))
