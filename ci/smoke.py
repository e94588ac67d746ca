"""Used by the wheel stage, with the interpreter of a fresh environment: does an installed Rango
work?
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import rango


def main(folder: str) -> None:
    """Import every module, then write, close, open and read an encrypted database."""
    names = [module.name for module in pkgutil.walk_packages(rango.__path__, "rango.")]
    for name in names:
        importlib.import_module(name)
    if Path(rango.__file__).is_relative_to(Path(__file__).resolve().parent.parent / "rango"):
        sys.exit("the smoke test imported the sources, not the wheel")
    with rango.open(folder, passphrase="correct horse") as db:
        written = db["memory"].insert_one({"kind": "summary", "importance": 0.87}).inserted_id
    with rango.open(folder, passphrase="correct horse") as db:
        found = db["memory"].find_one({"importance": {"$gte": 0.8}})
        if found is None or found["_id"] != written:
            sys.exit(f"expected the document {written}, found {found}")
        if findings := list(db.check()):
            sys.exit(f"check() found {findings}")
    print(f"{len(names)} modules imported; written, closed, opened, read and checked")


if __name__ == "__main__":
    main(sys.argv[1])
