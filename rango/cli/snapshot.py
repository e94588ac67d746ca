"""`rango snapshot`: names for commits."""

from __future__ import annotations

import click

from rango.cli.output import print_object, print_table
from rango.cli.session import Target, with_target


@click.group("snapshot")
def command() -> None:
    """Name the state of a database, list the names, take one back.

    \b
    Examples:
      rango snapshot create before-cleanup --note "all notes of the first year"
      rango find notes --at before-cleanup
      rango snapshot drop before-cleanup
    """


@command.command("create")
@click.argument("name")
@click.option("--note", metavar="TEXT", help="What it is for.")
@with_target(is_writing=True)
def create(target: Target, name: str, note: str | None) -> None:
    """Give the newest commit the name NAME, for --at.

    It copies nothing and takes no space.

    \b
    Example:
      rango snapshot create before-cleanup
    """
    with target.open() as db:
        made = db.create_snapshot(name, note=note)
    if target.as_json:
        print_object(made)
    else:
        click.echo(f"{made['name']}: commit {made['ordinal']}")


@command.command("list")
@with_target()
def listing(target: Target) -> None:
    """List the snapshots, oldest commit first.

    \b
    Example:
      rango snapshot list --json
    """
    with target.open(read_only=True) as db:
        listed = db.snapshots()
    if target.as_json:
        for each in listed:
            print_object(each)
        return
    print_table(
        ["name", "commit", "made", "node", "note"],
        [
            (
                each["name"],
                each["ordinal"],
                each["at"].strftime("%Y-%m-%d %H:%M:%SZ"),
                each["node"],
                each["note"] or "",
            )
            for each in listed
        ],
    )


@command.command("drop")
@click.argument("name")
@with_target(is_writing=True)
def drop(target: Target, name: str) -> None:
    """Take the name NAME back; the history stays. Exit code 1 if there is none.

    \b
    Example:
      rango snapshot drop before-cleanup
    """
    with target.open() as db:
        db.drop_snapshot(name)
    if target.as_json:
        print_object({"dropped": name})
    else:
        click.echo(f"dropped {name}")
