"""Wrapping tenants' keys anew, by the operator's latest one (`Cache.rotate_keys`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from cascada.engine.engine import Engine
from cascada.engine.home.ready import when_ready
from cascada.model.errors import Misuse

OnProgress = Callable[[int, int], Any]

logger = logging.getLogger("cascada")


class Rotation:
    """Of one engine."""

    def __init__(self, engine: Engine, on_progress: OnProgress | None = None) -> None:
        self.life = engine.life
        self._on_progress = on_progress
        self._stack = engine.stack

    @when_ready
    async def run(self) -> int:
        """How many keys were wrapped by another. TierUnavailable if their tier does not answer."""
        lower = self._stack.lower
        if not lower or (sealing := lower[-1].sealing) is None:
            raise Misuse(
                "this cache has no keys to rotate; give it `encryption_keys`, and a `redis` or a "
                "`database`"
            )
        return await sealing.rotate(self._tell)

    def _tell(self, done: int, total: int) -> None:
        if self._on_progress is not None:
            try:
                self._on_progress(done, total)
            except Exception:
                logger.exception("on_progress of rotate_keys failed")
