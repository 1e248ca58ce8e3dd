"""Which process has made this one of itself: such are the workers of one service.

Those are gunicorn's, which are forked, and uvicorn's (`--workers`), which multiprocessing starts. A
process that a shell or an init has started works alone. Every cache asks at its first use, so that
next to nothing is imported here.

Only on Linux is it known who made a process, and when: elsewhere each works alone.
"""

from __future__ import annotations

import os
import sys


def maker_of_this() -> int | None:
    """The process that has made this one of itself; None if that is another program."""
    if sys.platform != "linux":
        return None
    # Loaded in each process that it has started.
    module = sys.modules.get("multiprocessing.process")
    parent = None if module is None else module.parent_process()
    if parent is not None:
        return int(parent.pid)
    maker = os.getppid()
    own, theirs = _command("self"), _command(str(maker))
    # What forks without executing anything has its parent's command line. But setproctitle, where
    # gunicorn finds it, writes others.
    renamed = own.startswith(b"gunicorn: worker") and theirs.startswith(b"gunicorn: master")
    return maker if own and (own == theirs or renamed) else None


def started(process: int) -> str:
    """When it was started, in ticks since the machine was: numbers of processes come again."""
    with open(f"/proc/{process}/stat", "rb") as file:
        said = file.read()
    return said.rpartition(b")")[2].split()[19].decode("ascii")


def space() -> str:
    """Containers that share /dev/shm may have the same numbers of processes."""
    return "".join(filter(str.isdigit, os.readlink("/proc/self/ns/pid")))


def _command(process: str) -> bytes:
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""
