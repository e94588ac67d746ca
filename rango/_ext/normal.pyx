"""The normal form of a filter: what the compiler of programs and the planner read.

Terms       node, a tuple: ("$and", nodes) ("$or", nodes) ("$not", node) ("$exists", path)
            ("$eq" | "$gt" | "$gte" | "$lt" | "$lte", path, value) ("$in", path, values).
Invariants  $ne, $nin, $nor and {$exists: false} are written with $not; an $and inside an $and is
            flattened, one of a single node is that node; the empty filter is ("$and", ()). Values
            are the caller's, as they were given. Only the name of a field in an operator document
            makes an operator: a string value never does.
Failure     InvalidFilter names the operator, the path and what was expected; LimitExceeded for
            nesting.
Sources     MongoDB manual, "Query Predicates".
"""

import re
from collections.abc import Mapping

from bson.decimal128 import Decimal128
from bson.regex import Regex

from rango.errors import InvalidFilter, LimitExceeded
from rango.limits import FILTER_DEPTH_MAX, NESTING_DEPTH_MAX

HEADER_NAMES = frozenset(("_rev", "_updated_at", "_source_node"))

cdef frozenset HEADERS = HEADER_NAMES
cdef frozenset DBREF_NAMES = frozenset(("$ref", "$id", "$db"))
cdef frozenset COMPARISONS = frozenset(("$eq", "$gt", "$gte", "$lt", "$lte"))
cdef object REVISION = re.compile(r"([0-9]{1,20})-([0-9]{1,5})-([0-9a-f]{4})")
cdef str KNOWN = "$eq $ne $in $nin $gt $gte $lt $lte $exists $and $or $nor $not $comment"


def filter_parse(filter):
    """The normal form of a filter."""
    return parse_filter(filter, 1)


def revision_parse(text):
    """(ms, counter, tag) of a revision in text form, or None when it is not one."""
    found = REVISION.fullmatch(text)
    if found is None:
        return None
    ms = int(found[1])
    counter = int(found[2])
    if ms >> 64 or counter >> 16:
        return None
    return ms, counter, int(found[3], 16)


def path_check(path):
    """Refuse a dotted path that no document can have."""
    if "\x00" in path:
        raise InvalidFilter(f"the path {path!r} has a NUL character; a field name cannot have one")
    parts = path.count(".") + 1
    if parts > NESTING_DEPTH_MAX:
        raise LimitExceeded(
            "NESTING_DEPTH_MAX", parts,
            f"a path has {parts} parts; documents nest {NESTING_DEPTH_MAX} deep at most",
        )


cdef tuple conjunction(list nodes):
    if len(nodes) == 1:
        return nodes[0]
    return ("$and", tuple(nodes))


cdef int add(list nodes, tuple node) except -1:
    if node[0] == "$and":
        nodes.extend(node[1])
    else:
        nodes.append(node)
    return 0


cdef tuple negation(tuple node):
    return ("$not", node)


cdef tuple parse_filter(object filter, int depth):
    cdef list nodes = []
    if not isinstance(filter, Mapping):
        raise InvalidFilter(
            f"a filter is a document (a mapping), not {type(filter).__name__}: {filter!r:.100}"
        )
    if depth > FILTER_DEPTH_MAX:
        raise LimitExceeded(
            "FILTER_DEPTH_MAX", depth,
            f"a filter nests $and, $or, $nor and $not {FILTER_DEPTH_MAX} deep at most",
        )
    for name, value in filter.items():
        if type(name) is not str and not isinstance(name, str):
            raise InvalidFilter(f"a filter names fields by strings, not {name!r:.100}")
        if name[:1] == "$":
            parse_logical(name, value, depth, nodes)
        else:
            parse_field(name, value, depth, nodes)
    return conjunction(nodes)


cdef int parse_logical(str name, object value, int depth, list nodes) except -1:
    cdef list branches = []
    if name == "$comment":
        return 0
    if name != "$and" and name != "$or" and name != "$nor":
        raise InvalidFilter(
            f"unknown top level operator {name}: a field name comes before an operator, as in "
            f"{{'field': {{'{name}': ...}}}}; known are {KNOWN}"
        )
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidFilter(f"{name} needs a list with at least one filter, not {value!r:.100}")
    for branch in value:
        if not isinstance(branch, Mapping):
            raise InvalidFilter(
                f"every entry of {name} is a filter (a mapping), not {branch!r:.100}"
            )
        branches.append(parse_filter(branch, depth + 1))
    if name == "$and":
        for branch in branches:
            add(nodes, branch)
    elif name == "$or":
        add(nodes, branches[0] if len(branches) == 1 else ("$or", tuple(branches)))
    else:
        add(nodes, negation(branches[0] if len(branches) == 1 else ("$or", tuple(branches))))
    return 0


