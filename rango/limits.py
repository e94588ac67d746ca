"""Every limit of Rango: its name, its unit and its reason. Errors cite these names."""

from __future__ import annotations

from typing import Final

DOCUMENT_SIZE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A document as BSON, bytes. MongoDB's limit, so that documents can move both ways."""

NESTING_DEPTH_MAX: Final = 100
"""Documents and arrays inside one another, the document itself counted as 1. MongoDB's limit; also
bounds C recursion.
"""

NAME_SIZE_BYTES_MAX: Final = 255
"""A collection or index name, UTF-8 bytes. MongoDB's limit for namespaces."""

ACTOR_SIZE_BYTES_MAX: Final = 255
"""Who acts, UTF-8 bytes. It is kept in every record that it wrote with a one-byte length."""

NODE_ID_SIZE_BYTES_MAX: Final = 200
"""A node id, UTF-8 bytes. It is kept in every record with a one-byte length."""

KEY_SIZE_BYTES_MAX: Final = 1024
"""An encoded key in a tree, bytes. A longer one is stored as its first 1,008 bytes and a 16-byte
hash of all of it.
"""

TRANSACTION_SIZE_BYTES_MAX: Final = 256 * 1024 * 1024
"""The mutations of one transaction as encoded, bytes. They are kept in memory until it commits."""
ROLLBACK_CHANGES_MAX: Final = 100_000
"""Documents that one rollback() changes, unless it is given another `limit`. Other writers wait for
it, and it is one commit: see TRANSACTION_SIZE_BYTES_MAX.
"""


INDEXES_PER_COLLECTION_MAX: Final = 64
"""Indexes of one collection, that of `_id` included. MongoDB's limit."""

INDEX_FIELDS_MAX: Final = 32
"""Fields of one index. MongoDB's limit."""

FILTER_DEPTH_MAX: Final = 100
"""Nesting of $and, $or, $nor and $not in a filter. Bounds C recursion."""

FILTER_VALUES_MAX: Final = 2_000_000
"""Values of one $in or $nin. Each takes some 60 bytes and its own size in memory while the query
runs, and as much again if an index is used.
"""

CLOCK_DRIFT_MS_MAX: Final = 60_000
"""How far a remote revision may be ahead of the local clock, milliseconds. One wrong clock must
not drag the others along.
"""

INSERT_BATCH_COUNT_MAX: Final = 1000
"""Documents that insert_many writes in one commit outside a transaction. Bounds what one commit
holds in memory.
"""

INSERT_BATCH_SIZE_BYTES_MAX: Final = 4 * 1024 * 1024
"""The same in bytes as BSON. Four 1 MiB writes amortise a flush well; more only delays the first
acknowledgement.
"""

FETCH_COUNT_DEFAULT: Final = 100
"""Documents that a cursor decodes at a time: enough to amortise a call, few enough that stopping
early wastes little.
"""

JSON_DEPTH_MAX: Final = 250
"""Objects and arrays inside one another in Extended JSON text. The specification asks for 200:
BSON's 100 levels, each of which may be a wrapper.
"""

JSON_SIZE_BYTES_MAX: Final = 256 * 1024 * 1024
"""One document as Extended JSON text in a stream, bytes. Canonical text takes at most 16 times the
bytes of a BSON document.
"""

AGGREGATE_MEMORY_BYTES_MAX: Final = 100 * 1024 * 1024
"""What one blocking stage of an aggregation may keep in memory, bytes as BSON, unless
`memory_bytes_max` says otherwise. MongoDB's limit; nothing is ever spilled to disk.
"""

PIPELINE_STAGES_MAX: Final = 1000
"""Stages of one pipeline. MongoDB's limit."""

PIPELINE_DEPTH_MAX: Final = 20
"""Pipelines inside one another ($lookup, $unionWith, $facet). MongoDB's limit; bounds recursion."""

SORT_SIZE_BYTES_MAX: Final = 100 * 1024 * 1024
"""Records and keys that a sort without an index holds, bytes. MongoDB's limit; with a limit on the
query only the first documents are held.
"""

REGEX_MEMORY_BYTES_MAX: Final = 2 * 1024 * 1024
"""What one regular expression may hold, its program and its states, bytes. Programs that are kept
are 256 at most.
"""

REGEX_WORK_MAX: Final = 64 * 1024 * 1024
"""Instructions of a regular expression's program times bytes of the string that it reads. In the
worst case the engine does 20 to 100 million such steps a second.
"""

REGEX_FIND_ALL_MS_MAX: Final = 2000
"""How long $regexFindAll looks for matches in one string, milliseconds. One search is linear in the
string, but each match begins another one.
"""

INDEX_EXPIRE_S_MAX: Final = 2_147_483_647
"""expireAfterSeconds of a TTL index, seconds. MongoDB's limit."""
