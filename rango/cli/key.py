"""`rango key`: the secrets that open a database, and new keys for what is written or is there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

import rango
from rango.cli.output import print_object, print_table, progress, size_text
from rango.cli.secret import Given, is_terminal, passphrase_asked, with_secret
from rango.cli.session import Target, is_encrypted, with_target
from rango.errors import InvalidArgument, KeyRejected


@click.group("key")
def command() -> None:
    """Keys: list, add, remove or change what opens the database; rotate, encrypt, decrypt.

    Up to eight passphrases, key files, tokens and OS keyrings open a database, each by itself.

    \b
    Examples:
      rango key list
      rango key add --new-passphrase-file second.txt
      rango key change
      rango key remove 0
      rango key rotate
      rango key encrypt
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


def with_old_files(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option that decides about the files before the change."""
    option = click.option(
        "--remove-old", is_flag=True, help="Remove the old files (which does not wipe the disk)."
    )
    return option(function)


@command.command("rotate")
@click.option("--root", is_flag=True, help="A new root key: seal everything again.")
@with_old_files
@with_new_secret
@with_target()
def rotate(target: Target, new: Given, root: bool, remove_old: bool) -> None:
    """Seal what is written from now on under new keys; what is there stays as it is.

    No secret changes: for that, use `rango key change`. With --root everything is sealed again
    under a new root key, for when the old one may be known to somebody; then the secret may change
    too, and other key slots are gone. The old files stay below the database unless --remove-old is
    given.

    \b
    Examples:
      rango key rotate
      rango key rotate --root --remove-old --new-passphrase-file new.txt
    """
    if not root:
        if remove_old or new != Given(is_new=True):
            raise InvalidArgument("--remove-old and a new secret go with --root")
        with target.open() as db:
            epoch = db.keys.rotate()
        said(target, {"epoch": epoch}, f"key epoch {epoch} has begun")
        return
    secret = target.secret()
    if not secret:
        raise KeyRejected(f"{target.path} is not encrypted; use `rango key encrypt`")
    rekeyed(target, "has a new root key", secret, new.arguments() or {}, remove_old)


@command.command("encrypt")
@with_old_files
@with_new_secret
@with_target()
def encrypt(target: Target, new: Given, remove_old: bool) -> None:
    """Encrypt a database that is plain.

    The plain files stay below the database until you delete them, unless --remove-old is given. A
    disk, above all flash, may go on holding what was there in plain: for real secrets, begin with
    an encrypted database.

    \b
    Examples:
      rango key encrypt
      rango key encrypt --remove-old --new-keyfile my.key
    """
    if is_encrypted(os.path.join(target.path, "keys")):
        raise InvalidArgument(f"{target.path} is encrypted; use `rango key rotate --root`")
    rekeyed(target, "is encrypted", {}, new_secret(new), remove_old)


@command.command("decrypt")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@with_old_files
@with_target()
def decrypt(target: Target, yes: bool, remove_old: bool) -> None:
    """Make an encrypted database plain: everybody who can read its files can read it then.

    \b
    Example:
      rango key decrypt --yes
    """
    secret = target.secret()
    if not yes and sys.stdin.isatty():
        click.confirm(f"Write all of {target.path} without encryption?", abort=True, err=True)
    rekeyed(target, "is not encrypted any more", secret, {}, remove_old, decrypts=True)


def rekeyed(
    target: Target,
    what: str,
    secret: dict[str, Any],
    new: dict[str, Any],
    remove_old: bool,
    *,
    decrypts: bool = False,
) -> None:
    """Give a database other keys, and say so."""
    renamed = {f"new_{name}": value for name, value in new.items()}
    with progress("sealing") as bar:
        done = rango.rekey(
            target.path, **secret, **renamed, decrypt=decrypts, remove_old=remove_old, progress=bar
        )
    rest = (
        "the old files were removed, which does not wipe the disk"
        if done["kept"] is None
        else f"the old files are in {done['kept']}; delete them when you have seen that all is well"
    )
    said(target, done, f"{target.path} {what}; {rest}")


def said(target: Target, value: dict[str, Any], text: str) -> None:
    """Say what was done."""
    if target.as_json:
        print_object(value)
    else:
        click.echo(text)
