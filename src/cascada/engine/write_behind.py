"""WRITE_BEHIND: a `set` is done when Redis has it, and the database is told a little later.

`put` stores the entries of sets in the upper tier, and their changes in its journal, in one step.
`run`, a task of the background, claims what waits there, whoever has put it there, and writes it to
the database, in batches. Until a change is written, the database is not read for its key: what is
there is older (`waiting`). Where a change cannot be journaled (the journal is full or refused, the
value is large, or it has a version, which the database alone knows for certain), it is written
through, as without this module. So a slow database slows those who write, and no set is lost.

`build` makes one where the strategy is WRITE_BEHIND and there are two such tiers; `write` and the
lifecycle call it. It must never drop a change that the database has not said to have, and never
write one without its number and its fence. (`docs/protocol.md` rules 43 to 46.)
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol, TypeVar

from cascada.engine.request import Request
from cascada.engine.tasks.background import Background
from cascada.engine.telling.trace import Trace
from cascada.model.entry import Entry
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.model.names import key_name
from cascada.tiers.breaker import Call
from cascada.tiers.capabilities import Backlog, Bars, Change, Connected, Fate, Journal, TakesChanges
from cascada.tiers.contract import Filled, Lease, Outcome, Seen, Tier
from cascada.tiers.guarded import PER_KEY, GuardedTier
from cascada.tiers.large_values import BULKY, PER_BYTE

MOST: Final = 10_000
"""Changes that may wait before sets are written through."""

AT_ONCE: Final = 500
"""Changes that are claimed and written together."""

CLAIM: Final = 5.0
"""Seconds after which others may write what somebody has claimed."""

BARRED: Final = 15.0
"""Seconds in which an add has come to its end; who is killed in one bars its key no longer."""

PATIENCE: Final = 2.0
"""Seconds that writing one batch may take: it is shorter than a claim."""

MOST_KNOWN: Final = 10_000
"""Tenants whose number in the database is remembered, for when it is away."""

LINGER: Final = 0.005
"""Seconds in which changes gather before they are written."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at what others have left behind."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
"""Seconds between two tries while the database is away, which grow."""

DRAIN: Final = 5.0
"""Seconds that closing waits until what was put before is written; the rest stays in the journal,
for whichever process comes next."""

_LEFT: Final = (
    "what was written behind may not all be in the database yet; the rest is in the journal, and "
    "whichever process comes next goes on with it"
)

logger = logging.getLogger("cascada")


class Being(Protocol):
    """A set on its way, as `write` has it: held in these tiers, and what they have said."""

    request: Request
    entry: Entry
    seen: Mapping[str, Seen]
    held: dict[GuardedTier, Lease]
    filled: dict[Tier, Filled]
    agreed: bool | None


Set = TypeVar("Set", bound=Being)


