"""The vocabulary of docs/reference/glossary.md: what is not said in the engine's identifiers.

Checked are the words that have no other honest use in `_ext`, `storage` and `engine`. Not checked,
because they have one: object (Cython's type), header (of a frame, of a file), node (in memory, and
node_id), entry (of an index), offset (in a file), version (of the format), table (of C functions),
bucket (of a hash table), inner (a document inside another), view (what a reader sees), event,
change, owner, seq, meta, cache, level, add, update, error, flush, save, timestamp, session.
"""

from __future__ import annotations

import re

import pytest

from tests.tidy.sources import code_files, listed, name_of, names_with_lines, text_of, words_of

LAYERS = ("rango/_ext", "rango/storage", "rango/engine")
# forbidden word -> what is said instead
INSTEAD = {
    "row": "document",
    "rows": "document",
    "blob": "record",
    "payload": "record, or body of a frame",
    "block": "page, frame or page image",
    "blocks": "page, frame or page image",
    "pointer": "link",
    "ref": "link",
    "internal": "branch",
    "replica": "node",
    "wal": "oplog, segment",
    "memtable": "overlay",
    "dirty": "overlay: there are no dirty pages",
    "bookmark": "watermark",
    "verdict": "decision",
    "encrypt": "seal",
    "decrypt": "open",
    "hit": "candidate, recall or match",
    "upgrade": "promote",
}
# word -> (pattern of the file, names that may have it, why)
ALLOWED = {
    "block": (
        r"_ext/(layout|compress|frame|appender|segment|chain_walk|near|pack|unpacked|vfs)"
        r"|storage/(oplog|purge|base_segment|pack)",
        r".*",
        "ADR-0004: a block is the 64 KiB of a segment that no frame crosses; LZ4 calls its unit so",
    ),
    "blocks": (
        r"_ext/(layout|frame|appender|segment|chain_walk|unpacked)"
        r"|storage/(oplog|purge|base_segment|pack)",
        r".*",
        "as block",
    ),
    "ref": (
        r"_ext/(bson|normal)|engine/collation|engine/values|engine/expression|engine/update",
        r"DBRef|DBREF.*|.*dbref.*",
        "a BSON type of that name",
    ),
    "encrypt": (r"_ext/seal", r"encrypt|.*_encrypt.*", "names of libsodium and cryptography"),
    "decrypt": (r"_ext/seal", r"decrypt|.*_decrypt.*", "names of libsodium and cryptography"),
}


def is_allowed(word: str, path: str, name: str) -> bool:
    """True if this file may use this word in this name."""
    if word not in ALLOWED:
        return False
    files, names, _reason = ALLOWED[word]
    return bool(re.search(files, path) and re.fullmatch(names, name))


@pytest.mark.parametrize(("word", "instead"), INSTEAD.items())
def test_forbidden_words(word: str, instead: str) -> None:
    findings = [
        f"{name_of(path)}:{number}: {name}: say {instead}"
        for path in code_files(*LAYERS)
        for number, name in names_with_lines(text_of(path))
        if word in words_of(name) and not is_allowed(word, name_of(path), name)
    ]
    assert not findings, listed(sorted(set(findings)))


@pytest.mark.parametrize(
    ("word", "layers"),
    [
        ("watermark", ("rango/_ext", "rango/storage")),
        ("bson", ("rango/storage",)),
        ("falcon", ("rango",)),
    ],
)
def test_layer_words(word: str, layers: tuple[str, ...]) -> None:
    """A word that belongs to another layer: storage knows no documents, the engine no files."""
    findings = [
        f"{name_of(path)}:{number}: {name}"
        for path in code_files(*layers)
        for number, name in names_with_lines(text_of(path))
        if word in words_of(name)
    ]
    assert not findings, listed(sorted(set(findings)))


def test_names_are_cut_into_words() -> None:
    assert words_of("DBRef") == ["db", "ref"]
    assert words_of("_cell_keySize2") == ["cell", "key", "size2"]
    assert words_of("BLOCK_SIZE") == ["block", "size"]
    assert [name for _line, name in names_with_lines("a = 'row' # row\nb = c")] == ["a", "b", "c"]
