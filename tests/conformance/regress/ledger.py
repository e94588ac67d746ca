"""Why a recorded answer and ours differ, where both were looked at.

Terms       reason: an entry of `reasons`: what differs and why ours stands.
            rule: a reason for all cases whose statement and difference look so.
Layout      ledger.json: {"reviewed": [files], "reasons": {name: text},
            "rules": [{"reason", "statement", "detail"}], "cases": {"file:line": name}}.
            Both patterns of a rule are regular expressions that must be found; either may be left
            out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

LEDGER = Path(__file__).with_name("ledger.json")


@dataclass(frozen=True)
class Rule:
    """One reason by what a case looks like."""

    reason: str
    statement: re.Pattern[str]
    detail: re.Pattern[str]


class Ledger:
    """The checked-in explanations."""

    def __init__(self) -> None:
        data = json.loads(LEDGER.read_text(encoding="utf-8"))
        self.reviewed: frozenset[str] = frozenset(data["reviewed"])
        self.reasons: dict[str, str] = data["reasons"]
        self.cases: dict[str, str] = data["cases"]
        self.rules = [
            Rule(
                rule["reason"],
                re.compile(rule.get("statement", ""), re.DOTALL),
                re.compile(rule.get("detail", ""), re.DOTALL),
            )
            for rule in data["rules"]
        ]

    def reason(self, case: str, statement: str, detail: str) -> str | None:
        """The name of the reason of a disagreement, or None."""
        if case in self.cases:
            return self.cases[case]
        for rule in self.rules:
            if rule.statement.search(statement) and rule.detail.search(detail):
                return rule.reason
        return None
