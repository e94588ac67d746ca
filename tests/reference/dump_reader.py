"""Readable twin of dump_reader: a document as it is stored, or None if it is not ready."""

from __future__ import annotations

from tests.reference.record import Element, Malformed, build, parse

RESERVED = ("_rev", "_updated_at", "_source_node", "_deleted", "_conflicts")
CONVERTED = (0x06, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F)
DOCUMENT, ARRAY, BINARY = 0x03, 0x04, 0x05
NAMES_MAX = 256


def document_taken(data: bytes) -> bytes | None:
    """The document with its `_id` first."""
    try:
        elements = parse(data)
    except Malformed:
        return None
    names = [name for _, name, _ in elements]
    ids = [each for each in elements if each[1] == "_id"]
    if not is_ready(elements) or set(names) & set(RESERVED) or (ids and ids[0][0] == ARRAY):
        return None
    return build([*ids, *(each for each in elements if each[1] != "_id")])


def is_ready(elements: list[Element]) -> bool:
    names = [name for _, name, _ in elements]
    if len(set(names)) < len(names) or len(names) > NAMES_MAX:
        return False
    return not any(name.startswith("$") for name in names) and all(map(is_plain, elements))


def is_plain(element: Element) -> bool:
    kind, _, value = element
    if kind == ARRAY:
        numbered = [str(at) for at in range(len(value))] == [name for _, name, _ in value]
        return numbered and all(map(is_plain, value))
    if kind == BINARY:
        return bool(value[0] != 2)
    return is_ready(value) if kind == DOCUMENT else kind not in CONVERTED
