"""`rango verify`: is this the history that the database's key has signed?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import rango
from rango.cli.output import print_object, progress, size_text
from rango.cli.session import JSON_OPTION, PATH_ARGUMENT

if TYPE_CHECKING:
    from rango.storage.verification import Verification


@click.command("verify")
@PATH_ARGUMENT
@click.option(
    "--anchor",
    "-a",
    "anchors",
    multiple=True,
    metavar="FILE|TEXT",
    help="Hold it against an anchor: its text, or a file of anchors, one a line. Repeatable.",
)
@JSON_OPTION
def command(path: str, anchors: tuple[str, ...], as_json: bool) -> None:
    """Walk the log of the database in DIR and name the first commit that was altered.

    Needs no secret, takes no lock, writes nothing. Damage and naive editing are named by commit and
    place; a history that was rebuilt, by the first commits that a signature does not fit. A log
    that was cut, or a directory that was put back, shows against an anchor that was kept elsewhere.
    Exit code 0: nothing was found; 6: something was.

    \b
    Examples:
      rango verify ./my-data
      rango verify ./my-data --anchor anchors.txt
      rango verify ./my-data --json
    """
    with progress("verifying", is_bytes=True) as bar:
        result = rango.verify(path, anchor=anchors, progress=bar)
    if as_json:
        print_object(as_object(result))
    else:
        for line in lines_of(result):
            click.echo(line)
    if not result.ok:
        raise click.exceptions.Exit(6)


def as_object(result: Verification) -> dict[str, object]:
    """The result for programs."""
    names = [name for name in result.__dataclass_fields__ if name not in ("anchors", "findings")]
    return {
        "ok": result.ok,
        **{name: getattr(result, name) for name in names},
        "anchors": [each._asdict() for each in result.anchors],
        "findings": [each._asdict() for each in result.findings],
    }


def lines_of(result: Verification) -> list[str]:
    """The result for people: what is wrong first."""
    lines = [
        f"{finding.kind}: {place_of(finding.segment, finding.offset)}{finding.what}"
        for finding in result.findings
    ]
    lines += [
        f"anchor of commit {each.ordinal}: {'met' if each.is_met else 'NOT met'}; {each.what}"
        for each in result.anchors
    ]
    read = f"{result.commits} commits in {result.segments} segments, {size_text(result.size)}"
    lines.append(
        f"commits {result.first} to {result.ordinal} {'follow' if result.ok else 'were walked'}"
        f" ({read}); signed up to {result.signed_ordinal} by {result.public_key}"
    )
    if result.ordinal > result.signed_ordinal:
        lines.append(
            f"no signature covers commits {result.signed_ordinal + 1} to {result.ordinal}:"
            " whoever can write the files could have written them"
        )
    if result.tail:
        lines.append(f"{result.tail} more are half written, or torn by a crash")
    if result.purged:
        listed = ", ".join(map(str, result.purged[:10]))
        more = ", ..." if len(result.purged) > 10 else ""
        lines.append(f"purged, as signed: {len(result.purged)} frames ({listed}{more})")
    lines += [f"note: {note}" for note in result.notes]
    if result.ok:
        lines.append("nothing speaks against this history")
    return lines


def place_of(segment: int, offset: int) -> str:
    """Where something was found, in front of what it is."""
    return f"oplog/{segment:016d}.rgo:{offset}: " if segment else ""
