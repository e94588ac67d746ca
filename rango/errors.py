"""Every error that Rango raises: one tree, each class says when it is raised and what to do next.

docs/reference/errors.md is generated from these docstrings (`python3 ci docs`).
"""

from __future__ import annotations

from typing import Any


class RangoError(Exception):
    """Base of every error of Rango. Catch it at the edge of your program.

    `code` is the code that MongoDB gives an error of this kind, or None where it has none.
    """

    code: int | None = None

    def __init__(self, *args: object, code: int | None = None) -> None:
        super().__init__(*args)
        if code is not None:
            self.code = code


# --- fix the call


class InvalidDocument(RangoError, ValueError):
    """A document cannot be stored as it is (an unencodable value, a bad field name, a reserved
    field).

    The message names the path. Change the document; nothing was written.
    """


class InvalidFilter(RangoError, ValueError):
    """A filter, projection or sort is not understood (unknown operator, wrong argument type).

    The message names the operator and the operand. Change the filter.
    """

    code = 2


class InvalidExpression(RangoError, ValueError):
    """An aggregation expression is not understood (unknown operator, wrong number of arguments,
    undefined variable).

    The message names the operator and the operand. Change the expression; nothing was evaluated.
    """


class ExpressionFailed(RangoError, ValueError):
    """An aggregation expression cannot be evaluated for a document (a string is added to a number,
    a division by zero, a conversion that fails).

    The message names the operator and the operand. Change the expression or the document, or guard
    it with $cond, $ifNull or the onError of $convert.
    """


class InvalidPipeline(RangoError, ValueError):
    """An aggregation pipeline is not understood (unknown stage or accumulator, wrong argument,
    a stage where it may not stand).

    The message names the stage, the field and the operand. Change the pipeline; nothing has run.
    """


class InvalidUpdate(RangoError, ValueError):
    """An update is not understood or cannot be applied to a document that it matched.

    Nothing was written.
    """


class InvalidName(RangoError, ValueError):
    """A collection, index or field name is empty, too long, or not allowed. Choose another name;
    the message says what is wrong with this one.
    """


class IndexConflict(RangoError, ValueError):
    """A collection has an index of that name that is another one (`code` 86), or the same index
    with another name or other options (`code` 85).

    The message names it. Drop it first, or ask for it as it is.
    """


class InvalidArgument(RangoError, TypeError):
    """An argument has the wrong type or contradicts another one. The message says which."""


class LastKeySlot(InvalidArgument):
    """Removing this key slot would leave none, and nobody could open the database any more.

    Add another secret first, or change this one.
    """


class InvalidJson(RangoError, ValueError):
    """Text is not Extended JSON: its syntax is wrong, or a wrapper such as `$date` has a bad value.

    `place` is line and column, or the path of the value; `what` says what is wrong there. Correct
    the text.
    """

    def __init__(self, place: str, what: str) -> None:
        super().__init__(f"{place}: {what}")
        self.place = place
        self.what = what
        self.path: list[str] = []


class LimitExceeded(RangoError, ValueError):
    """A named limit was passed.

    `limit` is its name in rango.limits, `value` what was asked for. Nothing was written.
    """

    def __init__(
        self, limit: str, value: int, message: str = "", *, code: int | None = None
    ) -> None:
        super().__init__(message or f"{limit} exceeded: {value}", code=code)
        self.limit = limit
        self.value = value


class BulkWriteError(RangoError):
    """Some documents of a bulk write were refused.

    `details` says which and why; the others are stored as it says.
    """

    code = 65

    def __init__(self, message: str, details: dict[str, Any]) -> None:
        super().__init__(message)
        self.details = details


# --- decide in the application


class DuplicateKey(RangoError):
    """The `_id`, or the value of a unique index, is already taken.

    `index` and `key` name it, `pattern` are the fields of the index. Nothing was written.
    """

    code = 11000

    def __init__(
        self, index: str, key: Any, message: str = "", *, pattern: dict[str, Any] | None = None
    ) -> None:
        super().__init__(
            message
            or f"duplicate key in index {index!r}: {key!r}; choose another value or update the "
            "document that has it"
        )
        self.index = index
        self.key = key
        self.pattern = pattern

    @property
    def details(self) -> dict[str, Any]:
        """The shape that PyMongo's DuplicateKeyError has; `keyPattern` is the index's fields."""
        pattern = self.pattern
        if pattern is None:
            pattern = dict.fromkeys(self.key, 1) if isinstance(self.key, dict) else {}
        return {
            "code": 11000,
            "index": self.index,
            "keyPattern": pattern,
            "keyValue": self.key,
            "errmsg": str(self),
        }


class NotFound(RangoError, LookupError):
    """A collection, index, key slot or snapshot that was named does not exist.

    Create it, or correct the name.
    """


class ModelMismatch(RangoError):
    """A stored document does not fit the model of the collection that it was read through.

    `collection` and `id` name it, `path` is the field, `reason` what is wrong there; `findings` are
    all of them, as (path, reason). Change the document or the model, or read it as it is with
    `db[collection]`. A write that returns a document (find_one_and_update and its kin) is done.
    """

    def __init__(
        self, collection: str, id: Any, model: str, findings: list[tuple[str, str]]
    ) -> None:
        self.collection = collection
        self.id = id
        self.findings = findings
        self.path, self.reason = findings[0]
        where = f"field {self.path!r}" if self.path else "the whole"
        others = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        super().__init__(
            f"collection {collection!r}, _id {id!r:.60}: {where} does not fit {model}: "
            f"{self.reason}{others}; change the document or the model"
        )


