"""`rango find`: documents that match a filter."""

from __future__ import annotations

import sys
from typing import Any

import click

from rango.cli.documents import document_of, parsed, projection_of, sort_of
from rango.cli.moment import AT_OPTION, opened_at
from rango.cli.output import Mode, print_documents, print_object
from rango.cli.session import Target, with_target

MODES = click.Choice(["relaxed", "canonical"])


@click.command("find")
@click.argument("collection")
@click.argument("filter", default="{}", required=False)
@click.option("--sort", "-s", metavar="FIELDS", help='"a,-b" or {"a": 1, "b": -1}.')
@click.option("--projection", "-p", metavar="FIELDS", help='"a,b.c", "-a" or {"a": 1}.')
@click.option("--skip", type=click.IntRange(0), default=0, help="Leave out the first N.")
@click.option("--limit", "-n", type=click.IntRange(0), default=0, help="At most N; 0 means all.")
@click.option("--hint", metavar="INDEX", help="Use this index.")
@click.option("--meta", is_flag=True, help="With _rev, _updated_at and _source_node.")
@click.option("--mode", type=MODES, default="relaxed", show_default=True, help="Extended JSON.")
@click.option("--pretty", is_flag=True, help="Indent (the default on a terminal).")
@click.option("--explain", is_flag=True, help="Show how the query runs instead.")
@AT_OPTION
@with_target()
def command(
    target: Target,
    collection: str,
    filter: str,
    sort: str | None,
    projection: str | None,
    skip: int,
    limit: int,
    hint: str | None,
    meta: bool,
    mode: Mode,
    pretty: bool,
    explain: bool,
    at: str | None,
) -> None:
    """Print the documents of COLLECTION that match FILTER, one a line.

    FILTER is MongoDB's, in Extended JSON; "@file" reads it from a file and "-" from standard input.

    \b
    Examples:
      rango find notes
      rango find notes '{"importance": {"$gte": 0.8}}' --sort -importance -n 5
      rango find notes '{"_id": {"$oid": "..."}}' --json
      rango find notes '{"kind": "fact"}' --explain
      rango find notes --at 2026-11-28T18:00
    """
    selected, fields, order = (
        document_of(filter, "FILTER"),
        projection_of(projection),
        sort_of(sort),
    )
    with opened_at(target, at) as db:
        cursor: Any = db[collection].find(
            selected,
            fields,
            sort=order,
            skip=skip,
            limit=limit,
            hint=hint_of(hint),
            meta=meta,
        )
        if explain:
            print_object(cursor.explain())
            return
        indent = pretty or (sys.stdout.isatty() and not target.as_json)
        print_documents(cursor, mode=mode, indent=indent)


def hint_of(text: str | None) -> Any:
    """An index by name, or by its keys as a JSON object."""
    if text is None or not text.lstrip().startswith("{"):
        return text
    return parsed(text, "--hint")
