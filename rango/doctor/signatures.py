"""What the database has signed of its history: whether the file is there, whole, and its own.

Invariants  No secret is needed: the public key lies open in the keys file. Nothing here keeps a
            database from opening, so nothing is an error. The log is not compared: verify() does.
            While another process works, the end of the file and its absence are not judged.
Failure     A file that cannot be read is a finding.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Final

from rango.doctor.examination import Examination
from rango.storage.keys_file import KeysState
from rango.storage.signatures import SIGNATURES, Link, Signature, lines_of

WHERE: Final = os.path.join("oplog", SIGNATURES)
GENUINE_MAX: Final = 1_024
"""The newest lines, whose signatures are computed."""

COMPARE: Final = (
    "hold the history against an anchor that you kept elsewhere (`rango verify --anchor`), or "
    "against a backup"
)


def examine_signatures(case: Examination) -> None:
    """All of the file."""
    state = case.keys
    if state is None or "oplog" not in case.names:
        return  # examine_keys and examine_log say so
    path = case.place("oplog", SIGNATURES)
    if not os.path.lexists(path):
        examine_absence(case)
        return
    if not os.path.isfile(path):
        return  # examine_files says so
    unread: list[int] = []
    newest: deque[tuple[int, Signature | Link]] = deque(maxlen=GENUINE_MAX)
    foreign: list[int] = []
    try:
        for number, said in lines_of(case.vfs, path):
            if said is None:
                unread.append(number)
            elif is_foreign(said, state):
                foreign.append(number)
            else:
                newest.append((number, said))
    except OSError as error:
        case.not_read(WHERE, str(error))
        return
    tell(case, unread, foreign, [number for number, said in newest if not said.is_genuine])


def is_foreign(said: Signature | Link, state: KeysState) -> bool:
    """Whether another database, or another key, says this. Links have keys from before."""
    if said.database_id != state.database_id:
        return True
    return isinstance(said, Signature) and said.public_key != state.verify_key


def examine_absence(case: Examination) -> None:
    """There is no file: was there one? Every checkpoint that holds a commit signs."""
    if case.slot is not None and case.slot.ordinal and not case.is_written:
        case.find(
            "signatures-missing",
            WHERE,
            f"nothing is signed, although there is a checkpoint of commit {case.slot.ordinal}: "
            "the file was lost, or a crash came right after the first checkpoint",
            "nothing to open it: the next commit that is checkpointed signs all of the history. "
            f"If somebody may have removed the file, {COMPARE}",
        )


def tell(case: Examination, unread: list[int], foreign: list[int], changed: list[int]) -> None:
    """Say what the lines with these numbers are."""
    if unread and not case.is_written:
        case.find(
            "signatures-torn",
            f"{WHERE} line {unread[0]}",
            f"{len(unread)} lines are no signatures: torn by a crash, damaged, or of a later Rango",
            "nothing: a later signature covers what they did. If there was no crash, run `rango "
            "verify`, and look after the disk",
        )
    if foreign:
        case.find(
            "signatures-foreign",
            f"{WHERE} line {foreign[0]}",
            f"{len(foreign)} lines are of another database, or signed with another key than that "
            "of `keys`: one of the two files was put here from somewhere else",
            f"put the file back that belongs here; else {COMPARE}",
        )
    if changed:
        case.find(
            "signatures-changed",
            f"{WHERE} line {changed[0]}",
            f"{len(changed)} lines are not as the key has signed them: the disk, or somebody, has "
            "changed them",
            f"run `rango verify`, which says whether the history is another one, too; {COMPARE}",
        )
