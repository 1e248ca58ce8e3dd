"""A lower tier behind a deadline, a breaker, and what is still owed to it.

Three duties, each so that a failing tier costs the caller little and never the truth:

- Every call has a deadline (`deadline`). A tier that answers too late has not answered.
- After a few failures in a row the breaker opens: calls fail at once, without being sent, until
  one trial (half-open) succeeds. States and names: Nygard, "Release It!", chapter 5. An
  invalidation that its caller waits for is always sent: it is the trial.
- An invalidation that could not be sent is OWED. While anything is owed the tier is not read,
  because it may still hold what was invalidated; `repay` sends it, and only then is it trusted.

Only what the tier did counts as a failure: it gave no answer, broke off, or said that it cannot
work at present. What it refuses, an argument that cannot be sent, a fault of our own, and time in
which this process itself stood still, say nothing about it: one caller's odd value would else take
the tier from all others.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from cascada.model.clock import Clock
from cascada.model.entry import Entry
from cascada.model.errors import BadInput, TierUnavailable, Unanswered
from cascada.model.keys import Key
from cascada.model.names import tenant_of, whole_tenant_of
from cascada.tiers.capabilities import (
    Acknowledged,
    Ending,
    Inspectable,
    Remembers,
    Stored,
)
from cascada.tiers.contract import (
    Busy,
    EntryCount,
    Filled,
    Found,
    Full,
    Invalidation,
    Lease,
    Missing,
    NotPermitted,
    Seen,
    Tier,
    TierName,
    Usage,
)
from cascada.tiers.deadline import Deadline
from cascada.tiers.large_values import PER_BYTE, Glances

T = TypeVar("T")

FAILURES_TO_OPEN: Final = 3
RETRY_AFTER: Final = 1.0

PER_NAME: Final = 0.0001
"""Seconds by which each name lengthens the deadline: a cascade may have tens of thousands, and is
one step all the same. It is several times what the slowest tier takes."""

MAX_DEFERRED: Final = 10_000
"""Names that are owed before they are taken together: the tenants that they belong to go whole. Of
more tenants than that, twice as many names as there were tenants the last time."""

MAX_CAUSES: Final = 5
"""Causes that are told of one outage; it may have a new one every second."""


class Watcher(Protocol):
    """Who is told how a tier fares."""

    def tier_changed(self, tier: TierName, available: bool, why: str) -> None:
        """The breaker has opened, or closed again."""

    def tier_still_away(self, tier: TierName, why: str) -> None:
        """It is away for another cause than was told before."""

    def tier_full(self, tier: TierName, why: str) -> None:
        """It answers, and has no room for what is to be stored."""

    def own_fault(self, tier: TierName, error: Exception) -> None:
        """A call failed in our own code, or in the driver, before or after the tier had it."""


class GuardedTier:
    """`tier`, with every failure turned into TierUnavailable.

    `timeout` is the seconds that one call may take. `catches_up`: while the breaker was open,
    others may have left word of invalidations elsewhere (an outbox); the tier is then not read
    before the engine has sent those and set `behind` back to False.
    """

    def __init__(
        self,
        tier: Tier,
        clock: Clock,
        *,
        timeout: float = 0.25,
        catches_up: bool = False,
        watcher: Watcher | None = None,
    ) -> None:
        self.tier = tier
        self._glances = tier if isinstance(tier, Glances) else None
        self.deferred: dict[str, int] = {}
        self.behind = False
        self._deferrals = 0
        self._most_deferred = MAX_DEFERRED
        self._deferred_since = 0.0
        self._now = clock.monotonic
        self.timeout = timeout
        self._catches_up = catches_up
        self._watcher = watcher
        self._failures = 0
        self._why = ""
        self._open = False
        self._retry_at = 0.0
        self._causes: set[str] = set()
        # On the loop's clock, as the deadlines: since when it has answered nothing, and since when
        # it has taken no invalidation (a replica answers reads all the same).
        self._silent_since: float | None = None
        self._untold_since: float | None = None

    @property
    def name(self) -> TierName:
        return self.tier.name

    @property
    def available(self) -> bool:
        """Whether calls are sent to the tier at present."""
        return not self._open and not self.deferred and not self.behind

    async def read(self, keys: Sequence[Key]) -> list[Found | Missing]:
        self._need_trust()
        return await self.call(lambda: self.tier.read(keys))

    async def glance(self, keys: Sequence[Key]) -> list[Found | Missing]:
        if (tier := self._glances) is None:
            return await self.read(keys)
        self._need_trust()
        return await self.call(lambda: tier.glance(keys))

    async def lease(
        self,
        keys: Sequence[Key],
        seen: Sequence[Seen],
        *,
        force: bool = False,
        once: bool = False,
        digests: Sequence[bytes] = (),
    ) -> list[Lease | Found | Busy]:
        self._need_trust()
        return await self.call(
            lambda: self.tier.lease(keys, seen, force=force, once=once, digests=digests)
        )

    async def fill(self, leases: Sequence[Lease], entries: Sequence[Entry | None]) -> list[Filled]:
        self._need_trust()
        size = sum(len(entry.data) for entry in entries if entry is not None)
        within = self.timeout + PER_BYTE * size
        return await self.call(lambda: self.tier.fill(leases, entries), within)

    async def renew(self, leases: Sequence[Lease]) -> None:
        await self.call(lambda: self.tier.renew(leases))

    async def invalidate(
        self,
        names: Sequence[str],
        *,
        strict: bool = False,
        until: float | None = None,
        on_late: Callable[[], None] = lambda: None,
    ) -> Invalidation:
        """`until` (on the loop's clock): send it though the breaker is open, and wait so long.

        It is not given up and sent again meanwhile, since the tier may carry out both.
        """
        tier, started = self.tier, asyncio.get_running_loop().time()

        async def send() -> Invalidation:
            if strict and isinstance(tier, Acknowledged):
                return await tier.invalidate(names, strict=True)
            return await tier.invalidate(names)

        try:
            told = await self.call(send, self._within(names), until=until, on_late=on_late)
        except TierUnavailable:
            if self._untold_since is None:
                self._untold_since = started
            raise
        self._untold_since = None
        return told

    def worth_waiting_until(self, patience: float) -> float:
        """Until when an invalidation waits: `patience` seconds after the tier fell silent.

        In a long outage that is over, and nobody waits any more.
        """
        since = [asyncio.get_running_loop().time(), self._silent_since, self._untold_since]
        return min(moment for moment in since if moment is not None) + patience

    async def count_entries(self, names: Sequence[str]) -> list[EntryCount]:
        return await self.call(lambda: self.tier.count_entries(names), self._within(names))

    def _within(self, names: Sequence[str]) -> float:
        return self.timeout + PER_NAME * len(names)

    async def holding(self, key: Key) -> Stored | None:
        """What the tier holds, trusted or not."""
        tier = self.tier
        return await self.call(lambda: tier.holding(key)) if isinstance(tier, Inspectable) else None

    async def ended(self, names: Sequence[str]) -> Ending | None:
        tier = self.tier
        return await self.call(lambda: tier.ended(names)) if isinstance(tier, Remembers) else None

    async def usage(self) -> Usage:
        return await self.call(self.tier.usage)

    async def aclose(self) -> None:
        await self.tier.aclose()

    def defer(self, names: Sequence[str]) -> None:
        """Remember an invalidation that the tier has not confirmed."""
        if not self.deferred:
            self._deferred_since = self._now()
            self._most_deferred = MAX_DEFERRED
        self._deferrals += 1
        self.deferred.update(dict.fromkeys(names, self._deferrals))
        if len(self.deferred) > self._most_deferred:
            self.deferred = dict.fromkeys(map(whole_tenant_of, self.deferred), self._deferrals)
            # Not again for the next name, or each of many tenants would cost as much as all.
            self._most_deferred = max(MAX_DEFERRED, 2 * len(self.deferred))

    def deferred_for(self, now: float) -> float | None:
        """Seconds for which something has been owed (`now` is monotonic); None: nothing is."""
        return now - self._deferred_since if self.deferred else None

    async def answers(self) -> None:
        """Find out whether the tier is there, though it may not be trusted. TierUnavailable."""
        await self.call(lambda: self.tier.read([]))

    async def redeliver(self, owed: Mapping[str, int]) -> None:
        """Send what was owed a moment ago. TierUnavailable while the tier does not take it."""
        by_tenant: dict[str, dict[str, int]] = defaultdict(dict)
        for name, debt in owed.items():
            by_tenant[tenant_of(name)][name] = debt
        for debts in by_tenant.values():
            await self.invalidate(list(debts))
            for name, debt in debts.items():
                # A name that came to be owed again while this was on its way is a later debt: the
                # value it names may have been stored after this invalidation was carried out.
                if self.deferred.get(name) == debt:
                    del self.deferred[name]

    def _need_trust(self) -> None:
        if self.deferred:
            raise TierUnavailable(
                f"{self.name} is not trusted: {len(self.deferred)} invalidations wait to be sent "
                "to it"
            )
        if self.behind:
            raise TierUnavailable(f"{self.name} is not trusted yet: it was away a moment ago")

    async def call(
        self,
        send: Callable[[], Awaitable[T]],
        within: float | None = None,
        *,
        until: float | None = None,
        on_late: Callable[[], None] = lambda: None,
    ) -> T:
        """What `send` gives, under the deadline (or `within` so many seconds) and the breaker.

        `until`, a moment on the loop's clock: it is sent in any case, and waited for until then;
        `on_late` is called when its deadline is over.
        """
        if until is None and self._open and self._now() < self._retry_at:
            raise TierUnavailable(
                f"{self.name} is skipped for {RETRY_AFTER:g} s at a time after {self._failures} "
                f"failures, the last one: {self._why}"
            )
        # While a trial is under way others go on failing at once.
        self._retry_at = self._now() + RETRY_AFTER
        started = asyncio.get_running_loop().time()
        patience = self.timeout if within is None else within
        unanswered = f"no answer within {patience:.2g} s"

        def late() -> None:
            self._failed(unanswered, started)
            on_late()

        deadline = (
            Deadline(patience)
            if until is None
            else Deadline(patience, at_most=max(until - started, patience), on_late=late)
        )
        try:
            async with deadline:
                answer = await send()
        except BadInput:
            raise
        except Exception as error:
            if deadline.expired:
                if deadline.late and until is None:
                    self._failed(unanswered, started)
                why = (
                    unanswered
                    if deadline.late
                    else "no answer while other work of this process went first"
                )
                raise Unanswered(f"{self.name} gave {why}") from error
            told = self._judged(error, started)
            if told is error:
                raise
            raise told from error
        self._answered()
        return answer

    def _judged(self, error: Exception, started: float) -> TierUnavailable:
        """What a call's error says about the tier, and what its caller is told."""
        watcher = self._watcher
        if isinstance(error, NotPermitted):
            # It answers: to open the breaker would keep it from what it still takes.
            self._answered()
            if isinstance(error, Full) and watcher is not None:
                watcher.tier_full(self.name, str(error))
            return error
        if isinstance(error, TierUnavailable | OSError | EOFError):
            self._failed(str(error) or repr(error), started)
            if isinstance(error, TierUnavailable):
                return error
            return TierUnavailable(f"{self.name} failed: {error!r}")
        # No more the caller's business than a tier that is away, and nothing that the tier did.
        if watcher is not None:
            watcher.own_fault(self.name, error)
        return TierUnavailable(f"{self.name} could not be used ({type(error).__name__})")

    def _answered(self) -> None:
        self._failures = 0
        self._silent_since = None
        if self._open:
            self._open = False
            if self._watcher is not None:
                self._watcher.tier_changed(self.name, True, "")

    def _failed(self, why: str, started: float) -> None:
        """The call that began at `started` has failed through the tier."""
        self._failures += 1
        self._why = why
        if self._silent_since is None:
            self._silent_since = started
        if not self._open and self._failures >= FAILURES_TO_OPEN:
            self._open = True
            self.behind = self._catches_up
            self._causes = {why}
            if self._watcher is not None:
                self._watcher.tier_changed(self.name, False, why)
        elif self._open and why not in self._causes and len(self._causes) < MAX_CAUSES:
            self._causes.add(why)
            if self._watcher is not None:
                self._watcher.tier_still_away(self.name, why)
