"""Compiling a specification into closures: literals, field paths, variables, objects, arrays.

Terms       specification: what the user writes; node: its compiled form, a function `run(root,
            variables)` and, if it depends on neither, its value; operator: a "$name" whose operand
            a function of OPERATORS compiles.
Invariants  A string is a field path or a variable exactly if it begins with $ in the specification:
            values that are read from documents are never taken for expressions. Dispatch by name
            happens while compiling only. A node that reads nothing is evaluated once, while
            compiling, also in a branch that no document would reach: as in MongoDB, a constant
            that cannot be evaluated is an error of the whole expression.
Failure     InvalidExpression while compiling; ExpressionFailed while running, and for constants
            that fail; both with MongoDB's code. Nesting, and with it recursion, is bounded by
            NESTING_DEPTH_MAX.
Sources     MongoDB manual, "Expressions", "Aggregation Variables"; ADR-0015.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from rango.engine.collation import Collation, order_keys
from rango.engine.values import MISSING, fields_of, now, shown
from rango.errors import InvalidExpression

Run = Callable[[Any, dict[str, Any]], Any]
Key = Callable[[Any], bytes]

SYSTEM_VARIABLES: Final = frozenset({"ROOT", "CURRENT", "REMOVE", "NOW"})
UNAVAILABLE: Final = {
    "CLUSTER_TIME": "it belongs to a cluster; use $$NOW",
    "USER_ROLES": "there are no users",
    "SEARCH_META": "there is no $search",
    "JS_SCOPE": "there is no JavaScript",
}
# Letters and everything outside ASCII, said by what is left out: the other way round, `re` takes
# some 10 ms to compile each.
NAME_READ: Final = re.compile(r"[^\x00-@\[-`{-\x7f][^\x00-/:-@\[-^`{-\x7f]*")
NAME_WRITTEN: Final = re.compile(r"[^\x00-`{-\x7f][^\x00-/:-@\[-^`{-\x7f]*")
REFERENCE_NAMES: Final = frozenset({"$id", "$ref", "$db"})
NO_VALUE: Final = object()
PLAIN: Final = frozenset({int, str})
PLAIN_FOLDED: Final = frozenset({int})


class Node:
    """A compiled piece: `run` evaluates it; `value` is its constant, or NO_VALUE."""

    __slots__ = ("run", "value")

    def __init__(self, run: Run, value: Any = NO_VALUE) -> None:
        self.run = run
        self.value = value

    @property
    def is_constant(self) -> bool:
        return self.value is not NO_VALUE


Compiler = Callable[[str, Any, "Scope"], Run]
"""Compiles the operand of the operator that it is given the name of."""

OPERATORS: Final[dict[str, Compiler]] = {}
"""Every operator; the modules of the families add theirs (see register)."""


def register(operators: dict[str, Compiler]) -> None:
    """Add the operators of one family."""
    OPERATORS.update(operators)


def constant(value: Any) -> Node:
    """A node that is this value."""
    return Node(lambda _root, _variables: value, value)


class Scope:
    """What is known while compiling: the variables that may be used, whether $$CURRENT is still
    the root, and how values compare: `key_of` gives bytes that are in their order, and `plain` has
    the types whose values compare as Python's do.
    """

    __slots__ = ("collation", "is_folding", "key_of", "names", "plain", "reads", "rebinds_current")

    def __init__(
        self,
        names: Iterable[str],
        rebinds_current: bool = False,
        is_folding: bool = True,
        collation: Collation | None = None,
    ) -> None:
        self.names = frozenset(names)
        self.rebinds_current = rebinds_current
        self.is_folding = is_folding
        self.collation = collation
        self.key_of = order_keys(collation)
        self.plain = PLAIN if collation is None else PLAIN_FOLDED
        # nodes that depend on the document, a variable or chance: see fold
        self.reads = 0

    def compile(self, spec: Any) -> Node:
        """The node of a specification that is normalised."""
        if isinstance(spec, str):
            return self._text(spec)
        if type(spec) is dict:
            return self._document(spec)
        if type(spec) is list:
            return self._array(spec)
        return constant(spec)

    def run(self, spec: Any) -> Run:
        """The function that evaluates a specification."""
        return self.compile(spec).run

    def within(self, names: Iterable[str], spec: Any) -> Run:
        """The function of a specification that may use these variables too."""
        bound = frozenset(names)
        inner = Scope(
            self.names | bound,
            self.rebinds_current or "CURRENT" in bound,
            self.is_folding,
            self.collation,
        )
        node = inner.compile(spec)
        self.reads += inner.reads
        return node.run

    def read(self) -> None:
        """Say that the node being compiled is not constant."""
        self.reads += 1

    def fold(self, run: Run, before: int) -> Node:
        """A node of `run`; its value if nothing was read since there were `before` reads."""
        if self.reads != before or not self.is_folding:
            return Node(run)
        return constant(run(None, {}))

    def _text(self, text: str) -> Node:
        if not text.startswith("$"):
            return constant(text)
        if text.startswith("$$"):
            return self._variable(text)
        if text == "$":
            raise InvalidExpression("'$' by itself is not a valid field path", code=16872)
        names = path_names(text[1:])
        self.reads += 1
        if self.rebinds_current:
            return Node(path_run(_variable_run("CURRENT"), names))
        return Node(root_path_run(names))

    def _variable(self, text: str) -> Node:
        name, dot, path = text[2:].partition(".")
        check_variable(name, text)
        if name in UNAVAILABLE:
            raise InvalidExpression(
                f"the variable $${name} is not available: {UNAVAILABLE[name]}", code=51144
            )
        if name not in SYSTEM_VARIABLES and name not in self.names:
            raise InvalidExpression(f"use of undefined variable: {name} (in {text!r})", code=17276)
        names = path_names(path) if dot else ()
        if name == "REMOVE":
            return constant(MISSING)
        self.reads += 1
        if name == "ROOT" or (name == "CURRENT" and not self.rebinds_current):
            return Node(root_path_run(names) if names else _root)
        run = _now if name == "NOW" else _variable_run(name)
        return Node(path_run(run, names) if names else run)

    def _document(self, spec: dict[str, Any]) -> Node:
        first = next(iter(spec), "")
        before = self.reads
        if not first.startswith("$"):
            return self.fold(self._fields(spec), before)
        if len(spec) > 1:
            raise InvalidExpression(
                "an object that is an expression must have exactly one field, but this one has "
                f"{', '.join(map(repr, spec))}",
                code=15983,
            )
        compiler = OPERATORS.get(first)
        if compiler is None:
            raise InvalidExpression(
                f"unrecognized expression '{first}' (its operand is {shown(spec[first])}); "
                "{'$literal': ...} keeps a document as it is",
                code=168,
            )
        return self.fold(compiler(first, spec[first], self), before)

    def _fields(self, spec: dict[str, Any]) -> Run:
        fields = []
        for name, below in spec.items():
            check_name(name, name)
            fields.append((name, self.run(below)))

        def run(root: Any, variables: dict[str, Any]) -> Any:
            made = {}
            for name, each in fields:
                value = each(root, variables)
                if value is not MISSING:
                    made[name] = value
            return made

        return run

    def _array(self, spec: list[Any]) -> Node:
        before = self.reads
        elements = [self.run(each) for each in spec]

        def run(root: Any, variables: dict[str, Any]) -> Any:
            made = [each(root, variables) for each in elements]
            return [None if value is MISSING else value for value in made]

        return self.fold(run, before)


def _root(root: Any, _variables: dict[str, Any]) -> Any:
    return root


def _now(_root: Any, variables: dict[str, Any]) -> Any:
    return variables["NOW"] if "NOW" in variables else now()


def _variable_run(name: str) -> Run:
    def run(_root: Any, variables: dict[str, Any]) -> Any:
        return variables.get(name, MISSING)

    return run


def check_variable(name: str, text: str) -> None:
    """Refuse what cannot be the name of a variable that is read."""
    if not name:
        raise InvalidExpression(f"empty variable names are not allowed (in {text!r})", code=16869)
    if not NAME_READ.fullmatch(name):
        code = 16871 if NAME_READ.match(name) else 16870
        raise InvalidExpression(
            f"{name!r} is not a valid variable name: it begins with a letter and goes on with "
            "letters, digits and underscores",
            code=code,
        )


def check_variable_written(operator: str, name: Any) -> str:
    """The name of a variable that an operator defines; refused if users may not define it."""
    if not isinstance(name, str):
        raise InvalidExpression(
            f"{operator} names a variable by a string, not {shown(name)}", code=16866
        )
    if not name:
        raise InvalidExpression(f"{operator}: empty variable names are not allowed", code=16866)
    if name != "CURRENT" and not NAME_WRITTEN.fullmatch(name):
        raise InvalidExpression(
            f"{operator} cannot define the variable {name!r}: a name begins with a lower-case "
            "letter and goes on with letters, digits and underscores",
            code=16868 if NAME_WRITTEN.match(name) else 16867,
        )
    return name


def path_names(path: str) -> tuple[str, ...]:
    """The names of a dotted path, each checked."""
    if not path:
        raise InvalidExpression("a field path cannot be empty", code=40352)
    if path.endswith("."):
        raise InvalidExpression(f"the field path {path!r} must not end with a '.'", code=40353)
    names = tuple(path.split("."))
    for name in names:
        check_name(name, path)
    return names


def check_name(name: str, path: str) -> None:
    """Refuse a name that cannot be one part of a path."""
    if not name:
        raise InvalidExpression(
            f"field names may not be empty strings (in the path {path!r})", code=15998
        )
    if name.startswith("$") and name not in REFERENCE_NAMES:
        raise InvalidExpression(
            f"field names may not start with '$': {name!r} in {path!r}; "
            "consider $getField or $setField",
            code=16410,
        )
    if "\x00" in name:
        raise InvalidExpression(f"field names may not hold a NUL: {name!r}", code=16411)
    if "." in name:
        raise InvalidExpression(
            f"field names of an object may not contain '.': {name!r}; "
            "consider $getField or $setField",
            code=16412,
        )


def root_path_run(names: tuple[str, ...]) -> Run:
    """A function that reads a path from the root document."""
    first, *rest = names
    if not rest:

        def run_one(root: Any, _variables: dict[str, Any]) -> Any:
            if type(root) is dict:
                return root.get(first, MISSING)
            return walk(root, names)

        return run_one
    if len(rest) == 1:
        second = rest[0]

        def run_two(root: Any, _variables: dict[str, Any]) -> Any:
            if type(root) is dict:
                inner = root.get(first, MISSING)
                if type(inner) is dict:
                    return inner.get(second, MISSING)
            return walk(root, names)

        return run_two
    return lambda root, _variables: walk(root, names)


def path_run(base: Run, names: tuple[str, ...]) -> Run:
    """A function that reads a path from what `base` gives."""
    if len(names) == 1:
        name = names[0]

        def run_one(root: Any, variables: dict[str, Any]) -> Any:
            value = base(root, variables)
            if type(value) is dict:
                return value.get(name, MISSING)
            return walk(value, names)

        return run_one
    return lambda root, variables: walk(base(root, variables), names)


def walk(value: Any, names: tuple[str, ...], at: int = 0) -> Any:
    """The value of a path: arrays give an array of what their documents have; numbers are names."""
    for place in range(at, len(names)):
        if type(value) is list:
            found = []
            for element in value:
                if type(element) is not list:
                    inner = walk(element, names, place)
                    if inner is not MISSING:
                        found.append(inner)
            return found
        fields = value if type(value) is dict else fields_of(value)
        if fields is None:
            return MISSING
        value = fields.get(names[place], MISSING)
    return value
