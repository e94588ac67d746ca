"""A backup: its list, and what an interrupted one left."""

from __future__ import annotations

import os
from typing import Final

from rango.doctor.examination import Examination
from rango.engine.backup import LIST, PIECES, list_read
from rango.errors import Corrupted, InvalidArgument, IoFailed

UNFINISHED: Final = frozenset({f"{LIST}.new", "keys.new", "piece.new"})


def is_backup(names: frozenset[str]) -> bool:
    """Whether a directory with these names is a backup, perhaps an unfinished one."""
    return bool(names & {LIST, f"{LIST}.new", PIECES}) and not names & {"keys", "oplog"}


def examine_backup(case: Examination) -> None:
    """The list with its signature, and leftovers; the pieces are read by `rango restore`."""
    case.facts["kind"] = "backup"
    found = set(case.names)
    if PIECES in found:
        found |= set(os.listdir(case.place(PIECES)))
    if LIST not in case.names or found & UNFINISHED:
        state = "the backup before it is whole" if LIST in case.names else "it holds no backup yet"
        case.find(
            "backup-unfinished",
            case.path,
            f"a backup to this directory was cut short, or still runs; {state}",
            "run `rango backup` to this directory again",
        )
    if LIST not in case.names:
        return
    try:
        fields = list_read(case.vfs, case.path)
    except (Corrupted, InvalidArgument, IoFailed) as error:
        case.find("backup-damaged", LIST, str(error), "make a new backup; do not trust this one")
        return
    case.facts["backup"] = {
        "ordinal": fields["ordinal"],
        "created_ms": fields["created_ms"],
        "segments": len(fields["segments"]),
        "bytes": sum(piece["size"] for piece in fields["segments"]),
    }
    for piece in fields["segments"]:
        place = os.path.join(PIECES, piece["name"])
        try:
            size = os.path.getsize(case.place(place))
        except OSError:
            size = -1
        if size != piece["size"]:
            what = "missing" if size < 0 else f"of {size} bytes instead of {piece['size']}"
            case.find(
                "backup-damaged",
                place,
                f"this file of the backup is {what}",
                "make a new backup; do not trust this one",
            )
