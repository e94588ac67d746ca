"""Accumulators that keep the first, last, least, greatest or best n values, and percentiles.

Invariants  As in accumulators.py. n is the same for every group; it is found when the first
            document comes. A state never holds more than n values, percentiles aside.
Failure     InvalidPipeline for a bad specification, ExpressionFailed for a bad n.
Sources     MongoDB manual, "$firstN", "$topN", "$percentile": ranks are those of the discrete
            percentile, which needs no interpolation.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Any

from bson.decimal128 import Decimal128

from rango.engine.aggregate.accumulators import Accumulator, Key
from rango.engine.aggregate.memory import Account, size_of
from rango.engine.values import MISSING, is_number


def or_null(value: Any) -> Any:
    """Missing values are null in the arrays of these accumulators."""
    return None if value is MISSING else value


class FirstN(Accumulator):
    """$firstN: the first n values."""

    name = "$firstN"
    __slots__ = ("n",)

    def __init__(self, account: Account, n: int) -> None:
        super().__init__(account)
        self.n = n

    def fresh(self) -> Any:
        return []

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        states, n = self.states, self.n
        for number, value in zip(numbers, inputs, strict=True):
            state = states[number]
            if len(state) < n:
                state.append(or_null(value))
                self.account.charge(size_of(value))


class LastN(FirstN):
    """$lastN: the last n values."""

    name = "$lastN"
    __slots__ = ()

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        states, n = self.states, self.n
        for number, value in zip(numbers, inputs, strict=True):
            state = states[number]
            if len(state) == n:
                self.account.charge(-size_of(state.pop(0)))
            state.append(or_null(value))
            self.account.charge(size_of(state[-1]))


class ExtremeN(FirstN):
    """$minN and $maxN: the n least or greatest values, null and missing aside, best first."""

    __slots__ = ("is_max", "key", "keys")

    def __init__(self, account: Account, n: int, is_max: bool, key: Key) -> None:
        super().__init__(account, n)
        self.is_max = is_max
        self.key = key
        self.keys: list[list[Any]] = []

    def grow(self, count: int) -> None:
        self.keys += [[] for _ in range(count - len(self.keys))]
        super().grow(count)

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        for number, value in zip(numbers, inputs, strict=True):
            if value is not None and value is not MISSING:
                self.put(number, self.key(value), value)

    def put(self, number: int, key: Any, value: Any) -> None:
        """Keep a value if it is one of the best; equal ones stay in the order they came."""
        keys, state = self.keys[number], self.states[number]
        if self.is_max:  # kept rising, so that both directions bisect; read backwards
            at = bisect.bisect_left(keys, key)
            if len(keys) == self.n:
                if at == 0:
                    return
                self.drop(number, 0)
                at -= 1
        else:
            at = bisect.bisect_right(keys, key)
            if at == self.n:
                return
            if len(keys) == self.n:
                self.drop(number, -1)
        keys.insert(at, key)
        state.insert(at, value)
        self.account.charge(size_of(value))

    def drop(self, number: int, at: int) -> None:
        """Keep this value no longer."""
        del self.keys[number][at]
        self.account.charge(-size_of(self.states[number].pop(at)))

    def result(self, number: int) -> Any:
        state = self.states[number]
        return state[::-1] if self.is_max else list(state)


class Top(ExtremeN):
    """$topN and $bottomN, and $top and $bottom: inputs are (sort key, output)."""

    __slots__ = ("is_one",)

    def __init__(self, account: Account, n: int, is_bottom: bool, is_one: bool) -> None:
        super().__init__(account, n, is_bottom, lambda value: value)
        self.is_one = is_one

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        for number, (key, value) in zip(numbers, inputs, strict=True):
            self.put(number, key, or_null(value))

    def put(self, number: int, key: Any, value: Any) -> None:
        if not self.is_max:
            super().put(number, key, value)
            return
        # the last n of the sorted documents: of equal ones the later are nearer to the end
        keys, state = self.keys[number], self.states[number]
        at = bisect.bisect_right(keys, key)
        if len(keys) == self.n:
            if at == 0:
                return
            self.drop(number, 0)
            at -= 1
        keys.insert(at, key)
        state.insert(at, value)
        self.account.charge(size_of(value))

    def result(self, number: int) -> Any:
        state = self.states[number]
        if self.is_one:
            return state[0] if state else None
        return list(state)


class Percentile(Accumulator):
    """$percentile and $median: values of the numbers at the ranks."""

    name = "$percentile"
    __slots__ = ("is_median", "ranks")

    def __init__(self, account: Account, ranks: Sequence[float], is_median: bool) -> None:
        super().__init__(account)
        self.ranks = ranks
        self.is_median = is_median

    def fresh(self) -> Any:
        return []

    def add(self, numbers: Sequence[int], inputs: Sequence[Any]) -> None:
        states = self.states
        kept = 0
        for number, value in zip(numbers, inputs, strict=True):
            if is_number(value):
                states[number].append(
                    float(value.to_decimal()) if isinstance(value, Decimal128) else float(value)
                )
                kept += 1
        self.account.charge(16 * kept)

    def result(self, number: int) -> Any:
        values = sorted(each for each in self.states[number] if not math.isnan(each))
        found: list[float | None] = [
            values[max(0, math.ceil(rank * len(values)) - 1)] if values else None
            for rank in self.ranks
        ]
        return found[0] if self.is_median else found
