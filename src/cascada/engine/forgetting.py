"""Forgetting a tenant or a user: what he has is made void, and then its bytes are removed.

First the tenant's data key goes: what it has sealed nobody reads any more, in backups neither.
Then all of it is invalidated, as ever: that ends loads, sets and changes that are under way, and
other processes hear of it. So whatever comes late is refused by the rules that are there already
(`docs/protocol.md` 13, 15, 31, 35 and 45), and what is removed is void or data. A change that waits
to be written elsewhere is told by its number from one that was journaled later: the invalidation
answers the last one, in its own step (rule 61). Where it breaks off, nothing is half done: whoever
runs it again goes on.

A tier that does not answer is left out, and the report says so. It must never remove what is
another tenant's, nor take something away before it is void.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, Final

from cascada.engine.engine import Engine
from cascada.engine.home.ready import when_ready
from cascada.engine.shared_lists import without
from cascada.engine.writing.forget import drop_void
from cascada.engine.writing.invalidate import invalidate
from cascada.model.errors import InvalidationPending, TierUnavailable
from cascada.model.forgotten import ForgetProgress, ForgetReport, Removed, Whom
from cascada.tiers.breaker import Call
from cascada.tiers.datastore import KeepsData
from cascada.tiers.erasing import Erases
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.guarded_datastore import GuardedData
from cascada.tiers.memory.datastore import MemoryData
from cascada.tiers.sealing import KeepsKeys

PATIENCE: Final = 10.0
"""Seconds that one step may take: it may wait behind writes of others."""

UNTOLD: Final = "%s could not be told, and keeps its bytes: run it again when %s answers"
AWAY: Final = "%s does not answer (%s), and may keep its bytes: run it again when it does"
KEPT: Final = "%s does not remove bytes: what it holds is void, and goes as it makes room"

OnProgress = Callable[[ForgetProgress], Any]
OnVoid = Callable[[int | None], Awaitable[None]]
"""What else is to be removed: called when all is void, with the number up to which changes are so;
None if the tier with the journals could not be told."""

logger = logging.getLogger("cascada")


class Forgetting:
    """One call, on one engine."""

    def __init__(
        self,
        engine: Engine,
        whom: Whom,
        on_progress: OnProgress | None,
        compact: bool | None,
        on_void: OnVoid | None = None,
    ) -> None:
        self.life = engine.life
        self._engine = engine
        self._stack = engine.stack
        self._whom = whom
        self._on_progress = on_progress
        self._compact = compact
        self._failed: dict[str, str] = {}
        self._on_void = on_void
        self._journaled: dict[str, int] = {}
        self._began = engine.clock.monotonic()

    @when_ready
    async def run(self) -> ForgetReport:
        stack, whom = self._stack, self._whom
        key_dropped = await self._drop_key()
        stack.forgetting.add(whom)
        try:
            await self._invalidate(strict=True)
            removed = [await self._from_memory()]
        finally:
            stack.forgetting.discard(whom)
        remains: list[str] = []
        for tier in stack.lower:
            if tier is stack.lower[-1]:
                if whom.user is not None and (stack.behind or stack.left_behind):
                    # What was being written behind is void there, and has left its key's name,
                    # which only a later one of the user's covers.
                    await self._invalidate()
                # Before the file is written anew: what else goes may be in the same one.
                await self._call_on_void()
            removed.append(await self._from_tier(tier))
            if isinstance(tier.tier, Erases):
                with suppress(TierUnavailable), Call(tier.breaker, PATIENCE):
                    remains += await tier.tier.erasing.remains(compact=self._compact)
        report = ForgetReport(
            tenant=whom.tenant,
            user=whom.user,
            removed=tuple(removed),
            key_dropped=key_dropped,
            remains=tuple(remains),
            seconds=self._engine.clock.monotonic() - self._began,
        )
        level = logging.INFO if report.complete else logging.WARNING
        logger.log(level, "a %s was forgotten: %s", "tenant" if whom.user is None else "user", [
            (each.tier, each.entries, each.incomplete) for each in report.removed
        ])  # fmt: skip
        return report

    async def _invalidate(self, *, strict: bool = False) -> None:
        names = [self._whom.name, self._whom.forgotten]
        with suppress(InvalidationPending):
            await invalidate(self._stack, names, strict=strict, journaled=self._journaled)

    async def _call_on_void(self) -> None:
        if self._on_void is not None:
            journals = self._stack.journals
            tier = None if journals is None else journals.tier.name
            await self._on_void(None if tier is None else self._journaled.get(tier))

    async def _drop_key(self) -> bool:
        """Whether there was one."""
        dropped = False
        if self._whom.user is not None:
            return False
        for tier in self._stack.lower:  # it is in the lowest, or in what was the lowest once
            if not isinstance(tier.tier, KeepsKeys):
                continue
            try:
                if tier.sealing is not None:
                    tier.sealing.unlearn(self._whom.tenant)
                with Call(tier.breaker, PATIENCE):
                    dropped |= await tier.tier.wrapped_keys.drop(self._whom.tenant)
            except TierUnavailable as error:
                self._failed[tier.name] = AWAY % (tier.name, error)
        return dropped

    async def _from_memory(self) -> Removed:
        entries, size = await drop_void(self._stack, self._whom)
        removed = Removed("l1", entries=entries, size_bytes=size)
        store = await self._engine.data()
        if isinstance(store, MemoryData) and self._whom.user is None:
            lists, counters = store.erase(f"{self._whom.text}:")
            removed = removed.with_more(Removed("l1", lists=lists, counters=counters))
            await without(store, store.shared_lists(), self._whom.tenant)
        self._tell(removed)
        return removed

    async def _from_tier(self, tier: GuardedTier) -> Removed:
        removed = Removed(tier.name, incomplete=self._failed.get(tier.name, ""))
        if not isinstance(tier.tier, Erases):
            return Removed(tier.name, incomplete=KEPT % tier.name)
        if tier.deferred or tier.behind:
            return Removed(tier.name, incomplete=UNTOLD % (tier.name, tier.name))
        erasing = tier.tier.erasing
        steps = erasing.erase(self._whom, self._journaled.get(tier.name, 0), compact=self._compact)
        try:
            if self._whom.user is None and isinstance(tier.tier, KeepsData):
                with Call(tier.breaker, PATIENCE):
                    names = await erasing.shared_lists()
                await without(GuardedData(tier, tier.tier.data), names, self._whom.tenant)
            async with aclosing(steps):
                while True:
                    with Call(tier.breaker, PATIENCE):
                        step = await anext(steps, None)
                    if step is None:
                        break
                    removed = removed.with_more(step)
                    self._tell(removed)
                    await asyncio.sleep(0)
        except TierUnavailable as error:
            return removed.with_more(Removed(tier.name, incomplete=AWAY % (tier.name, error)))
        return removed

    def _tell(self, removed: Removed) -> None:
        count = removed.entries + removed.lists + removed.counters
        count += removed.changes + removed.others
        seconds = self._engine.clock.monotonic() - self._began
        tell(self._on_progress, ForgetProgress(self._whom.tenant, removed.tier, count, seconds))


def tell(on_progress: OnProgress | None, progress: ForgetProgress) -> None:
    if on_progress is not None:
        try:
            on_progress(progress)
        except Exception:
            logger.exception("on_progress of forget failed")
