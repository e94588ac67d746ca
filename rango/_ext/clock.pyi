"""The clock of revisions."""

from typing import final

@final
class Clock:
    ms: int
    counter: int

def system_ms() -> int: ...
