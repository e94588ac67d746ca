"""`rango watch`: the changes, as they become durable."""

from __future__ import annotations

from typing import Any

import click

from rango import extended_json
from rango.cli.output import by, document_line, value_text
from rango.cli.session import PATH_ARGUMENT, Target, with_target
from rango.errors import InvalidArgument

IMAGES = click.Choice(["off", "whenAvailable", "required"])


@click.command("watch")
@click.option("--collection", "-c", metavar="NAME", help="Only this one, until it is dropped.")
@click.option("--resume-after", metavar="TOKEN", help="Go on behind this token.")
@click.option("--start-after", metavar="TOKEN", help="The same, also behind an invalidate event.")
@click.option("--start-at", type=click.IntRange(1), help="Begin with this commit; 1: the first.")
@click.option("--pipeline", metavar="JSON", help="Stages for the events, as a list.")
@click.option("--full-document", is_flag=True, help="With the document after an update, too.")
@click.option(
    "--full-document-before-change",
    "before",
    type=IMAGES,
    default="off",
    show_default=True,
    help="With the document before the change.",
)
@click.option("--expanded", is_flag=True, help="Also collections and indexes that are made.")
@click.option("--limit", "-n", type=click.IntRange(1), default=None, help="End after N events.")
@click.option("--no-wait", is_flag=True, help="End when there is nothing more at the moment.")
@with_target(PATH_ARGUMENT)
def command(
    target: Target,
    collection: str | None,
    pipeline: str | None,
    full_document: bool,
    before: str,
    expanded: bool,
    limit: int | None,
    no_wait: bool,
    **starts: Any,
) -> None:
    """Show the changes of a database as they become durable, until Ctrl-C.

    A line for each: number of the commit, time, node, kind, collection, `_id`, and what changed.
    With --json one event a line, as rango.ChangeStream gives it, and flushed; its `_id` is the
    token. Without --json the last token is shown at the end. Works beside processes that write.

    \b
    Examples:
      rango watch ./my-data
      rango watch ./my-data -c notes --json --full-document
      rango watch ./my-data --start-at 1 --no-wait
      rango watch ./my-data --pipeline '[{"$match": {"operationType": "delete"}}]'
    """
    for name in ("resume_after", "start_after"):
        text = starts[name]
        if text is not None and text.lstrip().startswith("{"):
            starts[name] = extended_json.loads(text)
    stages = None if pipeline is None else stages_of(pipeline)
    with target.open(read_only=True) as db:
        stream = (db if collection is None else db[collection]).watch(
            stages,
            full_document="updateLookup" if full_document else None,
            full_document_before_change=before,
            show_expanded_events=expanded,
            **starts,
        )
        count = 0
        try:
            while stream.alive and (limit is None or count < limit):
                event = stream.try_next() if no_wait else next(stream, None)
                if event is None:
                    break
                click.echo(document_line(event) if target.as_json else line_of(event))
                count += 1
        except KeyboardInterrupt:
            # the way to end it
            pass
        token = stream.resume_token
        if not target.as_json and token is not None:
            click.echo(f"last token: {token['_data']}")


def stages_of(text: str) -> list[Any]:
    """The stages of --pipeline. Raises InvalidArgument, InvalidJson."""
    # a document, because that is what Extended JSON reads
    stages = extended_json.loads(f'{{"pipeline": {text}}}')["pipeline"]
    if not isinstance(stages, list):
        raise InvalidArgument('--pipeline must be a list of stages, such as [{"$match": {}}]')
    return stages


def line_of(event: dict[str, Any]) -> str:
    """An event for people. A pipeline may have taken any field away."""
    at = event.get("wallTime")
    when = "-" if at is None else at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
    words = [
        f"{event.get('ordinal', '-'):>8}",
        f"{when:<24}",
        f"{event.get('node', '-'):<14}",
        f"{event.get('operationType', '-'):<10}",
        event.get("ns", {}).get("coll", ""),
    ]
    key = event.get("documentKey", {})
    if "_id" in key:
        words.append(value_text(key["_id"]))
    elif "key" in event:
        words.append(f"key {event['key']}")
    words.append(by(event))
    if "to" in event:
        words.append(f"to {event['to']['coll']}")
    for index in event.get("operationDescription", {}).get("indexes", ()):
        words.append(f"index {index['name']}")
    if "updateDescription" in event:
        changed = event["updateDescription"]
        words += [f"{path}={value_text(new)}" for path, new in changed["updatedFields"].items()]
        words += [f"-{path}" for path in changed["removedFields"]]
    elif "fullDocument" in event:
        words.append(document_line(event["fullDocument"]))
    return " ".join(word for word in words if word)
