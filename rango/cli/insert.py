"""`rango insert`: store documents."""

from __future__ import annotations

import click

from rango.cli.documents import documents_of
from rango.cli.output import print_object
from rango.cli.session import Target, with_target


@click.command("insert")
@click.argument("collection")
@click.argument("documents", nargs=-1)
@with_target(is_writing=True)
def command(target: Target, collection: str, documents: tuple[str, ...]) -> None:
    """Store DOCUMENTS in COLLECTION: JSON objects or arrays of them, "@file", or standard input.

    Prints how many were stored and their ids. For many documents `rango import` is faster and can
    go on after a mistake.

    \b
    Examples:
      rango insert notes '{"text": "buy milk"}'
      rango insert notes '[{"_id": 1}, {"_id": 2}]' --json
      echo '{"text": "from a pipe"}' | rango insert notes
    """
    given = list(documents_of(documents))
    if not given:
        raise click.UsageError("there is no document to insert")
    with target.open() as db:
        ids = db[collection].insert_many(given).inserted_ids
    if target.as_json:
        print_object({"inserted": len(ids), "ids": list(ids)})
        return
    click.echo(f"{len(ids)} inserted")
    for each in ids:
        click.echo(str(each))
