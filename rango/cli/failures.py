"""What a command ends with when it fails: an exit code and one plain line.

Terms       exit code: see EXIT_CODES; 0 and 1 are the commands' own.
Invariants  Every RangoError, OSError and misuse has a code; a bug of ours still shows where it is.
            A reader of a pipe that has seen enough (`| head`) is no failure.
Failure     with --json the line is an object on standard error: {"error": {"type", "message",
            "exit_code"}}.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Final

import click

from rango import errors

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_BROKEN: Final = 6
EXIT_INTERRUPTED: Final = 130
COMPLETE: Final = "_RANGO_COMPLETE"
"""Set by the completion scripts: the shell asks how a word may go on."""

EXIT_CODES: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (errors.NotADatabase, 3, "there is no database there"),
    (errors.FormatTooNew, 3, "a newer Rango wrote it"),
    (errors.KeyRejected, 4, "the passphrase or key does not open it"),
    (errors.DatabaseBusy, 5, "somebody else has it; try again"),
    (errors.Timeout, 5, "it took longer than was allowed; try again"),
    (errors.SnapshotTooOld, 5, "what was being read is gone; try again"),
    (errors.Corrupted, 6, "something is damaged; run `rango check`, then `rango salvage`"),
    (errors.LowDisk, 7, "no space"),
    (errors.IoFailed, 7, "the disk, or permission"),
    (errors.ReadOnly, 8, "it cannot be written"),
    (errors.DuplicateKey, 8, "a key is taken"),
    (errors.BulkWriteError, 8, "some documents were refused"),
    (errors.NotFound, 1, "what was named is not there"),
    (errors.HistoryGone, 1, "the oplog does not reach back that far"),
    (errors.RangoError, 2, "the call has to be changed"),
    (OSError, 7, "a file outside of the database"),
)
"""Errors, most special first, with their exit code and what it means."""
HINTS: Final[dict[type[BaseException], tuple[str, ...]]] = {
    errors.NotADatabase: ("`rango init` makes one",),
    errors.PageCorrupted: ("`rango check` names all that is damaged",),
    errors.LogCorrupted: ("`rango salvage` writes what is intact elsewhere",),
}
"""What to do next, in the words of the command line."""
WORDS: Final = {
    ", or open it with create=True": "",
    "import with on_duplicate='skip' or 'replace'": "use --on-duplicate skip or replace",
    "; details name them": "",
    "list_indexes() names all": "`rango index list` names all",
}
"""Words of the Python API in messages -> what the command line has instead."""


def exit_code(error: BaseException) -> int:
    """The exit code that an error ends a command with."""
    return next((code for kind, code, _ in EXIT_CODES if isinstance(error, kind)), EXIT_FAILED)


def message_of(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    notes = [*getattr(error, "__notes__", ()), *HINTS.get(type(error), ())]
    text = str(error)
    if isinstance(error, errors.BulkWriteError) and (refused := error.details.get("writeErrors")):
        notes.append(f"the first: {refused[0]['errmsg']}")
    for words, instead in WORDS.items():
        text = text.replace(words, instead)
    return " ".join("; ".join([text, *notes]).split())


def complain(kind: str, message: str, code: int, *, as_json: bool) -> int:
    """Say what went wrong on standard error; returns the code."""
    if as_json:
        detail = {"type": kind, "message": message, "exit_code": code}
        line = json.dumps({"error": detail}, ensure_ascii=False)
    else:
        line = f"rango: {message}"
    click.echo(line, err=True)
    return code


def run_guarded(command: click.Command, arguments: list[str]) -> int:
    """Run a command line; the exit code, whatever happened."""
    if COMPLETE in os.environ:
        command.main(arguments, prog_name="rango")  # answers the shell and exits
    try:
        # not through main(): click turns a broken pipe into exit code 1
        with command.make_context("rango", list(arguments)) as context:
            answer = command.invoke(context)
        if sys.stdout is not None:  # None: it was closed (`>&-`)
            sys.stdout.flush()  # here, where a broken pipe is still caught
    except click.exceptions.Exit as left:
        return left.exit_code
    except BrokenPipeError:
        # the interpreter flushes standard output once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, EOFError):
        return failed(click.Abort(), as_json="--json" in arguments)
    except (click.Abort, click.ClickException, errors.RangoError, OSError) as error:
        return failed(error, as_json="--json" in arguments)
    except ImportError as error:
        from rango.doctor.surroundings import bson_advice, bson_is_foreign

        if not bson_is_foreign():
            raise
        text = f"the dead package `bson` from PyPI is in the place of PyMongo's: {bson_advice()}"
        as_json = "--json" in arguments
        return complain(type(error).__name__, text, EXIT_BROKEN, as_json=as_json)
    return answer if isinstance(answer, int) else 0


def failed(error: Exception, *, as_json: bool) -> int:
    """Say what went wrong; returns the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message())
        return EXIT_USAGE
    if isinstance(error, click.Abort):
        return complain("Interrupted", "stopped", EXIT_INTERRUPTED, as_json=as_json)
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) and not as_json else None
        hint = "" if context is None else f"; see `{context.command_path} --help`"
        text = " ".join((error.format_message().rstrip(".") + hint).split())
        return complain("Usage", text, error.exit_code, as_json=as_json)
    return complain(type(error).__name__, message_of(error), exit_code(error), as_json=as_json)