class Conflict(RangoError):
    """A compare-and-set lost: the document changed since it was read. Read it again and decide."""


# --- retry


class DatabaseBusy(RangoError):
    """Somebody else is in the way: a writer waited too long for the transaction of another process
    or thread, or the work (a new root key, opening where processes cannot share) needs the database
    for itself.

    Nothing was changed. `pid` names the process if known. Keep transactions short; end the one that
    is named, or retry later.
    """

    def __init__(self, message: str, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class HistoryGone(RangoError):
    """The point in time that was asked for is older than what the oplog still has.

    Ask for a later one; `ordinal` is the oldest commit that can be seen. A backup of that time has
    what was before.
    """

    def __init__(self, message: str, ordinal: int = 0) -> None:
        super().__init__(message)
        self.ordinal = ordinal


class HistoryGivenUp(HistoryGone, NotFound):
    """A commit that was named lies in the history that `compact` gave up.

    `oldest` is the ordinal of the oldest commit that is still held: ask for that one or a later
    one. A backup from before may have what is gone.
    """

    def __init__(self, ordinal: int, oldest: int) -> None:
        super().__init__(
            f"commit {ordinal} is gone: the history before commit {oldest} was given up", oldest
        )
        self.oldest = oldest


class SnapshotTooOld(RangoError):
    """The pages that a long-lived cursor or snapshot reads were reused. Open it again."""


class Timeout(RangoError, TimeoutError):
    """The operation took longer than was allowed.

    It had no effect; retry it, or allow more time.
    """


class QueryCancelled(RangoError):
    """Somebody ended the query: `cursor.cancel()`, or a `rango.cancel_scope()` around it.

    A single statement had no effect. Of several commits (bulk_write, $merge) those before it stay;
    the error's notes say how far it came. Run it again if it is still wanted.
    """

    code = 11601


# --- begin a change stream afresh


class ResumeFailed(RangoError):
    """A change stream cannot go on where a resume token, or start_at, says.

    Read what is there now, watch() without a token, and go on from that stream's resume_token. The
    classes below say why it cannot.
    """

    code = 260


class TokenRejected(ResumeFailed, ValueError):
    """What was given is no resume token, or one of another database.

    Give resume_after or start_after what `resume_token`, or the `_id` of an event, of a stream on
    this database was.
    """


class TokenDiverged(ResumeFailed):
    """The log has something else at the token's ordinal, or ends before it.

    An older backup was restored, or the keys were replaced (rekey), after the token was given out.
    What the stream has told may not be so in this database: begin afresh.
    """

    code = 280


class HistoryLost(ResumeFailed):
    """What the stream has to read next was given up: compaction left it behind, or a purge took
    out an image that was "required".

    Begin afresh; let programs that fall behind come back within what retention keeps.
    """

    code = 286


# --- fix the lifetime


class DatabaseClosed(RangoError):
    """The database, cursor or transaction was closed. Open it again."""


class ForkedHandle(RangoError):
    """A handle was used in a forked child. Open the database again in the child."""


class ReadOnly(RangoError):
    """A write was tried on a database that was opened with read_only=True, or lies on a read-only
    mount. Open it for writing; nothing was written.
    """


class TransactionError(RangoError):
    """A transaction was nested, used after its end, or used from another thread or task. Use it in
    the block, thread and task that entered it.
    """


# --- open with the right key, version or path


class KeyRejected(RangoError):
    """The key or passphrase does not open this database, or one was given for a plain database.

    Nothing was changed.
    """


class FormatTooNew(RangoError):
    """The files were written by a newer Rango. Update Rango; nothing was changed."""


class NotADatabase(RangoError):
    """The path is not a Rango database: a file, a foreign directory, or missing with create=False.
    Give the right path; nothing was changed.
    """


# --- stop, check, restore


class Corrupted(RangoError):
    """Stored bytes are damaged. `where` names file and offset, `what` the finding.

    Stop writing, run `db.check()`, then restore a backup, delete `data.rango` (it is rebuilt from
    the oplog), or use
    `rango.salvage`.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


class PageCorrupted(Corrupted):
    """A page of the data file is damaged.

    The data file can be rebuilt: close, move `data.rango` away, open again.
    """


class SuperblockCorrupted(Corrupted):
    """Both superblock slots of the data file are damaged.

    Close, move `data.rango` away, open again.
    """


class LogCorrupted(Corrupted):
    """A frame of the oplog that was durable is damaged.

    Restore a backup, or salvage what is intact to a new place.
    """


class KeysCorrupted(Corrupted):
    """Both copies in the `keys` file are damaged.

    Restore that file from a backup; without it the data cannot be read.
    """


class IoFailed(RangoError):
    """A write or flush failed in a way that leaves its outcome unknown. The database refuses writes
    until it is reopened.

    Reads go on from the last durable state. Check the disk, then close and open again.
    """


class LowDisk(RangoError):
    """There is no space left.

    Nothing was half done; reads keep working, and writes work again once space is free.
    """
