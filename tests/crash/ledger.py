"""What a workload tried and what it was promised: the dictionary that the database must equal.

Terms       commit n: the n-th attempt. Position: how many operations of the disk's log came before.
            Acknowledged: the promise "durable" was given. Withdrawn: the attempt failed cleanly.
Invariants  after a crash at position p the content equals the model after k commits for some k with
            acknowledged(p) <= k <= attempted(p): acknowledged commits are there, whole, and what
            survives is a prefix (I-1).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any

State = dict[Any, Any]


class Ledger:
    """The model after each commit, and when each was attempted and acknowledged."""

    def __init__(self, position: Callable[[], int], initial: State | None = None) -> None:
        self.position = position
        self.models: list[State] = [dict(initial or {})]
        self.starts: list[int] = []  # of commit n + 1
        self.promises: list[tuple[int, int]] = []  # (position, commit), both rising

    @property
    def now(self) -> State:
        """The model after the newest attempt."""
        return self.models[-1]

    def attempt(self, changes: Mapping[Any, Any]) -> int:
        """A commit about to begin: key -> new value, None for absent. Returns its number."""
        model = dict(self.models[-1])
        for key, value in changes.items():
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        self.models.append(model)
        self.starts.append(self.position())
        return len(self.starts)

    def acknowledge(self, number: int | None = None) -> None:
        """Everything through this commit (default: the newest) is promised to be durable."""
        number = len(self.starts) if number is None else number
        if not self.promises or number > self.promises[-1][1]:
            self.promises.append((self.position(), number))

    def withdraw(self) -> None:
        """The newest attempt failed and said that nothing happened: it must never be seen."""
        self.models[-1] = self.models[-2]

    def go_on_from(self, found: State, changes: Mapping[Any, Any], start: int) -> None:
        """After an unknown outcome `found` was seen; one more commit, begun at `start`, holds."""
        self.models.append(dict(found))
        self.attempt(changes)
        self.starts += [start]
        self.starts[-2] = start
        self.acknowledge()

    def attempted(self, position: int) -> int:
        """How many commits can have left a trace in the first `position` operations."""
        return bisect_left(self.starts, position)

    def acknowledged(self, position: int) -> int:
        """How many commits were promised before operation `position` began."""
        best = 0
        for at, number in self.promises:
            if at > position:
                break
            best = number
        # one that changes nothing may write nothing: the content after it is that before it
        while best > self.attempted(position) and self.models[best] == self.models[best - 1]:
            best -= 1
        return best

    def match(self, found: State, lower: int, upper: int) -> int | None:
        """The number of commits after which the model is what was found, newest first."""
        for number in range(upper, lower - 1, -1):
            if self.models[number] == found:
                return number
        return None

    def explain(self, found: State, lower: int, upper: int) -> str:
        """Why nothing matched: the nearest model of all and what differs from it."""
        best, size = 0, 1 << 60
        for number, model in enumerate(self.models):
            differing = sum(found.get(k) != v for k, v in model.items())
            differing += sum(k not in model for k in found)
            if differing < size:
                best, size = number, differing
        model = self.models[best]
        missing = [k for k in model if k not in found]
        extra = [k for k in found if k not in model]
        changed = [k for k in model if k in found and found[k] != model[k]]
        return (
            f"allowed: after {lower}..{upper} commits; found is "
            + (f"exactly commit {best}" if size == 0 else f"nearest to commit {best}")
            + (f", missing {missing[:5]}" if missing else "")
            + (f", extra {extra[:5]}" if extra else "")
            + (f", changed {[(k, model[k], found[k]) for k in changed[:3]]}" if changed else "")
        )
