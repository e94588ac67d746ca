"""The thread of durability "group".

States      waiting (nothing was committed) -> delaying (until group_delay_ms are over) -> flushing;
            stopped by stop(), by an error, or when its core is collected.
Failure     What a flush raises is latched in the core (I-10): there is nobody to raise it to here.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from rango.errors import RangoError

if TYPE_CHECKING:
    from rango.engine.core import Core


class Flusher:
    """The thread that makes "group" commits durable within group_delay_ms.

    Owned by its core; stops with it.
    """

    def __init__(self, core: Core, delay_ms: int) -> None:
        self._core = weakref.ref(core)
        self._delay_s = delay_ms / 1000
        self._due = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rango-flusher", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something was committed."""
        self._due.set()

    def stop(self) -> None:
        """End the thread; what is not flushed yet is flushed by close()."""
        self._stopping.set()
        self._due.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._due.wait()
            # before the look at _stopping: cleared after it, a stop() in between would be lost
            self._due.clear()
            if self._stopping.wait(self._delay_s):
                return
            core = self._core()
            if core is None:
                return
            try:
                core.flush()
            except RangoError as error:
                # the appender is latched: every later write says so; there is nobody to raise it to
                # here
                core.latch(error)
                return
            del core
