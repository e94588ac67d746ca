"""The little of SQL that the transcripts use, as a tree.

Terms       expression: Literal, Name, Call, Operation, Member or a Select in brackets.
Failure     NotACase says in a few words what there is no reading for; the statement is counted
            under them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

TOKEN = re.compile(
    r"(?P<space>\s+|--[^\n]*|/\*.*?\*/)"
    r"|(?P<text>[eE]?'(?:[^']|'')*'|\$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$)"
    r"|(?P<number>\d+(?:\.\d+)?)"
    r'|(?P<name>[A-Za-z_][\w$]*(?:\.[A-Za-z_]\w*)*|"[^"]+")'
    r"|(?P<parameter>\$\d+)"
    r"|(?P<cast>::\s*(?:[\w.]+|\"\w+\")(?:\s*\(\d+\))?(?:\[\])?)"
    r"|(?P<sign>[@~!#^&|?<>=*+/%-]+|[(),;.\[\]])",
    re.DOTALL,
)
CLAUSES = frozenset(
    ("from", "where", "order", "group", "limit", "offset", "having", "union", "for", "intersect")
)


class NotACase(Exception):
    """A statement that cannot be read as a case; its text is the reason."""


@dataclass(frozen=True)
class Literal:
    """A string, number, truth value or NULL."""

    value: Any


@dataclass(frozen=True)
class Name:
    """A column."""

    text: str


@dataclass(frozen=True)
class Parameter:
    """`$1` of a prepared statement."""

    number: int


@dataclass(frozen=True)
class Call:
    """A function; its schema is left out."""

    name: str
    arguments: list[Any]


@dataclass(frozen=True)
class Operation:
    """Two expressions and a sign, or a sign before one."""

    sign: str
    left: Any
    right: Any


@dataclass(frozen=True)
class Member:
    """`(expression).column`."""

    inner: Any
    name: str


@dataclass
class Select:
    """A query. `items` are (expression or `*`, alias)."""

    items: list[tuple[Any, str | None]]
    source: Any = None
    source_alias: str | None = None
    where: Any = None
    order: list[tuple[Any, int]] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0
    named: dict[str, Select] = field(default_factory=dict)


def parse(text: str) -> Select:
    """SELECT, CALL, VALUES-free; NotACase for what is outside of this module."""
    return _Parser(text).statement()


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            match = TOKEN.match(text, at)
            if not match:
                raise NotACase("SQL: a sign that is not read")
            kind = match.lastgroup or ""
            if kind == "tag":
                kind = "text"
            at = match.end()
            if kind not in ("space", "cast"):
                self.tokens.append((kind, match[0]))
        self.at = 0

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else ("end", "")

    def word(self, ahead: int = 0) -> str:
        kind, text = self.peek(ahead)
        return text.lower() if kind in ("name", "sign") else ""

    def take(self, *words: str) -> bool:
        """Take these words if they come next."""
        if all(self.word(ahead) == word for ahead, word in enumerate(words)):
            self.at += len(words)
            return True
        return False

    def need(self, word: str) -> None:
        if not self.take(word):
            raise NotACase(f"SQL: {word!r} is missing")

    def statement(self) -> Select:
        if self.take("call"):
            call = self.primary()
            query = Select([("*", None)], source=call)
        else:
            named = self.with_queries()
            query = self.select()
            query.named = named
        self.take(";")
        if self.peek()[0] != "end":
            raise NotACase(f"SQL: {self.word() or self.peek()[0]}")
        return query

    def with_queries(self) -> dict[str, Select]:
        """WITH name AS (query), ..."""
        named: dict[str, Select] = {}
        if not self.take("with"):
            return named
        while True:
            name = self.word().strip('"')
            self.at += 1
            self.need("as")
            self.take("materialized")
            self.need("(")
            inner = self.select()
            inner.named = named
            named[name] = inner
            self.need(")")
            if not self.take(","):
                return named

    def select(self) -> Select:
        self.need("select")
        if self.take("distinct"):
            raise NotACase("SQL: DISTINCT")
        items = [self.item()]
        while self.take(","):
            items.append(self.item())
        query = Select(items)
        if self.take("from"):
            query.source = self.source(query)
        if self.take("where"):
            query.where = self.expression()
        if self.word() == "group":
            raise NotACase("SQL: GROUP BY")
        if self.take("order", "by"):
            query.order = [self.sort_key()]
            while self.take(","):
                query.order.append(self.sort_key())
        while self.word() in ("limit", "offset"):
            word = self.word()
            self.at += 1
            kind, text = self.peek()
            if kind != "number":
                raise NotACase("SQL: LIMIT of an expression")
            self.at += 1
            if word == "limit":
                query.limit = int(text)
            else:
                query.offset = int(text)
        return query

    def source(self, query: Select) -> Any:
        if self.take("("):
            inner = self.select()
            self.need(")")
            found: Any = inner
        else:
            found = self.primary()
        self.take("as")
        if self.peek()[0] == "name" and self.word() not in CLAUSES:
            query.source_alias = self.word().strip('"')
            self.at += 1
            if self.take("("):
                while not self.take(")"):
                    self.at += 1
        if self.word() in (",", "join", "left", "cross", "inner"):
            raise NotACase("SQL: a join")
        return found

    def item(self) -> tuple[Any, str | None]:
        if self.take("*"):
            return "*", None
        found = self.expression()
        alias = None
        if self.take("as") or (self.peek()[0] == "name" and self.word() not in CLAUSES):
            alias = self.word().strip('"')
            self.at += 1
        return found, alias

    def sort_key(self) -> tuple[Any, int]:
        found = self.expression()
        direction = -1 if self.take("desc") else 1
        self.take("asc")
        if self.take("using"):
            self.at += 1
        if self.take("nulls"):
            self.at += 1
        return found, direction

    def expression(self) -> Any:
        left = self.conjunction()
        while self.take("or"):
            left = Operation("or", left, self.conjunction())
        return left

    def conjunction(self) -> Any:
        left = self.negation()
        while self.take("and"):
            left = Operation("and", left, self.negation())
        return left

    def negation(self) -> Any:
        if self.take("not"):
            return Operation("not", None, self.negation())
        return self.comparison()

    def comparison(self) -> Any:
        left = self.primary()
        while True:
            if self.take("is", "not", "null"):
                left = Operation("is not null", left, None)
            elif self.take("is", "null"):
                left = Operation("is null", left, None)
            elif self.word() in ("between", "in", "like", "operator"):
                raise NotACase(f"SQL: {self.word().upper()}")
            else:
                kind, text = self.peek()
                if kind != "sign" or text in "(),;.":
                    return left
                self.at += 1
                left = Operation(text, left, self.primary())

    def primary(self) -> Any:
        kind, text = self.peek()
        self.at += 1
        found: Any
        if kind == "text":
            found = Literal(_string(text))
        elif kind == "number":
            found = Literal(float(text) if "." in text else int(text))
        elif kind == "parameter":
            found = Parameter(int(text[1:]))
        elif kind == "name":
            found = self.named(text)
        elif text == "-":
            inner = self.primary()
            if not isinstance(inner, Literal):
                raise NotACase("SQL: a sign before an expression")
            found = Literal(-inner.value)
        elif text == "(":
            found = self.select() if self.word() == "select" else self.expression()
            if self.word() == ",":
                raise NotACase("SQL: a row of values")
            self.need(")")
        else:
            raise NotACase(f"SQL: {text or 'the end'}")
        while self.take("."):
            found = Member(found, self.word())
            self.at += 1
        return found

    def named(self, text: str) -> Any:
        bare = text.strip('"').lower()
        if bare in ("null", "true", "false"):
            return Literal({"null": None, "true": True, "false": False}[bare])
        if bare in ("array", "case", "exists", "interval"):
            raise NotACase(f"SQL: {bare.upper()}")
        if not self.take("("):
            return Name(bare.rsplit(".", 1)[-1])
        arguments: list[Any] = []
        while not self.take(")"):
            if self.take("*"):
                arguments.append("*")
                continue
            if self.peek()[0] == "end":
                raise NotACase("SQL: an open bracket")
            if self.peek()[0] == "name" and self.peek(1)[1] in ("=>", ":="):
                arguments.append(("named", self.word()))
                self.at += 2
            if self.word() in ("distinct", "variadic", "order"):
                raise NotACase(f"SQL: {self.word().upper()} inside a call")
            given = self.select() if self.word() == "select" else self.expression()
            if arguments and isinstance(arguments[-1], tuple) and arguments[-1][0] == "named":
                arguments[-1] = (*arguments[-1], given)
            else:
                arguments.append(given)
            self.take(",")
        return Call(bare.rsplit(".", 1)[-1], arguments)


def _string(text: str) -> str:
    if text.startswith("$"):
        tag = text[: text.index("$", 1) + 1]
        return text[len(tag) : -len(tag)]
    if text[0] in "eE":
        return text[2:-1].replace("''", "'").replace("\\\\", "\\")
    return text[1:-1].replace("''", "'")
