"""The doctor: what is wrong with a database, how bad it is, and what to do.

Terms       finding, report: rango.doctor.finding. Examination: one run over one database.
Invariants  Nothing of the database is opened for writing and no lock is taken: it may be called
            while another process works, and as often as one likes. Nothing of a document is shown.
Failure     A part that cannot be read is a finding, and the other parts are examined all the same.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rango.doctor.finding import CODES, SEVERITIES, Finding, Report, Severity

if TYPE_CHECKING:
    from rango.doctor.surroundings import Surroundings
    from rango.storage.keyring import Token

__all__ = ["CODES", "SEVERITIES", "Finding", "Report", "Severity", "examine"]

StrPath = str | os.PathLike[str]


def examine(
    path: StrPath,
    *,
    passphrase: str | None = None,
    key: bytes | None = None,
    keyfile: StrPath | None = None,
    token: Token | None = None,
    keyring: bool = False,
    probe: bool = False,
    surroundings: Surroundings | None = None,
) -> Report:
    """Examine the database (or the backup) in a directory, without changing anything.

    Without the secret of an encrypted database less is examined, and a finding says so. `probe`
    also measures how long a flush takes, with a file that has no name and is gone afterwards.
    `surroundings` stands for the machine; tests give one.

    Raises NotADatabase if there is none, IoFailed if the directory may not be read.
    """
    from rango._ext.vfs import POSIX
    from rango.arguments import options_of
    from rango.doctor.backups import examine_backup, is_backup
    from rango.doctor.datafile import examine_data_file
    from rango.doctor.examination import Examination
    from rango.doctor.files import examine_files
    from rango.doctor.holder import examine_holder
    from rango.doctor.log import examine_log
    from rango.doctor.machine import examine_machine
    from rango.doctor.sealing import examine_keys, examine_rekey
    from rango.doctor.signatures import examine_signatures
    from rango.doctor.surroundings import measure
    from rango.errors import IoFailed, NotADatabase

    # as rango.open: every argument is checked, and nothing is opened yet
    options = options_of(path, (passphrase, key, keyfile, token, keyring), read_only=True)
    directory = options.path
    try:
        names = frozenset(os.listdir(directory))
        about = measure(directory, probe=probe) if surroundings is None else surroundings
    except (FileNotFoundError, NotADirectoryError):
        raise NotADatabase(f"{path} is no directory; give the path of a database") from None
    except OSError as error:
        raise IoFailed(f"{path} cannot be read: {error.strerror}; check owner and mode") from error
    case = Examination(os.fspath(path), POSIX, options.secret, about, names)
    if is_backup(names):
        examine_backup(case)
    else:
        examine_holder(case)
        is_between = examine_rekey(case)
        if not is_between:
            examine_keys(case)
        examine_files(case)
        if not is_between:
            examine_log(case, examine_data_file(case))
            examine_signatures(case)
        if case.keyring is not None:
            case.keyring.close()
    examine_machine(case)
    return case.report()
