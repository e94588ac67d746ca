"""Ids, revisions and the clock that orders them.

Terms       node, revision: see glossary. Tag = the last four characters of a revision's text, a
            short hash of the node id.
Invariants  I-12: every clock reading and every random byte is an argument here; nothing in this
            file draws its own. Ids of one generator rise strictly; ticks of one clock rise
            strictly, over restarts (floor) and over physical clocks that go back.
Layout      UUIDv7: unix milliseconds 48 | version 4 | counter high 12 | variant 2 | counter low 30
            | random 32 bits. Revision text: "<milliseconds>-<counter>-<tag>", decimal, decimal, 4
            lower hex digits.
Failure     A remote revision too far ahead of the local clock is refused and does not move the
            clock.
Sources     RFC 9562 sections 5.7 and 6.2 (method 1, fixed-length dedicated counter); Kulkarni et
            al., "Logical Physical Clocks" (2014); SipHash-1-3 with zero keys as in Rust's
            DefaultHasher.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Final, NamedTuple

from rango.errors import InvalidArgument, InvalidName, LimitExceeded
from rango.limits import CLOCK_DRIFT_MS_MAX, NODE_ID_SIZE_BYTES_MAX

COUNTER_MAX: Final = 0xFFFF
MILLISECONDS_MAX: Final = (1 << 64) - 1

_MASK: Final = (1 << 64) - 1
_UUID_MILLISECONDS_MAX: Final = (1 << 48) - 1
_UUID_COUNTER_MAX: Final = (1 << 42) - 1
_UUID_FIXED: Final = (7 << 76) | (2 << 62)


# A plain method instead of uuid.UUID(int=...): the constructor's checks cost more than all of the
# rest.
def _uuid_of(
    value: int,
    new: Callable[[type[uuid.UUID]], uuid.UUID] = object.__new__,
    put: Callable[[object, str, object], None] = object.__setattr__,
) -> uuid.UUID:
    result = new(uuid.UUID)
    put(result, "int", value)
    put(result, "is_safe", uuid.SafeUUID.unknown)
    return result


class UuidGenerator:
    """Makes UUIDv7s that rise strictly, whatever the clock does. Safe to share by threads.

    `clock` returns milliseconds since the epoch; `entropy(size)` returns that many random bytes.
    """

    __slots__ = ("_clock", "_counter", "_entropy", "_lock", "_milliseconds")

    def __init__(self, clock: Callable[[], int], entropy: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._entropy = entropy
        self._lock = threading.Lock()
        self._milliseconds = -1
        self._counter = 0

    def __call__(self) -> uuid.UUID:
        """The next id."""
        now = self._clock()
        with self._lock:
            if now > self._milliseconds:
                random = int.from_bytes(self._entropy(10), "big")
                self._milliseconds = now
                # The counter's top bit starts clear, so that at least 2^41 ids fit into one
                # millisecond.
                self._counter = (random >> 32) & (_UUID_COUNTER_MAX >> 1)
            else:
                random = int.from_bytes(self._entropy(4), "big")
                self._counter += 1
                if self._counter > _UUID_COUNTER_MAX:
                    self._milliseconds += 1
                    self._counter = 0
            milliseconds = self._milliseconds
            counter = self._counter
        if not 0 <= milliseconds <= _UUID_MILLISECONDS_MAX:
            raise InvalidArgument(
                f"clock() returned {now}; milliseconds since 1970 are needed, from 0 to 2^48 - 1"
            )
        return _uuid_of(
            (milliseconds << 80)
            | _UUID_FIXED
            | ((counter >> 30) << 64)
            | ((counter & 0x3FFFFFFF) << 32)
            | (random & 0xFFFFFFFF)
        )


def generate_node_id(entropy: Callable[[int], bytes]) -> str:
    """A new node id, `node-<8 hex digits>`; drawn once, when a database is created."""
    return f"node-{entropy(4).hex()}"


def node_id_check(node_id: str) -> str:
    """The node id itself; InvalidName or LimitExceeded if it cannot be one."""
    if not isinstance(node_id, str):
        raise InvalidArgument(f"node_id must be a str, not {type(node_id).__name__}")
    if not node_id or "\0" in node_id:
        raise InvalidName("node_id must have at least one character and no NUL")
    try:
        size = len(node_id.encode())
    except UnicodeEncodeError as error:
        raise InvalidName(f"node_id cannot be encoded as UTF-8: {error.reason}") from None
    if size > NODE_ID_SIZE_BYTES_MAX:
        message = f"node_id has {size} bytes as UTF-8; at most {NODE_ID_SIZE_BYTES_MAX} are allowed"
        raise LimitExceeded("NODE_ID_SIZE_BYTES_MAX", size, message)
    return node_id


def _rotate(value: int, count: int) -> int:
    return ((value << count) | (value >> (64 - count))) & _MASK


def _sip_round(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    a = (a + b) & _MASK
    b = _rotate(b, 13) ^ a
    a = _rotate(a, 32)
    c = (c + d) & _MASK
    d = _rotate(d, 16) ^ c
    a = (a + d) & _MASK
    d = _rotate(d, 21) ^ a
    c = (c + b) & _MASK
    b = _rotate(b, 17) ^ c
    return a, b, _rotate(c, 32), d


def siphash_1_3(data: bytes) -> int:
    """SipHash-1-3 of the bytes with both keys zero, 64 bits."""
    a, b, c, d = 0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573
    whole = len(data) & ~7
    tail = data[whole:] + bytes(7 - len(data) % 8) + bytes((len(data) & 0xFF,))
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    for word in (*words, int.from_bytes(tail, "little")):
        a, b, c, d = _sip_round(a, b, c, d ^ word)
        a ^= word
    c ^= 0xFF
    for _ in range(3):
        a, b, c, d = _sip_round(a, b, c, d)
    return a ^ b ^ c ^ d


_tags: dict[str, str] = {}


def node_tag(node_id: str) -> str:
    """The four hex digits that stand for a node in a revision's text."""
    tag = _tags.get(node_id)
    if tag is None:
        # Rust hashes a str as its bytes and 0xFF.
        tag = format(siphash_1_3(node_id.encode() + b"\xff"), "016x")[:4]
        if len(_tags) < 1024:
            _tags[node_id] = tag
    return tag


