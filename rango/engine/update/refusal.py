"""Refusals of updates: InvalidUpdate with the number that MongoDB gives to the same mistake."""

from __future__ import annotations

from typing import Final

from rango.errors import InvalidUpdate

BAD_VALUE: Final = 2
FAILED_TO_PARSE: Final = 9
TYPE_MISMATCH: Final = 14
PATH_NOT_VIABLE: Final = 28
CONFLICTING_OPERATORS: Final = 40
DOLLAR_PREFIXED_NAME: Final = 52
INVALID_ID: Final = 53
NOT_SINGLE_VALUE: Final = 54
EMPTY_NAME: Final = 56
IMMUTABLE_FIELD: Final = 66
INVALID_OPTIONS: Final = 72
PADDING_TOO_LONG: Final = 15891


def refusal(code: int, message: str) -> InvalidUpdate:
    """The error to raise, with MongoDB's code."""
    return InvalidUpdate(message, code=code)
