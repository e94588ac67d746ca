"""Stages: what a pipeline is made of, and what a run hands to them.

Terms       stage: one step of a pipeline, compiled; batch: a list of documents on their way from
            one stage to the next; pause: an empty batch.
Invariants  A stage is immutable: everything that changes belongs to one run. A stage hands a pause
            on, so that whoever feeds several pipelines from one source ($facet) can feed them in
            turns; the end of documents is the end of the iterator. A document that a stage receives
            may be shared with others: it builds a new one instead of changing it.
Failure     InvalidPipeline when it is compiled; ExpressionFailed, LimitExceeded, Timeout or
            QueryCancelled while it runs, which end the run.
Sources     MongoDB manual, "Aggregation Stages"; ADR-0016.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from rango.engine.aggregate.memory import Memory
from rango.engine.expression.places import provided

if TYPE_CHECKING:
    from rango._ext.stop import Stop
    from rango._ext.view import View
    from rango.engine.aggregate.pipeline import Pipeline
    from rango.engine.txn import Txn

Document = dict[str, Any]
Batch = list[Document]
Batches = Iterator[Batch]
Names = frozenset[str] | None
"""Top-level fields; None: all of them."""

BATCH_COUNT: int = 256
"""Documents that a blocking stage hands on at a time."""


class Writer(Protocol):
    """How a pipeline writes: in one transaction, through the ways of the collection methods."""

    def __call__(self, work: Callable[[Txn], None], /) -> None: ...


@dataclass(frozen=True, slots=True)
class Environment:
    """What a run may reach outside of itself. Made by the layer above.

    `view`     the snapshot that all its reads come from
    `random`   so many random bytes
    `write`    runs a function with a transaction that commits if it returns
    `encoded`  checks a document and makes its BSON, with a new `_id` if it has none
    `check`    raises when the run must end (Timeout, QueryCancelled)
    `stop`     the same for scans and sorts
    """

    view: View
    random: Callable[[int], bytes]
    write: Writer
    encoded: Callable[[Document], bytes]
    check: Callable[[], None]
    stop: Stop | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """One run of a pipeline: its environment, the values of its variables, its memory."""

    environment: Environment
    memory: Memory
    variables: dict[str, Any] = field(default_factory=dict)

    def with_variables(self, variables: Mapping[str, Any]) -> Context:
        """The same run with more variables, for a pipeline inside the pipeline."""
        return replace(self, variables=provided({**self.variables, **variables}))


@dataclass(frozen=True, slots=True)
class Scope:
    """What the compiler knows where a stage stands.

    `collection` is None where the pipeline has no source of its own (`$documents` only);
    `inside` is the stage whose pipeline this is, or "".
    """

    collection: str | None
    compile: Callable[[object, Scope], Pipeline]
    variables: frozenset[str] = frozenset()
    collation: Any = None
    inside: str = ""
    depth: int = 0


class Stage:
    """One step. Subclasses set `name` and define `run`."""

    name: ClassVar[str] = ""
    spec: Any = None

    def run(self, source: Batches, context: Context) -> Batches:
        """The documents that leave it, given those that enter it."""
        raise AssertionError(f"{self.name} does not say how it runs")

    def reads(self, wanted: Names) -> Names:
        """The top-level fields that it must be given when `wanted` are looked at after it."""
        return None

    def explain(self) -> Document:
        """The stage as MongoDB writes it."""
        return {self.name: self.spec}


def in_batches(documents: list[Document]) -> Batches:
    """A list of documents as batches."""
    for at in range(0, len(documents), BATCH_COUNT):
        yield documents[at : at + BATCH_COUNT]