class Revision(NamedTuple):
    """One revision of a document: ordered by milliseconds, counter, and the full node id."""

    milliseconds: int
    counter: int
    node: str

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.counter}-{node_tag(self.node)}"

    @classmethod
    def parse(cls, text: str, node: str) -> Revision:
        """The revision that `text` writes; InvalidArgument unless it can be one of `node`."""
        milliseconds, counter, tag = revision_parse(text)
        if tag != node_tag(node):
            raise InvalidArgument(
                f"revision {text!r} is not one of node {node!r}, whose tag is {node_tag(node)}"
            )
        return cls(milliseconds, counter, node)


def _decimal(digits: str, maximum: int) -> int:
    """The number, or -1 if these are not plain ASCII digits or it is too large."""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        return -1
    value = int(digits)
    return value if value <= maximum else -1


def revision_parse(text: str) -> tuple[int, int, str]:
    """The parts of a revision's text: milliseconds, counter, tag. InvalidArgument if it is not one.

    The tag may be any string (foreign nodes write what they like); only text made by Rango has
    four hex digits.
    """
    if not isinstance(text, str):
        raise InvalidArgument(f"a revision is a str, not {type(text).__name__}")
    parts = text.split("-", 2)
    if len(parts) == 3:
        milliseconds = _decimal(parts[0], MILLISECONDS_MAX)
        counter = _decimal(parts[1], COUNTER_MAX)
        if milliseconds >= 0 and counter >= 0:
            return milliseconds, counter, parts[2]
    raise InvalidArgument(f"{text!r} is not a revision; one looks like 1700000000000-0-9239")


class HybridLogicalClock:
    """Stamps revisions: physical milliseconds while they advance, a counter while they do not.

    `floor` is the greatest (milliseconds, counter) known from the log; the next tick is greater.
    The caller serialises calls (the engine ticks under the append lock).
    """

    __slots__ = ("_counter", "_milliseconds")

    def __init__(self, floor: tuple[int, int] = (0, 0)) -> None:
        self._milliseconds, self._counter = floor

    @property
    def latest(self) -> tuple[int, int]:
        """The last (milliseconds, counter) given out or received."""
        return self._milliseconds, self._counter

    def raise_floor(self, milliseconds: int, counter: int) -> None:
        """Make the next tick greater than this one, unchecked: for revisions of the own log."""
        self._milliseconds, self._counter = max(
            (self._milliseconds, self._counter), (milliseconds, counter)
        )

    def tick(self, now_milliseconds: int) -> tuple[int, int]:
        """The next (milliseconds, counter), greater than every one before."""
        if now_milliseconds > self._milliseconds:
            self._milliseconds = now_milliseconds
            self._counter = 0
        elif self._counter < COUNTER_MAX:
            self._counter += 1
        else:
            self._milliseconds += 1
            self._counter = 0
        return self._milliseconds, self._counter

    def receive(
        self,
        remote_milliseconds: int,
        remote_counter: int,
        now_milliseconds: int,
        drift_milliseconds_max: int = CLOCK_DRIFT_MS_MAX,
    ) -> tuple[int, int]:
        """Take note of a revision made elsewhere: the next tick is greater than it.

        Returns where the clock stands then, the greater of the remote revision and an own tick.
        Raises LimitExceeded, and leaves the clock where it was, if the remote revision is more than
        `drift_milliseconds_max` ahead of the physical time: one wrong clock must not drag all
        others along.
        """
        ahead = remote_milliseconds - now_milliseconds
        if ahead > drift_milliseconds_max:
            message = (
                f"a remote revision is {ahead} ms ahead of this clock, of which at most "
                f"{drift_milliseconds_max} are accepted; check the clocks of both machines"
            )
            raise LimitExceeded("CLOCK_DRIFT_MS_MAX", ahead, message)
        if not 0 <= remote_counter <= COUNTER_MAX or remote_milliseconds < 0:
            raise InvalidArgument(
                f"not a revision's numbers: {remote_milliseconds}, {remote_counter}"
            )
        self.tick(now_milliseconds)
        self.raise_floor(remote_milliseconds, remote_counter)
        return self._milliseconds, self._counter
