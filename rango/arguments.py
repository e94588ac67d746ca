"""What callers give to `rango.open` and its kin, checked, and what stands in for what they do not.

Invariants  I-12: clock, randomness and ids enter here and nowhere else.
Failure     InvalidArgument and its kin name the argument and what it may be; nothing was opened.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from rango.errors import InvalidArgument
from rango.ids import UuidGenerator, node_id_check
from rango.metrics import NEVER

if TYPE_CHECKING:
    from rango._ext.vfs import Vfs
    from rango.engine.core import OpenOptions

Durability = Literal["commit", "group", "memory"]
StrPath = str | os.PathLike[str]

CACHE_SIZE_DEFAULT: Final = 64 * 1024 * 1024
GROUP_DELAY_MS_MAX: Final = 60_000
TTL_INTERVAL_S_DEFAULT: Final = 60.0
CLOCK_MS_MAX: Final = 253_402_300_799_999
"""The last millisecond of the year 9999, where Python's dates end."""

_DURABILITIES: Final = ("commit", "group", "memory")
_SECRETS: Final = ("passphrase", "key", "keyfile", "token", "keyring")


def _now() -> int:
    return time.time_ns() // 1_000_000


_default_ids = UuidGenerator(_now, os.urandom)


def _default_ids_reset() -> None:
    """A lock that another thread held at the fork would never be released in the child."""
    # one generator for the process is what makes ids rise within it
    global _default_ids  # noqa: PLW0603
    _default_ids = UuidGenerator(_now, os.urandom)


os.register_at_fork(after_in_child=_default_ids_reset)


def integer(name: str, value: object, lower: int, upper: int) -> int:
    """An int from `lower` to `upper`. InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{name} must be an int, not {type(value).__name__}")
    if not lower <= value <= upper:
        raise InvalidArgument(f"{name} is {value}; it must be from {lower} to {upper}")
    return value


def ms_of(now: object) -> int:
    """A datetime as milliseconds since 1970. InvalidArgument."""
    if not isinstance(now, datetime):
        raise InvalidArgument(f"now must be a datetime, not {type(now).__name__}")
    # as everywhere, a datetime without a zone is UTC
    aware = now if now.tzinfo is not None else now.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def function_check(name: str, value: object) -> None:
    """None, or something that can be called. InvalidArgument."""
    if value is not None and not callable(value):
        raise InvalidArgument(f"{name} must be a function, not {type(value).__name__}")


def flag(name: str, value: object) -> bool:
    """True or False. InvalidArgument."""
    # any text is true, so read_only="no" would mean the contrary of what it says
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name} must be True or False, not {value!r:.40}")
    return value


def clock_checked(clock: Callable[[], int]) -> Callable[[], int]:
    """A caller's clock, whose every answer is looked at before it gets into a revision."""

    def checked() -> int:
        return integer("what clock() returns", clock(), 0, CLOCK_MS_MAX)

    return checked


def seconds(name: str, value: object) -> float:
    """A number of seconds that can be waited for. InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgument(f"{name} must be a number, not {type(value).__name__}")
    if not 0 <= value <= threading.TIMEOUT_MAX:
        most = int(threading.TIMEOUT_MAX)
        raise InvalidArgument(f"{name} is {value}; it must be from 0 to {most}")
    return float(value)


def slow_ns(slow_query_ms: object) -> int:
    """From how many nanoseconds on a statement is slow. InvalidArgument."""
    return NEVER if slow_query_ms is None else int(seconds("slow_query_ms", slow_query_ms) * 1e6)


def path_text(path: StrPath) -> str:
    """A path as text. InvalidArgument."""
    if not isinstance(path, str | os.PathLike):
        raise InvalidArgument(f"path must be a str or a path, not {type(path).__name__}")
    text: object = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidArgument("path must be a str of at least one character and without NUL")
    return text


def options_of(
    path: StrPath,
    secret: tuple[Any, ...],
    *,
    node_id: str | None = None,
    durability: str = "commit",
    group_delay_ms: int = 5,
    ttl_interval_s: float = TTL_INTERVAL_S_DEFAULT,
    read_only: bool = False,
    create: bool = True,
    cache_size: int | None = None,
    clock: Callable[[], int] | None = None,
    random: Callable[[int], bytes] | None = None,
    ids: Callable[[], Any] | None = None,
    vfs: Vfs | None = None,
) -> OpenOptions:
    """The engine's options, every argument checked."""
    # loaded when a database is opened, so that `import rango` stays cheap for a command line
    from rango._ext.clock import system_ms
    from rango._ext.seal import Entropy
    from rango._ext.vfs import POSIX
    from rango.engine.core import OpenOptions
    from rango.storage.keyring import secret_from

    if durability not in _DURABILITIES:
        raise InvalidArgument(
            f"durability is {durability!r}; it must be one of {', '.join(_DURABILITIES)}"
        )
    for name, value in (("clock", clock), ("random", random), ("ids", ids)):
        function_check(name, value)
    now = system_ms if clock is None else clock_checked(clock)
    given = dict(zip(_SECRETS, secret, strict=False))
    if given["keyfile"] is not None:
        given["keyfile"] = path_text(given["keyfile"])
    if ids is None:
        ids = (
            _default_ids
            if clock is None and random is None
            else UuidGenerator(now, random or os.urandom)
        )
    return OpenOptions(
        path=os.path.abspath(path_text(path)),  # the program may change its working directory
        secret=secret_from(**given),
        node_id=None if node_id is None else node_id_check(node_id),
        durability=durability,
        group_delay_ms=integer("group_delay_ms", group_delay_ms, 0, GROUP_DELAY_MS_MAX),
        read_only=flag("read_only", read_only),
        create=flag("create", create),
        cache_size=CACHE_SIZE_DEFAULT
        if cache_size is None
        else integer("cache_size", cache_size, 0, 1 << 62),
        cache_is_given=cache_size is not None,
        clock=now,
        entropy=Entropy(random),
        ids=ids,
        vfs=POSIX if vfs is None else vfs,
        ttl_interval_s=seconds("ttl_interval_s", ttl_interval_s),
    )
