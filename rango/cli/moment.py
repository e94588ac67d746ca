"""`--at MOMENT`: reading commands that look into the past."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import click

from rango.cli.output import progress
from rango.cli.session import Target

AT_OPTION: Final = click.option(
    "--at",
    metavar="MOMENT",
    help="As it was: a commit's number, a revision, a time (2026-11-29T12:00, UTC) or a snapshot.",
)
ORDINAL: Final = re.compile(r"[0-9]+")
TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?")


@contextmanager
def opened_at(target: Target, at: str | None) -> Iterator[Any]:
    """The database to read from, or the Snapshot of a moment of it."""
    with target.open(read_only=True) as db:
        if at is None:
            yield db
            return
        with progress("replaying the oplog") as bar:
            past = db.at(moment_of(at), progress=bar)
        with past:
            yield past


def moment_of(text: str) -> int | str | datetime:
    """What a moment on the command line means."""
    if ORDINAL.fullmatch(text):
        return int(text)
    if TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is no time: {error}", param_hint="--at") from error
    return text
