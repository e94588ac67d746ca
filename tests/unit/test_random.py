"""Random bytes by the kernel's vDSO: what a state in user space could repeat is not repeated."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rango._ext import seal
from rango._ext.seal import Entropy, provider_choose, random_by_vdso

NONCE_SIZE = 12
NOTHING = bytes(NONCE_SIZE)


@pytest.fixture(params=["vdso", "system calls"])
def entropy(request: pytest.FixtureRequest) -> Iterator[Entropy]:
    """The system's random bytes, both ways where there are two."""
    is_wanted = request.param == "vdso"
    if random_by_vdso(is_wanted) is not is_wanted:
        pytest.skip("this system has no getrandom in its vDSO")
    yield Entropy()
    random_by_vdso(True)


def draws(entropy: Entropy, count: int) -> bytes:
    return b"".join(entropy.bytes(NONCE_SIZE) for _ in range(count))


def parts(data: bytes) -> list[bytes]:
    return [data[at : at + NONCE_SIZE] for at in range(0, len(data), NONCE_SIZE)]


def of_child(work: Callable[[], bytes]) -> Callable[[], bytes]:
    """Fork; the child does the work. What it answered, when asked."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(work())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)

    def answer() -> bytes:
        with os.fdopen(reader, "rb") as pipe:
            data = pipe.read()
        assert os.waitpid(pid, 0)[1] == 0
        return data

    return answer


def test_any_size_is_filled(entropy: Entropy) -> None:
    for size in (0, 1, NONCE_SIZE, 95, 96, 97, 255, 256, 257, 5_000, 100_000):
        data = entropy.bytes(size)
        assert len(data) == size
        # the last bytes were drawn, too: eight zeros come once in 2^64
        assert size < 16 or data[-8:] != bytes(8)


def test_draws_do_not_repeat(entropy: Entropy) -> None:
    drawn = parts(draws(entropy, 100_000))
    assert len(set(drawn)) == 100_000
    assert NOTHING not in drawn


@pytest.mark.parametrize("before", range(9))
def test_parent_and_child_draw_other_bytes(entropy: Entropy, before: int) -> None:
    """After any number of draws, so that what the kernel drew ahead is new, half used, or used
    up. Neither sees what the other draws, nor do two children of one parent."""
    used = parts(draws(entropy, before))
    children = [of_child(lambda: draws(entropy, 2_000)) for _child in range(2)]
    used += parts(draws(entropy, 2_000))
    for child in children:
        used += parts(child())
    assert len(used) == before + 6_000
    assert len(set(used)) == len(used)


def test_a_child_of_a_child_draws_other_bytes(entropy: Entropy) -> None:
    def child() -> bytes:
        mine = draws(entropy, 100)
        grandchild = of_child(lambda: draws(entropy, 500))
        return mine + draws(entropy, 500) + grandchild()

    answer = of_child(child)
    used = parts(draws(entropy, 500)) + parts(answer())
    assert len(set(used)) == len(used) == 1_600


def in_threads(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_draw_other_bytes(entropy: Entropy) -> None:
    """200,000 nonces of 8 threads."""
    drawn: list[bytes] = []

    def work(_number: int) -> None:
        drawn.append(draws(entropy, 25_000))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        in_threads(8, work)
    finally:
        sys.setswitchinterval(interval)
    used = parts(b"".join(drawn))
    assert len(set(used)) == len(used) == 200_000


TWO_THREADS = """
#include <pthread.h>
#include <stdio.h>
#include "vdso_random.h"
static uint64_t drawn[2][500000];
static void *work(void *into)
{
    for (int i = 0; i < 500000; i++)
        rango_random((uint8_t *)((uint64_t *)into + i), 8);
    return NULL;
}
int main(void)
{
    pthread_t threads[2];
    rango_vdso_switch(1);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, work, drawn[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return fwrite(drawn, sizeof(drawn), 1, stdout) != 1;
}
"""


def test_threads_that_do_nothing_else_draw_other_bytes(tmp_path: Path) -> None:
    """Two threads of Python hardly ever draw in the same nanoseconds; of C, all the time."""
    folder = Path(seal.__file__).parent
    compiler = shutil.which("cc")
    if compiler is None or not (folder / "vdso_random.h").exists():
        pytest.skip("no C compiler, or installed without the source")
    source, program = tmp_path / "threads.c", tmp_path / "threads"
    source.write_text(TWO_THREADS, encoding="ascii")
    # what AddressSanitizer preloads for the interpreter is not for these
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    build = [compiler, "-D_GNU_SOURCE", "-O2", "-pthread", f"-I{folder}", source, "-o", program]
    subprocess.run([*build, "-ldl"], check=True, env=environment)
    data = subprocess.run([program], check=True, env=environment, capture_output=True).stdout
    used = {data[at : at + 8] for at in range(0, len(data), 8)}
    # of random ones, two among a million are the same once in 2^25 runs
    assert len(data) == 8_000_000
    assert len(used) == 1_000_000


def test_children_of_a_process_whose_threads_draw(entropy: Entropy) -> None:
    """A fork at any instant of another thread's draw."""
    is_over = threading.Event()
    drawn: list[bytes] = []

    def work(_number: int) -> None:
        mine: list[bytes] = []
        while not is_over.is_set():
            mine.append(draws(entropy, 100))
        drawn.extend(mine)

    def main() -> None:
        for _child in range(20):
            drawn.append(of_child(lambda: draws(entropy, 200))())
        is_over.set()

    in_threads(3, lambda number: work(number) if number else main())
    used = parts(b"".join(drawn))
    assert len(used) > 4_000
    assert len(set(used)) == len(used)


def test_a_handler_of_a_signal_draws_in_between(entropy: Entropy) -> None:
    drawn: list[bytes] = []
    before = signal.signal(signal.SIGALRM, lambda *_: drawn.append(entropy.bytes(NONCE_SIZE)))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        while len(drawn) < 20:
            drawn += parts(draws(entropy, 500))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(set(drawn)) == len(drawn)


def test_the_state_of_a_parent_is_not_in_its_child() -> None:
    """The kernel was asked for memory that it zeroes at a fork and leaves out of a core dump."""
    smaps = Path("/proc/self/smaps")
    if not random_by_vdso(True):
        pytest.skip("this system has no getrandom in its vDSO")
    kinds = [line.split() for line in smaps.read_text().splitlines() if line[:8] == "VmFlags:"]
    assert any({"wf", "dd"} <= set(flags) for flags in kinds)


def test_without_the_vdso_nonces_are_drawn_all_the_same() -> None:
    key = provider_choose().key(bytes(32), Entropy())
    has_vdso = random_by_vdso(True)
    try:
        assert random_by_vdso(False) is False
        nonces = {key.seal_bytes(b"", b"x")[0] for _ in range(1_000)}
        assert random_by_vdso(True) is has_vdso
        nonces |= {key.seal_bytes(b"", b"x")[0] for _ in range(1_000)}
    finally:
        random_by_vdso(True)
    assert len(nonces) == 2_000
