"""`rango init`: make a database."""

from __future__ import annotations

import os
from typing import Any

import click

from rango.cli.output import print_object, size_text
from rango.cli.secret import passphrase_asked
from rango.cli.session import PATH_ARGUMENT, Target, with_target
from rango.errors import InvalidArgument


@click.command("init")
@click.option(
    "--max-doc-size", type=click.IntRange(1), metavar="BYTES", help="Refuse larger documents."
)
@click.option(
    "--memory-budget", type=click.IntRange(0), metavar="BYTES", help="Size of the page cache."
)
@click.option("--encrypt", is_flag=True, help="Ask for a new passphrase (twice).")
@click.option("--node-id", metavar="NAME", help="This node's name in revisions.")
@with_target(PATH_ARGUMENT)
def command(
    target: Target,
    max_doc_size: int | None,
    memory_budget: int | None,
    encrypt: bool,
    node_id: str | None,
) -> None:
    """Make a new database in DIR (default: .rango).

    With a passphrase or a key file everything in it is encrypted. Whoever loses that secret has
    lost the data: there is no way back in. The limits are kept in the database.

    \b
    Examples:
      rango init ./my-data --encrypt
      RANGO_PASSPHRASE=... rango init ./my-data
      rango init ./my-data --max-doc-size 1000000 --memory-budget 33554432
    """
    if os.path.exists(os.path.join(target.path, "keys")):
        raise InvalidArgument(f"{target.path} holds a database already; nothing was changed")
    if encrypt:
        secret: dict[str, Any] = {"passphrase": passphrase_asked()}
    else:
        secret = target.secret(is_new=True)
    import rango

    limits = {"document_size_bytes_max": max_doc_size, "cache_size_bytes": memory_budget}
    given = {name: value for name, value in limits.items() if value is not None}
    with rango.open(target.path, node_id=node_id, **secret) as db:
        if given:
            db.set_limits(**given)
        stats = db.stats()
        made = {
            "path": target.path,
            "encrypted": stats["encrypted"],
            "crypto_provider": stats["crypto_provider"],
            "node_id": db.node_id,
            "limits": db.limits(),
        }
    if target.as_json:
        print_object(made)
        return
    click.echo(f"Made a database in {target.path}, node {made['node_id']}.")
    if made["encrypted"]:
        click.echo(f"Encrypted with AES-256-GCM ({made['crypto_provider']}).")
        click.echo("Losing the passphrase or key loses the data: keep a copy of it elsewhere.")
    else:
        click.echo("Not encrypted, but checksummed.")
    for name, value in made["limits"].items():
        click.echo(f"{name}: {size_text(value)}")
