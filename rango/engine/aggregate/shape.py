"""Stages that make one document of one: $match aside, which makes one or none.

$project, $addFields, $set, $unset, $replaceRoot, $replaceWith, $redact, $match.

Invariants  A $match in the middle of a pipeline means what the same filter means in find(): it runs
            the same program, over the BSON of the fields that it names.
Sources     MongoDB manual, the pages of these stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rango._ext.filter import Program
from rango._ext.normal import HEADER_NAMES
from rango._ext.record import encode
from rango.engine.aggregate.fields import Fields, additions_of, exclusion_of, projection_of
from rango.engine.aggregate.spec import expression_of, invalid, names_in
from rango.engine.aggregate.stage import Batches, Context, Document, Names, Scope, Stage
from rango.engine.filters import program_of
from rango.engine.values import MISSING, shown, type_name
from rango.errors import ExpressionFailed

_COMBINING = ("$and", "$or", "$nor")


def filter_names(spec: Mapping[str, Any]) -> Names:
    """The top-level fields that a filter looks at; None if that cannot be told."""
    names: set[str] = set()
    for name, value in spec.items():
        if name in _COMBINING and isinstance(value, list):
            for each in value:
                found = filter_names(each) if isinstance(each, Mapping) else None
                if found is None:
                    return None
                names |= found
        elif name == "$expr":
            found = names_in(value)
            if found is None:
                return None
            names |= found
        elif name == "$comment":
            continue
        elif name.startswith("$"):
            return None
        else:
            names.add(name.split(".", 1)[0])
    return frozenset(names)


def has_expression(spec: object) -> bool:
    """Does a filter hold a $expr, so that variables matter?"""
    if isinstance(spec, Mapping):
        return any(
            name == "$expr" or (name in _COMBINING and has_expression(value))
            for name, value in spec.items()
        )
    return isinstance(spec, list) and any(map(has_expression, spec))


class Match(Stage):
    """$match"""

    name = "$match"

    def __init__(self, spec: Mapping[str, Any], collation: Any = None) -> None:
        self.spec = spec
        self.collation = collation
        self.names = filter_names(spec)
        self.has_expression = has_expression(spec)

    def program(self, variables: dict[str, Any]) -> Program:
        """The program to run with these variables. Raises InvalidFilter."""
        let = variables if self.has_expression else None
        return program_of(self.spec, let=let, collation=self.collation)

    @property
    def conjuncts(self) -> list[Mapping[str, Any]]:
        """The parts of which all must hold."""
        parts: list[Mapping[str, Any]] = []
        for name, value in self.spec.items():
            if name == "$and":
                parts += [part for each in value for part in Match(each).conjuncts]
            else:
                parts.append({name: value})
        return parts

    def run(self, source: Batches, context: Context) -> Batches:
        program = self.program(context.variables)
        matches = program.matches_bson
        names = self.names
        for batch in source:
            context.environment.check()
            if names is None:
                yield [document for document in batch if matches(encode(document))]
            else:
                yield [
                    document
                    for document in batch
                    if matches(encode({name: document[name] for name in names if name in document}))
                ]

    def reads(self, wanted: Names) -> Names:
        return None if wanted is None or self.names is None else wanted | self.names


def match_of(parts: list[Mapping[str, Any]], collation: Any) -> Match:
    """One $match of several filters that must all hold."""
    return Match(parts[0] if len(parts) == 1 else {"$and": parts}, collation)


class Reshape(Stage):
    """$project, $addFields, $set and $unset."""

    def __init__(self, name: str, spec: Any, fields: Fields) -> None:
        self.title = name
        self.spec = spec
        self.fields = fields

    def run(self, source: Batches, context: Context) -> Batches:
        build, variables = self.fields.build, context.variables
        for batch in source:
            yield [build(document, variables) for document in batch]

    def reads(self, wanted: Names) -> Names:
        fields = self.fields
        if fields.reads is None:
            return None
        if fields.is_inclusion:
            return fields.reads
        return None if wanted is None else wanted | fields.reads | fields.names

    def passes(self, names: Names) -> bool:
        """Whether these top-level fields are the same after it as before it."""
        if names is None or names & set(HEADER_NAMES):
            return False
        if self.fields.is_inclusion:
            return names <= self.fields.kept_whole
        return not names & self.fields.names

    def explain(self) -> Document:
        return {self.title: self.spec}


def project_stage(spec: object, scope: Scope) -> Stage:
    """$project"""
    return Reshape("$project", spec, projection_of("$project", spec, scope))


def add_fields_stage(spec: object, scope: Scope) -> Stage:
    """$addFields"""
    return Reshape("$addFields", spec, additions_of("$addFields", spec, scope))


def set_stage(spec: object, scope: Scope) -> Stage:
    """$set"""
    return Reshape("$set", spec, additions_of("$set", spec, scope))


def unset_stage(spec: object, scope: Scope) -> Stage:
    """$unset"""
    return Reshape("$unset", spec, exclusion_of("$unset", spec))


def match_stage(spec: object, scope: Scope) -> Stage:
    """$match"""
    if not isinstance(spec, Mapping):
        raise invalid(15959, f"$match takes a filter, not {shown(spec)} ({type_name(spec)})")
    match = Match(spec, scope.collation)
    match.program(dict.fromkeys(scope.variables))
    return match


class ReplaceRoot(Stage):
    """$replaceRoot and $replaceWith."""

    def __init__(self, name: str, spec: Any, root: Any, scope: Scope) -> None:
        self.title = name
        self.spec = spec
        self.root = root
        self.expression = expression_of(root, scope)

    def run(self, source: Batches, context: Context) -> Batches:
        evaluate, variables = self.expression.evaluate, context.variables
        for batch in source:
            yield [self._checked(evaluate(document, variables)) for document in batch]

    def _checked(self, value: Any) -> Document:
        if not isinstance(value, dict):
            raise ExpressionFailed(
                f"{self.title}: {shown(self.root)} must give a document, not "
                f"{'nothing' if value is MISSING else shown(value)} ({type_name(value)}); guard it "
                "with $ifNull or a $match",
                code=40228,
            )
        return value

    def reads(self, wanted: Names) -> Names:
        return names_in(self.root)

    def explain(self) -> Document:
        return {self.title: self.spec}


def replace_root_stage(spec: object, scope: Scope) -> Stage:
    """$replaceRoot"""
    if not isinstance(spec, Mapping):
        raise invalid(40229, f"$replaceRoot takes a document with newRoot, not {shown(spec)}")
    for name in spec:
        if name != "newRoot":
            raise invalid(40230, f"$replaceRoot has no field {name!r}; it has newRoot")
    if "newRoot" not in spec:
        raise invalid(40231, "$replaceRoot needs the field newRoot")
    return ReplaceRoot("$replaceRoot", spec, spec["newRoot"], scope)


def replace_with_stage(spec: object, scope: Scope) -> Stage:
    """$replaceWith"""
    return ReplaceRoot("$replaceWith", spec, spec, scope)


REDACT_VARIABLES = {"DESCEND": "descend", "PRUNE": "prune", "KEEP": "keep"}


class Redact(Stage):
    """$redact: what an expression says of each document in a document."""

    name = "$redact"

    def __init__(self, spec: Any, scope: Scope) -> None:
        self.spec = spec
        self.expression = expression_of(spec, scope, REDACT_VARIABLES)

    def run(self, source: Batches, context: Context) -> Batches:
        variables = {**context.variables, **REDACT_VARIABLES}
        for batch in source:
            redacted = [self._redacted(document, variables) for document in batch]
            yield [document for document in redacted if document is not MISSING]

    def _redacted(self, document: Document, variables: dict[str, Any]) -> Any:
        decision = self.expression.evaluate(document, variables)
        if decision == "keep":
            return document
        if decision == "prune":
            return MISSING
        if decision != "descend":
            raise ExpressionFailed(
                f"$redact gives $$KEEP, $$PRUNE or $$DESCEND, not {shown(decision)}", code=17053
            )
        found = {}
        for name, value in document.items():
            below = self._below(value, variables)
            if below is not MISSING:
                found[name] = below
        return found

    def _below(self, value: Any, variables: dict[str, Any]) -> Any:
        if isinstance(value, dict):
            return self._redacted(value, variables)
        if isinstance(value, list):
            elements = [self._below(each, variables) for each in value]
            return [each for each in elements if each is not MISSING]
        return value


def redact_stage(spec: object, scope: Scope) -> Stage:
    """$redact"""
    return Redact(spec, scope)
