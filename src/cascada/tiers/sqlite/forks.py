"""What open SQLite tiers have to do around a fork. Python calls it (`register_at_fork`).

SQLite remembers the locks that a process holds on the file. A child inherits that memory without
the locks, so that it must never use, nor even close, a connection that was open during the fork.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakSet

open_tiers: Final[WeakSet[Any]] = WeakSet()
"""Each `SqliteTier`; its module imports this one."""

abandoned: Final[list[Any]] = []
"""What children have let go of: referenced for ever, or it would be closed after all."""


def _each(act: Callable[[Any], None]) -> None:
    for tier in list(open_tiers):
        act(tier)


os.register_at_fork(
    before=lambda: _each(lambda tier: tier.hold()),
    after_in_parent=lambda: _each(lambda tier: tier.release()),
    after_in_child=lambda: _each(lambda tier: tier.forget()),
)
