"""`rango doctor`: what is wrong, how bad it is, what to do."""

from __future__ import annotations

from typing import Any, Final

import click

from rango.cli.session import PATH_ARGUMENT, Target, with_target

EXIT_CODES: Final = {None: 0, "note": 0, "warning": 1, "error": 6}
"""Of the worst finding."""
COLOURS: Final = {"note": "cyan", "warning": "yellow", "error": "red"}


@click.command("doctor")
@click.option("--probe", is_flag=True, help="Also time a flush, with a file that has no name.")
@with_target(PATH_ARGUMENT)
def command(target: Target, probe: bool) -> None:
    """Say what is wrong with a database, how bad it is and what to do. Changes nothing.

    Works while another process has the database open, and without its passphrase (it then sees
    less and never asks). It looks at files, keys, locks, the end of the log, space, clock, disk and
    libraries; `rango check` reads every page and frame. Each finding has a code that is explained
    in docs/reference/doctor.md. Exit code 0: nothing but notes; 1: warnings; 6: errors.

    \b
    Examples:
      rango doctor ./my-data
      rango doctor ./my-data --probe --json
      rango doctor ./my-data > /dev/null || echo "have a look"
    """
    from rango.cli.output import print_object
    from rango.doctor import examine

    report = examine(target.path, **(target.given.arguments() or {}), probe=probe)
    if target.as_json:
        print_object(report.as_dict())
    else:
        print_report(report)
    raise click.exceptions.Exit(EXIT_CODES[report.severity])


def print_report(report: Any) -> None:
    """For people: the facts in a few lines, then the findings, worst first."""
    from rango.cli.output import print_pairs

    print_pairs(facts_shown(report))
    for finding in report.findings:
        click.echo()
        label = click.style(finding.severity.upper(), fg=COLOURS[finding.severity], bold=True)
        click.echo(f"{label} {finding.code}: {finding.where}")
        click.echo(f"  {finding.what}")
        click.echo(f"  what to do: {finding.action}")
    if report.severity in (None, "note"):
        click.echo("\nnothing is wrong")


def facts_shown(report: Any) -> list[tuple[str, object]]:
    """The facts that people want first."""
    from rango.cli.output import size_text

    facts = report.facts
    shown: list[tuple[str, object]] = [("path", report.path)]
    if "keys" in facts:
        shown.append(("encryption", keys_shown(facts["keys"])))
    if "data_bytes" in facts:
        free = facts.get("reclaimable_bytes")
        text = size_text(facts["data_bytes"])
        shown.append(("data file", text if free is None else f"{text}, {size_text(free)} free"))
    if "log" in facts:
        log = facts["log"]
        commits = f", {log['ordinal']} commits" if "ordinal" in log else ""
        shown.append(("log", f"{size_text(log['bytes'])}, {log['segments']} segments{commits}"))
    shown.append(("disk", f"{facts['file_system']}, {size_text(facts['free_bytes'])} free"))
    if isinstance(facts["flush"], dict) and not facts["flush"]["error"]:
        shown.append(("flush", f"{facts['flush']['median_ms']} ms"))
    versions = facts["versions"]
    shown.append(("versions", f"rango {versions['rango']}, python {versions['python']}"))
    return shown


def keys_shown(keys: dict[str, Any]) -> str:
    """How it is encrypted."""
    if not keys["encrypted"]:
        return "none (checksummed)"
    hardware = {True: "hardware AES", False: "no hardware AES"}.get(keys["hardware_aes"], "")
    slots = ", ".join(f"{slot['number']} {slot['kind']}" for slot in keys["slots"])
    parts = [f"AES-256-GCM by {keys['provider']}", hardware, f"epoch {keys['epoch']}"]
    return ", ".join([*filter(None, parts), f"slots: {slots}"])
