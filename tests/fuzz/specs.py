"""Random specifications of MongoDB's language: filters, expressions, pipelines, updates,
projections, sorts, schemas, index options. Most are nearly right, many are wrong in a place or two.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Callable
from random import Random
from typing import Any, Final

import bson
from bson.code import Code
from bson.decimal128 import Decimal128

from rango.engine.aggregate.columns import ACCUMULATORS
from rango.engine.aggregate.pipeline import STAGES
from rango.engine.aggregate.window_functions import FUNCTIONS
from rango.engine.expression import OPERATORS

PATHS: Final = (
    *("a", "b", "s", "arr", "d", "_id", "a.b", "arr.0", "arr.x", "d.e", "d.e.0", "arr.$[]"),
    *("arr.$", "arr.$[i]", "arr.$[i].x", "", ".", "a.", ".a", "$a", "a.$b", "a..b", "0", "-1"),
    *("_rev", "_updated_at", "arr.99999", "arr.9999999999999999999", "a\0b", "é", "$$ROOT", "$"),
)
GOOD_PATHS: Final = PATHS[:11]


class Text(str):
    """A string that is not exactly a str, as the members of a StrEnum."""

    __slots__ = ()


ODD_PATHS: Final[tuple[Any, ...]] = (Text("a"), Text("$set"), Text("$gt"), 1, None, b"a", (1, 2))

SCALARS: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2, 7, 100, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63)),
    *(2**63, 2**200, 0.0, -0.0, 1.5, 1e308, 1e-320, float("nan"), float("inf"), -float("inf")),
    *(Decimal128("NaN"), Decimal128("1.50"), Decimal128("9E+6144"), Decimal128("-Infinity")),
    *("", "a", "abc", "$a", "$$ROOT", "$$x", "$arr.x", "é\U0001f600", "a\0b", "\ud800", "(a+)+$"),
    *("(", "2024-02-30", "2024-02-29T12:00:00Z", "UTC", "Europe/Berlin", "%Y-%m-%d", "day", "int"),
    *(b"", b"\0\xff", bson.Binary(b"x", 128), uuid.UUID(int=5), bson.ObjectId(b"0" * 12)),
    *(datetime.datetime(1969, 12, 31, 23, 59, 59, 999999), datetime.datetime.min),
    *(datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC), bson.Timestamp(1, 2)),
    *(bson.Regex("a*", "ix"), bson.Regex("(?=a)"), re.compile("b+", re.IGNORECASE), bson.MinKey()),
    *(bson.MaxKey(), Code("x"), bson.DBRef("c", 1), bson.Int64(5), object(), {1, 2}, (1, 2), 1j),
)
FILTERS: Final = (
    *[
        "$eq",
        "$ne",
        "$gt",
        "$gte",
        "$lt",
        "$lte",
        "$in",
        "$nin",
        "$exists",
        "$type",
        "$mod",
        "$regex",
        "$options",
        "$all",
    ],
    *[
        "$elemMatch",
        "$size",
        "$bitsAllSet",
        "$bitsAnySet",
        "$bitsAllClear",
        "$bitsAnyClear",
        "$not",
    ],
)
UPDATES: Final = (
    *[
        "$set",
        "$unset",
        "$inc",
        "$mul",
        "$min",
        "$max",
        "$rename",
        "$currentDate",
        "$setOnInsert",
        "$push",
        "$addToSet",
    ],
    *["$pop", "$pull", "$pullAll", "$bit", "$foo"],
)
OPTIONS: Final = (
    *[
        "input",
        "as",
        "in",
        "cond",
        "initialValue",
        "vars",
        "branches",
        "default",
        "case",
        "then",
        "if",
        "else",
        "onError",
        "onNull",
    ],
    *[
        "to",
        "date",
        "unit",
        "timezone",
        "format",
        "dateString",
        "startDate",
        "endDate",
        "amount",
        "binSize",
        "year",
        "month",
    ],
    *[
        "day",
        "hour",
        "regex",
        "options",
        "find",
        "replacement",
        "chars",
        "n",
        "sortBy",
        "output",
        "field",
        "value",
    ],
    *[
        "inputs",
        "defaults",
        "useLongestLength",
        "from",
        "coll",
        "pipeline",
        "localField",
        "foreignField",
        "let",
    ],
    *["into", "on", "whenMatched", "whenNotMatched", "path", "includeArrayIndex"],
    *[
        "preserveNullAndEmptyArrays",
        "groupBy",
        "boundaries",
        "buckets",
        "granularity",
        "size",
        "newRoot",
    ],
    *[
        "startWith",
        "connectFromField",
        "connectToField",
        "maxDepth",
        "depthField",
        "partitionBy",
        "range",
    ],
    *[
        "partitionByFields",
        "window",
        "documents",
        "startOfWeek",
        "isoWeek",
        "limit",
        "p",
        "method",
        "_id",
        "k",
        "v",
    ],
)
SCHEMA: Final = (
    *("type", "bsonType", "properties", "required", "items", "minItems", "maxItems"),
    *("uniqueItems", "minimum", "exclusiveMinimum", "maximum", "multipleOf", "minLength"),
    *("maxLength", "pattern", "enum", "allOf", "anyOf", "oneOf", "not", "additionalProperties"),
    *("patternProperties", "dependencies", "additionalItems", "minProperties"),
    *("maxProperties", "title", "description", "$ref"),
)


class Specs:
    """What one source of chance gives."""

    def __init__(self, random: Random) -> None:
        self.random = random
        choice = random.choice
        self.operators = sorted(OPERATORS)
        self.accumulators = sorted({*ACCUMULATORS, *FUNCTIONS})
        self.stages = sorted(STAGES)
        self.choice: Callable[..., Any] = choice

    def chance(self, share: float) -> bool:
        """True in this share of the cases."""
        return self.random.random() < share

    def path(self) -> Any:
        """A path, good or bad."""
        if self.chance(0.02):
            return self.choice(ODD_PATHS)
        return self.choice(GOOD_PATHS if self.chance(0.8) else PATHS)

    def number(self) -> int:
        """A small number."""
        return self.random.randrange(-3, 12)

    def value(self, depth: int = 2) -> Any:
        """Any value at all."""
        roll = self.random.random()
        if depth <= 0 or roll < 0.35:
            return self.choice(SCALARS) if self.chance(0.5) else self.number()
        if roll < 0.5:
            return f"${self.path()}"
        if roll < 0.75:
            return [self.value(depth - 1) for _ in range(self.random.randrange(4))]
        return {self.path(): self.value(depth - 1) for _ in range(self.random.randrange(3))}

    def document(self) -> Any:
        """A document that can mostly be stored."""
        plain = (1, 2, 2.5, "abc", None, True, [1, 2, 3], [{"x": 1}, {"x": [2]}], {"e": [1, "a"]})
        found: dict[Any, Any] = {
            str(self.choice(("a", "b", "s", "arr", "d", "x"))): self.choice(plain)
            for _ in range(self.random.randrange(1, 5))
        }
        if self.chance(0.2):
            found[self.path()] = self.value()
        return found if self.chance(0.97) else self.value()

    def filter(self, depth: int = 3) -> Any:
        """A filter."""
        if self.chance(0.03):
            return self.value()
        found: dict[Any, Any] = {}
        for _ in range(self.random.randrange(1, 3)):
            roll = self.random.random()
            if depth > 0 and roll < 0.15:
                name = self.choice(("$and", "$or", "$nor"))
                found[name] = [self.filter(depth - 1) for _ in range(self.random.randrange(3))]
            elif roll < 0.22:
                found["$expr"] = self.expression(2)
            elif roll < 0.28:
                found["$jsonSchema"] = self.schema(2)
            elif roll < 0.45:
                found[self.path()] = self.value()
            else:
                found[self.path()] = self.condition(depth)
        return found

    def condition(self, depth: int) -> dict[str, Any]:
        """What a path must fulfil."""
        found: dict[str, Any] = {}
        for _ in range(self.random.randrange(1, 3)):
            name = self.choice(FILTERS)
            if name in ("$in", "$nin", "$all") and self.chance(0.9):
                found[name] = [self.value(1) for _ in range(self.random.randrange(5))]
            elif name in ("$elemMatch", "$not") and depth > 0 and self.chance(0.9):
                inner = self.filter if name == "$elemMatch" and self.chance(0.5) else self.condition
                found[name] = inner(depth - 1)
            elif name == "$mod" and self.chance(0.8):
                found[name] = [self.value(0), self.value(0)]
            else:
                found[name] = self.value(1)
        return found

    def expression(self, depth: int = 3, name: str = "") -> Any:
        """An aggregation expression; of the operator `name` if it is given."""
        if not name and (depth <= 0 or self.chance(0.3)):
            return self.value(1)
        operator = name or self.choice(self.operators)
        roll = self.random.random()
        operand: Any
        if roll < 0.25:
            operand = self.expression(depth - 1)
        elif roll < 0.7:
            size = self.choice((1, 2, 2, 2, 3, 4))
            operand = [self.expression(depth - 1) for _ in range(size)]
        else:
            size = self.random.randrange(1, 5)
            operand = {self.choice(OPTIONS): self.expression(depth - 1) for _ in range(size)}
            if "vars" in operand:
                operand["vars"] = {"x": self.value(1)}
        return {operator: operand}

    def schema(self, depth: int = 3) -> Any:
        """A JSON schema."""
        found: dict[str, Any] = {}
        for _ in range(self.random.randrange(1, 4)):
            word = self.choice(SCHEMA)
            if depth > 0 and word in ("properties", "patternProperties", "dependencies"):
                found[word] = {self.path(): self.schema(depth - 1)}
            elif depth > 0 and word in ("allOf", "anyOf", "oneOf"):
                found[word] = [self.schema(depth - 1)]
            elif depth > 0 and word in ("items", "not", "additionalProperties"):
                found[word] = self.schema(depth - 1)
            else:
                found[word] = self.value(1)
        return found

    def accumulator(self, name: str = "") -> dict[str, Any]:
        """An accumulator or a window function."""
        operator = name or self.choice(self.accumulators)
        made = self.expression(2, operator)
        if self.chance(0.3):
            made = {
                operator: {
                    "input": "$a", "n": self.value(0), "sortBy": self.sort(), "output": "$b",
                    "p": [0.5], "method": "approximate",
                }
            }  # fmt: skip
        return dict(made)

    def sort(self) -> Any:
        """A sort as a document or as pairs."""
        pairs = [(self.path(), self.choice((1, -1))) for _ in range(self.random.randrange(1, 3))]
        if self.chance(0.2):
            pairs[0] = (pairs[0][0], self.value(1))
        return dict(pairs) if self.chance(0.7) else pairs

    def stage(self, depth: int = 2, name: str = "") -> Any:
        """A stage of a pipeline."""
        name = name or self.choice(self.stages)
        return {name: self.stage_operand(name, depth)}

    def stage_operand(self, name: str, depth: int) -> Any:
        """The operand of a stage: sensible, or not at all."""
        if self.chance(0.1):
            return self.value()
        inner = [] if depth <= 0 else self.pipeline(depth - 1)
        made: dict[str, Callable[[], Any]] = {
            "$match": self.filter,
            "$sort": self.sort,
            "$limit": lambda: self.value(0),
            "$skip": lambda: self.value(0),
            "$group": lambda: {"_id": self.expression(2), "x": self.accumulator()},
            "$bucket": lambda: {
                "groupBy": self.expression(1), "boundaries": [0, 2, self.value(0)],
                "default": self.value(0), "output": {"x": self.accumulator()},
            },
            "$bucketAuto": lambda: {"groupBy": "$a", "buckets": self.value(0)},
            "$lookup": lambda: {
                "from": self.choice(("plain", "indexed", "absent", "")), "as": self.path(),
                "localField": self.path(), "foreignField": self.path(),
                **self.choice(({}, {"pipeline": inner, "let": {"x": self.expression(1)}})),
            },
            "$graphLookup": lambda: {
                "from": "plain", "startWith": self.expression(1), "connectFromField": self.path(),
                "connectToField": self.path(), "as": self.path(), "maxDepth": self.value(0),
            },
            "$facet": lambda: {"x": inner, self.path(): inner},
            "$unionWith": lambda: {"coll": "indexed", "pipeline": inner},
            "$unwind": lambda: self.choice(("$arr", f"${self.path()}", self.value())),
            "$out": lambda: self.choice(("out", self.value())),
            "$merge": lambda: {
                "into": "out", "on": self.path(), "whenMatched": self.choice((
                    "replace", "merge", "keepExisting", "fail", [self.stage(0)], self.value())),
            },
            "$setWindowFields": lambda: {
                "partitionBy": self.expression(1), "sortBy": {self.path(): 1},
                "output": {self.path(): {
                    **self.accumulator(),
                    "window": {self.choice(("documents", "range")): [
                        self.choice(("unbounded", "current", self.value(0))), self.value(0)]},
                }},
            },
            "$fill": lambda: {"sortBy": {"a": 1}, "output": {self.path(): {
                self.choice(("value", "method")): self.choice(("linear", "locf", self.value(0)))}}},
            "$densify": lambda: {"field": self.path(), "range": {
                "step": self.choice((1, 5, self.value(0))), "bounds": self.choice((
                    "full", "partition", [0, 9], [self.value(0), self.value(0)]))}},
            "$sample": lambda: {"size": self.value(0)},
            "$documents": lambda: [self.document()],
            "$redact": lambda: self.choice(("$$PRUNE", "$$KEEP", "$$DESCEND", self.expression(2))),
            "$replaceRoot": lambda: {"newRoot": self.expression(2)},
            "$unset": lambda: self.choice((self.path(), [self.path(), self.path()])),
        }  # fmt: skip
        if name in made:
            return made[name]()
        if name in ("$project", "$set", "$addFields"):
            return self.projection()
        return self.expression(2)

    def pipeline(self, depth: int = 2) -> Any:
        """A pipeline."""
        return [self.stage(depth) for _ in range(self.random.randrange(1, 4))]

    def projection(self) -> Any:
        """A projection."""
        found: dict[Any, Any] = {}
        for _ in range(self.random.randrange(1, 3)):
            found[self.path()] = self.choice(
                (
                    1, 0, True, {"$slice": self.value(1)}, {"$elemMatch": self.filter(1)},
                    self.expression(2), self.value(1), {"x": 1},
                )
            )  # fmt: skip
        return found if self.chance(0.95) else self.value()

    def update(self, name: str = "") -> Any:
        """An update: operators, or a pipeline."""
        if not name and self.chance(0.25):
            stages = ("$set", "$addFields", "$unset", "$replaceWith", "$replaceRoot", "$project")
            names = [str(self.choice(stages)) for _ in range(self.random.randrange(1, 3))]
            return [self.stage(1, stage) for stage in names]
        found: dict[str, Any] = {}
        for _ in range(self.random.randrange(1, 3)):
            operator = name or self.choice(UPDATES)
            found[operator] = {self.path(): self.update_operand(operator)}
        return found if self.chance(0.97) else self.value()

    def update_operand(self, operator: str) -> Any:
        """What an operator of an update is given."""
        if operator in ("$push", "$addToSet") and self.chance(0.6):
            found: dict[str, Any] = {"$each": self.value(2)}
            for word in ("$position", "$slice", "$sort"):
                if self.chance(0.3):
                    found[word] = self.sort() if word == "$sort" else self.value(0)
            return found
        if operator == "$pull" and self.chance(0.6):
            return self.choice((self.filter, lambda: self.condition(2)))()
        if operator == "$bit" and self.chance(0.7):
            return {self.choice(("and", "or", "xor", "not")): self.value(0)}
        if operator == "$rename":
            return self.path()
        return self.value()
