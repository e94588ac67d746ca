"""The normal form of a filter: what the compiler of programs and the planner read.

Terms       node, a tuple: ("$and", nodes) ("$or", nodes) ("$not", node) ("$exists", path)
            ("$eq" | "$gt" | "$gte" | "$lt" | "$lte", path, value) ("$in", path, values)
            ("$type", path, codes) ("$mod", path, divisor, remainder) ("$size", path, count)
            ("$regex", path, pattern, options) ("$bitsAllSet" ..., path, bits)
            ("$elemMatch", path, node): an element is a document (or an array read as one) that
            the node matches. ("$elemMatchValue", path, node): an element is a value that the node
            matches; the paths in it are "". ("$expr", expression) ("$jsonSchema", schema).
Invariants  $ne, $nin, $nor and {$exists: false} are written with $not; an $and inside an $and is
            flattened, one of a single node is that node; the empty filter is ("$and", ()). $all is
            an $and of what each entry says; $in with regular expressions is an $or.
            Values are the caller's, as they were given. Only the name of a field in an operator
            document makes an operator: a string value never does.
Failure     InvalidFilter names the operator, the path and what was expected; LimitExceeded for
            nesting.
Sources     MongoDB manual, "Query Predicates".
"""

import re
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from bson.regex import Regex

from rango._ext.operands cimport bits_operand, mod_operand, size_operand

from rango._ext.operands import regex_text, type_codes
from rango.errors import InvalidFilter, LimitExceeded
from rango.limits import FILTER_DEPTH_MAX, FILTER_VALUES_MAX, NESTING_DEPTH_MAX

HEADER_NAMES = frozenset(("_rev", "_updated_at", "_source_node"))

cdef tuple TRUE = ("$and", ())
cdef tuple FALSE = ("$not", ("$and", ()))

cdef frozenset DBREF_NAMES = frozenset(("$ref", "$id", "$db"))
# what is certainly neither a regular expression nor a document
cdef frozenset PLAIN = frozenset((int, float, str, bytes, bool, ObjectId, datetime, UUID))
cdef frozenset COMPARISONS = frozenset(("$eq", "$gt", "$gte", "$lt", "$lte"))
cdef frozenset LOGICAL = frozenset((
    "$and", "$or", "$nor", "$expr", "$jsonSchema", "$comment", "$alwaysTrue", "$alwaysFalse",
    "$sampleRate", "$ref", "$id", "$db", "$where", "$text",
))
cdef frozenset BITS = frozenset(("$bitsAllSet", "$bitsAnySet", "$bitsAllClear", "$bitsAnyClear"))
cdef dict REFUSED = {
    "$where": "there is no JavaScript; use $expr",
    "$text": "there is no text index; use $regex",
    "$near": "there is no geographical index",
    "$nearSphere": "there is no geographical index",
    "$geoWithin": "there is no geographical index",
    "$geoIntersects": "there is no geographical index",
}
cdef str REVISION = r"([0-9]{1,20})-([0-9]{1,5})-([0-9a-f]{4})"
cdef str KNOWN = (
    "$eq $ne $in $nin $gt $gte $lt $lte $exists $type $mod $regex $options $all $elemMatch $size "
    "$bitsAllSet $bitsAnySet $bitsAllClear $bitsAnyClear $not"
)
cdef str KNOWN_TOP = "$and $or $nor $expr $jsonSchema $sampleRate $comment"


def filter_parse(filter):
    """The normal form of a filter."""
    return parse_filter(filter, 1, False)


def revision_parse(text):
    """(ms, counter, tag) of a revision in text form, or None when it is not one."""
    found = re.fullmatch(REVISION, text)
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


cdef tuple parse_filter(object filter, int depth, bint in_element):
    cdef list nodes = []
    if not isinstance(filter, Mapping):
        raise InvalidFilter(
            f"a filter is a document (a mapping), not {type(filter).__name__}: {filter!r:.100}"
        )
    depth_check(depth, "$and, $or, $nor, $not and $elemMatch")
    for name, value in filter.items():
        if type(name) is not str:
            if not isinstance(name, str):
                raise InvalidFilter(f"a filter names fields by strings, not {name!r:.100}")
            name = str.__str__(name)
        if name[:1] == "$" and name not in DBREF_NAMES:
            parse_logical(name, value, depth, nodes, in_element)
        else:
            parse_field(name, value, depth, nodes)
    return conjunction(nodes)


cdef int depth_check(int depth, str what) except -1:
    if depth > FILTER_DEPTH_MAX:
        raise LimitExceeded(
            "FILTER_DEPTH_MAX", depth, f"a filter nests {what} {FILTER_DEPTH_MAX} deep at most"
        )
    return 0


