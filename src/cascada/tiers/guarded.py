"""A lower tier behind a deadline, a breaker, and what is still owed to it.

Three duties, each so that a failing tier costs the caller little and never the truth:

- Every call has a deadline. A tier that answers too late has not answered.
- After a few failures in a row the breaker opens: calls fail at once, without being sent, until
  one trial (half-open) succeeds. States and names: Nygard, "Release It!", chapter 5.
- An invalidation that could not be sent is OWED. While anything is owed the tier is not read,
  because it may still hold what was invalidated; `repay` sends it, and only then is it trusted.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from cascada.model.clock import Clock
from cascada.model.entry import Entry
from cascada.model.errors import BadInput, TierUnavailable, Unanswered
from cascada.model.keys import Key
from cascada.model.names import tenant_of, whole_tenant_of
from cascada.tiers.base import (
    Acknowledged,
    Barred,
    Bearers,
    Busy,
    Ending,
    Filled,
    Found,
    Holding,
    Invalidation,
    Lease,
    Missing,
    Open,
    Remembers,
    Seen,
    Tier,
    TierName,
    Usage,
)

T = TypeVar("T")

FAILURES_TO_OPEN: Final = 3
RETRY_AFTER: Final = 1.0

PER_NAME: Final = 0.0001
"""Seconds by which each name lengthens the deadline: a cascade may have tens of thousands, and is
one step all the same. It is several times what the slowest tier takes."""

MAX_OWED: Final = 10_000
"""Names that are owed before they are taken together: the tenants that they belong to go whole."""


class GuardedTier:
    """`tier`, with every failure turned into TierUnavailable.

    `timeout` is the seconds that one call may take; `on_change(available)` is told when the
    breaker opens and when it closes again. `catches_up`: while the breaker was open, others may
    have left word of invalidations elsewhere (an outbox); the tier is then not read before the
    engine has sent those and set `behind` back to False.
    """

    def __init__(
        self,
        tier: Tier,
        clock: Clock,
        *,
        timeout: float = 0.25,
        catches_up: bool = False,
        on_change: Callable[[TierName, bool, str], None] = lambda name, available, why: None,
    ) -> None:
        self.tier = tier
        self.owed: dict[str, int] = {}
        self.behind = False
        self._debts = 0
        self._now = clock.monotonic
        self.timeout = timeout
        self._catches_up = catches_up
        self._on_change = on_change
        self._failures = 0
        self._open = False
        self._retry_at = 0.0

    @property
    def name(self) -> TierName:
        return self.tier.name

    @property
    def available(self) -> bool:
        """Whether calls are sent to the tier at present."""
        return not self._open and not self.owed and not self.behind

    async def read(self, keys: Sequence[Key]) -> list[Found | Missing]:
        self._refuse_while_owing()
        return await self.call(lambda: self.tier.read(keys))

    async def lease(
        self, keys: Sequence[Key], seen: Sequence[Seen], *, force: bool = False
    ) -> list[Lease | Found | Busy]:
        self._refuse_while_owing()
        return await self.call(lambda: self.tier.lease(keys, seen, force=force))

    async def fill(self, leases: Sequence[Lease], entries: Sequence[Entry | None]) -> list[Filled]:
        self._refuse_while_owing()
        return await self.call(lambda: self.tier.fill(leases, entries))

    async def renew(self, leases: Sequence[Lease]) -> None:
        await self.call(lambda: self.tier.renew(leases))

    async def invalidate(self, names: Sequence[str], *, strict: bool = False) -> Invalidation:
        tier, within = self.tier, self._within(names)
        if strict and isinstance(tier, Acknowledged):
            return await self.call(lambda: tier.invalidate(names, strict=True), within)
        return await self.call(lambda: tier.invalidate(names), within)

    async def bearers(self, names: Sequence[str]) -> list[Bearers]:
        return await self.call(lambda: self.tier.bearers(names), self._within(names))

    def _within(self, names: Sequence[str]) -> float:
        return self.timeout + PER_NAME * len(names)

    async def holding(self, key: Key) -> Holding | None:
        """What the tier holds, trusted or not."""
        tier = self.tier
        return await self.call(lambda: tier.holding(key)) if isinstance(tier, Open) else None

    async def ended(self, names: Sequence[str]) -> Ending | None:
        tier = self.tier
        return await self.call(lambda: tier.ended(names)) if isinstance(tier, Remembers) else None

    async def usage(self) -> Usage:
        return await self.call(self.tier.usage)

    async def aclose(self) -> None:
        await self.tier.aclose()

    def owe(self, names: Sequence[str]) -> None:
        """Remember an invalidation that the tier has not confirmed."""
        self._debts += 1
        self.owed.update(dict.fromkeys(names, self._debts))
        if len(self.owed) > MAX_OWED:
            self.owed = dict.fromkeys(map(whole_tenant_of, self.owed), self._debts)

    async def answers(self) -> None:
        """Find out whether the tier is there, though it may not be trusted. TierUnavailable."""
        await self.call(lambda: self.tier.read([]))

    async def repay(self, owed: Mapping[str, int]) -> None:
        """Send what was owed a moment ago. TierUnavailable while the tier does not take it."""
        by_tenant: dict[str, dict[str, int]] = defaultdict(dict)
        for name, debt in owed.items():
            by_tenant[tenant_of(name)][name] = debt
        for debts in by_tenant.values():
            await self.invalidate(list(debts))
            for name, debt in debts.items():
                # A name that came to be owed again while this was on its way is a later debt: the
                # value it names may have been stored after this invalidation was carried out.
                if self.owed.get(name) == debt:
                    del self.owed[name]

    def _refuse_while_owing(self) -> None:
        if self.owed:
            raise TierUnavailable(
                f"{self.name} is not trusted: {len(self.owed)} invalidations wait to be sent to it"
            )
        if self.behind:
            raise TierUnavailable(f"{self.name} is not trusted yet: it was away a moment ago")

    async def call(self, send: Callable[[], Awaitable[T]], within: float | None = None) -> T:
        """What `send` gives, under the deadline (or `within` so many seconds) and the breaker."""
        if self._open and self._now() < self._retry_at:
            raise TierUnavailable(f"{self.name} is skipped: it failed {self._failures} times")
        # While a trial is under way others go on failing at once.
        self._retry_at = self._now() + RETRY_AFTER
        patience = self.timeout if within is None else within
        try:
            async with asyncio.timeout(patience):
                answer = await send()
        except TimeoutError as error:
            self._failed(f"no answer within {patience} s")
            raise Unanswered(f"{self.name} gave no answer within {patience} s") from error
        except BadInput:
            raise
        except Barred:
            # It answers: to open the breaker would keep it from what it still takes.
            self._answered()
            raise
        except Exception as error:
            # Of whatever kind: a driver's own error is no more the caller's business than ours.
            self._failed(str(error) or repr(error))
            if isinstance(error, TierUnavailable):
                raise
            raise TierUnavailable(f"{self.name} failed: {error!r}") from error
        self._answered()
        return answer

    def _answered(self) -> None:
        self._failures = 0
        if self._open:
            self._open = False
            self._on_change(self.name, True, "")

    def _failed(self, why: str) -> None:
        self._failures += 1
        if not self._open and self._failures >= FAILURES_TO_OPEN:
            self._open = True
            self.behind = self._catches_up
            self._on_change(self.name, False, why)
