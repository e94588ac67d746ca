"""BSONFIRST, BSONLAST and their kin of n: aggregates of PostgreSQL that are a $sort and a $group.

Why         They are written in SQL that nothing else needs (ARRAY and GROUP BY), so they are read
            by their shape.
"""

from __future__ import annotations

import re
from typing import Any

from tests.conformance.regress.functions import Table, value_of
from tests.conformance.regress.world import World

SHAPE = re.compile(
    r"select\s+bson(?P<end>first|last)(?P<many>n?)(?:onsorted|nonsorted)?"
    r"\(\s*document\s*(?:,\s*(?P<count>\d+)\s*)?(?:,\s*ARRAY\[(?P<sort>[^\]]*)\][^)]*)?\)\s*"
    r"from\s+documentdb_api\.collection\('(?P<database>\w+)',\s*'(?P<name>\w+)'\)\s*"
    r"(?:group by\s+bson_expression_get\(document,\s*'(?P<key>[^']*)'\)\s*)?;\Z",
    re.IGNORECASE,
)
TEXT = re.compile(r"'([^']*)'")


def first_or_last(world: World, text: str) -> Table | None:
    """The table of such a statement; None if it is another one."""
    found = SHAPE.match(text.strip())
    if not found:
        return None
    stages: list[Any] = []
    sort: dict[str, int] = {}
    for each in TEXT.findall(found["sort"] or ""):
        sort |= value_of(each)
    if sort:
        stages.append({"$sort": sort})
    key = value_of(found["key"])[""] if found["key"] else None
    is_first = found["end"].lower() == "first"
    if not found["many"]:
        group = {"$first" if is_first else "$last": "$$ROOT"}
        stages.append({"$group": {"_id": key, "found": group}})
    else:
        stages.append({"$group": {"_id": key, "found": {"$push": "$$ROOT"}}})
    lines: list[tuple[Any, ...]] = []
    for group in world.collection(found["database"], found["name"]).aggregate(stages):
        value = group["found"]
        if found["many"]:
            count = int(found["count"])
            value = {"": value[:count] if is_first else value[-count:]}
        lines.append((value,))
    return Table(["found"], lines)
