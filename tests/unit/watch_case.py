"""What the tests of change streams share: options, and the events that there are."""

from __future__ import annotations

from typing import Any

ALL: dict[str, Any] = {
    "show_expanded_events": True,
    "full_document": "updateLookup",
    "full_document_before_change": "required",
}
PAST: dict[str, Any] = {"start_at": 1, **ALL}


def rest(stream: Any) -> list[dict[str, Any]]:
    """The events that there are."""
    return list(iter(stream.try_next, None))


def kinds(stream: Any) -> list[str]:
    return [event["operationType"] for event in rest(stream)]
