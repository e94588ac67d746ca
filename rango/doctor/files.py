"""The files of a database as the operating system shows them: kinds, owners, modes, leftovers.

Invariants  Only names and the attributes of files are read; and the first bytes of small files
            beside the database, which tell whether an import was interrupted.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from typing import Final

from rango.doctor.examination import Examination
from rango.engine.recovery import HALF, OWN_NAMES
from rango.engine.rekey import KEPT
from rango.storage.segment import segment_id_in
from rango.storage.signatures import SIGNATURES

FOLDERS: Final = frozenset({"oplog"})
RESUME_HEAD: Final = b'{"run": "'
"""How a resume file of an import begins (rango/transfer/resume_file.py)."""
RESUME_SIZE_MAX: Final = 4096
NEIGHBOURS_MAX: Final = 1_000
"""Files beside the database that are looked at, at most."""
KEPT_NAME: Final = re.compile(rf"{KEPT}(-\d+)?")
CUT_NAME: Final = re.compile(r"\d{16}-\d+(\.\d+)?\.cut")


def examine_files(case: Examination) -> None:
    """Everything in the directory and in the log's."""
    own: list[str] = [""]
    for name in sorted(case.names):
        if name == HALF:
            continue  # examine_rekey says so
        if KEPT_NAME.fullmatch(name):
            case.find(
                "old-files-kept",
                name,
                "the files as they were before the keys were changed: the old secret still opens "
                "them",
                "delete this directory once you are sure that the new keys work and are kept safe",
            )
            continue
        if name not in OWN_NAMES:
            case.find(
                "unknown-file",
                name,
                "this file is not Rango's",
                "leave it if it is yours; Rango ignores it, but a backup does not copy it",
            )
            continue
        own.append(name)
        if name == "keys.new":
            case.find(
                "keys-change-unfinished",
                name,
                "a change of the keys was cut short before it took effect",
                "nothing: the old keys count, and the next change replaces this file. Repeat the "
                "change if you want it",
            )
        elif name == "data.rango.new":
            case.find(
                "creation-unfinished",
                name,
                "the creation of the data file was cut short",
                "nothing: the next open for writing makes it anew",
            )
    own += [os.path.join("oplog", name) for name in log_names(case)]
    for name in own:
        examine_file(case, name)
    examine_neighbours(case)


def log_names(case: Examination) -> Iterator[str]:
    """What Rango keeps in the folder of the log; says what of it is a leftover, or not its own."""
    try:
        names = sorted(os.listdir(case.place("oplog")))
    except OSError:  # examine_file says so
        return
    cuts = []
    for name in names:
        where = os.path.join("oplog", name)
        if CUT_NAME.fullmatch(name):
            cuts.append(where)
        elif name.endswith((".rgo.new", ".cut.new", f"{SIGNATURES}.new")):
            if not case.is_written:
                case.find(
                    "segment-unfinished",
                    where,
                    "a crash cut the writing of this file short",
                    "nothing: it holds nothing that counts, and the next open for writing "
                    "removes it",
                )
        elif name != SIGNATURES and segment_id_in(name) is None:
            case.find("unknown-file", where, "this file is not Rango's", "leave it if it is yours")
            continue
        yield name
    if cuts:
        size = sum(os.path.getsize(case.place(where)) for where in cuts)
        case.find(
            "tail-kept",
            cuts[0],
            f"{len(cuts)} torn ends of the log ({size} bytes) were put aside after crashes; they "
            "are no whole commits, and nobody was told that they were stored",
            "delete the .cut files when you do not want to look into them",
        )


def examine_file(case: Examination, name: str) -> None:
    """One file or folder of Rango's ("": the database itself)."""
    path, where = case.place(name), name or case.path
    try:
        found = os.lstat(path)
    except OSError:
        return  # gone meanwhile, or below a folder that is found unreadable itself
    is_folder = name in FOLDERS or not name
    if name and not (stat.S_ISDIR if is_folder else stat.S_ISREG)(found.st_mode):
        wanted = "a folder" if is_folder else "a plain file"
        case.find(
            "wrong-kind",
            where,
            f"this should be {wanted} and is not",
            "put the real one back, from a backup if need be; a link to it does not do",
            # evidence, no data: the database opens without it
            severity="warning" if name == os.path.join("oplog", SIGNATURES) else None,
        )
        return
    if not os.access(path, os.R_OK | (os.X_OK if is_folder else 0), effective_ids=True):
        case.find(
            "unreadable",
            where,
            f"user {case.surroundings.user} may not read it, so it was not examined",
            "run the command as the owner of the database, or give yourself the right to read",
        )
    if case.surroundings.user not in (found.st_uid, 0):
        case.find(
            "other-owner",
            where,
            f"it belongs to user {found.st_uid}, not to you ({case.surroundings.user})",
            "give all files of a database one owner (chown -R), and run its programs as that user",
        )
    others = stat.S_IMODE(found.st_mode) & 0o077
    if others:
        case.find(
            "permissions",
            where,
            f"others may use it (mode {stat.S_IMODE(found.st_mode):04o})",
            f"chmod go-rwx '{path}'",
        )


def examine_neighbours(case: Examination) -> None:
    """What an import or a restore left beside the database."""
    half = f"{case.path}.restoring"
    if os.path.isdir(half):
        case.find(
            "restore-unfinished",
            half,
            "a restore to this place was cut short",
            "remove that directory, or restore again to a path of its own",
        )
    parent = os.path.dirname(os.path.abspath(case.path))
    try:
        entries = sorted(os.scandir(parent), key=lambda entry: entry.name)[:NEIGHBOURS_MAX]
    except OSError:
        return
    for entry in entries:
        collection = resume_collection(entry)
        if collection is not None:
            case.find(
                "import-unfinished",
                entry.path,
                f"this file says that an import into {collection!r} has stopped, or still runs",
                f"run the same `rango import` with --resume '{entry.name}' again: it goes on where "
                "it was; or delete the file",
            )


def resume_collection(entry: os.DirEntry[str]) -> str | None:
    """The collection that a resume file names; None if it is none."""
    try:
        found = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode) or not 0 < found.st_size <= RESUME_SIZE_MAX:
            return None
        with open(entry.path, "rb") as file:
            data = file.read(RESUME_SIZE_MAX)
    except OSError:
        return None
    if not data.startswith(RESUME_HEAD):
        return None
    try:
        name = json.loads(data).get("collection")
    except ValueError:
        return None
    return name if isinstance(name, str) else None
