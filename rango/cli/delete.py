"""`rango delete`: delete documents that match a filter."""

from __future__ import annotations

import sys

import click

from rango.cli.documents import document_of
from rango.cli.output import print_object
from rango.cli.session import Target, with_target


@click.command("delete")
@click.argument("collection")
@click.argument("filter")
@click.option("--many", is_flag=True, help="Every document that matches, not only the first.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@with_target(is_writing=True)
def command(target: Target, collection: str, filter: str, many: bool, yes: bool) -> None:
    """Delete the first document of COLLECTION that matches FILTER.

    The history keeps what was deleted; `rango purge` removes that as well. Exit code 1 if no
    document matched.

    \b
    Examples:
      rango delete notes '{"_id": 1}'
      rango delete notes '{"kind": "draft"}' --many --yes
    """
    selected = document_of(filter, "FILTER")
    with target.open() as db:
        if many and not yes and sys.stdin.isatty():
            count = db[collection].count_documents(selected)
            click.confirm(f"Delete {count} documents of {collection}?", abort=True, err=True)
        documents = db[collection]
        result = documents.delete_many(selected) if many else documents.delete_one(selected)
    if target.as_json:
        print_object({"deleted": result.deleted_count})
    else:
        click.echo(f"{result.deleted_count} deleted")
    if not result.deleted_count:
        raise click.exceptions.Exit(1)