cdef int parse_logical(str name, object value, int depth, list nodes, bint in_element) except -1:
    if name == "$comment":
        return 0
    if name == "$and" or name == "$or" or name == "$nor":
        return parse_branches(name, value, depth, nodes, in_element)
    if name == "$expr":
        if in_element:
            raise InvalidFilter(
                "$expr stands at the top of a filter, not inside $elemMatch", code=224
            )
        nodes.append((name, value))
    elif name == "$jsonSchema":
        if not isinstance(value, Mapping):
            raise InvalidFilter(f"$jsonSchema needs a document, not {value!r:.100}", code=14)
        nodes.append((name, value))
    elif name == "$alwaysTrue" or name == "$alwaysFalse":
        if value != 1 or isinstance(value, bool):
            raise InvalidFilter(f"{name} needs the number 1, not {value!r:.100}", code=9)
        add(nodes, TRUE if name == "$alwaysTrue" else FALSE)
    elif name == "$sampleRate":
        if in_element or not is_rate(value):
            raise InvalidFilter(
                f"$sampleRate stands at the top of a filter and needs a number from 0 to 1, not "
                f"{value!r:.100}"
            )
        nodes.append(("$expr", {"$lt": [{"$rand": {}}, value]}))
    elif name in REFUSED:
        raise InvalidFilter(f"{name} is not supported: {REFUSED[name]}")
    else:
        raise InvalidFilter(
            f"unknown top level operator {name}: a field name comes before an operator, as in "
            f"{{'field': {{'{name}': ...}}}}; known here are {KNOWN_TOP}"
        )
    return 0


cdef bint is_rate(object value) except -1:
    if isinstance(value, Decimal128):
        value = value.to_decimal()
        return not value.is_nan() and 0 <= value <= 1
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


cdef int parse_branches(str name, object value, int depth, list nodes, bint in_element) except -1:
    cdef list branches = []
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidFilter(f"{name} needs a list with at least one filter, not {value!r:.100}")
    for branch in value:
        if not isinstance(branch, Mapping):
            raise InvalidFilter(
                f"every entry of {name} is a filter (a mapping), not {branch!r:.100}"
            )
        branches.append(parse_filter(branch, depth + 1, in_element))
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
    if isinstance(value, Mapping):
        if is_operators(value):
            return parse_operators(path, value, depth, nodes)
    elif isinstance(value, (re.Pattern, Regex)):
        nodes.append(regex_node(path, value))
        return 0
    nodes.append(("$eq", path, value))
    return 0


cdef bint is_operators(object value) except -1:
    # an operator document is one whose first name starts with $, unless it is a DBRef
    for name in value:
        return (
            isinstance(name, str)
            and name[:1] == "$"
            and not (name in DBREF_NAMES and "$ref" in value and "$id" in value)
        )
    return False


cdef int parse_operators(str path, object operators, int depth, list nodes) except -1:
    for key, value in operators.items():
        if not isinstance(key, str) or key[:1] != "$":
            raise InvalidFilter(
                f"{path!r}: operators and the field {key!r} are mixed in one document; "
                "use operators only, or $eq to compare with a whole document"
            )
        parse_operator(path, str.__str__(key), value, operators, depth, nodes)
    return 0


cdef int parse_operator(
    str path, str name, object value, object operators, int depth, list nodes
) except -1:
    if name in COMPARISONS:
        if name != "$eq":
            refuse_regex(path, name, value)
        nodes.append((name, path, value))
    elif name == "$ne":
        refuse_regex(path, name, value)
        nodes.append(negation(("$eq", path, value)))
    elif name == "$in":
        add(nodes, parse_in(path, name, value))
    elif name == "$nin":
        nodes.append(negation(parse_in(path, name, value)))
    elif name == "$exists":
        node = ("$exists", path)
        nodes.append(node if is_true(value) else negation(node))
    elif name == "$not":
        nodes.append(negation(parse_not(path, value, depth + 1)))
    elif name == "$regex":
        nodes.append(regex_node(path, value, operators.get("$options")))
    elif name == "$options":
        if "$regex" not in operators:
            raise InvalidFilter(f"{path!r}: $options needs a $regex beside it")
    elif name == "$elemMatch":
        nodes.append(parse_element(path, value, depth + 1))
    elif name == "$all":
        parse_all(path, value, depth, nodes)
    elif name == "$type":
        nodes.append((name, path, type_codes(path, value)))
    elif name == "$mod":
        nodes.append((name, path, *mod_operand(path, value)))
    elif name == "$size":
        nodes.append((name, path, size_operand(path, value)))
    elif name in BITS:
        nodes.append((name, path, bits_operand(path, name, value)))
    elif name in REFUSED:
        raise InvalidFilter(f"{path!r}: {name} is not supported: {REFUSED[name]}")
    else:
        raise InvalidFilter(f"{path!r}: unknown operator {name}; known are {KNOWN}")
    return 0


