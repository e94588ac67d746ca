"""`rango count`: how many documents match a filter."""

from __future__ import annotations

import click

from rango.cli.documents import document_of
from rango.cli.moment import AT_OPTION, opened_at
from rango.cli.output import print_object
from rango.cli.session import Target, with_target


@click.command("count")
@click.argument("collection")
@click.argument("filter", default="{}", required=False)
@AT_OPTION
@with_target()
def command(target: Target, collection: str, filter: str, at: str | None) -> None:
    """Print how many documents of COLLECTION match FILTER (all, without one).

    \b
    Examples:
      rango count notes
      rango count notes '{"kind": "fact"}' --json
      rango count notes --at 1024
    """
    selected = document_of(filter, "FILTER")
    with opened_at(target, at) as db:
        count = db[collection].count_documents(selected)
    if target.as_json:
        print_object({"count": count})
    else:
        click.echo(str(count))
