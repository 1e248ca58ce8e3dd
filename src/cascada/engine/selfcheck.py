"""Whether what the tiers serve is what the source says.

A hit is compared with its source, which is asked past all tiers. Where they differ, the
invalidation may still be on its way, so both are looked at again after 1 s and after 10 s (the
method of Meta's Polaris); what still differs then is stale for good, as far as anybody can tell.
In mode on, one hit of a `load` is taken each time that the timer has armed the check; in mode
observe every one is, since the caller gets the source's answer anyway.

What must not be mistaken for a stale value:

- A source that does not say the same thing twice (a language model, a random order) would always
  differ. So it is asked once more as soon as it differs, and if it contradicts itself, nothing is
  counted but that the hit could not be checked. Neither can what a generator made: it is not run
  for a check, and it need not make the same again.
  A type whose source has done so several times, and never agreed, is not asked again; one whose
  policy says `checkable=False` never is.
- A row that changes between two looks, with its invalidation. So a later look counts only if the
  tiers hold the same entry after the source was asked as before.

Nobody waits for a check: it runs in the background, ends with the engine, and takes one of the
slots that bound all loads. Its failures are the source's, and only counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from cascada.engine.loading import dependencies as sources
from cascada.engine.loading.encode import encoded
from cascada.engine.reading.load import load_uncached
from cascada.engine.reading.lookup import Lookup
from cascada.engine.request import Answer, Loader, Request
from cascada.engine.stack import Stack
from cascada.model.bills.bill import UNKNOWN
from cascada.model.door.secret import without_values
from cascada.model.entry import Codec, Entry, Flag
from cascada.model.errors import SerializationError
from cascada.model.policy import is_checkable

logger = logging.getLogger("cascada")

PAUSES: Final = (1.0, 9.0)
"""Seconds before the second and the third look, which are so made 1 s and 10 s after the first."""

PATIENCE: Final = 30.0
"""Seconds that a source may take to answer a check, where loads have no bound of their own."""

PASSED_OVER: Final = 16
"""Hits (fewer than that, at random) that are passed over once the check is armed: else a value that
is always read right after another, as in one request, would never be the next."""

CONTRADICTIONS: Final = 3
"""Checks of one data type that its source contradicted itself in, and none that it did not, after
which it counts as one that never says the same: each check has called a model twice by then."""

MOST: Final = 16
"""Comparisons of one data type under way; while there are as many, hits go uncompared. All of
them, not those alone that would differ: the share of those is what is measured."""


class SelfCheck:
    """The comparisons of one engine. `armed`: one of the next hits is to be compared."""

    def __init__(
        self,
        stack: Stack,
        bypass: Callable[[], AbstractContextManager[None]],
        interval: float | None = None,
    ) -> None:
        self.armed = False
        self.pauses = PAUSES
        self._stack = stack
        self._bypass = bypass
        self._interval = interval
        self._passed_over = 0
        self._under_way: Counter[str] = Counter()
        self._contradicted: Counter[str] = Counter()

    def settle(self) -> None:
        """Start on an event loop, with nothing under way."""
        self._under_way = Counter()
        if self._interval:
            self._stack.background.keep_running(
                partial(self._keep_arming, self._interval), "self-check"
            )

    async def _keep_arming(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            if not self.armed:
                self._passed_over = random.randrange(PASSED_OVER)
                self.armed = True

    def sample(
        self, requests: Sequence[Request], answers: Sequence[Answer], loader: Loader
    ) -> None:
        """Compare the hit whose turn it is, if it is among these answers."""
        for request, answer in zip(requests, answers, strict=True):
            if not _is_plain_hit(answer) or not self._is_comparable(request):
                continue
            if self._passed_over:
                self._passed_over -= 1
            else:
                self.armed = False
                if self._has_room(request):
                    self._start(request, answer.entry, None, loader)
                return

    async def observe_load(
        self, requests: Sequence[Request], answers: list[Answer], loader: Loader
    ) -> list[Answer]:
        """The answers of a load in mode observe: what a tier served gives way to the source's."""
        served = [
            index
            for index, answer in enumerate(answers)
            if answer.tier != "source" or answer.coalesced
        ]
        if not served:
            return answers
        asked = [requests[index] for index in served]
        started = self._stack.timer()
        truths = await load_uncached(self._stack, asked, loader)
        spent = self._stack.timer() - started
        self.observe(asked, [answers[index] for index in served], truths, loader, spent)
        for index, truth in zip(served, truths, strict=True):
            answers[index] = truth
        return answers

    def observe(
        self,
        requests: Sequence[Request],
        answers: Sequence[Answer],
        truths: Sequence[Answer],
        loader: Loader,
        seconds: float,
    ) -> None:
        """Account for what would have been served, now that the source has said the truth.

        `seconds` is what it took to say all of it. The truths become their callers' own when this
        returns, so what is needed of them later is encoded here.
        """
        for request, answer, truth in zip(requests, answers, truths, strict=True):
            saved = truth.entry.cost - UNKNOWN  # that it is one is counted
            if answer.tier == "source":  # another caller's load: no hit
                request.kind.shared += saved
                continue
            request.kind.saved_below += saved
            request.kind.timed_hits += 1
            request.kind.timed_seconds += seconds / len(requests)
            if not _is_plain_hit(answer) or not self._has_room(request):
                continue
            if not self._is_comparable(request):
                request.kind.unchecked += 1
                continue
            said = self._said(request, truth)
            if said is None:
                request.kind.unchecked += 1
            elif self._same(request, answer.entry, said):
                request.kind.checked += 1
            else:
                self._start(request, answer.entry, said, loader)

    def _is_comparable(self, request: Request) -> bool:
        """Whether a difference would mean anything. Neither a policy that says no nor a source that
        contradicts itself makes the check wait for another hit of the type."""
        kind = request.kind
        wanted = is_checkable(kind.data_type, kind.policy)
        return wanted and self._contradicted[kind.data_type] < CONTRADICTIONS

    def _has_room(self, request: Request) -> bool:
        return self._under_way[request.kind.data_type] < MOST

    def _start(self, request: Request, served: Entry, said: Entry | None, loader: Loader) -> None:
        self._under_way[request.kind.data_type] += 1
        self._stack.background.run_aside(
            self._compare(request, served, said, loader), f"check {request.key}"
        )

    async def _compare(
        self, request: Request, served: Entry, said: Entry | None, loader: Loader
    ) -> None:
        """From the first comparison of a hit to the last; `said`: what the source said already."""
        kind = request.kind
        try:
            # Whoever was served may have been a loader: that load is not made of what is read here.
            sources.forget_load()
            if said is None and (said := await self._ask(request, loader)) is None:
                kind.unchecked += 1
                return
            if self._same(request, served, said):
                kind.checked += 1
                return
            again = await self._ask(request, loader)
            if again is None:
                kind.unchecked += 1
                return
            if not self._same(request, said, again):
                kind.unchecked += 1
                if not kind.checked:
                    self._contradicted[kind.data_type] += 1
                return
            kind.checked += 1
            kind.differed += 1
            await self._look_again(request, loader)
        finally:
            self._under_way[kind.data_type] -= 1

    async def _look_again(self, request: Request, loader: Loader) -> None:
        kind = request.kind
        await asyncio.sleep(self.pauses[0])
        if (differs := await self._differs(request, loader)) is False:
            return
        kind.differed_1s += differs is True
        await asyncio.sleep(self.pauses[1])
        if await self._differs(request, loader):
            kind.differed_10s += 1
            self._stack.trace.inconsistent(kind, request.key)

    async def _differs(self, request: Request, loader: Loader) -> bool | None:
        """Whether the tiers hold something else than the source says; None if nobody can tell."""
        before = await self._held(request)
        if before is None:
            return False
        said = await self._ask(request, loader)
        if said is None:
            return None
        if self._same(request, before, said):
            return False
        after = await self._held(request)
        # Else it was replaced while the source was asked, and nobody knows which came first.
        return after is not None and (after.created, after.data) == (before.created, before.data)

    async def _held(self, request: Request) -> Entry | None:
        """What a read would be served now, without counting it."""
        (item,) = await Lookup(self._stack, [request]).run()
        answer = item.answer
        return answer.entry if answer is not None and _is_plain_hit(answer) else None

    async def _ask(self, request: Request, loader: Loader) -> Entry | None:
        """What the source says now; None if it does not, or leaves it to a generator."""
        plain = Request(request.kind, request.candidates, request.context, request.want)
        try:
            # What the loader itself reads through the cache comes from its source as well.
            with self._bypass():
                async with asyncio.timeout(self._stack.load_timeout or PATIENCE):
                    (truth,) = await load_uncached(self._stack, [plain], loader)
            return self._said(request, truth)
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - the caller's own code may raise anything
            why = without_values(error)
            logger.debug("%s could not be compared with its source: %s", request.key, why)
            return None

    def _said(self, request: Request, truth: Answer) -> Entry | None:
        """The source's answer as the tiers would hold it; None if there is nothing to compare."""
        if truth.origin == "generator" or (truth.absent and request.generating):
            return None
        if truth.absent:
            return Entry(b"", Codec.NOTHING, Flag.ABSENT)
        try:
            return encoded(self._stack, request, truth.value, None, (), None)
        except SerializationError:
            return None

    def _same(self, request: Request, one: Entry, other: Entry) -> bool:
        """Whether a reader could not tell the two apart."""
        if (one.codec, one.data) == (other.codec, other.data):
            return True
        decode = self._stack.decode
        try:
            return bool(
                decode(one, request.kind, request.want) == decode(other, request.kind, request.want)
            )
        except Exception:  # noqa: BLE001 - arrays have no answer, and a class may compare as it likes
            return False


def _is_plain_hit(answer: Answer) -> bool:
    """Whether a tier served this as good; what is past its ttl says so, and promises nothing."""
    return answer.tier != "source" and not answer.stale
