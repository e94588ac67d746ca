"""Sizes of values: see sizes.pyx."""

from typing import Any

def size_of(value: object) -> int:
    """About how many bytes a value takes as BSON."""

def sizes_of(values: list[Any]) -> int:
    """The sum of the sizes of a list's values."""
