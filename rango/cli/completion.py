"""`rango completion`: a script that completes commands and options in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = click.Choice(["bash", "zsh", "fish"])


@click.command("completion")
@click.argument("shell", type=SHELLS)
def command(shell: str) -> None:
    """Print a completion script for SHELL.

    \b
    Examples:
      rango completion bash >> ~/.bashrc
      rango completion zsh > "${fpath[1]}/_rango"
      rango completion fish > ~/.config/fish/completions/rango.fish
    """
    from rango.cli import root

    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(made(root, {}, "rango", "_RANGO_COMPLETE").source())
