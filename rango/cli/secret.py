"""Where a secret of the command line comes from: options, the environment, a prompt.

Terms       given: what the options say. Side: the secret that opens ("") or a new one ("new-").
Invariants  From, in this order: one option; one variable of the environment (RANGO_PASSPHRASE,
            RANGO_KEYFILE, RANGO_KEY, and RANGO_NEW_... for a new secret); a prompt, only where
            standard input is a terminal: a script never hangs. Two at once are refused. No secret
            is ever printed, and the program of a token sees no other secret.
Failure     InvalidArgument, OSError (a file that cannot be read). A token's program that fails:
            InvalidArgument with what it said.
"""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click

from rango.errors import InvalidArgument

PASSPHRASE_SIZE_MAX: Final = 64 * 1024
"""Bytes read of a passphrase file: a wrong path must not read a disk."""
TOKEN_WAIT_S: Final = 60
"""How long a token's program may take: somebody has to find and touch the token."""


@dataclass(frozen=True, slots=True)
class Given:
    """The options of one side."""

    passphrase_file: str | None = None
    keyfile: str | None = None
    token_file: str | None = None
    token_command: str | None = None
    os_keyring: bool = False
    passphrase: str | None = None
    is_new: bool = False

    def arguments(self) -> dict[str, Any] | None:
        """The argument of rango.open that options or environment give; None if they give none."""
        named = {
            "passphrase": self.passphrase,
            "passphrase-file": self.passphrase_file,
            "keyfile": self.keyfile,
            "token-file": self.token_file,
            "token-command": self.token_command,
            "os-keyring": self.os_keyring or None,
        }
        chosen = {name: value for name, value in named.items() if value is not None}
        if len(chosen) > 1:
            side = "new-" if self.is_new else ""
            options = ", ".join(f"--{side}{name}" for name in chosen)
            raise InvalidArgument(f"give one of {options}, not several")
        for name, value in chosen.items():
            return argument_of(name, value)
        return from_environment("RANGO_NEW_" if self.is_new else "RANGO_")


def argument_of(name: str, value: Any) -> dict[str, Any]:
    """The argument of rango.open that an option stands for."""
    if name == "passphrase-file":
        return {"passphrase": passphrase_read(value)}
    if name == "passphrase":
        click.echo(
            "rango: warning: a passphrase on the command line can be read by other users of "
            "this machine and stays in the shell's history; --passphrase-file is safer",
            err=True,
        )
        return {"passphrase": value}
    if name == "token-file":
        return {"token": token_read(value)}
    if name == "token-command":
        return {"token": CommandToken(value)}
    return {"keyring": True} if name == "os-keyring" else {"keyfile": value}


def from_environment(prefix: str) -> dict[str, Any] | None:
    """The argument that a variable gives. Raises InvalidArgument for several."""
    names = [f"{prefix}{end}" for end in ("PASSPHRASE", "KEYFILE", "KEY")]
    found = [name for name in names if name in os.environ]
    if len(found) > 1:
        raise InvalidArgument(f"{' and '.join(found)} are both set; leave one")
    if not found:
        return None
    name, text = found[0], os.environ[found[0]]
    if name.endswith("PASSPHRASE"):
        return {"passphrase": text}
    if name.endswith("KEYFILE"):
        return {"keyfile": text}
    try:
        return {"key": bytes.fromhex(text)}
    except ValueError:
        raise InvalidArgument(f"{name} must be 64 hexadecimal digits") from None


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


def token_read(path: str) -> Any:
    """The token in software whose key is in a file, as in a key file."""
    from rango.storage.keyring import KeyFile, SoftwareToken

    return SoftwareToken(KeyFile(path).read().reveal())


class CommandToken:
    """A token that a program speaks to: it gets the challenge in hex as its last argument, and
    prints the answer in hex.
    """

    def __init__(self, command: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise InvalidArgument(f"--token-command is no command ({error})") from error
        if not self._words:
            raise InvalidArgument("--token-command is empty; give a program, as a shell takes it")

    def respond(self, challenge: bytes) -> bytes:
        """What the program answers. Raises InvalidArgument if it has no answer."""
        program = self._words[0]
        hidden = {name: text for name, text in os.environ.items() if not is_secret(name)}
        try:
            # the program may ask for a touch or a PIN on the terminal
            done = subprocess.run(
                [*self._words, challenge.hex()],
                stdout=subprocess.PIPE,
                env=hidden,
                timeout=TOKEN_WAIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise InvalidArgument(
                f"{program} did not answer within {TOKEN_WAIT_S} s; touch the token, or try again"
            ) from error
        if done.returncode:
            raise InvalidArgument(f"{program} ended with {done.returncode}; is the token there?")
        try:
            return bytes.fromhex(done.stdout.decode("ascii").strip())
        except ValueError:
            raise InvalidArgument(f"{program} must print the answer in hexadecimal") from None

    def __repr__(self) -> str:
        return f"CommandToken({self._words[0]!r})"


def is_secret(name: str) -> bool:
    """Whether a variable of the environment holds one of our secrets."""
    return name.removeprefix("RANGO_").removeprefix("NEW_") in {"PASSPHRASE", "KEY"}


def passphrase_asked() -> str:
    """A new passphrase, asked for twice on the terminal."""
    text: str = click.prompt(
        "New passphrase", hide_input=True, confirmation_prompt="Again", err=True
    )
    return text


def is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def options(side: str) -> list[Callable[[Any], Any]]:
    """The options of a side, in the order of the help."""
    what = "new passphrase" if side else "passphrase"
    listed = [
        click.option(
            f"--{side}passphrase-file",
            metavar="FILE",
            help=f'Read the {what} from the first line of FILE ("-": standard input).',
        ),
        click.option(
            f"--{side}keyfile",
            metavar="FILE",
            help="A file with the key: 32 bytes or 64 hex digits.",
        ),
        click.option(
            f"--{side}token-file",
            metavar="FILE",
            help="A token in software: a file with its key, as a key file.",
        ),
        click.option(
            f"--{side}token-command",
            metavar="COMMAND",
            help="A token: COMMAND gets a challenge in hex as its last argument and prints the "
            'answer in hex, as "ykman otp calculate 2" does.',
        ),
        click.option(
            f"--{side}os-keyring",
            is_flag=True,
            help="The keyring of the operating system (pip install 'rango[keyring]').",
        ),
    ]
    if not side:
        listed.insert(
            1,
            click.option(
                "--passphrase", metavar="TEXT", help="The passphrase itself. Others can see it."
            ),
        )
    return listed


def with_secret(side: str, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of a side; it gets them as one Given called `name`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        prefix = side.replace("-", "_")

        @functools.wraps(function)
        def called(**given: Any) -> Any:
            own = {
                field: given.pop(f"{prefix}{field}")
                for field in Given.__slots__
                if f"{prefix}{field}" in given
            }
            return function(**{name: Given(is_new=bool(side), **own)}, **given)

        made: Callable[..., Any] = called
        for option in reversed(options(side)):
            made = option(made)
        return made

    return decorate
