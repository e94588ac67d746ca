"""`rango export`: a collection as a file or into a pipe."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from rango.cli.documents import document_of
from rango.cli.moment import AT_OPTION, opened_at
from rango.cli.output import print_object, progress
from rango.cli.session import Target, with_target


@click.command("export")
@click.option("--collection", "-c", required=True, metavar="NAME", help="The collection.")
@click.option(
    "--output", "-o", default="-", metavar="FILE", help='To FILE; "-", the default: to the output.'
)
@click.option(
    "--format",
    "-f",
    type=click.Choice(["jsonl", "canonical-jsonl", "json", "canonical-json", "bson"]),
    default="jsonl",
    show_default=True,
    help="Canonical text and BSON keep every type.",
)
@click.option("--filter", default="{}", metavar="FILTER", help="Only what matches.")
@click.option("--meta", is_flag=True, help="With _rev, _updated_at and _source_node.")
@AT_OPTION
@with_target()
def command(
    target: Target,
    collection: str,
    output: str,
    filter: str,
    format: Any,
    meta: bool,
    at: str | None,
) -> None:
    """Write the documents of a collection, by default as JSON Lines to standard output.

    A FILE whose name ends with .gz is compressed. The counts go to standard error.

    \b
    Examples:
      rango export -c notes -f canonical-jsonl -o notes.jsonl.gz
      rango export -c notes --filter '{"kind": "fact"}' | jq .text
      rango export -c notes -f bson -o notes.bson --json
      rango export -c notes --at 2026-11-28 -o yesterday.jsonl
    """
    from rango.transfer import export_documents

    selected = document_of(filter, "--filter")
    with opened_at(target, at) as db, progress("exporting") as bar:
        report = export_documents(
            db[collection], output, filter=selected, format=format, meta=meta, progress=bar
        )
    if target.as_json and output != "-":
        print_object({"collection": collection, **asdict(report)})
    else:
        click.echo(f"{report.exported} documents exported", err=True)
