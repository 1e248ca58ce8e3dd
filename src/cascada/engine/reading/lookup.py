"""A lookup: a batch of requests on their way down through the tiers.

Each tier is asked for all candidates of the requests that are still pending, in one call. Memory
comes first, at once and without waiting (`in_memory`); then the tiers below it (`below`). Where a
tier has no answer and something further down may, its lease is taken before going on, so that
whatever is found below can be filled in (`backfill`), unless it is invalidated meanwhile.

Memory is filled only where the tier that numbers the invalidations (the authority: the first below
memory, or memory itself if it is alone) answered, with the seq of that answer: without a number,
nothing later could tell whether an invalidation came before or after the value was read. Where the
authority is away and no other tier is below it, memory keeps what is loaded for a while all the
same, apart from the rest (`MemoryTier.lease_meanwhile`).

`get` and `load` make one for all that they ask, the self-check and `set` for one request. A lookup
must never ask a source.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

from cascada.engine import decide, placement
from cascada.engine.decide import Choice, Verdict
from cascada.engine.loading import dependencies as sources
from cascada.engine.reading.backfill import backfill_found, lease, release
from cascada.engine.reading.fast_path import Answers, SharedRead
from cascada.engine.reading.item import Item
from cascada.engine.request import Answer, Request
from cascada.engine.stack import Stack
from cascada.model.entry import UNSET
from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.tiers.contract import NEVER, Found, Missing, Tier, Why


class Lookup:
    """See the module's text.

    `loading`: what is not found will be loaded, so that leases are taken in every tier, and what is
    due or stale is no end. `at_once`: all answers are of one moment, that is of one tier: what
    memory has is none, and what the tiers below it have is none as long as one of them lacks a key.
    `for_memory`: what is found fills memory, and is given to nobody, so that it is decoded only
    where memory keeps values.
    """

    def __init__(
        self,
        stack: Stack,
        requests: Sequence[Request],
        *,
        loading: bool = False,
        at_once: bool = False,
        for_memory: bool = False,
    ) -> None:
        self.stack = stack
        self.items = list(map(Item, requests))
        # All are of one type.
        self.lower = stack.lower_of(requests[0]) if requests else stack.lower
        self._loading = loading
        self._at_once = at_once
        self._for_memory = for_memory
        # The load that it is a part of, and so the tiers whose values it may not be given: what it
        # has looked at there, it has not.
        self.context = sources.current(stack)
        self.refused: frozenset[str] = frozenset()
        if self.context is not None:
            names = [stack.memory.name, *[tier.name for tier in self.lower]]
            self.refused = frozenset(names[:-1])
        if at_once:
            self.refused |= {stack.memory.name}

    def pending(self) -> list[Item]:
        """The items that have no answer yet."""
        return [item for item in self.items if item.answer is None]

    def of(self, items: list[Item]) -> Lookup:
        """Some of its items, for somebody else to go on with."""
        part = copy(self)
        part.items = items
        return part

    def again(self, items: Sequence[Item]) -> Lookup:
        """Some of its items, looked up anew for the same flights."""
        anew = Lookup(self.stack, [item.request for item in items], loading=self._loading)
        for item, old in zip(anew.items, items, strict=True):
            item.flight = old.flight
        anew.in_memory()
        return anew

    async def run(self) -> list[Item]:
        """Ask tier after tier until each item has an answer, and fill what was passed."""
        self.in_memory()
        if self.lower:
            await self.below()
        return self.items

    def in_memory(self) -> None:
        """Ask memory, and take its leases for what it lacks and something further down may have."""
        stack, memory = self.stack, self.stack.memory
        for item in self.items:
            request = item.request
            keys = request.candidates
            if len(keys) > 1:
                keys = stack.keys_for(memory, keys)
            self._take(memory, item, list(map(memory.look, keys)))
            if item.answer is None and (self._loading or self.lower):
                since = request.since
                seen = item.seen[memory.name][0] if since is None else since.get(memory.name, NEVER)
                # Memory that may not be trusted is filled all the same: what it kept would else
                # come back with the trust, older than what was stored below meanwhile.
                item.leases[memory] = memory.grant(request.key, seen)

    async def below(self, shared: SharedRead | None = None) -> None:
        """Go on from memory to the tiers below it.

        `shared` is what the authority has answered a moment ago, or that it did not answer, so that
        it need not be asked again.
        """
        try:
            await self._ask_below(shared)
            in_memory = self.stack.memory.name
            found = [each for each in self.items if each.answer and each.answer.tier != in_memory]
            if found:
                await backfill_found(self.stack, found, loading=self._loading)
        except BaseException:
            # Its callers have left, or it failed: others would wait for a load that nobody runs.
            await release(self.stack, self.items)
            raise

    async def _ask_below(self, shared: SharedRead | None) -> None:
        pending = self.pending()
        partly: list[Answer | None] = []
        for tier in self.lower:
            if not pending:
                return
            await self._ask(tier, pending, shared)
            if self._at_once:
                partly = self._only_of_one_tier(tier, partly)
            pending = self.pending()
            if self._loading:
                for item, found in await lease(self.stack, tier, pending):
                    if tier.name not in self.refused:
                        self._take(tier, item, [found])
        if self.context is not None and not self._at_once:
            for item in self.items:
                self._take_from_above(item)

    def _take_from_above(self, item: Item) -> None:
        """A load's own read takes what has its place above the lowest tier, where that has nothing,
        or only a more general value. What is made of it then has no place in the lowest, either:
        the tier that had it is the last to be told what ends it, and ends both."""
        (tier, seen), request = item.above, item.request
        if tier is None or not placement.is_above(request.kind.policy, seen):
            return
        served = self._served(tier, item, seen)
        if served is None or served[1] is not Verdict.FRESH:
            return
        answer, there = served[0], item.answer
        depth = [found.found_at for found in (answer, there) if found is not None]
        if there is None or request.candidates.index(depth[0]) < request.candidates.index(depth[1]):
            item.answer = answer
            answer.above = True

    def _only_of_one_tier(self, tier: Tier, above: list[Answer | None]) -> list[Answer | None]:
        """Take back what a tier has of some, as long as another one is below it; `above` is what
        was taken back of the tier above. An invalidation reaches the tiers below first, so that
        half of a cascade would be found."""
        if above and _is_away(tier, self.items):
            # Nobody knows more than the tier above, which has told all that it has at one moment.
            for item, answer in zip(self.items, above, strict=True):
                item.answer = answer
        some = 0 < len(self.pending()) < len(self.items)
        if not some or tier is self.lower[-1]:
            return []
        taken = [item.answer for item in self.items]
        for item in self.items:
            item.answer = None
        return taken

    async def _ask(self, tier: Tier, items: Sequence[Item], shared: SharedRead | None) -> None:
        stack, memory = self.stack, self.stack.memory
        keys = list(dict.fromkeys(key for item in items for key in item.request.candidates))
        try:
            if shared is None or tier is not stack.authority or shared.since != memory.moment():
                answers: Answers = dict(zip(keys, await tier.read(keys), strict=True))
            elif isinstance(shared.answers, TierUnavailable):
                raise shared.answers
            else:
                answers = shared.answers
        except TierUnavailable as error:
            stack.trace.tier_failed(tier.name, str(error))
            for item in items:
                # A number below all: a `set` that relies on this miss is refused by every tier.
                unknown = Missing(-1, Why.UNAVAILABLE)
                item.seen[tier.name] = [unknown] * len(item.request.candidates)
                if tier is stack.authority:
                    self._do_without(item)
            return
        if tier is stack.authority:
            memory.end_meanwhile()
        for item in items:
            seen = [answers[key] for key in item.request.candidates]
            if tier is stack.authority:
                number = min(answer.seq for answer in seen)
                if (since := item.request.since) is not None:
                    number = min(number, since.get(tier.name, NEVER).seq)
                item.leases[memory].seq = number
            self._take(tier, item, seen)

    def _do_without(self, item: Item) -> None:
        """The authority is away: what memory had serves for a while, called stale; else what is
        loaded is kept for a while.

        What memory had is not for a load's own reads, whose result would outlive it.
        """
        stack, request = self.stack, item.request
        memory, policy = stack.memory, request.kind.policy
        item.leases.pop(memory, None)
        record = memory.last_known(request.key, stack.degraded_l1_ttl)
        if record is not None and not policy.strict and not sources.must_ask_below(stack):
            served = self._served(memory, item, [Found(record, record.seq)])
            if served is not None and served[1] is not Verdict.FALLBACK:
                item.answer = served[0]
                item.answer.stale = True
        if self._loading and item.answer is None and stack.goes_on_without(request):
            since = request.since
            seen = None if since is None else since.get(memory.name, NEVER)
            item.leases[memory] = memory.lease_meanwhile(request.key, seen, stack.degraded_l1_ttl)

    # --- what a tier answered -----------------------------------------------------------------

    def _take(self, tier: Tier, item: Item, seen: list[Found | Missing]) -> None:
        """Judge what a tier answered for an item's candidates."""
        if tier.name in self.refused:
            if tier is not self.stack.memory and item.above[0] is None:
                item.above = tier, seen
            seen = [Missing(answer.seq, epoch=answer.epoch) for answer in seen]
        # As it was answered: a lease has to know of an entry that does not decode, to replace it.
        item.seen[tier.name] = seen
        for each in seen:
            if not isinstance(each, Missing) or each.why is Why.CORRUPT:
                break
        else:
            return
        if (served := self._served(tier, item, seen)) is None:
            return
        answer, verdict = served
        if verdict is Verdict.FRESH or (not self._loading and verdict is not Verdict.FALLBACK):
            item.answer = answer
        elif verdict is Verdict.FALLBACK:
            item.fallback = answer
        else:
            item.servable = answer

    def _served(
        self, tier: Tier, item: Item, seen: Sequence[Found | Missing]
    ) -> tuple[Answer, Verdict] | None:
        """The candidate that may be served, decoded. One that does not decode counts as missing."""
        stack, request = self.stack, item.request
        for index, each in enumerate(seen):
            if isinstance(each, Missing) and each.why is Why.CORRUPT:
                why = "it is damaged, or another key's"
                stack.trace.corrupt(request.kind, request.candidates[index], tier.name, why)
        # What memory has found due is not fresh further down, where nobody counts its hits.
        hot = item.servable is not None and not item.servable.stale
        while (choice := choose(stack, request, seen, hot=hot)).at is not None:
            found, key = seen[choice.at], request.candidates[choice.at]
            assert isinstance(found, Found)
            value: Any = UNSET
            try:
                if not self._for_memory or request.kind.policy.shared:
                    value = stack.decode(found.entry, request.kind, request.want)
            except CorruptEntry as error:
                stack.trace.corrupt(request.kind, key, tier.name, str(error))
                seen = list(seen)
                seen[choice.at] = Missing(found.seq, Why.CORRUPT)
                continue
            stale = choice.verdict in (Verdict.STALE, Verdict.FALLBACK)
            answer = Answer(found.entry, tier.name, value=value, stale=stale, found_at=key)
            return answer, choice.verdict
        return None


def choose(
    stack: Stack, request: Request, seen: Sequence[Found | Missing], *, hot: bool = False
) -> Choice:
    """Which candidate of a request may be served, of what one tier has answered."""
    return decide.choose(
        seen,
        request.kind.policy,
        stack.now(),
        generating=request.generating,
        candidates=len(request.candidates),
        stale_for=request.stale_for,
        hot=hot,
    )


def _is_away(tier: Tier, items: Sequence[Item]) -> bool:
    """Whether a tier could not answer what it was asked."""
    answers = [item.seen[tier.name][0] for item in items]
    return all(isinstance(each, Missing) and each.why is Why.UNAVAILABLE for each in answers)
