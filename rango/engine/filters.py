"""Programs of filters: compiled once, kept while they are recent.

Terms       program: see rango/_ext/filter.pyx. Key: the BSON of a filter, which holds everything
            that the program depends on.
Invariants  A kept program is compiled from its own copy of the filter (what the key decodes to), so
            that no later change of the caller's dictionaries reaches it. A program is immutable,
            so any number of threads may share one.
Failure     A filter that cannot be encoded is compiled as it is, and the compiler says what is
            wrong with it.
Sources     rango/_ext/filter.pyx; ADR-0014.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from rango._ext.filter import Program, compile_filter
from rango._ext.record import decode_trusted, encode
from rango.engine.following import following
from rango.engine.values import now, truth
from rango.errors import InvalidDocument, LimitExceeded
from rango.limits import NESTING_DEPTH_MAX

if TYPE_CHECKING:
    from rango.engine.collation import Collation
    from rango.engine.regex import Kind, Test

PROGRAMS_KEPT_MAX: Final = 256
"""Recent programs that are kept: some 200 KiB with ordinary filters."""

KEY_SIZE_BYTES_MAX: Final = 4096
"""A filter that is longer as BSON is compiled each time: it is seldom asked twice."""

DocumentTest = Callable[[dict[str, Any]], bool]


class Hooks:
    """What the compiler of programs needs of the engine; see rango/_ext/assemble.pyx.

    Each is loaded by the first filter that uses it: most programs never ask for one.
    """

    __slots__ = ("fold", "let")

    def __init__(self, fold: Collation | None, let: Mapping[str, Any] | None) -> None:
        self.fold = fold
        self.let = let

    def regex(self, path: str, pattern: str, options: str) -> tuple[Kind, bytes, Test | None]:
        """How to test a string."""
        from rango.engine.regex import compile_regex

        return compile_regex(path, pattern, options)

    def expression(self, spec: Any) -> DocumentTest:
        """The test of $expr."""
        from rango.engine.expression import compile_expression
        from rango.engine.expression.places import provided

        let = dict(self.let or {})
        evaluate = compile_expression(spec, frozenset(let), collation=self.fold).evaluate
        variables = {"NOW": now(), **let}
        if let:
            # which no other filter shares, so what is known of their values lives no longer
            variables = provided(variables)
        return lambda document: truth(evaluate(document, variables))

    def schema(self, spec: Mapping[str, Any]) -> DocumentTest:
        """The test of $jsonSchema."""
        from rango.engine.json_schema import compile_schema

        return compile_schema(spec)


def collation_given(collation: object) -> Collation | None:
    """collation_of, imported where there is one."""
    if collation is None:
        return None
    from rango.engine.collation import collation_of

    return collation_of(collation)


def program_of(
    filter: Mapping[str, Any],
    *,
    let: Mapping[str, Any] | None = None,
    collation: object = None,
) -> Program:
    """The program of a filter.

    `let`         variables that $expr may use, with their values
    `collation`   how strings compare

    Raises InvalidFilter, which names the operator and the operand, LimitExceeded, or
    InvalidArgument for the collation.
    """
    found = collation_given(collation)
    if let or _is_by_id(filter):
        return _compiled(filter, let, found)
    try:
        key = encode(filter)
    except (InvalidDocument, LimitExceeded, TypeError, AttributeError):
        return _compiled(filter, let, found)
    if len(key) > KEY_SIZE_BYTES_MAX or b"$$NOW" in key:
        # an expression sees the time of its compilation
        return _compiled(filter, let, found)
    return _kept(key, found)


def _is_by_id(filter: object) -> bool:
    # each `_id` is asked for once: keeping such programs would drive the others out
    return isinstance(filter, dict) and len(filter) == 1 and "_id" in filter


def _compiled(
    filter: Mapping[str, Any], let: Mapping[str, Any] | None, collation: Collation | None
) -> Program:
    try:
        program = compile_filter(filter, Hooks(collation, let), collation)
    except RecursionError:
        # while an operand that is wrong is put into words
        raise LimitExceeded(
            "NESTING_DEPTH_MAX",
            NESTING_DEPTH_MAX + 1,
            f"a filter holds a value that is nested deeper than {NESTING_DEPTH_MAX}; flatten it",
        ) from None
    if "$expr" in filter or "$and" in filter:
        known = following(filter, let or {}, collation)
        if known:
            joined = {"$and": [*known, filter]}
            return compile_filter(joined, Hooks(collation, let), collation)
    return program


@lru_cache(maxsize=PROGRAMS_KEPT_MAX)
def _kept(key: bytes, collation: Collation | None) -> Program:
    program = _compiled(decode_trusted(key), None, collation)
    program.is_kept = True
    return program
