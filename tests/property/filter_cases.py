"""Random documents and filters from a seeded generator: thousands in a second, and every operator
that has a twin.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from typing import Any, Final

from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.code import Code

UTC: Final = datetime.UTC
NAMES: Final = ("a", "b", "c", "0", "1", "longer_name")
SCALARS: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, 2, 3, -1, -3, 5, 2**31, 2**53, 2**53 + 1, -(2**63), 2**63 - 1),
    *(Int64(0), Int64(1), Int64(-5), 0.0, -0.0, 0.1, 1.0, 2.5, -2.5, 2.0**53, 2.0**63, 1e300),
    *(float("nan"), float("inf"), float("-inf"), 5e-324, -(2.0**63)),
    *map(Decimal128, ("0", "-0", "1", "1.0", "0.1", "2.5", "-3", "9007199254740993", "1E+300")),
    *map(Decimal128, ("NaN", "Infinity", "-Infinity", "1E-6176", "9223372036854775807", "5E+3")),
    *("", "a", "ab", "abc", "b", "B", "ä", "a\nb", "a\x00b", "$gt", "0"),
    *(b"", b"\x05", b"\xff\x01", Binary(b"a", 5), ObjectId(b"0" * 12), ObjectId(b"1" * 12)),
    datetime.datetime(1960, 1, 1, tzinfo=UTC),
    datetime.datetime(2024, 1, 1, tzinfo=UTC),
    *(Timestamp(1, 2), Timestamp(2, 1), MinKey(), MaxKey(), Regex("a"), Regex("^a", "i")),
    *(Code("a"), Code("b")),
)
COUNT_MANY: Final = 80
PATTERNS: Final = ("a", "^a", "b$", "^ab", "a.b", "", "[ab]+c", "^$", "A", "ä", "a|0", "(a|b){2}")
TYPES: Final[tuple[Any, ...]] = (
    *("number", "string", "array", "object", "null", "int", "long", "double", "decimal", "bool"),
    *("binData", "objectId", "date", "regex", "timestamp", "minKey", "maxKey", "javascript"),
    *(1, 2, 3, 4, 16, 18, -1, 127, 10.0, ["string", 4], ["number", "null"]),
)


def random_value(rng: random.Random, depth: int = 3) -> Any:
    """Any value: mostly small ones, so that many are equal."""
    choice = rng.random()
    if depth and choice < 0.22:
        return [random_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if depth and choice < 0.4:
        return random_document(rng, depth - 1)
    return rng.choice(SCALARS) if choice < 0.75 else rng.randrange(-1, 4)


def random_document(rng: random.Random, depth: int = 3) -> dict[str, Any]:
    """A document with few names."""
    return {rng.choice(NAMES): random_value(rng, depth) for _ in range(rng.randrange(5))}


def random_path(rng: random.Random) -> str:
    """A path of one to three names, of which some are numbers."""
    return ".".join(rng.choice(NAMES) for _ in range(rng.choice((1, 1, 1, 2, 2, 3))))


def random_mask(rng: random.Random) -> Any:
    """An operand of $bitsAllSet."""
    return rng.choice(
        (0, 1, 5, 2.0, Int64(2**63 - 1), b"", b"\x05", b"\x00\x01", [], [0, 2], [1.0], [63], [70])
    )


def random_values(rng: random.Random) -> list[Any]:
    """An operand of $in, in which there may be regular expressions."""
    return [
        Regex(rng.choice(PATTERNS)) if rng.random() < 0.15 else random_value(rng, 2)
        for _ in range(rng.randrange(4))
    ]


def random_regex(rng: random.Random) -> dict[str, Any]:
    """$regex, alone or with $options."""
    found = {"$regex": rng.choice(PATTERNS)}
    return found | {"$options": rng.choice(("i", "s", "m", ""))} if rng.random() < 0.4 else found


def random_element(rng: random.Random, depth: int) -> dict[str, Any]:
    """An operand of $elemMatch: of values, or of documents."""
    if rng.random() < 0.5:
        return random_filter(rng, depth)
    return random_operators(rng, depth)


def random_all(rng: random.Random, depth: int) -> list[Any]:
    """An operand of $all."""
    if rng.random() < 0.3:
        return [{"$elemMatch": random_element(rng, depth)} for _ in range(rng.randrange(1, 3))]
    return many(rng, [value for value in random_values(rng) if not isinstance(value, dict)])


def many(rng: random.Random, values: list[Any]) -> list[Any]:
    """Now and then as many values, equal ones among them, as make another step of a program."""
    return rng.choices(values, k=COUNT_MANY) if values and rng.random() < 0.05 else values


OPERANDS: Final[dict[str, Callable[[random.Random, int], Any]]] = {
    **dict.fromkeys(("$eq", "$ne", "$gt", "$gte", "$lt", "$lte"), lambda rng, _: comparable(rng)),
    **dict.fromkeys(("$in", "$nin"), lambda rng, _: many(rng, random_values(rng))),
    "$exists": lambda rng, _: rng.random() < 0.5,
    "$type": lambda rng, _: rng.choice(TYPES),
    "$mod": lambda rng, _: [rng.choice((1, 2, 3, -2, 2.9, -1)), rng.choice((0, 1, -1, 1.5))],
    "$size": lambda rng, _: rng.choice((0, 1, 2, 3.0)),
    **dict.fromkeys(
        ("$bitsAllSet", "$bitsAnySet", "$bitsAllClear", "$bitsAnyClear"),
        lambda rng, _: random_mask(rng),
    ),
    "$all": lambda rng, depth: random_all(rng, depth - 1),
    "$elemMatch": lambda rng, depth: random_element(rng, depth - 1),
    "$not": lambda rng, depth: random_operators(rng, depth - 1),
}
SHALLOW: Final = tuple(name for name in OPERANDS if name not in ("$all", "$elemMatch", "$not"))


def comparable(rng: random.Random) -> Any:
    """A value that a comparison takes: no regular expression, whose place is $regex."""
    value = random_value(rng, 2)
    return 1 if isinstance(value, Regex) else value


def random_operators(rng: random.Random, depth: int) -> dict[str, Any]:
    """One or two operators of a field."""
    found: dict[str, Any] = {}
    names = tuple(OPERANDS) if depth > 0 else SHALLOW
    for _ in range(rng.choice((1, 1, 2))):
        if rng.random() < 0.1:
            found |= random_regex(rng)
            continue
        name = rng.choice(names)
        found[name] = OPERANDS[name](rng, depth)
    return found


def random_filter(rng: random.Random, depth: int = 2) -> dict[str, Any]:
    """A filter with logical operators."""
    found: dict[str, Any] = {}
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        choice = rng.random()
        value = random_operators(rng, depth) if choice < 0.7 else random_value(rng, 2)
        found[random_path(rng)] = value
    if depth > 0 and rng.random() < 0.35:
        some = [random_filter(rng, depth - 1) for _ in range(rng.randrange(1, 4))]
        if rng.random() < 0.1:
            path = random_path(rng)
            some += [{path: comparable(rng)} for _ in range(3)]
        found[rng.choice(("$and", "$or", "$nor"))] = many(rng, some)
    return found
