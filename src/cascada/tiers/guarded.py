"""A lower tier as the engine uses it: every failure is TierUnavailable, and nothing old is read.

`breaker` says when a tier is away, and how a call ends then. This module holds what must not be
forgotten meanwhile: an invalidation that could not be sent is DEFERRED. While anything is deferred
the tier is not read, because it may still hold what was invalidated; `redeliver` sends it, and only
then is the tier trusted. (`engine/writing/redelivery.py` decides when.)
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, NoReturn

from cascada.model.clock import Clock
from cascada.model.entry import Entry
from cascada.model.errors import TierUnavailable, Unanswered
from cascada.model.keys import Key
from cascada.model.names import tenant_of, whole_tenant_of
from cascada.tiers.breaker import Breaker, Call, Watcher
from cascada.tiers.capabilities import Acknowledged, Ending, Inspectable, Remembers, Stored
from cascada.tiers.contract import (
    Busy,
    EntryCount,
    Filled,
    Found,
    Invalidation,
    Lease,
    Missing,
    Renewed,
    Seen,
    Tier,
    Touched,
    Usage,
)
from cascada.tiers.large_values import PER_BYTE, Glances
from cascada.tiers.sealing import Sealing

PER_NAME: Final = 0.0001
"""Seconds by which each name lengthens the deadline: a cascade may have tens of thousands, and is
one step all the same. It is several times what the slowest tier takes."""

PER_KEY: Final = 0.0004
"""Seconds by which each key lengthens the deadline of a call. Most of them are this process's own:
it works on the keys of a long batch in turns with others, before and after the tier answers."""

PAUSE: Final = 0.05
"""Seconds until a tier that could not be sent an invalidation is sent it again."""

PATIENCE: Final = 2.0
"""Seconds that a call may take whose answer its caller cannot do without, if the tier's own
deadline is shorter. SQLite, which waits a second for a lock, can then still say that nothing was
changed."""

MAX_DEFERRED: Final = 10_000
"""Names that are deferred before they are taken together: the tenants that they belong to go whole.
Of more tenants than that, twice as many names as there were tenants the last time."""


_OF_A_VALUE: Final = "k:"
"""How the names of keys begin, by which what was made of their values is named."""

WrittenBehind = Callable[[Sequence[Key]], Awaitable[frozenset[Key]]]
"""Of which of these keys something newer waits. TierUnavailable if nobody can say."""

Read = Callable[[Sequence[Key]], Awaitable[list[Found | Missing]]]


class GuardedTier:
    """`tier` behind its breaker; one call of it may take `timeout` seconds.

    `deferred` are the names of invalidations that it was not told, each with the number of its
    deferral. `catches_up`: while the breaker was open, others may have left word of invalidations
    elsewhere (an outbox); the tier is then not read before the engine has sent those and set
    `behind` back to False. `written_behind` says of which keys a newer value waits elsewhere to be
    written here: what is here of them is not read (`docs/protocol.md` rule 44).
    """

    sealing: Sealing | None = None

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
        self.name: Final = tier.name
        self.timeout = timeout
        self.breaker = Breaker(tier.name, clock, self._opened, watcher)
        self.deferred: dict[str, int] = {}
        self.behind = False
        self.written_behind: WrittenBehind | None = None
        self._catches_up = catches_up
        self._glances = tier if isinstance(tier, Glances) else None
        self._deferrals = 0
        self._most_deferred = MAX_DEFERRED
        self._deferred_since = 0.0
        self._now = clock.monotonic
        # On the loop's clock: since when it has taken no invalidation (a replica answers reads all
        # the same).
        self._untold_since: float | None = None

    @property
    def available(self) -> bool:
        """Whether calls are sent to the tier at present."""
        return not self.breaker.open and not self.deferred and not self.behind

    async def read(self, keys: Sequence[Key]) -> list[Found | Missing]:
        if self.deferred or self.behind:
            self._refuse()
        return await self._look(self.tier.read, keys, self.timeout + PER_KEY * len(keys))

    async def read_for_certain(self, keys: Sequence[Key]) -> list[Found | Missing]:
        """`read` for who cannot go on without the answer, to store where nothing is: where
        something waits to be written, its fence refuses."""
        if self.deferred or self.behind:
            self._refuse()
        patience = max(PATIENCE, self.timeout)
        return await self._look(self.tier.read, keys, patience, fenced=False)

    async def glance(self, keys: Sequence[Key]) -> list[Found | Missing]:
        if self._glances is None:
            return await self.read(keys)
        if self.deferred or self.behind:
            self._refuse()
        return await self._look(self._glances.glance, keys, self.timeout + PER_KEY * len(keys))

    async def _look(
        self, read: Read, keys: Sequence[Key], seconds: float, *, fenced: bool = True
    ) -> list[Found | Missing]:
        """What is here, less what something newer waits for; `fenced` as in `_without`."""
        if self.written_behind is None:
            with Call(self.breaker, seconds):
                return await read(keys)
        # Asked first: what is written here in between is then found, and not missed.
        newer = await self._newer(keys)
        with Call(self.breaker, seconds):
            answers = await read(keys)
        if newer is None:
            return _unread(answers, fenced=fenced)
        if newer:
            answers = _without(answers, keys, newer, fenced=fenced)
        made_of = dict.fromkeys(source for answer in answers for source in _sources(answer))
        if not made_of:
            return answers
        # What was made of a value goes when that is set. It is known only now of what: what was
        # written before this question is then told by a second look.
        newer = await self._newer([*made_of])
        with Call(self.breaker, seconds):
            again = await read(keys)
        return [
            _made_of_what_is(before, after, made_of, made_of if newer is None else newer)
            for before, after in zip(answers, again, strict=True)
        ]

    async def _newer(self, keys: Sequence[Key]) -> frozenset[Key] | None:
        """Of which something newer waits; None if nobody can say."""
        assert self.written_behind is not None
        try:
            return await self.written_behind(keys)
        except TierUnavailable:
            return None

    async def lease(
        self,
        keys: Sequence[Key],
        seen: Sequence[Seen],
        *,
        force: bool = False,
        once: bool = False,
        digests: Sequence[bytes] = (),
    ) -> list[Lease | Found | Busy]:
        if self.deferred or self.behind:
            self._refuse()
        with Call(self.breaker, self.timeout + PER_KEY * len(keys)):
            return await self.tier.lease(keys, seen, force=force, once=once, digests=digests)

    async def fill(self, leases: Sequence[Lease], entries: Sequence[Entry | None]) -> list[Filled]:
        if self.deferred or self.behind:
            self._refuse()
        size = sum([len(entry.data) for entry in entries if entry is not None])
        with Call(self.breaker, self.timeout + PER_KEY * len(leases) + PER_BYTE * size):
            return await self.tier.fill(leases, entries)

    async def fill_for_certain(self, lease: Lease, entry: Entry) -> Filled:
        """`fill` under a lease that adds, for who cannot go on without the answer.

        It is sent again where the connection broke, since the tier may know that it has stored it.
        Unanswered if it does not say so; any other TierUnavailable says that it has not.
        """
        now = asyncio.get_running_loop().time
        patience = max(PATIENCE, self.timeout) + PER_BYTE * len(entry.data)
        until, lost = now() + patience, None
        while True:
            try:
                if self.deferred or self.behind:
                    self._refuse()
                with Call(self.breaker, max(until - now(), PAUSE)):
                    (filled,) = await self.tier.fill([lease], [entry])
            except TierUnavailable as error:
                if isinstance(error, Unanswered):
                    lost = error
                if lost is None:
                    raise
                if now() + PAUSE >= until:
                    raise lost from error
            else:
                if lost is not None and not filled.accepted:
                    raise lost  # what is there may be this very value
                return filled
            await asyncio.sleep(PAUSE)

    async def renew(self, leases: Sequence[Lease]) -> None:
        with Call(self.breaker, self.timeout):
            await self.tier.renew(leases)

    async def invalidate(
        self,
        names: Sequence[str],
        *,
        strict: bool = False,
        until: float | None = None,
        on_late: Callable[[], None] = lambda: None,
    ) -> Invalidation:
        """`until` (on the loop's clock): send it again and again, though the breaker is open.

        The caller's row is committed, and nothing but this tells the others. What was sent is
        awaited as long, and sent again only when it broke off: the tier may carry out both.
        `on_late` is called once, when it has been waited for longer than for other calls.
        """
        tier, now, late = self.tier, asyncio.get_running_loop().time, False
        if until is not None and until <= now():
            until = None

        def tell_late() -> None:
            nonlocal late
            if not late:
                late = True
                on_late()

        while True:
            began = now()
            try:
                with Call(self.breaker, self._within(names), until=until, on_late=tell_late):
                    if strict and isinstance(tier, Acknowledged):
                        told = await tier.invalidate(names, strict=True)
                    else:
                        told = await tier.invalidate(names)
            except TierUnavailable:
                if self._untold_since is None:
                    self._untold_since = began
                if until is None or now() + PAUSE >= until:
                    raise
            else:
                self._untold_since = None
                return told
            tell_late()
            await asyncio.sleep(PAUSE)

    async def touch(self, key: Key, renewed: Renewed, *, below: bool = False) -> Touched:
        if self.deferred or self.behind:
            self._refuse()
        with Call(self.breaker, self.timeout):
            return await self.tier.touch(key, renewed, below=below)

    def worth_waiting_until(self, patience: float) -> float:
        """Until when an invalidation waits: `patience` seconds after the tier fell silent.

        In a long outage that is over, and nobody waits any more.
        """
        now = asyncio.get_running_loop().time()
        return min(self.breaker.silent_since or now, self._untold_since or now) + patience

    async def count_entries(self, names: Sequence[str]) -> list[EntryCount]:
        with Call(self.breaker, self._within(names)):
            return await self.tier.count_entries(names)

    def _within(self, names: Sequence[str]) -> float:
        return self.timeout + PER_NAME * len(names)

    async def holding(self, key: Key) -> Stored | None:
        """What the tier holds, trusted or not."""
        if not isinstance(self.tier, Inspectable):
            return None
        with Call(self.breaker, self.timeout):
            return await self.tier.holding(key)

    async def ended(self, names: Sequence[str]) -> Ending | None:
        if not isinstance(self.tier, Remembers):
            return None
        with Call(self.breaker, self.timeout):
            return await self.tier.ended(names)

    async def usage(self) -> Usage:
        with Call(self.breaker, self.timeout):
            return await self.tier.usage()

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
        """Seconds for which something has been deferred (`now` is monotonic); None: nothing is."""
        return now - self._deferred_since if self.deferred else None

    async def answers(self) -> None:
        """Find out whether the tier is there, though it may not be trusted. TierUnavailable."""
        with Call(self.breaker, self.timeout):
            await self.tier.read([])

    async def redeliver(self, deferred: Mapping[str, int]) -> None:
        """Send what was deferred a moment ago. TierUnavailable while the tier does not take it."""
        by_tenant: dict[str, dict[str, int]] = defaultdict(dict)
        for name, number in deferred.items():
            by_tenant[tenant_of(name)][name] = number
        for names in by_tenant.values():
            await self.invalidate(list(names))
            for name, number in names.items():
                # A name that was deferred again while this was on its way has a later number: the
                # value it names may have been stored after this invalidation was carried out.
                if self.deferred.get(name) == number:
                    del self.deferred[name]

    def _refuse(self) -> NoReturn:
        """While anything is deferred, or the tier has been away, it is not trusted."""
        if self.deferred:
            raise TierUnavailable(
                f"{self.name} is not trusted: {len(self.deferred)} invalidations wait to be sent "
                "to it"
            )
        raise TierUnavailable(f"{self.name} is not trusted yet: it was away a moment ago")

    def _opened(self) -> None:
        self.behind = self._catches_up


def _without(
    answers: Sequence[Found | Missing],
    keys: Sequence[Key],
    newer: Collection[Key],
    *,
    fenced: bool = True,
) -> list[Found | Missing]:
    """The answers, less those about keys that something newer waits for."""
    return [
        Missing(answer.seq if fenced else -1, epoch=answer.epoch) if key in newer else answer
        for key, answer in zip(keys, answers, strict=True)
    ]


def _unread(answers: Sequence[Found | Missing], *, fenced: bool) -> list[Found | Missing]:
    """The answers where nobody can say what is older. What was found may be the newest all the
    same, so its fence refuses: a load that did not see it is not to replace it."""
    return [
        Missing(answer.seq if fenced and isinstance(answer, Missing) else -1, epoch=answer.epoch)
        for answer in answers
    ]


def _sources(answer: Found | Missing) -> list[Key]:
    """The keys whose values it was made of."""
    if not isinstance(answer, Found):
        return []
    names = answer.entry.names
    return [Key.parse(name[2:]) for name in names if name.startswith(_OF_A_VALUE)]


def _made_of_what_is(
    before: Found | Missing,
    after: Found | Missing,
    asked: Collection[Key],
    newer: Collection[Key],
) -> Found | Missing:
    """What was answered, if that was made of nothing that was asked for in between, or of nothing
    that is written behind now."""
    if not _sources(before):
        return before
    sources = _sources(after)
    if sources and all(each in asked and each not in newer for each in sources):
        return after
    return Missing(min(before.seq, after.seq), epoch=after.epoch)
