"""Wrapping tenants' keys anew, by the operator's latest one (`Cache.rotate_keys`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cascada.engine.engine import Engine
from cascada.engine.home.ready import when_ready
from cascada.model.errors import CorruptEntry, Misuse

SHOWN: Final = 100
"""Tenants that an error names, of each reason."""

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
        """How many keys were wrapped by another. One that does not open keeps none of the others:
        CorruptEntry at the end, which names their tenants. TierUnavailable if their tier does not
        answer."""
        lower = self._stack.lower
        if not lower or (sealing := lower[-1].sealing) is None:
            raise Misuse(
                "this cache has no keys to rotate; give it `encryption_keys`, and a `redis` or a "
                "`database`"
            )
        count, tenants = 0, await sealing.tenants()
        refused: dict[str, list[str]] = {}
        for done, tenant in enumerate(tenants, 1):
            try:
                count += await sealing.rewrap(tenant)
            except CorruptEntry as error:
                refused.setdefault(str(error), []).append(tenant)
            self._tell(done, len(tenants))
        if refused:
            raise CorruptEntry(_left(refused, len(tenants), sealing.ring.current))
        return count

    def _tell(self, done: int, total: int) -> None:
        if self._on_progress is not None:
            try:
                self._on_progress(done, total)
            except Exception:
                logger.exception("on_progress of rotate_keys failed")


def _left(refused: Mapping[str, Sequence[str]], total: int, current: str) -> str:
    """`refused`: the tenants whose keys were left as they are, by why."""
    count = sum(map(len, refused.values()))
    why = "; ".join(f"of {_some(tenants)}: {reason}" for reason, tenants in refused.items())
    said = f"the keys of {count} of {total} tenants do not open, and were left as they are"
    return f"{said} (all others are under {current} now): {why}"


def _some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
