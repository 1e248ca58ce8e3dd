"""Time by hand, so that a test of an expiry takes microseconds."""

from __future__ import annotations

from cascada.model.door import arguments


class ManualClock:
    """A `Clock` that moves only when told to."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._wall = arguments.number(now, "now")
        self._passed = 1000.0

    def monotonic(self) -> float:
        return self._passed

    def time(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let time pass: both readings move."""
        seconds = arguments.number(seconds, "seconds")
        self._passed += seconds
        self._wall += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock alone, as an administrator or NTP does."""
        self._wall += arguments.number(seconds, "seconds")
