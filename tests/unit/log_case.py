"""A log under test: keys without a keys file, and a disk in memory."""

from __future__ import annotations

import hashlib

from rango._ext.appender import Appender
from rango._ext.seal import PLAIN, Entropy, Provider, SealKey, provider_choose
from rango._ext.vfs import PythonVfs
from rango.storage.oplog import Oplog
from tests.unit.memory_disk import MemoryDisk

FOLDER = "/db/oplog"


class StubKeyring:
    """The methods of a keyring that the log uses."""

    def __init__(self, secret: bytes | None = None) -> None:
        self.database_id = hashlib.blake2b(b"id", digest_size=16).digest()
        self.epoch = 1
        self.secret = secret or b""
        self.entropy = Entropy()
        self.provider: Provider = PLAIN if secret is None else provider_choose()

    def segment_key(self, segment_id: int, salt: bytes, epoch: int) -> SealKey:
        """The key of a segment."""
        ids = segment_id.to_bytes(8, "little") + salt + epoch.to_bytes(4, "little")
        key = hashlib.blake2b(ids, digest_size=32, key=self.secret).digest()
        return self.provider.key(key, self.entropy)

    def packed_key(self, segment_id: int, salt: bytes, epoch: int) -> SealKey:
        """The key of a segment's pieces."""
        return self.segment_key(segment_id, b"packed" + salt, epoch)

    def segment_mac(self, epoch: int, data: bytes) -> bytes:
        """The tag of a header."""
        return hashlib.blake2b(data, digest_size=16, key=self.secret).digest()


class LogCase:
    """One log, opened and reopened on one disk."""

    def __init__(
        self,
        keyring: StubKeyring | None = None,
        disk: MemoryDisk | None = None,
        *,
        segment_size_max: int = 1 << 26,
    ) -> None:
        self.keyring = keyring or StubKeyring()
        self.disk = disk or MemoryDisk()
        self.segment_size_max = segment_size_max

    def create(self) -> Appender:
        """A new log, ready to append."""
        vfs = PythonVfs(self.disk)
        self.log = Oplog.create(vfs, "/db", self.keyring, segment_size_max=self.segment_size_max)
        return self._adopt()

    def open(self) -> Oplog:
        """The log as it is on the disk."""
        vfs = PythonVfs(self.disk)
        self.log = Oplog.open(vfs, "/db", self.keyring, segment_size_max=self.segment_size_max)
        return self.log

    def commits(self) -> list[tuple[int, int, bytes, int]]:
        """Open and replay all of it."""
        log = self.open()
        return [commit for batch in log.replay(*log.start()) for commit in batch]

    def bodies(self) -> list[bytes]:
        """Open, replay, and keep the bodies."""
        return [commit[2] for commit in self.commits()]

    def reopen(self) -> Appender:
        """Open, replay, adopt."""
        self.commits()
        return self.log.adopt()

    def _adopt(self) -> Appender:
        assert list(self.log.replay(*self.log.start())) == []
        return self.log.adopt()

    def data(self, segment_id: int = 1) -> bytearray:
        """The bytes of a segment, to be damaged."""
        return self.disk.names[f"{FOLDER}/{segment_id:016d}.rgo"].data


BODIES = [b"one", b"", b"three" * 20, b"four", b"five" * 9]


def written(*, is_flushed: bool, secret: bytes | None = None) -> tuple[LogCase, list[int]]:
    """A short log, cut behind its last frame, and where each frame starts and the log ends."""
    case = LogCase(StubKeyring(secret))
    appender = case.create()
    places = []
    for body in BODIES:
        places.append(appender.position)
        appender.append_bytes(body)
        if is_flushed:
            appender.flush()
    del case.data()[appender.position :]
    return case, [*places, appender.position]


def works_after(case: LogCase, expected: list[bytes]) -> None:
    """Adopt, append, and read again: the log goes on behind what was found."""
    appender = case.log.adopt()
    appender.append_bytes(b"more")
    appender.append_closed()
    appender.close()
    assert case.bodies() == [*expected, b"more"]
    assert list(case.log.verify()) == []


def segment_names(case: LogCase) -> list[str]:
    return sorted(name for name in case.disk.names if name.endswith(".rgo"))
