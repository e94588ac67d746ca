"""`rango key`: the secrets that open a database, and new keys for what is written from now on."""

from __future__ import annotations

from typing import Any

import click

import rango
from rango.cli.output import print_object, print_table, size_text
from rango.cli.secret import Given, is_terminal, passphrase_asked, with_secret
from rango.cli.session import Target, with_target
from rango.errors import InvalidArgument


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


with_new_secret = with_secret("new-", "new")


def new_secret(new: Given) -> dict[str, Any]:
    """The new secret: an option, the environment, or a passphrase asked twice on a terminal."""
    secret = new.arguments()
    if secret is not None:
        return secret
    if is_terminal():
        return {"passphrase": passphrase_asked()}
    raise InvalidArgument(
        "give the new secret: --new-passphrase-file, --new-keyfile, --new-token-command, "
        "--new-os-keyring, RANGO_NEW_PASSPHRASE, RANGO_NEW_KEYFILE or RANGO_NEW_KEY"
    )


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
def add(target: Target, new: Given) -> None:
    """Let one more passphrase, key file, token or the OS keyring open the database.

    \b
    Examples:
      rango key add
      rango key add --new-os-keyring
      rango key add --new-token-command "ykman otp calculate 2"
      rango key add --passphrase-file first.txt --new-keyfile backup.key
    """
    with target.open() as db:
        number = db.keys.add(**new_secret(new))
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
def change(target: Target, slot: int | None, new: Given) -> None:
    """Replace the passphrase, key file or token by a new one.

    \b
    Examples:
      rango key change
      rango key change --keyfile old.key --new-keyfile new.key
    """
    secret = target.secret()
    with rango.open(target.path, create=False, **secret) as db:
        # a plain database has no slot to find, and the change says so
        number = db.keys.find(**secret) if slot is None and secret else slot or 0
        db.keys.change(number, **new_secret(new))
    said(target, {"changed": number}, f"changed key slot {number}")


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
