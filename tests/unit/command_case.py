"""A command line in a process of its own with real descriptors: of a terminal, or pipes.

The process is a fork, so that it need not load everything again.
"""

from __future__ import annotations

import os
import pty
import sys
import traceback
from typing import NamedTuple, NoReturn

from rango.cli import root
from rango.cli.failures import run_guarded

CRASHED = 70


class Ended(NamedTuple):
    """What a command left behind; in a terminal both streams are one, `out`."""

    code: int
    out: str
    err: str = ""


def in_terminal(words: list[str], given: str = "") -> Ended:
    """Run in a terminal, into which `given` is typed."""
    child, terminal = pty.fork()
    if child == 0:
        _run(words)
    if given:
        os.write(terminal, given.encode())
    seen = b""
    while more := _read(terminal):
        seen += more
    os.close(terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Ended(code, seen.decode().replace("\r\n", "\n"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says EIO when the other end of a terminal is gone
        return b""


def in_pipes(words: list[str], given: str = "") -> Ended:
    """Run with pipes for all three streams; what is given and what is written fits into them."""
    (their_in, our_in), (our_out, their_out), (our_err, their_err) = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        for at, descriptor in enumerate((their_in, their_out, their_err)):
            os.dup2(descriptor, at)
        for descriptor in (their_in, our_in, our_out, their_out, our_err, their_err):
            os.close(descriptor)
        _run(words)
    for descriptor in (their_in, their_out, their_err):
        os.close(descriptor)
    with os.fdopen(our_in, "wb") as stream:
        stream.write(given.encode())
    with os.fdopen(our_out) as stdout, os.fdopen(our_err) as stderr:
        out, err = stdout.read(), stderr.read()
    return Ended(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), out, err)


def _run(words: list[str]) -> NoReturn:
    """The child."""
    code = CRASHED
    try:
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        code = run_guarded(root, words)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        if code == CRASHED:
            os.write(2, traceback.format_exc().encode())
        # nothing that belongs to pytest runs in the child
        os._exit(code)