cdef tuple regex_node(str path, object value, object options=None):
    return ("$regex", path, *regex_text(path, value, options))


cdef tuple parse_in(str path, str name, object values):
    cdef list patterns = []
    cdef list others = []
    if not isinstance(values, (list, tuple)):
        raise InvalidFilter(f"{path!r}: {name} needs a list, not {values!r:.100}")
    if len(values) > FILTER_VALUES_MAX:
        raise LimitExceeded(
            "FILTER_VALUES_MAX",
            len(values),
            f"{path!r}: {name} has {len(values)} values, at most {FILTER_VALUES_MAX} are possible; "
            "ask for a part of them at a time, or put them into a collection and use $lookup",
        )
    for value in values:
        if type(value) in PLAIN:
            others.append(value)
            continue
        if isinstance(value, (re.Pattern, Regex)):
            patterns.append(regex_node(path, value))
            continue
        if isinstance(value, Mapping) and is_operators(value):
            raise InvalidFilter(
                f"{path!r}: an operator document cannot be nested under {name}: {value!r:.100}"
            )
        others.append(value)
    if not patterns:
        return ("$in", path, tuple(others))
    if others:
        patterns.insert(0, ("$in", path, tuple(others)))
    return patterns[0] if len(patterns) == 1 else ("$or", tuple(patterns))


cdef tuple parse_not(str path, object value, int depth):
    cdef list nodes = []
    depth_check(depth, "$not")
    if isinstance(value, (re.Pattern, Regex)):
        return regex_node(path, value)
    if not isinstance(value, Mapping) or not value:
        raise InvalidFilter(
            f"{path!r}: $not needs a document with operators or a regular expression, not "
            f"{value!r:.100}"
        )
    parse_operators(path, value, depth, nodes)
    return conjunction(nodes)


cdef tuple parse_element(str path, object value, int depth):
    # operators say what a value must be; everything else is a filter of documents
    cdef list nodes = []
    depth_check(depth, "$elemMatch")
    if isinstance(value, DBRef):
        value = value.as_doc()
    if not isinstance(value, Mapping):
        raise InvalidFilter(f"{path!r}: $elemMatch needs a document, not {value!r:.100}")
    for name in value:
        if isinstance(name, str) and name[:1] == "$" and name not in LOGICAL:
            parse_operators("", value, depth, nodes)
            return ("$elemMatchValue", path, conjunction(nodes))
        break
    return ("$elemMatch", path, parse_filter(value, depth, True))


cdef int parse_all(str path, object values, int depth, list nodes) except -1:
    cdef int elements = 0
    cdef object value
    if not isinstance(values, (list, tuple)):
        raise InvalidFilter(f"{path!r}: $all needs a list, not {values!r:.100}")
    if not values:
        nodes.append(FALSE)
    for value in values:
        if isinstance(value, Mapping) and is_operators(value):
            if next(iter(value)) != "$elemMatch":
                raise InvalidFilter(
                    f"{path!r}: $all takes values and $elemMatch only, not {value!r:.100}"
                )
            elements += 1
            if len(value) > 1:
                raise InvalidFilter(
                    f"{path!r}: $elemMatch in $all stands alone in its document: {value!r:.100}"
                )
            nodes.append(parse_element(path, value["$elemMatch"], depth + 1))
        elif isinstance(value, (re.Pattern, Regex)):
            nodes.append(regex_node(path, value))
        else:
            nodes.append(("$eq", path, value))
    if elements and elements != len(values):
        raise InvalidFilter(
            f"{path!r}: $all takes $elemMatch in every entry or in none: {values!r:.100}"
        )
    return 0


cdef int refuse_regex(str path, str name, object value) except -1:
    if isinstance(value, (re.Pattern, Regex)):
        raise InvalidFilter(
            f"{path!r}: {name} does not take a regular expression; use $regex or $not"
        )
    return 0


cdef bint is_true(object value) except -1:
    # the truth of $exists' operand: numbers by value, null false, everything else true
    if value is None:
        return False
    if isinstance(value, (bool, int, float)):
        return bool(value)
    if isinstance(value, Decimal128):
        return bool(value.to_decimal())
    return True
