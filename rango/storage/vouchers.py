"""Whose signatures count, and what they say: read from the keys file, the signatures and anchors.

Terms       head, base, link, signature, anchor, finding: see storage/verification.py.
Invariants  The key that counts is the anchors', or one that links lead to from it; without an
            anchor it is the one that the keys file names, which proves nothing against somebody
            who could write that file.
Failure     KeysCorrupted when the public key cannot be read and no anchor says it; IoFailed.
Sources     architecture section 4 (Chain); ADR-0031.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from rango._ext.layout import KEYS_CIPHER_PLAIN
from rango._ext.vfs import Vfs
from rango.errors import KeysCorrupted
from rango.storage.keys_file import KeysState, decode, keys_exist, keys_path, read_keys
from rango.storage.segment import io_named
from rango.storage.segment_walk import FindingKind
from rango.storage.signatures import Link, Signature, lines_of, signatures_path

Find = Callable[[FindingKind, int, int, int, str], None]


def keys_state(vfs: Vfs, path: str) -> tuple[KeysState | None, str]:
    """What the keys file says in clear; None and why if it is missing or damaged. IoFailed."""
    with io_named(f"reading {keys_path(path)}"):
        try:
            if not keys_exist(vfs, path):
                return None, f"{keys_path(path)} is missing"
            copy, _damaged = read_keys(vfs, path)
            return decode(copy, keys_path(path)), ""
        except (KeysCorrupted, FileNotFoundError) as error:
            return None, str(error)


class Vouchers:
    """What vouches for a log."""

    def __init__(self, vfs: Vfs, path: str, anchors: Sequence[Signature], find: Find) -> None:
        self.vfs = vfs
        self.path = path
        self.file = signatures_path(os.path.join(path, "oplog"))
        self.anchors = anchors
        self.find = find
        self.database_id = b""
        self.key = b""
        self.is_key_sealed = True
        self.heads: dict[int, list[Signature | Link]] = {}
        """By their ordinals."""
        self.lines: set[Signature] = set()
        """The genuine ones of the file."""
        self.bases: list[Signature] = []
        self.links: list[Link] = []
        self.purges: set[tuple[int, bytes]] = set()
        self.notes: list[str] = []
        self.learn_keys()
        self.learn_signatures()

    def learn_keys(self) -> None:
        """The id and the public key: from the anchors, else from the keys file."""
        state, problem = keys_state(self.vfs, self.path)
        if state is None:
            if not self.anchors:
                raise KeysCorrupted(
                    keys_path(self.path),
                    f"{problem}; without it only an anchor tells whose signatures count",
                )
            self.find("keys", 0, 0, 0, f"the public key cannot be read: {problem}")
        self.database_id = self.anchors[0].database_id if state is None else state.database_id
        self.key = self.anchors[0].public_key if state is None else state.verify_key
        self.is_key_sealed = state is None or state.cipher != KEYS_CIPHER_PLAIN

    def learn_signatures(self) -> None:
        """Read the file of signatures, and choose the key that they are checked with."""
        damaged: list[int] = []
        foreign: dict[bytes, int] = {}
        said: list[tuple[int, Signature]] = []
        with io_named("reading the signatures"):
            for number, each in lines_of(self.vfs, self.file):
                if each is None:
                    damaged.append(number)
                elif isinstance(each, Link):
                    self.learn_link(number, each)
                else:
                    said.append((number, each))
        self.choose_key()
        for number, each in said:
            if each.public_key != self.key:
                foreign.setdefault(each.public_key, number)
            elif each.database_id != self.database_id or not each.is_genuine:
                what = f"line {number} of oplog/signatures is not what the key has signed"
                self.find("signature", each.ordinal, 0, 0, what)
            else:
                self.learn(each)
        if damaged:
            self.notes.append(
                f"{len(damaged)} lines of oplog/signatures cannot be read (line {damaged[0]}):"
                " torn by a crash, or damaged; they count as no signatures"
            )
        for key, number in foreign.items():
            what = f"oplog/signatures is signed with another key, {key.hex()}, in line {number}"
            self.find("other-key", 0, 0, 0, what)

    def learn_link(self, number: int, link: Link) -> None:
        """A link counts if both keys have signed it."""
        if link.database_id != self.database_id or not link.is_genuine:
            what = f"line {number} of oplog/signatures is not what both keys have signed"
            self.find("signature", link.ordinal, 0, 0, what)
            return
        self.links.append(link)

    def learn(self, said: Signature) -> None:
        """A signature that is genuine and of the key that counts."""
        if said.kind == "purge":
            self.purges.add((said.ordinal, said.chain))
            return
        if said in self.lines:
            return
        if said.kind == "base":
            self.bases.append(said)
        self.lines.add(said)
        self.heads.setdefault(said.ordinal, []).append(said)

    def has_base(self, ordinal: int, chain: bytes) -> bool:
        """Whether the key has signed that the history up to here was given up."""
        head = (ordinal, chain)
        if head not in [(each.ordinal, each.chain) for each in self.bases]:
            # it may have come meanwhile: the signature is there first
            self.learn_more()
        return head in [(each.ordinal, each.chain) for each in self.bases]

    def learn_more(self) -> None:
        """Read the signed purges and bases once more."""
        with io_named("reading the signatures"):
            for _number, each in lines_of(self.vfs, self.file):
                if (
                    isinstance(each, Signature)
                    and each.kind in ("purge", "base")
                    and (each.public_key, each.database_id) == (self.key, self.database_id)
                    and each.is_genuine
                ):
                    self.learn(each)

    def choose_key(self) -> None:
        """The key of the keys file, if the anchors' own leads to it; else the anchors'."""
        for anchor in self.anchors:
            if anchor.database_id != self.database_id:
                what = f"the anchor is of another database, {anchor.database_id.hex()}"
                self.find("other-database", 0, 0, 0, what)
            elif not self.leads(anchor.public_key, self.key):
                self.find(
                    "other-key",
                    0,
                    0,
                    0,
                    f"the keys file names the public key {self.key.hex()}, the anchor"
                    f" {anchor.public_key.hex()}, and nothing signed leads from that to this one",
                )
                self.key = anchor.public_key
        for link in self.links:
            if link.new_key == self.key:
                self.heads.setdefault(link.ordinal, []).append(link)
        for anchor in self.anchors:
            if anchor.public_key == self.key and anchor.database_id == self.database_id:
                self.heads.setdefault(anchor.ordinal, []).append(anchor)

    def leads(self, old: bytes, new: bytes) -> bool:
        """Whether links lead from one key to the other."""
        reached = {old}
        while more := {each.new_key for each in self.links if each.old_key in reached} - reached:
            reached |= more
        return new in reached

    def is_outside(self, head: Signature | Link) -> bool:
        """Whether a head comes from an anchor only."""
        return isinstance(head, Signature) and head in self.anchors and head not in self.lines

    @property
    def signed_ordinal(self) -> int:
        """The greatest ordinal of a head that is not from outside."""
        return max(
            (
                ordinal
                for ordinal, heads in self.heads.items()
                if not all(self.is_outside(each) for each in heads)
            ),
            default=0,
        )
