"""What the demo shows while it runs: with rich on a terminal, in plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

try:
    from rich.progress import Progress
except ImportError:  # it comes with the development tools, not with the service
    _pretty = False
else:
    _pretty = sys.stdout.isatty()

_STEPS: Final = 4  # plain lines of one stage


def say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def stage(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """One stage of work; call what it yields with how much more is done."""
    if _pretty:
        with Progress() as progress:
            task = progress.add_task(name, total=total)
            yield lambda more: progress.advance(task, more)
        return
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        before, done = done, done + more
        if done * _STEPS // total > before * _STEPS // total:
            say(f"{name}: {done * 100 // total} %")

    yield advance
