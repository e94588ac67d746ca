"""Collations: how strings compare.

Terms       fold: a string changed so that comparing the code points of two folded strings is
            comparing the strings. Primary: the letter; secondary: its marks; tertiary: its case.
            fold = primary, then \x01 and secondary, then \x01 and tertiary, as far as the strength
            asks for them; what says nothing at the end is left out.
Invariants  Equal folds are equal strings of the collation. White space and punctuation come before
            digits, digits before letters; control characters count for nothing. A fold of ASCII is
            ASCII.
Failure     InvalidArgument for an option or a locale that would need more than this.
Sources     MongoDB manual, "Collation"; Unicode Technical Standard 10. Not ICU: letters that do
            not decompose come in the order of their code points.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from bson.code import Code
from bson.dbref import DBRef

from rango._ext.record import decode_trusted, encode
from rango.engine.values import order_key, shown
from rango.errors import InvalidArgument

LOCALES: Final = ("de", "en", "en_GB", "en_US", "fr", "id", "it", "ms", "nl", "pt", "root")
"""Locales whose order of letters is the root order, so that no table of a language is needed."""

_PUNCTUATION: Final = " _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$"
_FIRST_WEIGHT: Final = 4
_OFF: Final[dict[str, tuple[Any, ...]]] = {
    "caseFirst": ("off",),
    "numericOrdering": (False,),
    "alternate": ("non-ignorable",),
    "maxVariable": ("punct", "space"),
    "backwards": (False,),
    "normalization": (False, True),
}


def _ascii_weights() -> bytes:
    weights = bytearray(128)
    for place, char in enumerate("\t\n\v\f\r" + _PUNCTUATION):
        # below the digits, which begin at 48
        weights[ord(char)] = _FIRST_WEIGHT + place
    for code in (*range(48, 58), *range(97, 123)):
        weights[code] = code
    for code in range(65, 91):
        weights[code] = code + 32
    return bytes(weights)


WEIGHTS: Final = _ascii_weights()
"""The primary of each ASCII character; 0 = it counts for nothing."""


class Collation(NamedTuple):
    """A collation that is not simple.

    `strength` 1: letters only; 2: and their marks; 3: and their case. `case_level` adds the case to
    the first two.
    """

    locale: str = "en"
    strength: int = 3
    case_level: bool = False

    weights: bytes = WEIGHTS

    @property
    def has_case(self) -> bool:
        """Does case count?"""
        return self.strength > 2 or self.case_level

    def fold(self, text: str) -> str:
        """`text` changed so that comparing code points compares by this collation."""
        primary: list[str] = []
        marks: list[str] = []
        cases: list[str] = []
        for char in unicodedata.normalize("NFD", text):
            if unicodedata.combining(char):
                if marks:
                    marks[-1] += char
                continue
            lowered = char.casefold()
            for letter in lowered:
                weight = chr(WEIGHTS[ord(letter)]) if letter < "\x80" else letter
                if weight == "\x00" or (unicodedata.category(letter) == "Cc" and letter >= "\x80"):
                    continue
                primary.append(weight)
                marks.append("\x02")
                cases.append("\x03" if lowered != char else "\x02")
        folded = "".join(primary)
        second = "".join(marks).rstrip("\x02") if self.strength > 1 else ""
        third = "".join(cases).rstrip("\x02") if self.has_case else ""
        if third:
            return f"{folded}\x01{second}\x01{third}"
        return f"{folded}\x01{second}" if second else folded

    def fold_value(self, value: Any) -> Any:
        """A value whose strings are folded, however deep; names of fields are not."""
        if isinstance(value, str) and not isinstance(value, Code):
            return self.fold(value)
        if isinstance(value, DBRef):
            return {name: self.fold_value(part) for name, part in value.as_doc().items()}
        if isinstance(value, Mapping):
            return {name: self.fold_value(part) for name, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.fold_value(part) for part in value]
        return value

    def fold_bson(self, data: bytes) -> bytes:
        """The same of a document as BSON."""
        return encode(self.fold_value(decode_trusted(data)))


def order_keys(collation: Collation | None) -> Callable[[Any], bytes]:
    """A function from values to bytes that are ordered as the values are."""
    if collation is None:
        return order_key
    fold = collation.fold_value
    return lambda value: order_key(fold(value))


def _options_of(collation: object) -> dict[str, Any]:
    # pymongo.collation.Collation keeps its options in `document`
    document = getattr(collation, "document", collation)
    if not isinstance(document, Mapping):
        raise InvalidArgument(
            "collation must be a document such as {'locale': 'en', 'strength': 2}, not "
            f"{shown(collation)}"
        )
    return dict(document)


def collation_of(collation: object) -> Collation | None:
    """A checked collation; None for one that compares bytes: none, or {"locale": "simple"}."""
    if collation is None or isinstance(collation, Collation):
        return collation
    options = _options_of(collation)
    locale = options.pop("locale", None)
    if not isinstance(locale, str):
        raise InvalidArgument(f"collation needs a locale (a string), not {shown(locale)}")
    strength = options.pop("strength", 3)
    case_level = options.pop("caseLevel", False)
    for name, value in options.items():
        if name not in _OFF:
            raise InvalidArgument(f"collation has no option {shown(name)}")
        if value not in _OFF[name]:
            raise InvalidArgument(f"collation: {name} {shown(value)} is not supported")
    if isinstance(strength, bool) or strength not in (1, 2, 3):
        raise InvalidArgument(f"collation: strength {shown(strength)} is not supported: 1, 2 or 3")
    if not isinstance(case_level, bool):
        raise InvalidArgument(
            f"collation: caseLevel must be true or false, not {shown(case_level)}"
        )
    if locale == "simple":
        return None
    if locale not in LOCALES:
        raise InvalidArgument(
            f"collation: locale {shown(locale)} is not supported; known are simple, "
            + ", ".join(LOCALES)
        )
    return Collation(locale, int(strength), case_level)
