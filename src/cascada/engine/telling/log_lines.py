"""The lines of a log that people read while they look for a fault: hits, misses, evictions.

They are of level DEBUG. `Trace` has one of these among its observers while somebody listens to that
level, and only so long: else no read does anything for it. Of each sort there are ten lines a
second at most (evictions: one), which say how many they stand for. They have keys, never a value.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from cascada.model.events import Event
from cascada.telemetry.throttle import Sampled

logger = logging.getLogger("cascada")

EVICTIONS_EACH: Final = 1.0
"""Seconds between two lines of what had to go."""


class LogLines:
    """An observer. `evictions`: how many entries memory has given up until now, and why."""

    def __init__(
        self, timer: Callable[[], float], evictions: Callable[[], tuple[int, str]]
    ) -> None:
        self._timer = timer
        self._evictions = evictions
        self._sampled = Sampled()
        self._gone, _ = evictions()
        self._told_at = timer()

    def __call__(self, event: Event) -> None:
        now = self._timer()
        if event.kind == "hit":
            self._say(f"Cache hit {(event.tier or '').upper()}", event, now)
        elif event.kind == "miss":
            self._say("Cache miss in all layers", event, now)
        if now - self._told_at >= EVICTIONS_EACH:
            self._tell_evictions(now)

    def _say(self, what: str, event: Event, now: float) -> None:
        count = self._sampled.due(what, now, event.count)
        if not count:
            return
        whose = event.key or f"values of {event.data_type} of {event.tenant}"
        took = "" if event.key is None else f", {event.seconds * 1000:.3f} ms"
        more = f" (one of {count} since the last such line)" if count > 1 else ""
        logger.debug("%s: %s%s%s", what, whose, took, more)

    def _tell_evictions(self, now: float) -> None:
        self._told_at = now
        gone, why = self._evictions()
        if gone > self._gone:
            logger.debug("L1 gave up %d entries: %s", gone - self._gone, why)
        self._gone = gone
