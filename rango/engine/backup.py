"""Backups of a live database: the oplog up to one commit, the keys, and a signed list of both.

Terms       backup: a directory with backup.json, keys and segments/. Piece: one file of a backup,
            named by its segment and the beginning of its digest.
Invariants  A backup is consistent as of the commit that its list names: that is durable before
            anything is copied. A piece never changes under its name; the list is replaced by a
            rename once every piece it names is durable, and pieces that it does not name any more
            are removed after that. So a crash leaves the old backup or the new one. What is sealed
            stays sealed: no byte is opened for a backup.
Layout      backup.json: {"format": 1, "database_id", "node_id", "created_ms", "ordinal", "chain",
            "segments": [{"id", "name", "size", "digest", "mark"}], "keys": digest, "verify_key",
            "signatures": lines of oplog/signatures, "signature"}; bytes in hex; digests are
            BLAKE2b-256. `mark` is what tells without reading whether a segment has changed: its
            size, header and the end of its file.
            The signature (Ed25519) covers the JSON with sorted keys, without itself.
Failure     InvalidArgument (not a backup, or of another database), Corrupted (a piece or the list
            is not what was written: nothing is restored), LowDisk, IoFailed. A restore writes under
            a temporary name and renames it when everything was verified and it is its own node.
Sources     architecture section 3; storage-notes scenario 16.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rango._ext import layout
from rango._ext.segment import segment_path
from rango._ext.vfs import VFS_CREATE, VFS_READ, VFS_WRITE, Vfs
from rango.engine.catalog import DATABASE_ID, database_changed
from rango.engine.options import OpenOptions
from rango.engine.signing import head_signed
from rango.errors import Corrupted, InvalidArgument, KeyRejected
from rango.events import INFO, emit
from rango.ids import generate_node_id
from rango.storage.base_segment import all_headers
from rango.storage.directory import remove_tree
from rango.storage.keyring import Keyring, signature_is_valid
from rango.storage.keys_file import keys_path
from rango.storage.segment import io_named, opened
from rango.storage.signatures import Link, Signature, append, lines_of, signatures_path

if TYPE_CHECKING:
    from rango.engine.core import Core

LIST: Final = "backup.json"
PIECES: Final = "segments"
FORMAT: Final = 1
COPY_SIZE: Final = 1024 * 1024
LIST_SIZE_MAX: Final = 64 * 1024 * 1024
MARK_TAIL: Final = layout.PURGE_FOOTER_SIZE

Progress = Callable[[int, int], object]


class Part(NamedTuple):
    """A segment as of the backup: how much of its file belongs to it."""

    id: int
    size: int


def backup(core: Core, to: str, progress: Progress | None = None) -> dict[str, Any]:
    """Write or bring up to date the backup in the directory `to`.

    Returns {"ordinal", "segments", "copied", "bytes_copied"}. Raises InvalidArgument if `to` holds
    anything but a backup of this database.
    """
    vfs = core.vfs
    with core.history_lock:
        before = list_of_own(core, to)
        core.store.appender.flush()
        try:
            core.append_lock_take()
            _segment, offset, ordinal, chain = core.store.appender.mark()
            # another process may have purged some
            core.log.reread()
            headers = all_headers(core.log)
        finally:
            core.append_lock.drop()
        core.store.appender.flush(ordinal)
        folder = os.path.join(to, PIECES)
        with io_named(f"making {to}"):
            for path in (to, folder):
                if not vfs.exists(path):
                    vfs.make_directory(path)
        known = {piece["id"]: piece for piece in before.get("segments", ())}
        pieces = []
        copied = bytes_copied = 0
        for at, header in enumerate(headers):
            is_last = at + 1 == len(headers)
            piece, written = piece_of(core, header.id, offset if is_last else None, known, folder)
            pieces.append(piece)
            copied += written > 0
            bytes_copied += written
            if progress is not None:
                progress(at + 1, len(headers))
        fields = {
            "format": FORMAT,
            "database_id": core.keyring.database_id.hex(),
            "node_id": core.node_id,
            "created_ms": core.clock(),
            "ordinal": ordinal,
            "chain": chain.hex(),
            "segments": pieces,
            "keys": copy_keys(core, to),
            "verify_key": core.keyring.verify_key.hex(),
            "signatures": signatures_of(core, ordinal, chain),
        }
        fields["signature"] = core.keyring.sign(signed_bytes(fields)).hex()
        write_list(vfs, to, fields)
        remove_strangers(vfs, folder, {piece["name"] for piece in pieces})
        remove_strangers(vfs, to, {LIST, PIECES, keys_name(fields)})
    done = {
        "ordinal": ordinal,
        "segments": len(pieces),
        "copied": copied,
        "bytes_copied": bytes_copied,
    }
    emit("engine", INFO, "backup", "a backup is complete", path=core.path, to=to, **done)
    return done


def signatures_of(core: Core, ordinal: int, chain: bytes) -> list[str]:
    """What was signed of the log up to here, as lines, and its head last."""
    path = signatures_path(core.log.directory)
    with io_named("reading the signatures"):
        said = [each.said for each in lines_of(core.vfs, path) if each.said is not None]
    kept = [each for each in said if is_of(each, ordinal)]
    return [each.line for each in (*kept, head_signed(core, ordinal, chain))]


def is_of(said: Signature | Link, ordinal: int) -> bool:
    """Whether it speaks of what a backup up to this ordinal holds."""
    return (isinstance(said, Signature) and said.kind == "purge") or said.ordinal < ordinal


def signed_bytes(fields: dict[str, Any]) -> bytes:
    """What the signature covers."""
    rest = {name: value for name, value in fields.items() if name != "signature"}
    return json.dumps(rest, sort_keys=True).encode()


def list_of_own(core: Core, to: str) -> dict[str, Any]:
    """The list of the backup that is there already; {} if the directory is new or empty."""
    vfs = core.vfs
    if not vfs.exists(to):
        return {}
    with io_named(f"reading {to}"):
        names = set(vfs.list_directory(to))
    if LIST not in names:
        if names - {PIECES, f"{LIST}.new"} and not all(name.startswith("keys") for name in names):
            raise InvalidArgument(f"{to} holds files but no backup; give a new or empty directory")
        return {}
    fields = list_read(vfs, to)
    if fields["database_id"] != core.keyring.database_id.hex():
        raise InvalidArgument(f"{to} is the backup of another database; give another directory")
    return fields


def list_read(vfs: Vfs, path: str) -> dict[str, Any]:
    """The list of a backup, its signature checked. Raises InvalidArgument, Corrupted."""
    place = os.path.join(path, LIST)
    if not vfs.exists(place):
        raise InvalidArgument(f"{path} is no backup: there is no {LIST}")
    with opened(vfs, place) as fd, io_named(f"reading {place}"):
        data = vfs.read(fd, min(vfs.size(fd), LIST_SIZE_MAX), 0)
    try:
        fields: dict[str, Any] = json.loads(data)
        if fields["format"] != FORMAT:
            raise InvalidArgument(f"{place} has format {fields['format']}; update Rango")
        is_signed = signature_is_valid(
            bytes.fromhex(fields["verify_key"]),
            signed_bytes(fields),
            bytes.fromhex(fields["signature"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupted(place, f"the list is damaged ({error}); use another backup") from error
    if not is_signed:
        raise Corrupted(place, "the list is not as it was signed; use another backup")
    return fields


def piece_of(
    core: Core, segment_id: int, end: int | None, known: dict[int, dict[str, Any]], folder: str
) -> tuple[dict[str, Any], int]:
    """One segment's entry of the list, and how many bytes had to be copied for it.

    `end`: where the newest segment ends now; the others are copied as they are.
    """
    vfs = core.vfs
    with opened(vfs, segment_path(core.log.directory, segment_id)) as fd:
        with io_named("reading the oplog"):
            size = vfs.size(fd) if end is None else end
            mark = mark_of(vfs, fd, size)
        piece = known.get(segment_id)
        if piece is not None and piece["mark"] == mark:
            path = os.path.join(folder, piece["name"])
            if vfs.exists(path):
                return piece, 0
        with io_named(f"copying segment {segment_id}"):
            digest = copied_digest(vfs, fd, size, os.path.join(folder, "piece.new"))
            name = f"{segment_id:016d}-{digest[:16]}.rgo"
            vfs.rename(os.path.join(folder, "piece.new"), os.path.join(folder, name))
            vfs.flush_directory(folder)
    fields = {"id": segment_id, "name": name, "size": size, "digest": digest, "mark": mark}
    return fields, size


def mark_of(vfs: Vfs, fd: int, size: int) -> str:
    """What changes whenever a segment does: its size, its header, and the end of its file."""
    head = vfs.read(fd, layout.SEGMENT_HEADER_SIZE, 0)
    tail = vfs.read(fd, MARK_TAIL, max(0, size - MARK_TAIL))
    return blake2b(size.to_bytes(8, "little") + head + tail, digest_size=16).hexdigest()


def copied_digest(vfs: Vfs, source: int, size: int, path: str) -> str:
    """Copy the first `size` bytes to a new file, durably; their digest."""
    digest = blake2b(digest_size=32)
    target = vfs.open(path, VFS_WRITE | VFS_CREATE)
    try:
        vfs.truncate(target, 0)
        for offset in range(0, size, COPY_SIZE):
            data = vfs.read(source, min(COPY_SIZE, size - offset), offset)
            digest.update(data)
            vfs.write(target, data, offset)
        vfs.flush(target)
    finally:
        vfs.close(target)
    return digest.hexdigest()


def copy_keys(core: Core, to: str) -> str:
    """Copy the keys file under a name of its own; its digest."""
    vfs = core.vfs
    with opened(vfs, keys_path(core.path)) as fd, io_named("copying the keys"):
        new = os.path.join(to, "keys.new")
        digest = copied_digest(vfs, fd, vfs.size(fd), new)
        vfs.rename(new, os.path.join(to, keys_name({"keys": digest})))
        vfs.flush_directory(to)
    return digest


def keys_name(fields: dict[str, Any]) -> str:
    """What the keys are called in a backup."""
    return f"keys-{fields['keys'][:16]}"


def write_list(vfs: Vfs, to: str, fields: dict[str, Any]) -> None:
    """Replace the list, durably."""
    path = os.path.join(to, LIST)
    data = json.dumps(fields, sort_keys=True, indent=1).encode()
    with io_named(f"writing {path}"):
        fd = vfs.open(f"{path}.new", VFS_WRITE | VFS_CREATE)
        try:
            vfs.truncate(fd, 0)
            vfs.write(fd, data, 0)
            vfs.flush(fd)
        finally:
            vfs.close(fd)
        vfs.rename(f"{path}.new", path)
        vfs.flush_directory(to)


def remove_strangers(vfs: Vfs, folder: str, wanted: set[str]) -> None:
    """Remove the files that the list does not name."""
    with io_named(f"clearing {folder}"):
        for name in vfs.list_directory(folder):
            if name not in wanted:
                vfs.remove(os.path.join(folder, name))


def verify(vfs: Vfs, path: str, progress: Progress | None = None) -> dict[str, Any]:
    """Read a whole backup and compare it with its list. Raises InvalidArgument, Corrupted.

    Needs no secret. Returns {"ordinal", "segments", "bytes", "created_ms", "node_id"}.
    """
    fields = list_read(vfs, path)
    size_all = 0
    for at, piece in enumerate(fields["segments"]):
        piece_check(vfs, os.path.join(path, PIECES, piece["name"]), piece["digest"], piece["size"])
        size_all += piece["size"]
        if progress is not None:
            progress(at + 1, len(fields["segments"]))
    piece_check(vfs, os.path.join(path, keys_name(fields)), fields["keys"], layout.KEYS_FILE_SIZE)
    return {
        "ordinal": fields["ordinal"],
        "segments": len(fields["segments"]),
        "bytes": size_all,
        "created_ms": fields["created_ms"],
        "node_id": fields["node_id"],
    }


def piece_check(vfs: Vfs, path: str, digest: str, size: int) -> None:
    """Corrupted unless the file has this size and digest."""
    if not vfs.exists(path):
        raise Corrupted(path, "this file of the backup is missing; use another backup")
    found = blake2b(digest_size=32)
    with opened(vfs, path) as fd, io_named(f"reading {path}"):
        has = vfs.size(fd)
        for offset in range(0, has, COPY_SIZE):
            found.update(vfs.read(fd, min(COPY_SIZE, has - offset), offset))
    if has != size or found.hexdigest() != digest:
        raise Corrupted(path, "this file is not as it was backed up; use another backup")


def restore(options: OpenOptions, path: str, progress: Progress | None = None) -> dict[str, Any]:
    """Make a database at options.path from the backup at `path`, and check all of it.

    It gets a node id of its own: with the old one, peers would see revisions twice. Returns
    {"ordinal", "documents", "collections", "node_id"}. Raises InvalidArgument (the target exists),
    Corrupted, KeyRejected.
    """
    vfs, to = options.vfs, options.path
    if vfs.exists(to):
        raise InvalidArgument(f"{to} exists already; restore writes to a new place")
    verify(vfs, path, progress)
    fields = list_read(vfs, path)
    half = f"{to}.restoring"
    lay_out(vfs, path, half, fields)
    # before anything has its name: the wrong secret leaves nothing behind
    try:
        Keyring.open(vfs, half, options.secret, options.entropy).close()
    except KeyRejected as error:
        # not the name of what is half made: the caller knows the backup's
        raise KeyRejected(str(error).replace(half, path)) from error
    node_id = options.node_id or generate_node_id(options.entropy.bytes)
    done = settle(options._replace(path=half), path, node_id, fields)
    with io_named(f"naming {to}"):
        vfs.rename(half, to)
        vfs.flush_directory(os.path.dirname(os.path.abspath(to)))
    return done


def settle(options: OpenOptions, path: str, node_id: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Open what was laid out, give it its own node id, check all of it, and close it.

    Before it has its name: a restore that is killed must not leave a second node of the same id.
    """
    from rango.engine.core import Core

    # nothing works on it by itself, and the checkpoint makes it durable
    alone = options._replace(node_id=node_id, durability="commit", ttl_interval_s=0)
    core = Core.open(alone._replace(create=False, read_only=False))
    try:
        if core.keyring.verify_key.hex() != fields["verify_key"]:
            raise Corrupted(path, "the list was signed by another database's key")
        if core.store.appender.ordinal < fields["ordinal"]:
            raise Corrupted(options.path, f"the oplog ends before commit {fields['ordinal']}")
        core.change_catalog(
            lambda catalog: [(DATABASE_ID, database_changed(catalog, node_id=node_id))]
        )
        core.checkpoint()
        for finding in core.check():
            raise Corrupted(finding.where, finding.what)
        view = core.view()
        infos = core.collections()
        return {
            "ordinal": fields["ordinal"],
            "documents": sum(view.count(info.tree_id) for info in infos.values()),
            "collections": len(infos),
            "node_id": node_id,
        }
    finally:
        core.release()


def lay_out(vfs: Vfs, path: str, half: str, fields: dict[str, Any]) -> None:
    """Put the files of a backup where a database has them, durably; the keys come last."""
    log = os.path.join(half, "oplog")
    with io_named(f"writing {half}"):
        # what an interrupted restore left, perhaps of another backup
        remove_tree(vfs, half)
        for folder in (half, log):
            vfs.make_directory(folder)
        for piece in fields["segments"]:
            source = vfs.open(os.path.join(path, PIECES, piece["name"]), VFS_READ)
            try:
                copied_digest(vfs, source, piece["size"], segment_path(log, piece["id"]))
            finally:
                vfs.close(source)
        if lines := fields.get("signatures"):
            append(vfs, signatures_path(log), lines, is_durable=True)
        vfs.flush_directory(log)
        source = vfs.open(os.path.join(path, keys_name(fields)), VFS_READ)
        try:
            copied_digest(vfs, source, layout.KEYS_FILE_SIZE, keys_path(half))
        finally:
            vfs.close(source)
        vfs.flush_directory(half)
        vfs.flush_directory(os.path.dirname(os.path.abspath(half)))
