"""What is told of tiers: that one is away, or back, or full, or owed something, or at fault.

The tiers' guards and the deliverer of late invalidations call it. `Trace` is one, and sends the
events. Nothing here decides what becomes of a tier.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Final

from cascada.model.events import Event
from cascada.telemetry.named import Named
from cascada.telemetry.throttle import Warned

logger = logging.getLogger("cascada")

_CALLED: Final = {
    "l2": ("Redis", "serving from memory"),
    "l3": ("The cache database", "going on without it"),
}
"""What people know the tiers as, and what is done without them."""


class TierTrace:
    """The part of `Trace` that tiers know."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._said: Warned[str] = Warned()
        self.tier_errors = Named()

    def tier_changed(self, tier: str, available: bool, why: str) -> None:
        name, instead = _CALLED.get(tier, (tier, "going on without it"))
        if available:
            logger.warning("%s is available again", name)
        else:
            logger.warning("%s unavailable, %s: %s", name, instead, why)
        self._send(Event("tier_up" if available else "tier_down", tier=tier, detail=why or None))

    def tier_still_away(self, tier: str, why: str) -> None:
        logger.warning("%s is still unavailable: %s", tier, why)

    def tier_full(self, tier: str, why: str) -> None:
        if self._said.due(f"{tier} is full", self._timer()):
            logger.warning(
                "%s takes nothing more, what is loaded is not stored there: %s; "
                "give it more memory, or let it evict (docs/production.md)",
                tier,
                why,
            )

    def pending(self, tier: str, why: str) -> None:
        """An invalidation that only this process remembers was not raised for."""
        if self._said.due(f"{tier} is pending", self._timer()):
            logger.warning("an invalidation is pending: %s", why)

    def still_pending(self, tier: str, names: int, seconds: float) -> None:
        """Invalidations have waited for a tier for so long."""
        if self._said.due(f"{tier} is owed", self._timer()):
            logger.warning(
                "%s could not be told of %d invalidated names yet, the oldest for %.0f s; it is "
                "not read before, and other processes may serve what was invalidated",
                tier,
                names,
                seconds,
            )

    def own_fault(self, tier: str, error: Exception) -> None:
        """A call to a tier failed in our own code. The error's text may hold a value: left out."""
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {where.filename}:{where.lineno}"
        if self._said.due(place, self._timer()):
            logger.error("%s could not be used, by a fault that is not its own: %s", tier, place)

    def tier_failed(self, tier: str, why: str) -> None:
        logger.debug("%s: %s", tier, why)
        self.tier_errors[tier] += 1
        self._send(Event("tier_error", tier=tier, detail=why))

    def _send(self, event: Event) -> None:
        """Tell the observers."""
        raise NotImplementedError