cdef int parse_field(str path, object value, int depth, list nodes) except -1:
    path_check(path)
    if isinstance(value, Mapping) and is_operators(value):
        return parse_operators(path, value, depth, nodes)
    if isinstance(value, (re.Pattern, Regex)):
        raise InvalidFilter(
            f"{path!r}: matching by a regular expression ($regex) comes later; "
            "to find a stored one, use $eq"
        )
    nodes.append(("$eq", path, header_value(path, "$eq", value)))
    return 0


cdef bint is_operators(object value) except -1:
    # an operator document is one whose first name starts with $, unless it is a DBRef
    for name in value:
        return isinstance(name, str) and name[:1] == "$" and name not in DBREF_NAMES
    return False


cdef int parse_operators(str path, object operators, int depth, list nodes) except -1:
    cdef str name
    for key, value in operators.items():
        if not isinstance(key, str) or key[:1] != "$":
            raise InvalidFilter(
                f"{path!r}: operators and the field {key!r} are mixed in one document; "
                "use operators only, or $eq to compare with a whole document"
            )
        name = key
        if name in COMPARISONS:
            if name != "$eq":
                refuse_regex(path, name, value)
            nodes.append((name, path, header_value(path, name, value)))
        elif name == "$ne":
            refuse_regex(path, name, value)
            nodes.append(negation(("$eq", path, header_value(path, name, value))))
        elif name == "$in":
            nodes.append(parse_in(path, name, value))
        elif name == "$nin":
            nodes.append(negation(parse_in(path, name, value)))
        elif name == "$exists":
            node = ("$exists", path)
            nodes.append(node if is_true(value) else negation(node))
        elif name == "$not":
            nodes.append(negation(parse_not(path, value, depth + 1)))
        else:
            raise InvalidFilter(f"{path!r}: unknown operator {name}; known are {KNOWN}")
    return 0


cdef tuple parse_in(str path, str name, object values):
    if not isinstance(values, (list, tuple)):
        raise InvalidFilter(f"{path!r}: {name} needs a list, not {values!r:.100}")
    for value in values:
        refuse_regex(path, name, value)
        if isinstance(value, Mapping) and is_operators(value):
            raise InvalidFilter(
                f"{path!r}: an operator document cannot be nested under {name}: {value!r:.100}"
            )
    return ("$in", path, tuple([header_value(path, name, value) for value in values]))


cdef tuple parse_not(str path, object value, int depth):
    cdef list nodes = []
    if depth > FILTER_DEPTH_MAX:
        raise LimitExceeded(
            "FILTER_DEPTH_MAX", depth, f"{path!r}: $not nests {FILTER_DEPTH_MAX} deep at most"
        )
    refuse_regex(path, "$not", value)
    if not isinstance(value, Mapping) or not value:
        raise InvalidFilter(f"{path!r}: $not needs a document with operators, not {value!r:.100}")
    parse_operators(path, value, depth, nodes)
    return conjunction(nodes)


cdef int refuse_regex(str path, str name, object value) except -1:
    if isinstance(value, (re.Pattern, Regex)):
        raise InvalidFilter(f"{path!r}: {name} does not take a regular expression")
    return 0


cdef object header_value(str path, str name, object value):
    # a revision is compared as numbers, so a text that is none is a mistake and not merely unequal
    if path == "_rev" and isinstance(value, str) and revision_parse(value) is None:
        raise InvalidFilter(
            f"'_rev': {name} needs a revision such as '1700000000000-0-9239', not {value!r:.100}"
        )
    return value


cdef bint is_true(object value) except -1:
    # the truth of $exists' operand: numbers by value, null false, everything else true
    if value is None:
        return False
    if isinstance(value, (bool, int, float)):
        return bool(value)
    if isinstance(value, Decimal128):
        return bool(value.to_decimal())
    return True
