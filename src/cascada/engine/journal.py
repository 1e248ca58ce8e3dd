"""A journal, for who writes its changes elsewhere: whatever loop asks, it answers on the engine's.

`Engine.journal` makes one for each name. It must never decide what becomes of a change.

The tiers above the journal's are told by who sets (`writing/journaled`). If he is killed in
between, they still have what is older than what he has journaled. So who takes a change out of the
journal that he has not put there himself, and told them of, first lets them go of its key.
(`docs/protocol.md` rule 57.)
"""

from __future__ import annotations

from collections.abc import Sequence

from cascada.engine.home.lifecycle import Lifecycle
from cascada.engine.home.ready import when_ready
from cascada.engine.request import Request
from cascada.engine.stack import Stack
from cascada.engine.writing import journaled
from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.tiers.capabilities import Backlog, Change, SetAside
from cascada.tiers.guarded_journal import GuardedJournal


class KeptJournal:
    """The changes that sets with one `Request.journal` have left. Each call raises TierUnavailable
    if the tier that keeps them does not answer."""

    def __init__(self, stack: Stack, life: Lifecycle, journal: GuardedJournal) -> None:
        self.life = life
        self._stack = stack
        self._journal = journal

    @property
    def tier(self) -> str:
        """The name of the tier that keeps it."""
        return self._journal.tier.name

    def limit(self, most: int, most_bytes: int) -> None:
        """Where so many changes wait, or so many bytes, a set is False."""
        self._journal.most, self._journal.most_bytes = most, most_bytes

    def removal(self, request: Request) -> Entry:
        """What `Engine.set` is given to remove a key wherever its changes are written to."""
        return journaled.removal(self._stack, request)

    @when_ready
    async def claim(self, most: int, seconds: float) -> list[Change]:
        """The oldest changes that nobody is at work on, which nobody else is given for so long. A
        claim may end, and a change come twice: who writes it compares the numbers of its key."""
        return await self._journal.claim(most, seconds)

    @when_ready
    async def of(self, keys: Sequence[Key]) -> list[Change]:
        """The changes of these keys that wait, claimed or not."""
        return await self._journal.of(keys)

    @when_ready
    async def done(self, changes: Sequence[Change]) -> None:
        """They are written: forget them, but for those whose key has a later one."""
        await journaled.let_go_above(self._stack, self._journal, changes)
        await self._journal.done(changes)

    @when_ready
    async def release(self, changes: Sequence[Change]) -> None:
        """They are not written: let others claim them at once."""
        await self._journal.release(changes)

    @when_ready
    async def set_aside(self, change: Change, why: str) -> None:
        """It can never be written: keep it apart, with the reason, unless its key has a later one.
        It goes on counting for what the journal takes."""
        await self._journal.set_aside(change, why)

    @when_ready
    async def aside(self, most: int = 100) -> list[SetAside]:
        """What was set aside, the oldest first."""
        return await self._journal.aside(most)

    @when_ready
    async def retry(self, keys: Sequence[Key] | None = None) -> int:
        """Let what was set aside (of these keys, or all) wait once more; how many changes do. One
        whose key has a later change that waits is dropped instead."""
        return await self._journal.retry(keys)

    @when_ready
    async def backlog(self) -> Backlog:
        """How much waits."""
        return await self._journal.backlog()
