"""`rango get`: one document by its `_id`."""

from __future__ import annotations

import sys

import click

from rango.cli.documents import id_of, projection_of
from rango.cli.find import MODES
from rango.cli.moment import AT_OPTION, opened_at
from rango.cli.output import Mode, print_documents
from rango.cli.session import Target, with_target
from rango.errors import NotFound


@click.command("get")
@click.argument("collection")
@click.argument("id")
@click.option("--projection", "-p", metavar="FIELDS", help='"a,b.c", "-a" or {"a": 1}.')
@click.option("--meta", is_flag=True, help="With _rev, _updated_at and _source_node.")
@click.option("--mode", type=MODES, default="relaxed", show_default=True, help="Extended JSON.")
@AT_OPTION
@with_target()
def command(
    target: Target,
    collection: str,
    id: str,
    projection: str | None,
    meta: bool,
    mode: Mode,
    at: str | None,
) -> None:
    """Print the document of COLLECTION whose _id is ID; exit code 1 if there is none.

    ID is Extended JSON ({"$oid": "..."}, 17, "text"), a UUID as text, or else the text itself.

    \b
    Examples:
      rango get notes 0190163d-8694-739b-aea5-966c26f8ad91
      rango get users '{"$oid": "507f1f77bcf86cd799439011"}' --meta
      rango get users 17 --at 1024
    """
    wanted, fields = {"_id": id_of(id)}, projection_of(projection)
    with opened_at(target, at) as db:
        found = db[collection].find_one(wanted, fields, meta=meta)
    if found is None:
        raise NotFound(f"collection {collection!r} has no document with _id {id}")
    print_documents([found], mode=mode, indent=sys.stdout.isatty() and not target.as_json)
