"""A log store of a hundred lines with a switch for each classic bug: the simulator must find all.

Terms       frame: magic, size, number, checksum, payload. Snapshot: `data.toy`, replaced by rename;
            frames with smaller numbers are old.
Invariants  without a bug switched on it keeps every promise that the simulator checks.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

from rango._ext.vfs import VFS_CREATE, VFS_WRITE, PythonVfs
from tests.crash.disk import Disk
from tests.crash.ledger import State
from tests.crash.simulator import Session

HEADER = struct.Struct("<4sIQI")
MAGIC = b"toyf"

BUGS = (
    "acknowledge before the flush",
    "no flush of the directory after create",
    "no flush of the new snapshot before its rename",
    "log cut before the new snapshot is durable",
    "checksum not checked",
    "tail adopted without writing it again",
    "frame written in two parts, size last",
    "transaction split over two frames",
)
FAULT_BUGS = (
    "failed flush repeated",
    "failed flush ignored",
    "writes go on after a failed flush",
)


class ToyFailed(RuntimeError):
    """The disk failed."""


class Toy:
    """A dictionary with a log and a snapshot. `bug` switches one mistake on."""

    def __init__(self, vfs: PythonVfs, bug: str = "") -> None:
        self.vfs = vfs
        self.bug = bug
        self.state: dict[str, Any] = {}
        self.number = 0
        self.end = 0
        self.is_latched = False
        self.fd = -1
        try:
            self._open()
        except OSError as error:
            if self.fd >= 0:
                self.vfs.close(self.fd)
            raise ToyFailed(str(error)) from error

    def _open(self) -> None:
        if not self.vfs.exists("/db"):
            self.vfs.make_directory("/db")
            self.vfs.flush_directory("/")
        if self.vfs.exists("/db/data.toy"):
            snapshot = self._file("/db/data.toy")
            self.number, self.state = snapshot["number"], snapshot["state"]
        is_new = not self.vfs.exists("/db/log.rgo")
        self.fd = self.vfs.open("/db/log.rgo", VFS_WRITE | VFS_CREATE)
        # Always: an earlier start may have died between creating the file and this.
        if self.bug != "no flush of the directory after create" or not is_new:
            self.vfs.flush_directory("/")
        if self.bug != "no flush of the directory after create":
            self.vfs.flush_directory("/db")
        self._replay()

    def _file(self, path: str) -> dict[str, Any]:
        fd = self.vfs.open(path, 0)
        try:
            content: dict[str, Any] = json.loads(self.vfs.read(fd, self.vfs.size(fd), 0))
            return content
        finally:
            self.vfs.close(fd)

    def _replay(self) -> None:
        log = self.vfs.read(self.fd, self.vfs.size(self.fd), 0)
        while len(log) - self.end >= HEADER.size:
            magic, size, number, check = HEADER.unpack_from(log, self.end)
            payload = log[self.end + HEADER.size : self.end + HEADER.size + size]
            if magic != MAGIC or len(payload) < size:
                break
            is_valid = check == zlib.crc32(payload, number)
            if not is_valid and self.bug != "checksum not checked":
                break
            if number > self.number + 1:
                break
            if number == self.number + 1:
                self._apply(json.loads(payload))
                self.number = number
            self.end += HEADER.size + size
        if self.bug != "tail adopted without writing it again":
            self.vfs.write(self.fd, log[: self.end], 0)
            self.vfs.truncate(self.fd, self.end)
            self.vfs.flush(self.fd)

    def _apply(self, changes: dict[str, Any]) -> None:
        for key, value in changes.items():
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value

    def commit(self, changes: dict[str, Any]) -> None:
        if self.is_latched:
            raise ToyFailed("latched: open again")
        parts = [changes]
        if self.bug == "transaction split over two frames" and len(changes) > 1:
            parts = [{key: value} for key, value in changes.items()]
        try:
            for part in parts:
                self._append(json.dumps(part).encode())
            if self.bug != "acknowledge before the flush":
                self._flush()
        except OSError as error:
            self.is_latched = self.bug != "writes go on after a failed flush"
            raise ToyFailed(str(error)) from error
        self._apply(changes)

    def _append(self, payload: bytes) -> None:
        number = self.number + 1
        header = HEADER.pack(MAGIC, len(payload), number, zlib.crc32(payload, number))
        if self.bug == "frame written in two parts, size last":
            self.vfs.write(self.fd, header, self.end)
            self.vfs.flush(self.fd)
            self.vfs.write(self.fd, payload, self.end + len(header))
        else:
            self.vfs.write(self.fd, header + payload, self.end)
        self.end += len(header) + len(payload)
        self.number = number

    def _flush(self) -> None:
        try:
            if self.bug != "frame written in two parts, size last":
                self.vfs.flush(self.fd)
        except OSError:
            if self.bug == "failed flush repeated":
                self.vfs.flush(self.fd)
            elif self.bug != "failed flush ignored":
                raise

    def snapshot(self) -> None:
        if self.is_latched:
            raise ToyFailed("latched: open again")
        try:
            content = json.dumps({"number": self.number, "state": self.state}).encode()
            fd = self.vfs.open("/db/data.tmp", VFS_WRITE | VFS_CREATE)
            try:
                self.vfs.truncate(fd, 0)
                self.vfs.write(fd, content, 0)
                if self.bug != "no flush of the new snapshot before its rename":
                    self.vfs.flush(fd)
            finally:
                self.vfs.close(fd)
            self.vfs.rename("/db/data.tmp", "/db/data.toy")
            if self.bug != "log cut before the new snapshot is durable":
                self.vfs.flush_directory("/db")
            self.vfs.truncate(self.fd, 0)
            self.vfs.flush(self.fd)
            self.end = 0
        except OSError as error:
            self.is_latched = True
            raise ToyFailed(str(error)) from error

    def close(self) -> None:
        if self.fd >= 0:
            self.vfs.close(self.fd)
            self.fd = -1


class ToySubject:
    """The toy as the simulator sees it."""

    failures: tuple[type[Exception], ...] = (ToyFailed,)
    latching: tuple[type[Exception], ...] = (ToyFailed,)

    def __init__(self, bug: str = "") -> None:
        self.bug = bug

    def open(self, disk: Disk) -> Toy:
        return Toy(PythonVfs(disk), self.bug)

    def observe(self, database: Toy) -> State:
        return dict(database.state)

    def verify(self, database: Toy, disk: Disk) -> list[str]:
        return []

    def replayed(self, disk: Disk) -> State | None:
        return None

    def probe(self, database: Toy) -> dict[Any, Any]:
        database.commit({"probe": 1})
        return {"probe": 1}

    def close(self, database: Toy) -> None:
        database.close()


def toy_workload(session: Session) -> None:
    """Forty commits, some of several keys, some larger than a sector, a snapshot now and then."""
    rng, ledger = session.rng, session.ledger
    toy = session.open()
    for n in range(40):
        changes: dict[str, Any] = {f"k{rng.randrange(8)}": n}
        if n % 3 == 0:
            changes["large"] = "x" * rng.randrange(2000)
        if n % 5 == 0:
            changes[f"k{rng.randrange(8)}"] = None
        ledger.attempt(changes)
        toy.commit(changes)
        ledger.acknowledge()
        if n % 8 == 7:
            toy.snapshot()
        if n % 13 == 12:
            session.close()
            toy = session.open()
