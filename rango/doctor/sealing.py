"""The keys of a database: the file, its slots, the secret that was given, and what seals.

Failure     Without a secret everything that lies open is examined: the file, its copies, the slots.
"""

from __future__ import annotations

import os

from rango._ext.layout import (
    KEYS_CIPHER_PLAIN,
    KEYS_KIND_EMPTY,
    KEYS_KIND_PASSPHRASE,
    KEYS_SLOT_KIND,
)
from rango._ext.seal import Entropy, provider_choose
from rango.doctor.examination import Examination
from rango.engine.recovery import HALF
from rango.engine.rekey import order_read
from rango.errors import (
    Corrupted,
    FormatTooNew,
    IoFailed,
    KeyRejected,
    KeysCorrupted,
    NotADatabase,
)
from rango.keys import KINDS
from rango.storage.keyring import KDF_CEILING, KDF_FLOOR, Keyring
from rango.storage.keys_file import KeysState, decode, read_keys, slot_kdf

RESTORE = "put the `keys` file of a backup in its place: without it nothing here can be opened"


def examine_keys(case: Examination) -> None:
    """The keys file, and the keyring if it opens. Raises NotADatabase."""
    if "keys" not in case.names:
        if not case.names & {"oplog", "data.rango"}:
            raise NotADatabase(f"{case.path} holds no database; give another path")
        case.find("keys-missing", "keys", "there is no `keys` file", RESTORE)
        return
    try:
        copy, damaged = read_keys(case.vfs, case.path)
        state = case.keys = decode(copy, "keys")
    except KeysCorrupted as error:
        case.find("keys-damaged", "keys", error.what, RESTORE)
        return
    except FormatTooNew as error:
        case.find("format-too-new", "keys", str(error), "update Rango")
        return
    except OSError:
        return  # examine_files says so
    for number in damaged:
        case.find(
            "keys-copy-damaged",
            "keys",
            f"copy {number} of the two in this file is damaged; the other one is used",
            "the next change of the keys mends it (`rango key rotate` is one); look after the disk",
        )
    examine_slots(case, state)
    open_keyring(case, state)


def examine_rekey(case: Examination) -> bool:
    """Whether files are on their way between old and new keys, so that none is in its place."""
    if HALF not in case.names:
        return False
    try:
        is_decided = order_read(case.vfs, case.place(HALF)) is not None
    except Corrupted as error:
        case.find("rekey-unfinished", error.where, error.what, RESTORE, "error")
        return True
    except IoFailed:
        return False
    if case.is_written:
        return is_decided
    if is_decided:
        case.find(
            "rekey-unfinished",
            HALF,
            "a change of all keys was cut short while files moved to their places, so nothing else "
            "was examined",
            "open the database for writing once, with the new secret: it finishes by itself. Do "
            "not move or delete a file before that",
        )
    else:
        case.find(
            "rekey-unfinished",
            HALF,
            "a change of all keys was cut short before it was decided: the old keys count",
            "nothing: the next open for writing removes what there is of it. Then change the keys "
            "again",
            "note",
        )
    return is_decided


def examine_slots(case: Examination, state: KeysState) -> None:
    """What the file says in clear."""
    used = [
        (number, slot)
        for number, slot in enumerate(state.slots)
        if slot[KEYS_SLOT_KIND] != KEYS_KIND_EMPTY
    ]
    is_encrypted = state.cipher != KEYS_CIPHER_PLAIN
    case.facts["keys"] = {
        "encrypted": is_encrypted,
        "database_id": state.database_id.hex(),
        "epoch": state.epoch,
        "slots": [
            {"number": number, "kind": kind_name(slot[KEYS_SLOT_KIND])} for number, slot in used
        ],
    }
    if not is_encrypted:
        case.find(
            "not-encrypted",
            "keys",
            "the database is not encrypted: whoever can read its files can read every document",
            "nothing, if that is meant; else `rango key encrypt`",
        )
        return
    provider = provider_choose().name
    case.facts["keys"] |= {"provider": provider, "hardware_aes": case.surroundings.cpu_has_aes}
    if case.surroundings.cpu_has_aes is False:
        case.find(
            "no-hardware-aes",
            "processor",
            f"it has no instructions for AES, so sealing ({provider}) takes many times as long",
            "nothing is wrong; give the database a larger cache, so that pages are opened less "
            "often",
        )
    if len(used) == 1:
        case.find(
            "single-key-slot",
            "keys",
            "one secret opens this database; if it is lost, so is the data",
            "add a second one with `rango key add` and keep it somewhere else",
        )
    for number, slot in used:
        cost = slot_kdf(slot)
        if slot[KEYS_SLOT_KIND] == KEYS_KIND_PASSPHRASE and not cost.is_within(
            KDF_FLOOR, KDF_CEILING
        ):
            case.find(
                "key-slot-parameters",
                f"keys, slot {number}",
                f"it asks for Argon2id with {cost.operations} passes over {cost.memory} bytes, "
                "which Rango refuses: somebody may have changed the file",
                "put the `keys` file of a backup in its place",
            )


def kind_name(kind: int) -> str:
    """The kind of a slot in words."""
    return KINDS[kind] if kind < len(KINDS) else "unknown"


def open_keyring(case: Examination, state: KeysState) -> None:
    """The keyring, if the secret opens it."""
    secret = case.secret
    is_encrypted = state.cipher != KEYS_CIPHER_PLAIN
    if secret is not None and not is_encrypted:
        case.find(
            "secret-rejected",
            "keys",
            "a secret was given, and this database is not encrypted",
            "leave the secret out",
        )
        secret = None
    if secret is None and is_encrypted:
        case.find(
            "locked",
            "keys",
            "no secret was given: pages, documents and the frames of the log were not examined",
            "give --passphrase-file, --keyfile or another of the options for secrets to see more",
        )
        return
    try:
        case.keyring = Keyring.open(case.vfs, case.path, secret, Entropy(os.urandom))
    except KeyRejected as error:
        case.find(
            "secret-rejected",
            "keys",
            f"the secret does not open it ({error}), so less was examined",
            "give another passphrase, key file or key",
        )
    except KeysCorrupted as error:
        case.find("keys-damaged", "keys", error.what, RESTORE)
