"""docs/reference/cli.md: every command with its help. `python3 ci docs` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from rango.cli import COMMANDS, root
from rango.cli.failures import EXIT_CODES

WIDTH: Final = 100
HEAD: Final = """\
<!-- Generated from rango/cli by `python3 ci docs`; change it there. -->

# The command line

`rango` looks into a database and takes care of it. What a program may read goes to standard output,
everything for people to standard error. Every command has `--json` and `--help` with examples.

The secret of an encrypted database comes from one option (`--passphrase-file`, `--keyfile`,
`--token-file`, `--token-command`, `--os-keyring`), from one of `RANGO_PASSPHRASE`, `RANGO_KEYFILE`
and `RANGO_KEY` (64 hexadecimal digits), or from a prompt; `--passphrase` works too, but other users
of the machine can see it. `RANGO_PATH` names the database where `--path` does not.

## Exit codes

| code | meaning |
|---|---|
| 0 | done |
"""


def manual() -> str:
    """The page."""
    lines = [HEAD.rstrip("\n")]
    meanings: dict[int, list[str]] = {1: ["a check found something, or nothing matched"]}
    for kind, code, meaning in EXIT_CODES:
        meanings.setdefault(code, []).append(f"{meaning} (`{kind.__name__}`)")
    meanings.setdefault(2, []).append("the command line is wrong")
    meanings[130] = ["stopped by Ctrl-C"]
    lines += [f"| {code} | {'; '.join(texts)} |" for code, texts in sorted(meanings.items())]
    top = click.Context(root, info_name="rango", **root.context_settings, terminal_width=WIDTH)
    for path, command in commands():
        # under the root, whose settings (such as -h) it inherits
        context = click.Context(command, info_name=" ".join(path[1:]), parent=top)
        context = top if len(path) == 1 else context
        lines += ["", f"## {' '.join(path)}", "", "```text", command.get_help(context), "```"]
    return "\n".join(lines) + "\n"


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words, groups before what is in them."""
    yield ("rango",), root
    context = click.Context(root)
    for name in sorted(COMMANDS):
        command = root.get_command(context, name)
        if command is None:
            raise AssertionError(f"command {name} is in the table and cannot be loaded")
        yield ("rango", name), command
        if isinstance(command, click.Group):
            for below, each in sorted(command.commands.items()):
                yield ("rango", name, below), each
