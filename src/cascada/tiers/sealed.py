"""A guarded tier whose entries are sealed on their way in, and opened on their way out.

Its journals are beside it: who puts there in place of `fill` asks `sealing` himself
(`guarded_journal`, `engine/write_behind`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from cascada.codecs.sealing import MORE
from cascada.model.entry import Entry, Flag
from cascada.model.errors import CorruptEntry
from cascada.model.keys import Key
from cascada.tiers.capabilities import Stored
from cascada.tiers.contract import (
    Busy,
    Filled,
    Found,
    Lease,
    Missing,
    Outcome,
    Renewed,
    Seen,
    Touched,
)
from cascada.tiers.guarded import GuardedTier, Read
from cascada.tiers.sealing import Sealing


class SealedTier(GuardedTier):
    """See the module's text. `sealing` is set before the first call."""

    sealing: Sealing

    async def _look(
        self, read: Read, keys: Sequence[Key], seconds: float, *, fenced: bool = True
    ) -> list[Found | Missing]:
        answers = await super()._look(read, keys, seconds, fenced=fenced)
        return await self.sealing.opened(keys, answers)

    async def lease(
        self,
        keys: Sequence[Key],
        seen: Sequence[Seen],
        *,
        force: bool = False,
        once: bool = False,
        digests: Sequence[bytes] = (),
    ) -> list[Lease | Found | Busy]:
        ask = super().lease
        digests = await self.sealing.digests(keys, digests)

        def asked(
            keys: Sequence[Key], seen: Sequence[Seen]
        ) -> Awaitable[list[Lease | Found | Busy]]:
            return ask(keys, seen, force=force, once=once, digests=digests)

        return await self.sealing.lease(asked, keys, seen)

    async def fill(self, leases: Sequence[Lease], entries: Sequence[Entry | None]) -> list[Filled]:
        sealed, wrong = await self.sealing.fill([lease.key for lease in leases], entries)
        for at in wrong:
            entry, lease = entries[at], leases[at]
            assert entry is not None
            if lease.forced:  # what is there is older, and goes
                sealed[at] = entry.nothing()
            else:  # as of what is not stored
                lease.names = entry.names
        answers = await super().fill(leases, sealed)
        for at, why in wrong.items():
            if answers[at].accepted:
                answers[at] = Filled(
                    accepted=False, seq=answers[at].seq, outcome=Outcome.NO_ROOM, why=why
                )
        return answers

    async def fill_for_certain(self, lease: Lease, entry: Entry) -> Filled:
        return await super().fill_for_certain(lease, await self.sealing.sealed(lease.key, entry))

    async def touch(self, key: Key, renewed: Renewed, *, below: bool = False) -> Touched:
        def opened(entry: Entry, size: int) -> Entry | None:
            return renewed(entry, size - MORE if entry.flags & Flag.ENCRYPTED else size)

        return await self.sealing.touched(key, await super().touch(key, opened, below=below))

    async def holding(self, key: Key) -> Stored | None:
        held = await super().holding(key)
        if held is None:
            return None
        try:
            return Stored(await self.sealing.open(key, held.entry), held.marks)
        except CorruptEntry:
            return held  # who asks why decodes it, and is told
