"""`rango key`: the secrets that open a database, and new keys for what is written from now on."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

import rango
from rango.cli.output import print_object, print_table, size_text
from rango.cli.session import Target, passphrase_read, with_target
from rango.errors import InvalidArgument

NEW_PASSPHRASE: Final = "RANGO_NEW_PASSPHRASE"


@click.group("key")
def command() -> None:
    """Keys: list, add, remove or change what opens the database; rotate.

    Up to eight passphrases, key files and tokens open a database, each by itself.

    \b
    Examples:
      rango key list
      rango key add --new-passphrase-file second.txt
      rango key change
      rango key remove 0
      rango key rotate
    """


def with_new_secret(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a new secret; it gets them as one `new`, a function."""

    @click.option(
        "--new-passphrase-file",
        metavar="FILE",
        help='Read the new passphrase from the first line of FILE ("-": standard input).',
    )
    @click.option(
        "--new-keyfile", metavar="FILE", help="A file with the new key: 32 bytes or 64 hex digits."
    )
    @functools.wraps(function)
    def called(new_passphrase_file: str | None, new_keyfile: str | None, **rest: Any) -> Any:
        return function(new=lambda: new_secret(new_passphrase_file, new_keyfile), **rest)

    return called


def new_secret(passphrase_file: str | None, keyfile: str | None) -> dict[str, Any]:
    """The new secret: an option, RANGO_NEW_PASSPHRASE, or asked twice on a terminal."""
    if passphrase_file is not None and keyfile is not None:
        raise InvalidArgument("give a new key file or a new passphrase, not both")
    if keyfile is not None:
        return {"keyfile": keyfile}
    if passphrase_file is not None:
        return {"passphrase": passphrase_read(passphrase_file)}
    if NEW_PASSPHRASE in os.environ:
        return {"passphrase": os.environ[NEW_PASSPHRASE]}
    if sys.stdin.isatty() and sys.stderr.isatty():
        text = click.prompt(
            "New passphrase", hide_input=True, confirmation_prompt="Again", err=True
        )
        return {"passphrase": text}
    raise InvalidArgument(f"give --new-passphrase-file, --new-keyfile or {NEW_PASSPHRASE}")


@command.command("list")
@with_target()
def list_slots(target: Target) -> None:
    """List the key slots in use: number and kind, nothing secret.

    \b
    Example:
      rango key list --json
    """
    with target.open(read_only=True) as db:
        slots = db.keys.list()
        epoch = db.keys.epoch
    if target.as_json:
        print_object({"slots": [slot._asdict() for slot in slots], "epoch": epoch})
        return
    print_table(
        ["slot", "kind", "cost"],
        [
            (
                slot.number,
                slot.kind,
                ""
                if slot.memory_bytes is None
                else f"Argon2id, {slot.operations} passes over {size_text(slot.memory_bytes)}",
            )
            for slot in slots
        ],
    )


@command.command("add")
@with_new_secret
@with_target()
def add(target: Target, new: Callable[[], dict[str, Any]]) -> None:
    """Let one more passphrase or key file open the database.

    \b
    Examples:
      rango key add
      rango key add --passphrase-file first.txt --new-keyfile backup.key
    """
    with target.open() as db:
        number = db.keys.add(**new())
    said(target, {"added": number}, f"added key slot {number}")


@command.command("remove")
@click.argument("slot", type=int)
@with_target()
def remove(target: Target, slot: int) -> None:
    """Let what is in key slot SLOT open the database no more; exit code 1 if it is not in use.

    Old backups are still opened by it.

    \b
    Example:
      rango key remove 0
    """
    with target.open() as db:
        db.keys.remove(slot)
    said(target, {"removed": slot}, f"removed key slot {slot}")


@command.command("change")
@click.option("--slot", type=int, help="The slot to change; by default the one used to open.")
@with_new_secret
@with_target()
def change(target: Target, slot: int | None, new: Callable[[], dict[str, Any]]) -> None:
    """Replace the passphrase or key file by a new one.

    \b
    Examples:
      rango key change
      rango key change --keyfile old.key --new-keyfile new.key
    """
    secret = target.secret()
    with rango.open(target.path, create=False, **secret) as db:
        number = db.keys.change(opened_by(secret) if slot is None else slot, **new())
    said(target, {"changed": number}, f"changed key slot {number}")


def opened_by(secret: dict[str, Any]) -> Any:
    """The secret that opened the database, as Keys.change takes it; slot 0 if there is none."""
    if "keyfile" in secret:
        return Path(secret["keyfile"])
    return secret.get("passphrase", 0)


@command.command("rotate")
@with_target()
def rotate(target: Target) -> None:
    """Seal what is written from now on under new keys; what is there stays as it is.

    No secret changes: for that, use `rango key change`.

    \b
    Example:
      rango key rotate
    """
    with target.open() as db:
        epoch = db.keys.rotate()
    said(target, {"epoch": epoch}, f"key epoch {epoch} has begun")


def said(target: Target, value: dict[str, Any], text: str) -> None:
    """Say what was done."""
    if target.as_json:
        print_object(value)
    else:
        click.echo(text)
