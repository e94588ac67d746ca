"""`rango index`: list, create and drop the indexes of a collection."""

from __future__ import annotations

from typing import Any

import click

from rango.cli.documents import document_of, sort_of
from rango.cli.output import document_line, print_object, print_table, progress
from rango.cli.session import Target, with_target


@click.group("index")
def command() -> None:
    """List, create and drop the indexes of a collection.

    \b
    Examples:
      rango index list notes
      rango index create notes importance,-created --name by_importance
      rango index drop notes by_importance
    """


@command.command("list")
@click.argument("collection")
@with_target()
def list_indexes(target: Target, collection: str) -> None:
    """List the indexes of COLLECTION.

    \b
    Example:
      rango index list notes --json
    """
    with target.open(read_only=True) as db:
        listed = list(db[collection].list_indexes())
    if target.as_json:
        for each in listed:
            print_object(each)
        return
    print_table(
        ["name", "keys", "options"],
        [
            (
                each["name"],
                document_line(dict(each["key"])),
                ", ".join(f"{name}={value}" for name, value in each.items() if is_option(name)),
            )
            for each in listed
        ],
    )


def is_option(name: str) -> bool:
    """Whether a field of an index's description is one of its options."""
    return name not in ("name", "key", "v")


@command.command("create")
@click.argument("collection")
@click.argument("keys")
@click.option("--unique", is_flag=True, help="No two documents with the same value.")
@click.option("--sparse", is_flag=True, help="Only documents that have the field.")
@click.option("--partial", metavar="FILTER", help="Only documents that match FILTER.")
@click.option("--expire-after", type=click.IntRange(0), metavar="SECONDS", help="TTL.")
@click.option("--name", help="Its name; made from the keys by default.")
@with_target()
def create_index(
    target: Target,
    collection: str,
    keys: str,
    unique: bool,
    sparse: bool,
    partial: str | None,
    expire_after: int | None,
    name: str | None,
) -> None:
    """Index the fields KEYS of COLLECTION: "a", "a,-b" or {"a": 1, "b": -1}.

    \b
    Examples:
      rango index create users email --unique
      rango index create sessions seen --expire-after 3600
    """
    options: dict[str, Any] = {"unique": unique, "name": name}
    if sparse:
        options["sparse"] = True
    if partial is not None:
        options["partial_filter"] = document_of(partial, "--partial")
    if expire_after is not None:
        options["expire_after_s"] = expire_after
    with target.open() as db, progress("indexing") as bar:
        made = db[collection].create_index(sort_of(keys, "KEYS") or [], progress=bar, **options)
    if target.as_json:
        print_object({"name": made})
    else:
        click.echo(made)


@command.command("drop")
@click.argument("collection")
@click.argument("index")
@with_target()
def drop_index(target: Target, collection: str, index: str) -> None:
    """Drop the index of COLLECTION named INDEX; exit code 1 if there is none.

    \b
    Example:
      rango index drop users email_1
    """
    with target.open() as db:
        db[collection].drop_index(index)
    if target.as_json:
        print_object({"dropped": index})
    else:
        click.echo(f"dropped {index}")
