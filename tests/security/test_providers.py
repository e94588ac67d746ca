"""Two implementations of AES-256-GCM, one format: what one provider writes, the other reads.

Method      each step is a process of its own with RANGO_CRYPTO set; the parent compares what they
            print. OPENSSL_ia32cap hides AES-NI and PCLMULQDQ from OpenSSL, OPENSSL_armcap the same
            on ARM, so that the path of a machine without these instructions is taken.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rango._ext.seal import provider_choose
from tests.engine_case import python_run

NO_AES = {"OPENSSL_ia32cap": "~0x200000200000000", "OPENSSL_armcap": "1"}
PATHS: dict[str, dict[str, str]] = {
    "libsodium": {"RANGO_CRYPTO": "libsodium"},
    "openssl": {"RANGO_CRYPTO": "openssl"},
    "openssl-without-aes": {"RANGO_CRYPTO": "openssl", **NO_AES},
}
STEP = """
import json, sys
from tests.engine_case import open_tiny
path, expected, step, secret = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
if "key" in secret:
    secret["key"] = bytes.fromhex(secret["key"])
with open_tiny(path, **secret) as db:
    assert db.stats()["crypto_provider"] == expected, db.stats()["crypto_provider"]
    assert not list(db.check())
    assert db["t"].count_documents({}) == step * 151 - max(0, step - 1)
    db["t"].insert_many([{"_id": f"{step}-{n}", "n": n, "text": "x" * 100} for n in range(150)])
    db["t"].insert_one({"_id": f"{step}-large", "data": bytes(range(256)) * 400})
    db["t"].create_index("n")
    db["t"].update_many({"n": {"$lt": 20}}, {"$inc": {"touched": 1}})
    if step:
        assert db["t"].find_one({"_id": f"{step - 1}-large"})["data"] == bytes(range(256)) * 400
        db["t"].delete_one({"_id": f"{step - 1}-149"})
    if step % 2:
        db.checkpoint()
    assert not list(db.check())
    print(db._handle.core.digest())
"""
LOOK = """
import sys
from tests.engine_case import KEY, open_tiny
with open_tiny(sys.argv[1], key=KEY, read_only=True) as db:
    assert db.stats()["crypto_provider"] == sys.argv[2]
    assert not list(db.check())
    print(db._handle.core.digest())
"""
SECRETS = [{"key": bytes(range(32)).hex()}, {"passphrase": "correct horse"}]


def available() -> list[str]:
    """The paths that this machine can take: libsodium has AES-GCM only with the instructions."""
    try:
        provider_choose("libsodium")
    except RuntimeError:
        return [name for name in PATHS if name != "libsodium"]
    return list(PATHS)


@pytest.mark.parametrize("secret", SECRETS, ids=["key", "passphrase"])
def test_providers_take_turns_on_one_database(
    tmp_path: Path, secret: dict[str, str], count_cases: Callable[[str, int], None]
) -> None:
    """Sessions under libsodium, OpenSSL, and OpenSSL without AES instructions continue each other's
    log and data file: every open checks every page, frame and index. Defends I-4."""
    names = available()
    turns = [*names, *reversed(names)]
    for step, name in enumerate(turns):
        provider = PATHS[name]["RANGO_CRYPTO"]
        arguments = (tmp_path / "db", provider, step, json.dumps(secret))
        assert len(python_run(STEP, *arguments, **PATHS[name]).strip()) == 64
    count_cases("providers: sessions in turn", len(turns))


def test_every_provider_reads_the_same_content(tmp_path: Path) -> None:
    """One database, each provider's digest over all documents, revisions and definitions."""
    names = available()
    arguments = (tmp_path / "db", PATHS[names[0]]["RANGO_CRYPTO"], 0, json.dumps(SECRETS[0]))
    written = python_run(STEP, *arguments, **PATHS[names[0]])
    for name in names:
        provider = PATHS[name]["RANGO_CRYPTO"]
        assert python_run(LOOK, tmp_path / "db", provider, **PATHS[name]) == written


REFUSED = """
import sys
from tests.engine_case import OTHER_KEY, flipped, folder_read, folder_write, open_tiny
from pathlib import Path
import rango
from rango.errors import Corrupted, KeyRejected
path = Path(sys.argv[1])
try:
    rango.open(path, key=OTHER_KEY)
except KeyRejected:
    print("rejected")
folder = folder_read(path)
units = len(folder["data.rango"]) // 4096
for unit in range(units):
    copy = path.with_name(f"{sys.argv[2]}-{unit}")
    folder_write(flipped(folder, "data.rango", unit * 4096 + 60, 1), copy)
    try:
        with rango.open(copy, key=bytes(range(32))) as db:
            print("found" if [*db.check(), *db.stats()["findings"]] else "free")
    except Corrupted:
        print("found")
"""


@pytest.mark.parametrize("name", list(PATHS))
def test_every_provider_refuses_what_is_forged(tmp_path: Path, name: str) -> None:
    """A wrong key, and a flipped bit in every unit of the data file, under each provider.
    Defends I-4."""
    if name not in available():
        pytest.skip("this machine has no AES instructions for libsodium")
    first = available()[0]
    for step in (0, 1):
        arguments = (tmp_path / "db", PATHS[first]["RANGO_CRYPTO"], step, json.dumps(SECRETS[0]))
        python_run(STEP, *arguments, **PATHS[first])
    output = python_run(REFUSED, tmp_path / "db", name, **PATHS[name])
    verdict, *units = output.split()
    assert verdict == "rejected"
    assert units[:2] == ["found", "found"]  # the superblock slots
    assert units[2:].count("found") > 5
