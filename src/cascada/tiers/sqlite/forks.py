"""What open SQLite tiers have to do around a fork. Python calls it (`register_at_fork`).

SQLite remembers the locks that a process holds on the file. A child inherits that memory without
the locks, so that it must never use, nor even close, a connection that was open during the fork.
"""

from __future__ import annotations

import os
from typing import Any, Final, Protocol
from weakref import WeakSet


class Forking(Protocol):
    """A tier with connections of its own."""

    def hold(self) -> None:
        """Before a fork: close them and open none."""

    def release(self) -> None:
        """After it, in the parent: they may be opened again."""

    def forget(self) -> None:
        """After it, in the child: let go of them without closing them."""


open_tiers: Final[WeakSet[Forking]] = WeakSet()
abandoned: Final[list[Any]] = []
"""What children have let go of: referenced for ever, or it would be closed after all."""


def _before_fork() -> None:
    for tier in list(open_tiers):
        tier.hold()


def _after_fork_in_parent() -> None:
    for tier in list(open_tiers):
        tier.release()


def _after_fork_in_child() -> None:
    for tier in list(open_tiers):
        tier.forget()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