class WriteBehind:
    """Between `upper`, which has the journal (and it bars keys), and `base`, which takes the
    changes. `background`: of the event loop that it runs on."""

    def __init__(
        self,
        upper: GuardedTier,
        journal: Journal,
        bars: Bars,
        base: GuardedTier,
        database: TakesChanges,
        *,
        background: Callable[[], Background],
        trace: Trace,
    ) -> None:
        self.upper = upper
        self.base = base
        self.journal = journal
        self._bars = bars
        self._database = database
        self._background = background
        self._trace = trace
        self._known: dict[str, int] = {}
        self._said: set[str] = set()
        self.put_here = 0
        """Changes that this process has journaled."""
        self.begin()

    def begin(self) -> None:
        """On another event loop."""
        self._woken = asyncio.Event()

    # --- sets ---------------------------------------------------------------------------------

    def provable(self, sets: Sequence[Set]) -> list[Set]:
        """Less those of a miss that nobody can compare with what waits: the database does not know
        of it, and would take an older value for the latest."""
        known = []
        for each in sets:
            if each.seen and self.upper not in each.held:
                each.agreed = False
            else:
                known.append(each)
        return known

    async def put(self, sets: Sequence[Set]) -> list[Set]:
        """Store, and journal, what the database may be told later; which are still to be written.

        Where the journal's tier does not answer, nobody knows whether it has the change, or one of
        a set that came after the HOLD, of which the database does not know. So what is there goes.
        """
        upper, base = self.upper, self.base
        fenced = {
            each: fence
            for each in sets
            if upper in each.held and self.takes(each.entry) and (fence := self._fence(each)) >= 0
        }
        if not fenced:
            return [*sets]
        asked, fences = [*fenced], [*fenced.values()]
        try:
            answers = await self._put(asked, fences)
        except TierUnavailable as error:
            self._trace.tier_failed(upper.name, str(error))
            for each in asked:
                each.agreed = False
            return [each for each in sets if each.agreed is None]
        equal = [
            each.request.key
            for each, answer in zip(asked, answers, strict=True)
            if answer.outcome is Outcome.EQUAL
        ]
        # It may live longer below than this one, which the database decides; what waits it must
        # have for that. If it cannot, the value stays as it is.
        through = [Outcome.FULL, Outcome.EQUAL] if await self.settled(equal) else [Outcome.FULL]
        decided = set()
        for each, answer, fence in zip(asked, answers, fences, strict=True):
            if answer.outcome in through:
                continue
            decided.add(each)
            self._trace.filled(each.request, upper.name, accepted=answer.accepted)
            each.filled[upper], each.agreed = answer, answer.accepted
            if answer.accepted:
                each.filled[base] = Filled(accepted=True, seq=fence)
        return [each for each in sets if each not in decided]

    async def settled(self, keys: Sequence[Key]) -> bool:
        """Whether the database has what waited of these keys: it is written now."""
        if keys:
            try:
                await self.settle(keys, self.base.timeout)
            except TierUnavailable:
                return False
        return True

    async def _put(self, sets: Sequence[Being], fences: Sequence[int]) -> list[Filled]:
        upper, entries = self.upper, [each.entry for each in sets]
        leases = [each.held[upper] for each in sets]
        if upper.sealing is not None:
            try:
                entries = await upper.sealing.put(leases, entries)
            except (
                TierUnavailable
            ) as error:  # a tenant's key; the other tiers say what becomes of it
                self._say(str(error))
                return [Filled(accepted=False, seq=-1, outcome=Outcome.FULL)] * len(sets)
        size = sum([len(entry.data) for entry in entries])
        with Call(upper.breaker, upper.timeout + PER_KEY * len(sets) + PER_BYTE * size):
            refusal = await self.journal.refusal()
            if refusal is not None:
                self._say(refusal)
                return [Filled(accepted=False, seq=-1, outcome=Outcome.FULL)] * len(sets)
            answers = await self.journal.put(leases, entries, fences, MOST)
        self.put_here += len(answers)
        self._woken.set()
        return answers

    def _fence(self, each: Being) -> int:
        """The number of the database at the HOLD; where it did not tell, the last one that it told:
        that refuses more. -1: it has never told one, and what bears none would be void."""
        tenant, lease = each.request.key.tenant, each.held.get(self.base)
        last = self._known.get(tenant, -1)
        if lease is None:
            return last
        if lease.seq > last:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[tenant] = lease.seq
        return lease.seq

    @staticmethod
    def takes(entry: Entry) -> bool:
        """Whether it may be written behind."""
        return entry.version is None and len(entry.data) <= BULKY

    @asynccontextmanager
    async def barred(self, key: Key) -> AsyncGenerator[None]:
        """For who adds: what waits is written now, and what comes meanwhile is written through.

        So the database, which decides about an add, knows of every set. TierUnavailable.
        """
        upper, token = self.upper, os.urandom(8)
        with Call(upper.breaker, upper.timeout):
            if await self.journal.refusal() is not None:
                changes = await self.journal.of([key])
                token = b""
            else:
                changes = await self._bars.bar(key, token, BARRED)
        try:
            if changes:
                await self._write(changes)
            yield
        finally:
            if token:
                with suppress(TierUnavailable), Call(upper.breaker, upper.timeout):
                    await self._bars.unbar(key, token)

    # --- reads --------------------------------------------------------------------------------

    async def waiting(self, keys: Sequence[Key]) -> frozenset[Key]:
        """Of which keys the database must not be read. TierUnavailable if the journal does not say.

        What waits is written first, if the database takes it in the time that a read has: who asks
        there has not found it above, or must not take it from there (a loader).
        """
        if not keys:
            return frozenset()
        waits = await self.ask(keys)
        if not waits:
            return waits
        try:
            # A later change may have come, which is not written yet.
            return await self.ask([*waits]) if await self.settled([*waits]) else waits
        except TierUnavailable:
            return waits

    async def ask(self, keys: Sequence[Key]) -> frozenset[Key]:
        """Of which keys a change waits. TierUnavailable."""
        with Call(self.upper.breaker, self.upper.timeout + PER_KEY * len(keys)):
            return await self.journal.waiting(keys)

    # --- the database -------------------------------------------------------------------------

    async def settle(self, keys: Sequence[Key], patience: float = PATIENCE) -> None:
        """Write what waits of these keys now. TierUnavailable if that cannot be done."""
        upper = self.upper
        with Call(upper.breaker, upper.timeout + PER_KEY * len(keys)):
            changes = await self.journal.of(keys)
        if changes:
            await self._write(changes, patience)

    async def run(self) -> None:
        """Write what waits, for ever."""
        pause = 0.0
        while True:
            if isinstance(self.upper.tier, Connected):
                await self.upper.tier.up()  # else it would be taken for a tier that fails
            try:
                some = await self.write_batch()
            except TierUnavailable:
                # Who failed has said so. The database gets ever more time.
                pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
                await asyncio.sleep(pause)
                continue
            pause = 0.0
            if some < AT_ONCE:
                await self._rest()

    async def _rest(self) -> None:
        """Wait until something may be there, and a moment longer."""
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await self._woken.wait()
        except TimeoutError:
            return
        await asyncio.sleep(LINGER)

    async def write_batch(self) -> int:
        """`step`, which once begun is carried out: closing waits for it."""
        return await asyncio.shield(self._background().answer(self.step(), "write behind"))

    async def step(self) -> int:
        """Write one batch; how many changes it had."""
        self._woken.clear()
        upper = self.upper
        try:
            with Call(upper.breaker, upper.timeout + PER_KEY * AT_ONCE):
                changes = await self.journal.claim(AT_ONCE, CLAIM)
        except TierUnavailable as error:
            self._trace.tier_failed(upper.name, str(error))
            raise
        if changes:
            await self._write(changes)
        return len(changes)

    async def _write(self, changes: Sequence[Change], patience: float = PATIENCE) -> None:
        for change in changes:
            if change.fault:
                await self._give_up(change, change.fault)
        changes = [change for change in changes if not change.fault]
        if not changes:
            return
        base, upper, trace = self.base, self.upper, self._trace
        try:
            fates = await self._apply(changes, patience)
        except TierUnavailable as error:
            trace.tier_failed(base.name, str(error))
            with Call(upper.breaker, upper.timeout):
                await self.journal.release(changes)
            raise
        trace.done["journal_written"] += fates.count(Fate.STORED)
        trace.done["journal_void"] += fates.count(Fate.VOID)
        try:
            with Call(upper.breaker, upper.timeout + PER_KEY * len(changes)):
                await self.journal.done(changes)
        except TierUnavailable as error:
            # Somebody will write them once more, which the database knows by their numbers.
            trace.tier_failed(upper.name, str(error))
            raise

    async def _apply(self, changes: Sequence[Change], patience: float) -> list[Fate]:
        """What the database says; what it can never take is set aside."""
        size = sum([len(change.entry.data) for change in changes])
        fault: Exception | None = None
        with Call(self.base.breaker, patience + PER_BYTE * size):
            try:
                return await self._database.apply(changes)
            except (TierUnavailable, OSError, EOFError):
                raise
            except Exception as error:  # noqa: BLE001 - one of them cannot be written, whichever
                fault = error
        if len(changes) > 1:
            return [fate for change in changes for fate in await self._apply([change], patience)]
        (change,) = changes
        await self._give_up(change, f"{type(fault).__name__}: {fault}")
        return [Fate.VOID]

    async def _give_up(self, change: Change, why: str) -> None:
        """Set it aside. First what the database has goes: it is older, and would be read again."""
        logger.error("a change of %s cannot be written, and is set aside: %s", change.key, why)
        await self.base.invalidate([key_name(change.key)])
        with Call(self.upper.breaker, self.upper.timeout):
            await self.journal.set_aside(change, why)

    async def backlog(self) -> Backlog:
        with Call(self.upper.breaker, self.upper.timeout):
            return await self.journal.backlog()

    async def drain(self) -> None:
        """Write what waits now, for a while; the rest is for the next process."""
        try:
            async with asyncio.timeout(DRAIN):
                newest = (await self.backlog()).newest
                while newest and (backlog := await self.backlog()).changes:
                    if backlog.oldest > newest:
                        break
                    if not await self.write_batch():
                        await asyncio.sleep(LINGER)  # others are at work on the rest
        except (TimeoutError, TierUnavailable) as error:
            if self.put_here or isinstance(error, TimeoutError):
                logger.warning(_LEFT)

    def _say(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            logger.warning("%s: %s", self.upper.name, sentence)
