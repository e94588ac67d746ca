"""layout.pxd, layout.pyx, layout.pyi and docs/reference/format.md tell the same numbers."""

from __future__ import annotations

import re

import pytest

from ci import generated
from ci.environment import ROOT
from rango._ext import layout

FORMAT = ROOT / "docs" / "reference" / "format.md"
# | `NAME` | 12 | ... : the name and its value as the tables of format.md give them
ROW = re.compile(r"^\| `([A-Z][A-Z0-9_]*)` \| ([0-9][0-9,]*|0x[0-9a-f]+) \|", re.MULTILINE)

CONSTANTS = {constant.name: constant.value for constant in generated.layout_constants()}


def documented() -> list[tuple[str, int]]:
    """Every constant in a table of format.md."""
    rows = ROW.findall(FORMAT.read_text(encoding="utf-8"))
    return [(name, int(value.replace(",", ""), 0)) for name, value in rows]


def test_the_compiled_module_has_every_constant_of_the_pxd() -> None:
    assert layout.CONSTANTS == CONSTANTS
    assert {name: getattr(layout, name) for name in CONSTANTS} == CONSTANTS


@pytest.mark.parametrize("name", [name for name in generated.all_files() if "/layout." in name])
def test_layout_files_are_what_the_generator_writes(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == generated.all_files()[name], f"{name} is out of date: run `python3 ci docs`"


def test_format_page_names_every_constant_with_its_value() -> None:
    assert dict(documented()) == CONSTANTS


def test_format_page_names_no_constant_twice() -> None:
    names = [name for name, _value in documented()]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(
    ("prefix", "end", "sizes"),
    [
        (
            "IMAGE_",
            "IMAGE_HEADER_SIZE",
            {"EPOCH": 4, "NONCE": 12, "LENGTH": 4},
        ),
        ("LINK_", "LINK_SIZE", {"UNIT": 6, "UNITS": 1, "KIND": 1, "TAG": 8}),
        (
            "RECORD_",
            "RECORD_HEADER_SIZE",
            {"FLAGS": 1, "NODE_SIZE": 1, "COUNTER": 2, "MS": 8, "UPDATED_AT": 8, "ORDINAL": 8},
        ),
        (
            "FRAME_",
            "FRAME_HEADER_SIZE",
            {
                "MAGIC": 4,
                "CHECK": 4,
                "BODY_SIZE": 4,
                "KIND": 1,
                "FLAGS": 1,
                "RESERVED": 2,
                "ORDINAL": 8,
                "FIRST_ORDINAL": 8,
                "DURABLE": 8,
                "PREVIOUS": 16,
                "NONCE": 12,
            },
        ),
    ],
)
def test_fields_follow_one_another_without_a_gap(
    prefix: str, end: str, sizes: dict[str, int]
) -> None:
    at = 0
    for name, size in sizes.items():
        assert CONSTANTS[prefix + name] == at, name
        at += size
    assert CONSTANTS[end] == at


def test_a_page_image_of_the_largest_size_fits_its_units() -> None:
    largest = layout.UNIT_SIZE * layout.IMAGE_UNITS_MAX
    assert largest >= layout.OVERFLOW_PIECE_SIZE + layout.IMAGE_OVERHEAD
    assert largest >= layout.BITMAP_PIECE_SIZE + layout.IMAGE_OVERHEAD


def test_the_superblock_body_fills_its_unit_and_holds_every_bitmap_link() -> None:
    assert layout.SLOT_BODY + layout.SLOT_BODY_SIZE + layout.TAG_SIZE == layout.UNIT_SIZE
    links = layout.BITMAP_LINKS_MAX * layout.LINK_SIZE
    assert layout.SLOT_BITMAP + links <= layout.SLOT_ROOTS
    assert layout.SLOT_ROOTS + layout.LINK_SIZE <= layout.SLOT_BODY_SIZE
