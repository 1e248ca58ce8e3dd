"""No worker outlives the process that started it, however that one ended.

Each worker calls `end_with` first of all. The kernel's own way (PR_SET_PDEATHSIG) is not for them:
it goes by the thread that started a process, and a worker that follows a killed one is started by
the thread of a fault, which ends before the run does.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Final

LOOK_EVERY: Final = 0.5
"""Seconds between two looks at who the parent is."""


def end_with(parent: int) -> None:
    """End this process, whatever it does, soon after it is no longer a child of `parent`."""
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="parent").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGKILL)
