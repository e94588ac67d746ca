"""The options of reads and writes, for type checkers: nothing needs these classes when it runs.

They have a module of their own because to make them takes as long as to load one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from rango.engine.query import SortKeys


class CountOptions(TypedDict, total=False):
    """Options of reads that return no documents."""

    hint: Any
    """The name or the keys of the index to use."""
    collation: Any
    """How strings compare: {"locale": "en", "strength": 2}."""
    let: Mapping[str, Any] | None
    """Variables for $expr, as "$$name"."""
    max_time_ms: int | None
    """Stop with Timeout after so long; None or 0: never."""
    comment: Any
    """Ignored."""
    session: None
    """Ignored: a transaction is that of the block, see Database.transaction."""


class FindOptions(CountOptions, total=False):
    """Options of find() and its kin, in PyMongo's spelling."""

    sort: SortKeys | None
    """`[("a", 1), ("b", -1)]`; without it the order is that of `_id` or of the index used."""
    skip: int
    """How many documents to leave out."""
    limit: int
    """How many documents to return at most; 0 means all. A negative one counts as its value."""
    batch_size: int
    """How many documents are fetched at a time; 0 means the default."""
    meta: bool
    """Also return `_rev`, `_updated_at` and `_source_node`."""
    allow_disk_use: bool | None
    """Ignored: a sort in memory is bounded by SORT_SIZE_BYTES_MAX."""
    no_cursor_timeout: bool
    """Ignored: cursors have no time-out."""
    allow_partial_results: bool
    """Ignored: there are no shards."""
    max: Any
    """Refused, as are `min`, `return_key`, `show_record_id`: use a filter or projection."""
    min: Any
    return_key: Any
    show_record_id: Any


class ChangeOptions(TypedDict, total=False):
    """Options that all of them have; CollectionWrites says what they mean."""

    let: Mapping[str, Any] | None
    collation: object
    max_time_ms: int | None
    comment: object
    session: None
