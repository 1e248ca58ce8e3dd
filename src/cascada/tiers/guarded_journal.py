"""The journals of a tier behind its deadline and breaker: every failure is TierUnavailable.

`engine/writing/journaled` puts changes in, `engine/reading/read` asks for those that stand, and
`engine/journal` is how whoever writes them elsewhere gets at them. It must never look at what a
change says.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from cascada.model.entry import Entry
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.tiers.breaker import Call
from cascada.tiers.capabilities import Backlog, Change, Journal, KeepsJournal, Put, SetAside
from cascada.tiers.contract import Filled, Lease, Outcome
from cascada.tiers.guarded import PATIENCE, PER_KEY, GuardedTier
from cascada.tiers.large_values import PER_BYTE

MOST: Final = 1_000_000
"""Changes of one name that may wait."""

MOST_BYTES: Final = 256 * 2**20
"""Of all records of one name."""


MOST_TOLD: Final = 100_000
"""Keys of which it is remembered that all tiers know of their change."""

logger = logging.getLogger("cascada")


class GuardedJournals:
    """Those that `tier` keeps, by name."""

    def __init__(self, tier: GuardedTier, keeper: KeepsJournal) -> None:
        self.tier = tier
        self._keeper = keeper
        self._by_name: dict[str, GuardedJournal] = {}

    @classmethod
    def of_lowest(cls, lower: Sequence[GuardedTier]) -> GuardedJournals | None:
        """Those of the lowest tier that keeps any: it is there when the others are away."""
        for tier in reversed(lower):
            if isinstance(tier.tier, KeepsJournal):
                return cls(tier, tier.tier)
        return None

    def of(self, name: str) -> GuardedJournal:
        kept = self._by_name.get(name)
        if kept is None:
            journal = self._keeper.journal_of(name)
            kept = self._by_name[name] = GuardedJournal(self.tier, journal)
        return kept


class GuardedJournal:
    """See `Journal`. `most`, `most_bytes`: where so much waits, nothing more is taken. Of what this
    process has put there it remembers of which changes it has told all other tiers."""

    def __init__(self, tier: GuardedTier, journal: Journal) -> None:
        self.tier = tier
        self.most = MOST
        self.most_bytes = MOST_BYTES
        self._journal = journal
        self._said = ""
        self._told: dict[Key, int] = {}

    async def put(
        self, leases: Sequence[Lease], entries: Sequence[Entry], puts: Sequence[Put]
    ) -> list[Filled]:
        tier = self.tier
        if tier.sealing is not None:
            try:
                keys, seals = [lease.key for lease in leases], tier.sealing.is_sensitive
                await tier.sealing.certain({key.tenant for key in keys if seals(key.data_type)})
                entries = await tier.sealing.put(leases, entries)
            except TierUnavailable as error:  # a tenant's key: nothing was done
                self._say(str(error))
                return [Filled(accepted=False, seq=-1, outcome=Outcome.FULL)] * len(leases)
        size = sum([len(entry.data) for entry in entries])
        if tier.deferred or tier.behind:
            # What it has not been told yet would end this as well.
            raise TierUnavailable(f"{tier.name} was not told of all invalidations yet")
        # Its caller is told that it is lost if this takes too long: longer than for a copy.
        patience = max(PATIENCE, tier.timeout)
        with Call(tier.breaker, patience + PER_KEY * len(leases) + PER_BYTE * size):
            refusal = await self._journal.refusal()
            if refusal is not None:
                self._say(refusal)
                return [Filled(accepted=False, seq=-1, outcome=Outcome.FULL)] * len(leases)
            return await self._journal.put(
                leases,
                entries,
                [lease.seq for lease in leases],
                self.most,
                puts=puts,
                most_bytes=self.most_bytes,
            )

    async def standing(self, keys: Sequence[Key]) -> list[Change]:
        with Call(self.tier.breaker, self.tier.timeout + PER_KEY * len(keys)):
            changes = await self._journal.standing(keys)
        return await self._opened(changes)

    async def claim(self, most: int, seconds: float) -> list[Change]:
        with self._call(most):
            changes = await self._journal.claim(most, seconds)
        return await self._opened(changes)

    async def of(self, keys: Sequence[Key]) -> list[Change]:
        with self._call(len(keys)):
            changes = await self._journal.of(keys)
        return await self._opened(changes)

    async def done(self, changes: Sequence[Change]) -> None:
        with self._call(len(changes)):
            await self._journal.done(changes)

    async def release(self, changes: Sequence[Change]) -> None:
        with self._call(len(changes)):
            await self._journal.release(changes)

    async def set_aside(self, change: Change, why: str) -> None:
        with self._call(1):
            await self._journal.set_aside(change, why)

    async def aside(self, most: int) -> list[SetAside]:
        with self._call(most):
            return await self._journal.aside(most)

    async def retry(self, keys: Sequence[Key] | None) -> int:
        with self._call(1000):
            return await self._journal.retry(keys)

    async def backlog(self) -> Backlog:
        with self._call(1):
            return await self._journal.backlog()

    def told(self, key: Key, seq: int) -> None:
        """All other tiers know of the change of this key whose entry has this number."""
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        self._told[key] = seq

    def untold(self, changes: Sequence[Change]) -> list[Key]:
        """The keys of those changes of which nobody here knows that."""
        return [each.key for each in changes if self._told.pop(each.key, None) != each.fence]

    async def _opened(self, changes: list[Change]) -> list[Change]:
        sealing = self.tier.sealing
        return changes if sealing is None else [await sealing.change(each) for each in changes]

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            logger.warning("%s: %s", self.tier.name, sentence)

    def _call(self, count: int) -> Call:
        tier = self.tier
        return Call(tier.breaker, max(PATIENCE, tier.timeout) + PER_KEY * count)
