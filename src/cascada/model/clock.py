"""Time, as an argument. This module alone reads the host's clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Two readings in seconds.

    `monotonic` measures intervals inside this process (leases, deadlines, hits); `time` is the
    wall clock, only ever compared with expiries that were written with the same server's time.
    Both are attributes that hold a function, so that the hit path can bind them once.
    """

    @property
    def monotonic(self) -> Callable[[], float]: ...

    @property
    def time(self) -> Callable[[], float]: ...


class SystemClock:
    """The host's clocks."""

    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    time: Callable[[], float] = staticmethod(time.time)
