"""How a command reaches its database: the options that all of them share, and the secret.

Terms       secret: passphrase, key file, or none for a database that is not encrypted.
Invariants  A passphrase comes from, in this order: --passphrase (which other users of the machine
            can see, so it warns), --passphrase-file, RANGO_PASSPHRASE, a prompt on the terminal.
            The prompt comes only if the database is encrypted and standard input is a terminal: a
            script never hangs. No secret is ever printed.
Failure     KeyRejected says which of these to use.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

import rango
from rango.errors import InvalidArgument, KeyRejected

PATH_DEFAULT: Final = ".rango"
PASSPHRASE_SIZE_MAX: Final = 64 * 1024
"""Bytes read of a passphrase file: a wrong path must not read a disk."""

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Target:
    """The database that a command is about, and how it is opened."""

    path: str
    passphrase: str | None
    passphrase_file: str | None
    keyfile: str | None
    as_json: bool

    def secret(self, *, is_new: bool = False) -> dict[str, Any]:
        """The arguments of rango.open for the secret; prompts if it has to."""
        given = self._given()
        if given is not None or is_new:
            return given or {}
        if not is_encrypted(os.path.join(self.path, "keys")):
            return {}
        return self._asked()

    def secret_of_backup(self) -> dict[str, Any]:
        """The same for the backup in the directory."""
        given = self._given()
        names = sorted(Path(self.path).glob("keys-*"))
        if given is not None or not names or not is_encrypted(str(names[-1])):
            return given or {}
        return self._asked()

    def _asked(self) -> dict[str, Any]:
        if sys.stdin.isatty() and sys.stderr.isatty():
            prompt = f"Passphrase of {self.path}"
            return {"passphrase": click.prompt(prompt, hide_input=True, err=True)}
        raise KeyRejected(
            f"{self.path} is encrypted; give --passphrase-file, --keyfile or RANGO_PASSPHRASE"
        )

    def _given(self) -> dict[str, Any] | None:
        if self.keyfile is not None:
            if self.passphrase is not None or self.passphrase_file is not None:
                raise InvalidArgument("give a key file or a passphrase, not both")
            return {"keyfile": self.keyfile}
        if self.passphrase is not None:
            click.echo(
                "rango: warning: a passphrase on the command line can be read by other users of "
                "this machine and stays in the shell's history; --passphrase-file is safer",
                err=True,
            )
            return {"passphrase": self.passphrase}
        if self.passphrase_file is not None:
            return {"passphrase": passphrase_read(self.passphrase_file)}
        text = os.environ.get("RANGO_PASSPHRASE")
        return None if text is None else {"passphrase": text}

    def open(self, *, read_only: bool = False, create: bool = False, **more: Any) -> rango.Database:
        """The database, open. Raises what rango.open raises."""
        return rango.open(
            self.path,
            read_only=read_only,
            create=create,
            **self.secret(is_new=create and not Path(self.path, "keys").exists()),
            **more,
        )


def passphrase_read(path: str) -> str:
    """The first line of a file, or of standard input for "-"."""
    with click.open_file(path, "rb") as file:
        data: bytes = file.read(PASSPHRASE_SIZE_MAX + 1)
    if len(data) > PASSPHRASE_SIZE_MAX:
        raise InvalidArgument(f"{path} has more than {PASSPHRASE_SIZE_MAX} bytes: no passphrase")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path} is not UTF-8 text; use --keyfile for a raw key") from None
    line = text.split("\n", 1)[0].rstrip("\r")
    if not line:
        raise InvalidArgument(f"{path}: its first line, the passphrase, is empty")
    return line


def is_encrypted(keys: str) -> bool:
    """Whether a database has a secret, which its `keys` file says in clear.

    A missing or damaged file counts as no: opening says what is wrong with it.
    """
    from rango._ext.layout import KEYS_CIPHER, KEYS_CIPHER_PLAIN

    try:
        with open(keys, "rb") as file:
            head = file.read(KEYS_CIPHER + 1)
    except OSError:
        return False
    return len(head) > KEYS_CIPHER and head[KEYS_CIPHER] != KEYS_CIPHER_PLAIN


OPTIONS: Final[tuple[Callable[[Any], Any], ...]] = (
    click.option(
        "--passphrase-file",
        metavar="FILE",
        help='Read the passphrase from the first line of FILE ("-": standard input).',
    ),
    click.option("--passphrase", metavar="TEXT", help="The passphrase itself. Others can see it."),
    click.option(
        "--keyfile", metavar="FILE", help="A file with the key: 32 bytes or 64 hex digits."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON for programs."),
)
PATH_OPTION: Final = click.option(
    "--path",
    "-P",
    envvar="RANGO_PATH",
    default=PATH_DEFAULT,
    show_default=True,
    show_envvar=True,
    metavar="DIR",
    help="The directory of the database.",
)
PATH_ARGUMENT: Final = click.argument(
    "path", envvar="RANGO_PATH", default=PATH_DEFAULT, metavar="[DIR]", required=False
)


def with_target(where: Callable[[Any], Any] = PATH_OPTION) -> Callable[[Command], Any]:
    """Give a command the shared options; it gets them as one `target`."""

    def decorate(function: Command) -> Any:
        @functools.wraps(function)
        def called(
            path: str,
            passphrase: str | None,
            passphrase_file: str | None,
            keyfile: str | None,
            as_json: bool,
            **rest: Any,
        ) -> Any:
            target = Target(path, passphrase, passphrase_file, keyfile, as_json)
            return function(target=target, **rest)

        made: Any = called
        for option in (*reversed(OPTIONS), where):
            made = option(made)
        return made

    return decorate
