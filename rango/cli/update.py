"""`rango update`: change documents that match a filter."""

from __future__ import annotations

from typing import Any

import click

from rango.cli.documents import document_of, parsed
from rango.cli.output import print_object
from rango.cli.session import Target, with_target


@click.command("update")
@click.argument("collection")
@click.argument("filter")
@click.argument("update")
@click.option("--many", is_flag=True, help="Every document that matches, not only the first.")
@click.option("--upsert", is_flag=True, help="Insert one if none matches.")
@click.option("--replace", is_flag=True, help="UPDATE is a whole document.")
@with_target(is_writing=True)
def command(
    target: Target,
    collection: str,
    filter: str,
    update: str,
    many: bool,
    upsert: bool,
    replace: bool,
) -> None:
    """Change the first document of COLLECTION that matches FILTER as UPDATE says.

    Exit code 1 if no document matched (and none was inserted).

    \b
    Examples:
      rango update notes '{"_id": 1}' '{"$set": {"done": true}}'
      rango update notes '{"kind": "draft"}' '{"$unset": {"tmp": ""}}' --many
      rango update notes '{"_id": 1}' '{"text": "anew"}' --replace --upsert
    """
    if replace and many:
        raise click.UsageError("--replace changes one document; leave --many out")
    selected, change = document_of(filter, "FILTER"), parsed(update, "UPDATE")
    with target.open() as db:
        documents: Any = db[collection]
        if replace:
            result = documents.replace_one(selected, change, upsert)
        elif many:
            result = documents.update_many(selected, change, upsert)
        else:
            result = documents.update_one(selected, change, upsert)
    if target.as_json:
        print_object(
            {
                "matched": result.matched_count,
                "modified": result.modified_count,
                "upserted_id": result.upserted_id,
            }
        )
    else:
        click.echo(f"{result.matched_count} matched, {result.modified_count} modified")
        if result.upserted_id is not None:
            click.echo(f"inserted {result.upserted_id}")
    if not result.matched_count and result.upserted_id is None:
        raise click.exceptions.Exit(1)
