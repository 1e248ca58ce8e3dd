"""Wrapping tenants' keys anew, by the operator's latest one (`Cache.rotate_keys`)."""

from __future__ import annotations

from cascada.engine.engine import Engine
from cascada.engine.home.ready import when_ready
from cascada.model.errors import Misuse


class Rotation:
    """Of one engine."""

    def __init__(self, engine: Engine) -> None:
        self.life = engine.life
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
        return await sealing.rotate()
