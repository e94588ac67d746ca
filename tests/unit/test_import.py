"""What `import rango` and ordinary work load; a list of modules needs no clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rango._ext import seal
from tests.corpus import ROOT

USUAL = """
import rango
with rango.open(sys.argv[1], key=bytes(32)) as db:
    memory = db["memory"]
    memory.create_index("at")
    memory.insert_one({"_id": "a", "at": 1})
    memory.insert_many([{"at": 2}, {"at": 3}])
    memory.find_one("a")
    memory.find_many({"at": {"$gte": 2}}, sort=[("at", -1)], limit=10)
    memory.count_documents({"at": {"$gte": 2}})
    memory.update_one({"_id": "a"}, {"$set": {"at": 4}})
    memory.delete_one({"_id": "a"})
"""

# What each would cost is in docs/adr/0033-installed-and-measured.md.
SELDOM = {
    "asyncio", "click", "concurrent", "cryptography", "email", "gridfs", "http", "keyring",
    "logging", "multiprocessing", "opentelemetry", "pydantic", "pymongo", "re2", "select",
    "selectors", "socket", "ssl", "subprocess", "tempfile", "unicodedata", "yaml", "zoneinfo",
}  # fmt: skip
SELDOM_OWN = {
    "rango._ext.entry_scan", "rango._ext.joined_scan", "rango._ext.jump",
    "rango._ext.relocate", "rango.aggregation", "rango.aio", "rango.bulk", "rango.cli",
    "rango.compat", "rango.doctor", "rango.engine.aggregate", "rango.engine.backup",
    "rango.engine.check", "rango.engine.collation", "rango.engine.distinct",
    "rango.engine.explain", "rango.engine.expression", "rango.engine.figures",
    "rango.engine.flusher", "rango.engine.hint", "rango.engine.json_schema",
    "rango.engine.projection", "rango.engine.purge", "rango.engine.regex", "rango.engine.rekey",
    "rango.engine.salvage", "rango.engine.update", "rango.exporters", "rango.extended_json",
    "rango.keys", "rango.log", "rango.model_fields", "rango.option_types", "rango.proof",
    "rango.rescue", "rango.storage.packed", "rango.storage.purge", "rango.storage.reseal",
    "rango.transfer", "rango.watch",
}  # fmt: skip
# `nacl._sodium` alone is libsodium: the bindings are 20 modules more.
SELDOM_PARTS = {"nacl.bindings", "nacl.exceptions"}


def loaded_by(program: str, *arguments: str, asked: str = "set(sys.modules) - bare") -> set[str]:
    """The modules that a program adds to those of a bare interpreter (`-S`: without site).

    Or whatever else is `asked` of it in the end.
    """
    site_packages = [path for path in sys.path if path.endswith("site-packages")]
    code = (
        f"import sys; sys.path += {site_packages!r}\n"
        "import json\nbare = set(sys.modules)\n"
        f"{program}\n"
        f"print(json.dumps(sorted({asked})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    return set(json.loads(done.stdout))


def expensive(modules: set[str]) -> set[str]:
    """Those of the two lists."""
    parts = SELDOM_OWN | SELDOM_PARTS
    return {name for name in modules if name.partition(".")[0] in SELDOM} | {
        name
        for name in modules
        if any(name == part or name.startswith(f"{part}.") for part in parts)
    }


def test_import_alone_loads_nothing() -> None:
    assert loaded_by("import rango") <= {"rango", "__future__"}


def test_import_does_not_load_even_typing() -> None:
    code = "import sys, rango; print(int('typing' in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "0"


def test_open_insert_find_load_nothing_seldom(tmp_path: Path) -> None:
    found = expensive(loaded_by(USUAL, str(tmp_path / "db")))
    if seal.provider_choose().name != "libsodium":  # a processor without AES, arm64
        found = {name for name in found if not name.startswith("cryptography")}
    assert found == set()


def test_no_class_is_made_that_takes_as_long_as_a_module(tmp_path: Path) -> None:
    # a TypedDict evaluates every annotation, and nothing needs it when the program runs
    dear = """{
        f"{value.__module__}.{value.__name__}"
        for name, module in sys.modules.items() if name.startswith("rango")
        for value in vars(module).values() if isinstance(value, type)
        if hasattr(value, "__total__")
    }"""
    assert loaded_by(USUAL, str(tmp_path / "db"), asked=dear) == set()


def test_what_is_seldom_used_is_found_when_it_is_loaded(tmp_path: Path) -> None:
    ask = '{"$expr": {"$eq": ["$at", 2]}, "x": {"$regex": "a"}}'
    program = f"{USUAL}    list(memory.find_many({ask}))"
    found = expensive(loaded_by(program, str(tmp_path / "db")))
    assert {"rango.engine.expression", "rango.engine.regex", "re2"} <= found
