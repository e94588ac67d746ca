"""What Rango says through Python's `logging`: one logger for each layer, structured fields.

Terms       layer: "storage", "engine" or "query"; its logger is `rango.<layer>`. Event: a name that
            keeps its meaning. A record has it as `record.event` and its figures as `record.fields`,
            a dict.
Invariants  No value of a document, no `_id` and no key is ever a field or in a message
            (tests/unit/test_events.py runs a workload of secrets and searches every record).
            Nothing is printed unless the program configures logging.
"""

from __future__ import annotations

import sys
from typing import Any, Final

DEBUG: Final = 10
INFO: Final = 20
WARNING: Final = 30
ERROR: Final = 40
"""The numbers of `logging`, which is not imported for them."""


def emit(layer: str, level: int, event: str, message: str, **fields: Any) -> None:
    """Log one event. `message` is a sentence without values; they are `fields`."""
    if "logging" not in sys.modules:
        return  # nobody can listen, and importing it would be a part of every start
    import logging

    logger = logging.getLogger(f"rango.{layer}")
    if not logger.handlers:
        # else warnings of a program that has configured nothing would go to standard error
        logger.addHandler(logging.NullHandler())
    if logger.isEnabledFor(level):
        logger.log(level, message, extra={"event": event, "fields": fields})
