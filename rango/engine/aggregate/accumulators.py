"""Accumulators: what $group, $bucket and $bucketAuto compute over the documents of a group.

Terms       group number: groups are counted from 0 in the order in which they are first met; an
            accumulator keeps a column with one state for each. Input: the value of the
            accumulator's expression for one document, MISSING where it has none.
Invariants  `add(numbers, inputs)` adds inputs[i] to group numbers[i], in that order, after
            `grow(count)` has made room for all groups. What a group's own 64 bytes do not hold is
            charged to the account: a value that takes the place of another, the difference.
            Numbers: a sum of int32 and int64 is exact and stays whole while it fits; doubles are
            summed with compensation; one decimal makes the sum a decimal.
Failure     LimitExceeded; ExpressionFailed where an accumulator refuses a value.
Sources     MongoDB manual, "Accumulators ($group)".
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from bson.decimal128 import Decimal128
from bson.int64 import Int64

from rango.engine.aggregate.keys import group_key
from rango.engine.aggregate.memory import KEPT_SIZE_BYTES, Account, size_of
from rango.engine.numbers import Total, divide
from rango.engine.values import (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    MISSING,
    is_number,
    order_key,
    shown,
    type_name,
)
from rango.errors import ExpressionFailed

Key = Callable[[Any], Any]


class Accumulator:
    """The column of one accumulator. `fresh` gives the state of a new group."""

    name: ClassVar[str] = ""
    __slots__ = ("account", "states")

    def __init__(self, account: Account) -> None:
        self.account = account
        self.states: list[Any] = []

    def fresh(self) -> Any:
        """The state of a group without documents."""
        return None

    def grow(self, count: int) -> None:
        """Make room for so many groups."""
        states = self.states
        while len(states) < count:
            states.append(self.fresh())

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        """Add each input to its group."""
        raise AssertionError(f"{self.name} does not say how it adds")

    def result(self, number: int) -> Any:
        """The value of a group; MISSING is written as null."""
        return self.states[number]


def total_of(states: list[Any], number: int) -> Total:
    """The state of a group that a plain int no longer holds."""
    state: Any = states[number]
    if type(state) is int:
        total = Total()
        total.whole = state
        states[number] = state = total
    found: Total = state
    return found


def add_doubles(states: list[Any], doubles: dict[int, list[float]]) -> None:
    """Add what was gathered for each group."""
    for number, values in doubles.items():
        total_of(states, number).add_doubles(values)


class Sum(Accumulator):
    """$sum. A state is a plain int until something else comes along."""

    name = "$sum"
    __slots__ = ()

    def fresh(self) -> Any:
        return 0

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        states = self.states
        doubles: dict[int, list[float]] = defaultdict(list)
        for number, value in zip(numbers, inputs, strict=True):
            if type(value) is float:
                doubles[number].append(value)
            elif (
                type(value) is int
                and type(states[number]) is int
                and INT32_MIN <= value <= INT32_MAX
            ):
                states[number] += value
            elif is_number(value):
                total_of(states, number).add(value)
        add_doubles(states, doubles)

    def result(self, number: int) -> Any:
        state = self.states[number]
        if type(state) is not int:
            return state.result()
        if INT32_MIN <= state <= INT32_MAX:
            return state
        return Int64(state) if INT64_MIN <= state <= INT64_MAX else float(state)


class Constant(Sum):
    """$sum of an int32 that is the same for every document; {$sum: 1} counts."""

    __slots__ = ("step",)

    def __init__(self, account: Account, step: int) -> None:
        super().__init__(account)
        self.step = step

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        states, step = self.states, self.step
        for number in numbers:
            states[number] += step


class Average(Accumulator):
    """$avg: the sum of the numbers by how many they are; null without any."""

    name = "$avg"
    __slots__ = ("counts",)

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.counts: list[int] = []

    def grow(self, count: int) -> None:
        self.counts += [0] * (count - len(self.counts))
        super().grow(count)

    def fresh(self) -> Any:
        return 0

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        states, counts = self.states, self.counts
        doubles: dict[int, list[float]] = defaultdict(list)
        for number, value in zip(numbers, inputs, strict=True):
            if type(value) is float:
                doubles[number].append(value)
            elif type(value) is int and type(states[number]) is int:
                states[number] += value
            elif is_number(value):
                total_of(states, number).add(value)
            else:
                continue
            counts[number] += 1
        add_doubles(states, doubles)

    def result(self, number: int) -> Any:
        count, state = self.counts[number], self.states[number]
        if not count:
            return None
        if type(state) is int:
            return state / count
        total = state.result()
        return divide(total, count) if isinstance(total, Decimal128) else state.as_double() / count


class Extreme(Accumulator):
    """$min and $max, null and missing aside."""

    __slots__ = ("key", "keys", "sign")
    direction: ClassVar[int] = 1

    def __init__(self, account: Account, key: Key = order_key) -> None:
        super().__init__(account)
        self.key = key
        self.keys: list[Any] = []

    def grow(self, count: int) -> None:
        self.keys += [None] * (count - len(self.keys))
        super().grow(count)

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        states, keys, key_of = self.states, self.keys, self.key
        is_min = self.direction < 0
        size = 0
        for number, value in zip(numbers, inputs, strict=True):
            if value is None or value is MISSING:
                continue
            held = states[number]
            if type(value) is int and type(held) is int:
                if value < held if is_min else value > held:
                    states[number] = value
                    keys[number] = None
                continue
            if held is None:
                states[number] = value
                size += held_size(value)
                continue
            old = keys[number]
            if old is None:
                old = keys[number] = key_of(held)
            new = key_of(value)
            if new < old if is_min else new > old:
                size += held_size(value) - held_size(held)
                states[number] = value
                keys[number] = new
        self.account.charge(size)


class Min(Extreme):
    """$min"""

    name = "$min"
    direction = -1
    __slots__ = ()


class Max(Extreme):
    """$max"""

    name = "$max"
    __slots__ = ()


class First(Accumulator):
    """$first: the value of the first document."""

    name = "$first"
    __slots__ = ("count",)

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.count = 0

    def grow(self, count: int) -> None:
        self.states += [_UNSET] * (count - len(self.states))

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        states = self.states
        for number, value in zip(numbers, inputs, strict=True):
            if states[number] is _UNSET:
                states[number] = value
                if type(value) not in _SMALL:
                    self.account.charge(size_of(value))

    def result(self, number: int) -> Any:
        state = self.states[number]
        return MISSING if state is _UNSET else state


class Last(Accumulator):
    """$last: the value of the last document."""

    name = "$last"
    __slots__ = ()

    def fresh(self) -> Any:
        return MISSING

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        states = self.states
        size = 0
        for number, value in zip(numbers, inputs, strict=True):
            old = states[number]
            if type(value) not in _SMALL or type(old) not in _SMALL:
                size += held_size(value) - held_size(old)
            states[number] = value
        self.account.charge(size)


class _Unset:
    __slots__ = ()


_UNSET = _Unset()
_SMALL = frozenset((int, float, bool, type(None), Int64, type(MISSING)))


def held_size(value: Any) -> int:
    """What a value takes beyond the room that a group has for it."""
    return 0 if type(value) in _SMALL else size_of(value)


class Push(Accumulator):
    """$push: the values in the order in which they come, missing ones aside."""

    name = "$push"
    __slots__ = ()

    def fresh(self) -> Any:
        return []

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        states = self.states
        size = 0
        for number, value in zip(numbers, inputs, strict=True):
            if value is not MISSING:
                states[number].append(value)
                size += 16 if type(value) in _SMALL else size_of(value)
        self.account.charge(size)


class AddToSet(Accumulator):
    """$addToSet: the different values, in the order in which they are first met."""

    name = "$addToSet"
    __slots__ = ("key",)

    def __init__(self, account: Account, key: Key = group_key) -> None:
        super().__init__(account)
        self.key = key

    def fresh(self) -> Any:
        return {}

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        states, key_of = self.states, self.key
        size = 0
        for number, value in zip(numbers, inputs, strict=True):
            if value is MISSING:
                continue
            key = key_of(value)
            state = states[number]
            if key not in state:
                state[key] = value
                size += size_of(value) + KEPT_SIZE_BYTES
        self.account.charge(size)

    def result(self, number: int) -> Any:
        return list(self.states[number].values())


class MergeObjects(Accumulator):
    """$mergeObjects: the fields of all documents, later ones win."""

    name = "$mergeObjects"
    __slots__ = ()

    def fresh(self) -> Any:
        return {}

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        states = self.states
        size = 0
        for number, value in zip(numbers, inputs, strict=True):
            if value is None or value is MISSING:
                continue
            if not isinstance(value, dict):
                raise ExpressionFailed(
                    f"$mergeObjects takes documents, not {shown(value)} ({type_name(value)})",
                    code=40400,
                )
            state = states[number]
            size += size_of(value) - sum(
                len(field) + 2 + size_of(state[field]) for field in value if field in state
            )
            state.update(value)
        self.account.charge(size)


class Deviation(Accumulator):
    """$stdDevPop and $stdDevSamp, by Welford's method."""

    __slots__ = ()
    least: ClassVar[int] = 1

    def fresh(self) -> Any:
        return [0, 0.0, 0.0]

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        states = self.states
        for number, value in zip(numbers, inputs, strict=True):
            if not is_number(value):
                continue
            double = float(value.to_decimal()) if isinstance(value, Decimal128) else float(value)
            state = states[number]
            state[0] += 1
            delta = double - state[1]
            if math.isinf(double):
                state[1] = state[2] = math.nan
                continue
            state[1] += delta / state[0]
            state[2] += delta * (double - state[1])

    def result(self, number: int) -> Any:
        count, _, squares = self.states[number]
        if count < self.least:
            return None
        return math.sqrt(squares / (count - self.least + 1))


class DeviationPop(Deviation):
    """$stdDevPop"""

    name = "$stdDevPop"
    __slots__ = ()


class DeviationSamp(Deviation):
    """$stdDevSamp"""

    name = "$stdDevSamp"
    least = 2
    __slots__ = ()
