"""`rango inspect`: what a database holds and how it is kept."""

from __future__ import annotations

import os
from typing import Any

import click

from rango.cli.output import print_object, print_pairs, print_table, size_text
from rango.cli.session import PATH_ARGUMENT, Target, with_target


@click.command("inspect")
@with_target(PATH_ARGUMENT)
def command(target: Target) -> None:
    """Show what a database holds: collections, sizes, limits, encryption.

    \b
    Examples:
      rango inspect ./my-data
      rango inspect ./my-data --json
    """
    with target.open(read_only=True) as db:
        stats = db.stats()
        limits = db.limits()
    sizes = file_sizes(target.path)
    found = {
        "path": target.path,
        "node_id": stats["node_id"],
        "encrypted": stats["encrypted"],
        "crypto_provider": stats["crypto_provider"],
        "ordinal": stats["ordinal"],
        "generation": stats["generation"],
        "bytes": sizes,
        "limits": limits,
        "collections": stats["collections"],
        "findings": stats["findings"],
    }
    if target.as_json:
        print_object(found)
        return
    print_pairs(
        [
            ("database", target.path),
            ("node", found["node_id"]),
            ("encryption", encryption_text(found)),
            ("commits", found["ordinal"]),
            ("checkpoints", found["generation"]),
            *((f"size of {name}", size_text(size)) for name, size in sizes.items()),
            *((name, size_text(value)) for name, value in limits.items()),
        ]
    )
    click.echo()
    print_table(
        ["collection", "documents", "indexes"],
        [
            (name, each["documents"], ", ".join(["_id_", *each["indexes"]]))
            for name, each in found["collections"].items()
        ],
    )
    for finding in found["findings"]:
        click.echo(f"note: {finding}", err=True)


def encryption_text(found: dict[str, Any]) -> str:
    """How the data is kept, in words."""
    if not found["encrypted"]:
        return "none (checksummed)"
    return f"AES-256-GCM ({found['crypto_provider']})"


def file_sizes(path: str) -> dict[str, int]:
    """Bytes of the parts of a database on disk."""

    def size(name: str) -> int:
        try:
            return os.path.getsize(os.path.join(path, name))
        except FileNotFoundError:
            return 0

    try:
        names = os.listdir(os.path.join(path, "oplog"))
    except FileNotFoundError:
        names = []
    log = sum(size(os.path.join("oplog", name)) for name in names)
    return {"data": size("data.rango"), "oplog": log, "keys": size("keys")}
