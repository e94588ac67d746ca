"""`rango import`: documents from a file, a pipe, or a workspace of the original Rango."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from rango.cli.output import print_object, progress
from rango.cli.secret import passphrase_read
from rango.cli.session import Target, with_target


@click.command("import")
@click.argument("file", default="-", required=False)
@click.option("--collection", "-c", metavar="NAME", help="Into this collection.")
@click.option(
    "--format",
    "-f",
    type=click.Choice(["auto", "jsonl", "json", "bson"]),
    default="auto",
    show_default=True,
    help="JSON Lines, JSON documents or an array, BSON; auto looks at the beginning.",
)
@click.option(
    "--on-duplicate",
    type=click.Choice(["fail", "skip", "replace"]),
    default="fail",
    show_default=True,
    help="What happens to a document whose key is taken.",
)
@click.option("--drop-meta", is_flag=True, help="Leave out _rev and what else Rango keeps itself.")
@click.option("--rejects", metavar="FILE", help="Write what is refused to FILE.")
@click.option("--resume", metavar="FILE", help="Keep how far it is in FILE, and go on from there.")
@click.option(
    "--workspace", metavar="DIR", help="Read the log of a workspace of the original Rango instead."
)
@click.option(
    "--workspace-passphrase-file",
    metavar="FILE",
    help="The passphrase of that workspace, on the first line of FILE.",
)
@with_target(is_writing=True)
def command(
    target: Target,
    file: str,
    collection: str | None,
    workspace: str | None,
    workspace_passphrase_file: str | None,
    **options: Any,
) -> int:
    """Store the documents of FILE (or standard input) in a collection.

    FILE is JSON Lines, an array, mongoexport's or mongodump's; gzip is recognised. Documents that
    are refused are counted and named by number, and the others are stored: exit code 1.

    With --workspace, the documents that the log oplog.rgo says there are, each in its collection
    (--collection: only that one). The file data.redb is not read.

    \b
    Examples:
      rango import notes.jsonl -c notes
      mongoexport -c notes | rango import - -c notes --on-duplicate skip
      rango import big.jsonl.gz -c notes --resume big.state --rejects big.refused
      rango import --workspace ../old/.rango
    """
    if workspace is not None:
        policy = options["on_duplicate"]
        return from_workspace(target, workspace, workspace_passphrase_file, collection, policy)
    if collection is None:
        raise click.UsageError("name the collection: --collection NAME")
    from rango.transfer import import_documents

    with target.open() as db, progress("importing", is_bytes=True) as bar:
        report = import_documents(db[collection], file, progress=bar, **options)
    if target.as_json:
        print_object({"collection": collection, **asdict(report)})
        return int(report.errors > 0)
    for refusal in report.refusals:
        click.echo(f"{refusal.number}: {refusal.reason}", err=True)
    if report.broken:
        click.echo(f"stopped: {report.broken}", err=True)
    parts = [f"{report.imported} documents imported"]
    parts += [f"{report.replaced} replaced"] if report.replaced else []
    parts += [f"{report.skipped} skipped"] if report.skipped else []
    click.echo(", ".join([*parts, f"{report.errors} errors"]))
    return int(report.errors > 0)


def from_workspace(
    target: Target, folder: str, passphrase_file: str | None, collection: str | None, policy: str
) -> int:
    """Import a workspace of the original Rango; the exit code."""
    from rango.compat.workspace import import_workspace

    phrase = None if passphrase_file is None else passphrase_read(passphrase_file)
    with target.open() as db, progress("importing") as bar:
        report = import_workspace(
            db,
            folder,
            passphrase=phrase,
            collection=collection,
            on_duplicate=policy,
            progress=bar,
        )
    errors = sum(each.errors for each in report.collections.values())
    is_damaged = bool(errors or report.unreadable or report.torn_bytes)
    if target.as_json:
        print_object(asdict(report))
        return int(is_damaged)
    for name, each in report.collections.items():
        for refusal in each.refusals:
            click.echo(f"{name} {refusal.number}: {refusal.reason}", err=True)
        click.echo(f"{name}: {each.imported + each.replaced} documents imported")
    if report.unreadable or report.torn_bytes:
        click.echo(
            f"{report.unreadable} damaged places in the log, and {report.torn_bytes} bytes at its "
            "end that are no entry, were left out",
            err=True,
        )
    imported = sum(each.imported + each.replaced for each in report.collections.values())
    click.echo(f"{imported} documents imported, {errors} errors")
    return int(is_damaged)
