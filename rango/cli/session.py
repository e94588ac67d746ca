"""How a command reaches its database: the options that all of them share, and the secret.

Terms       secret: passphrase, key, token, or none for a database that is not encrypted.
Invariants  The secret comes from an option, the environment (see rango.cli.secret), or a prompt on
            the terminal, if the database is encrypted.
Failure     KeyRejected says what to use.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

import rango
from rango.cli.secret import Given, is_terminal, with_secret
from rango.errors import KeyRejected

PATH_DEFAULT: Final = ".rango"

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Target:
    """The database that a command is about, and how it is opened."""

    path: str
    given: Given
    as_json: bool
    actor: str | None = None
    """Who acts; only commands that write documents ask."""

    def secret(self, *, is_new: bool = False) -> dict[str, Any]:
        """The arguments of rango.open for the secret; prompts if it has to."""
        given = self.given.arguments()
        if given is not None or is_new:
            return given or {}
        if not is_encrypted(os.path.join(self.path, "keys")):
            return {}
        return self._asked()

    def secret_of_backup(self) -> dict[str, Any]:
        """The same for the backup in the directory."""
        given = self.given.arguments()
        names = sorted(Path(self.path).glob("keys-*"))
        if given is not None or not names or not is_encrypted(str(names[-1])):
            return given or {}
        return self._asked()

    def _asked(self) -> dict[str, Any]:
        if is_terminal():
            prompt = f"Passphrase of {self.path}"
            return {"passphrase": click.prompt(prompt, hide_input=True, err=True)}
        raise KeyRejected(
            f"{self.path} is encrypted; give --passphrase-file, --keyfile, --token-command, "
            "--os-keyring, RANGO_PASSPHRASE, RANGO_KEYFILE or RANGO_KEY"
        )

    def open(self, *, read_only: bool = False, create: bool = False, **more: Any) -> rango.Database:
        """The database, open. Raises what rango.open raises."""
        return rango.open(
            self.path,
            read_only=read_only,
            create=create,
            actor=self.actor,
            **self.secret(is_new=create and not Path(self.path, "keys").exists()),
            **more,
        )


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


JSON_OPTION: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs."
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
OTHER_PATH_OPTION: Final = click.option(
    "--path", "-P", "other", metavar="DIR", help="The same as DIR, as other commands take it."
)


ACTOR_OPTION: Final = click.option(
    "--actor",
    envvar="RANGO_ACTOR",
    show_envvar=True,
    metavar="NAME",
    help="Who acts, for the history.",
)


def with_target(
    where: Callable[[Any], Any] = PATH_OPTION, *, is_writing: bool = False
) -> Callable[[Command], Any]:
    """Give a command the shared options; it gets them as one `target`."""

    def decorate(function: Command) -> Any:
        @functools.wraps(function)
        def called(
            path: str,
            given: Given,
            as_json: bool,
            other: str | None = None,
            actor: str | None = None,
            **rest: Any,
        ) -> Any:
            if other is not None:
                source = click.get_current_context().get_parameter_source("path")
                if source is click.core.ParameterSource.COMMANDLINE:
                    raise click.UsageError("give DIR or --path, not both")
                path = other
            return function(target=Target(path, given, as_json, actor), **rest)

        made = with_secret("", "given")(JSON_OPTION(called))
        made = ACTOR_OPTION(made) if is_writing else made
        return where(OTHER_PATH_OPTION(made) if where is PATH_ARGUMENT else made)

    return decorate
