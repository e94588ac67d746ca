"""`rango`: the command line. One sub-command is one module; this one finds and runs them.

Terms       exit code: what a script may branch on; the table is EXIT_CODES in rango.cli.failures.
Invariants  A command is loaded when it is called, so `rango --version` and a completion cost
            nothing else. What a program may read goes to standard output, everything for people
            (progress, notes, warnings, errors) to standard error. No error of Rango, of the
            operating system or of a typing mistake ends in a traceback.
Failure     rango.cli.failures turns errors into one plain line, or with --json into one object.
Sources     Command Line Interface Guidelines (clig.dev); POSIX.1-2017 Utility Conventions.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

import click

import rango
from rango.cli.failures import run_guarded

COMMANDS: Final = {
    "anchor": "rango.cli.anchor",
    "backup": "rango.cli.backup",
    "bench": "rango.cli.bench",
    "check": "rango.cli.check",
    "completion": "rango.cli.completion",
    "compact": "rango.cli.compact",
    "count": "rango.cli.count",
    "delete": "rango.cli.delete",
    "digest": "rango.cli.digest",
    "doctor": "rango.cli.doctor",
    "export": "rango.cli.export",
    "find": "rango.cli.find",
    "get": "rango.cli.get",
    "history": "rango.cli.history",
    "import": "rango.cli.import_",
    "index": "rango.cli.index",
    "init": "rango.cli.init",
    "insert": "rango.cli.insert",
    "inspect": "rango.cli.inspect",
    "key": "rango.cli.key",
    "log": "rango.cli.log",
    "purge": "rango.cli.purge",
    "replay": "rango.cli.replay",
    "restore": "rango.cli.restore",
    "salvage": "rango.cli.salvage",
    "snapshot": "rango.cli.snapshot",
    "diff": "rango.cli.diff",
    "rollback": "rango.cli.rollback",
    "stats": "rango.cli.stats",
    "update": "rango.cli.update",
    "verify": "rango.cli.verify",
    "watch": "rango.cli.watch",
}
"""Name of a command -> its module, whose `command` it is."""


class CommandTable(click.Group):
    """The commands, each loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, sorted."""
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, loaded; None if there is no such one."""
        del ctx
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        command: click.Command = import_module(place).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, and a word that is nearly a command's name is answered with that name."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            if not near:
                raise
            text = f"{error.format_message()} Did you mean {near[0]!r}?"
            raise click.UsageError(text, ctx) from error


@click.command(
    cls=CommandTable,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 not found or something is wrong, 2 usage, 3 no database, "
    "4 wrong key, 5 busy, 6 damaged, 7 disk, 8 refused; see docs/reference/cli.md.",
)
@click.version_option(rango.__version__, "-V", "--version", prog_name="rango")
def root() -> None:
    """Durable, encrypted memory for AI agents: look into a Rango database and take care of it.

    \b
    Examples:
      rango init ./my-data
      rango insert -P ./my-data notes '{"text": "hello"}'
      rango find -P ./my-data notes '{"text": {"$exists": true}}'
      rango stats -P ./my-data --json
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and exit with its code."""
    sys.exit(run_guarded(root, sys.argv[1:] if arguments is None else arguments))
