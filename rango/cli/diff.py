"""`rango diff`: what is not the same in two states of a database."""

from __future__ import annotations

from typing import Final

import click

from rango.cli.moment import moment_of
from rango.cli.output import document_line, value_text
from rango.cli.session import Target, with_target
from rango.difference import Change

SIGNS: Final = {"inserted": ("+", "green"), "changed": ("~", "yellow"), "deleted": ("-", "red")}


@click.command("diff")
@click.argument("a")
@click.argument("b", required=False)
@click.option("--collection", "-c", "names", multiple=True, help="Only this one; may be repeated.")
@with_target()
def command(target: Target, a: str, b: str | None, names: tuple[str, ...]) -> None:
    """Show what changed from A to B, or from A to now.

    A and B are a commit's number, a revision, a time (2026-11-29T12:00, UTC) or the name of a
    snapshot. First collections and indexes, then documents by collection and _id: `+` inserted,
    `~` changed, with a line for each field, `-` deleted. With --json one change a line, documents
    whole.

    \b
    Examples:
      rango diff before-cleanup
      rango diff 1200 1300 --collection notes --json
    """
    with target.open(read_only=True) as db:
        later = None if b is None else moment_of(b)
        with db.diff(moment_of(a), later, collections=names or None) as changes:
            for change in changes:
                if target.as_json:
                    click.echo(document_line(change.as_dict()))
                else:
                    show(change)


def show(change: Change) -> None:
    """A change for people: a line, and one for each field that changed."""
    if change.kind not in SIGNS:
        click.echo(structure_line(change))
        return
    sign, colour = SIGNS[change.kind]
    click.secho(f"{sign} {change.collection} {value_text(change.id)}", fg=colour)
    changed, removed = change.fields()
    for path, value in changed.items():
        click.echo(f"    {path} = {value_text(value)}")
    for path in removed:
        click.echo(f"    - {path}")


def structure_line(change: Change) -> str:
    """What happened to a collection or an index."""
    what, _, verb = change.kind.partition("_")
    name = change.collection if change.old_name is None else change.old_name
    if change.index is not None:
        name = f"{change.index['name']} of {name}"
    end = "" if change.old_name is None else f" to {change.collection}"
    return f"{what} {name} {verb}{end}"
