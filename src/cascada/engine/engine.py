"""One engine, assembled: the tiers that the options name, and the life that runs them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from threading import get_ident
from typing import Any, Final

from cascada.codecs.values import ValueCodec
from cascada.engine.answers import Lookups
from cascada.engine.build import data_of, let_one_process_load
from cascada.engine.kinds import Kind, Kinds
from cascada.engine.lifecycle import Lifecycle
from cascada.engine.loading import dependencies as sources
from cascada.engine.reading import read
from cascada.engine.reading.fences import Fence
from cascada.engine.reading.levels import LevelLookup, MakeLoader
from cascada.engine.request import Answer, Fences, Loader, Request
from cascada.engine.selfcheck import SelfCheck
from cascada.engine.stack import Stack
from cascada.engine.tasks.limits import Limits
from cascada.engine.trace import Trace
from cascada.model.clock import Clock, SystemClock
from cascada.model.dependencies import Dependencies
from cascada.model.entry import UNSET, Flag, Hit, Miss
from cascada.model.errors import CorruptEntry
from cascada.model.keys import Key
from cascada.model.options import Options
from cascada.model.ttl import seconds
from cascada.tiers.capabilities import Feed, FeedSource, Forgetful, Outbox
from cascada.tiers.contract import Tier
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.memory.record import Record
from cascada.tiers.memory.tier import MemoryTier

logger = logging.getLogger("cascada")

_bypassed: Final[ContextVar[tuple[Engine, ...]]] = ContextVar("cascada_bypass", default=())


class Bypass:
    """`with` it, reads go to their sources. (No `contextmanager`: that fails for some errors.)"""

    def __init__(self, assembly: Engine) -> None:
        self._engine = assembly

    def __enter__(self) -> None:
        self._token = _bypassed.set((*_bypassed.get(), self._engine))
        self._engine.stack.bypasses += 1
        self._engine.stack.watchers += 1

    def __exit__(self, *error: object) -> None:
        self._engine.stack.watchers -= 1
        self._engine.stack.bypasses -= 1
        _bypassed.reset(self._token)


class Engine(Lookups):
    """A stack, its life, and the calls that all faces make of them."""

    def __init__(self, options: Options, lower: Sequence[Tier], clock: Clock | None = None) -> None:
        self.options = options
        self.clock = clock = clock or SystemClock()
        trace = Trace(options.observers, clock.monotonic)
        kinds = Kinds(options.policies, options.default_policy, seconds(options.default_ttl))
        memory = MemoryTier(
            clock,
            capacity_bytes=options.l1_bytes,
            kind_of=kinds.of_key,
            due_at=lambda kind, entry: self.stack.decide_from(kind, entry),
        )
        guarded = [
            GuardedTier(
                tier,
                clock,
                timeout=options.op_timeout,
                catches_up=tier is not lower[-1] and isinstance(lower[-1], Outbox),
                watcher=trace,
            )
            for tier in lower
        ]
        if lower and options.degraded_l1_ttl == math.inf:
            logger.warning(
                "degraded_l1_ttl is inf, which is for a single process: while a tier is away "
                "memory goes on for ever, and hears of nothing that others change"
            )
        self.stack = Stack(
            memory,
            guarded,
            kinds=kinds,
            codec=ValueCodec(compress_over=options.compress_over, debug=options.debug),
            clock=clock,
            trace=trace,
            load_timeout=options.load_timeout,
            degraded_l1_ttl=options.degraded_l1_ttl,
            invalidate_patience=options.invalidate_patience,
            on_pending=options.on_pending,
            max_value_bytes=options.max_value_bytes,
            dependencies=Dependencies(options.dependencies),
            watched=options.mode != "on",
            debug=options.debug,
        )
        for data_type, policy in options.policies.items():
            if policy.type is not None:
                self.stack.codec.declared(policy.type, f"the Policy.type of {data_type}")
        self.data = data_of(guarded)
        let_one_process_load(guarded)
        self._decode = self.stack.codec.decode
        self.check = SelfCheck(self.stack, self.bypass, options.self_check)
        self.feed = self._feed(lower[0]) if lower else None
        self.life = Lifecycle(
            self.stack,
            self.feed,
            lambda: Limits(options.max_loads, options.max_loads_per_type, options.load_wait),
            tuple(each for each in (*lower, self.data) if isinstance(each, Forgetful)),
            self.check.settle,
        )

    def _feed(self, authority: Tier) -> Feed:
        """What tells memory of other processes' invalidations: the first tier below it."""
        if not isinstance(authority, FeedSource):
            raise TypeError(f"{authority!r} stands below memory and tells nothing of invalidations")
        trace = self.stack.trace
        feed = authority.make_feed(
            self.stack.memory,
            self.clock,
            timeout=self.options.op_timeout,
            on_error=lambda why: trace.tier_failed("feed", why),
        )
        self.stack.listen(feed)
        return feed

    # --- hits ---------------------------------------------------------------------------------

    def glance(self, key: Key, want: Any = None) -> Hit[Any] | None:
        """What memory answers at once; None sends the caller to the slow path."""
        record = self.stack.memory.peek(key)
        if record is None or get_ident() != self.life.home._thread_id:
            return None
        return self.hit(record, want)

    def hit(self, record: Record, want: Any = None) -> Hit[Any] | None:
        """A record that `peek` let through, decoded to `want`, else to what the policy says.

        This runs on every hit: it counts, and looks further only if anybody watches."""
        value = record.value if want is None else UNSET
        if value is UNSET and (value := self.decoded(record, want)) is UNSET:
            return None
        if self.stack.watchers:
            if self.passing_by or sources.must_ask_below(self.stack):
                return None
            sources.note_key(self.stack, record.key, record)
            self.stack.trace.hit_in_memory(record.kind, record.key)
        record.kind.l1 += 1
        age = record.used - record.born
        return Hit(value, "l1", age, False, False, record)

    def decoded(self, record: Record, want: Any = None) -> object:
        """The value of a record that keeps only its bytes; UNSET if they do not decode."""
        wanted = record.kind.policy.type if want is None else want
        try:
            return self._decode(record.data, record.codec, record.flags, type=wanted)
        except CorruptEntry:
            return UNSET  # the slow path counts it and replaces it

    def glance_many(self, kind: Kind, keys: Iterable[Key]) -> list[Hit[Any] | None]:
        """`glance` at many keys of one kind, at one moment."""
        memory, now = self.stack.memory, self.stack.timer()
        if now >= memory.freshness.until or get_ident() != self.life.home._thread_id:
            return [self.glance(key) for key in keys]
        found: list[Hit[Any] | None] = []
        written_out = 0
        for record in map(memory.records.get, keys):
            if record is None:
                found.append(None)
            elif (
                now < record.due
                and record.q >= record.clock.q
                and (value := record.value) is not UNSET
            ):
                record.used = now
                written_out += 1
                age = now - record.born
                found.append(Hit(value, "l1", age, False, False, record))
            else:
                found.append(self.glance(record.key))
        kind.l1 += written_out
        return found

    async def load(self, request: Request, loader: Loader) -> Hit[Any] | Miss:
        """The slow path of `load`."""
        (answer,) = await self.answers([request], loader)
        return self.answered(request, answer)

    async def load_many(self, requests: Sequence[Request], loader: Loader) -> list[Hit[Any] | Miss]:
        answers = await self.answers(requests, loader)
        return [
            self.answered(request, answer)
            for request, answer in zip(requests, answers, strict=True)
        ]

    async def answers(self, requests: Sequence[Request], loader: Loader) -> list[Answer]:
        """Answers with all that is known of them, as the mode says."""
        if not self.passing_by:
            await self.life.ready()
            answers = await read.load(self.stack, requests, loader)
            if self.check.armed:
                self.check.sample(requests, answers, loader)
            return answers
        await self.life.ready()
        if self.options.mode != "observe" or self._bypassed:
            return await read.load_uncached(self.stack, requests, loader)
        answers = await read.load(self.stack, requests, loader)
        served = [
            index
            for index, answer in enumerate(answers)
            if answer.tier != "source" or answer.coalesced
        ]
        if served:
            asked = [requests[index] for index in served]
            started = self.stack.timer()
            truths = await read.load_uncached(self.stack, asked, loader)
            spent = self.stack.timer() - started
            self.check.observe(asked, [answers[index] for index in served], truths, loader, spent)
            for index, truth in zip(served, truths, strict=True):
                answers[index] = truth
        return answers

    async def load_by_level(
        self,
        request: Request,
        loader: Callable[..., Any] | None,
        generator: Callable[..., Any] | None,
        make: MakeLoader,
    ) -> Hit[Any] | Miss:
        """The slow path of `load` where the lookup is strict."""
        return self.answered(request, await self.by_level(request, loader, generator, make))

    async def by_level(
        self,
        request: Request,
        loader: Callable[..., Any] | None,
        generator: Callable[..., Any] | None,
        make: MakeLoader,
    ) -> Answer:
        """The answer of a strict lookup: what is known, else what the source says by level."""
        fences: list[Fences] = [{}] * len(request.candidates)
        if self.storing:
            await self.life.ready()
            wanted = not self.passing_by
            known, fences = await read.known(self.stack, request, wanted=wanted)
            if known is not None and not (generator and known.entry.flags & Flag.ABSENT):
                return known
        levels = LevelLookup(self.stack, loader, request.candidates, make)
        for key, fence in zip(request.candidates, fences, strict=True):
            since = fence if levels.asked else None
            level = Request(request.kind, (key,), request.context, request.want, since=since)
            (answer,) = await self.answers([level], levels.at(key))
            if not (answer.absent or answer.entry.flags & Flag.ABSENT):
                return answer
        if generator is not None:
            full = Request(
                request.kind,
                request.candidates[:1],
                request.context,
                request.want,
                generating=True,
            )
            (answer,) = await self.answers([full], make(None, generator))
        return answer

    async def ttl(self, request: Request) -> float | None:
        await self.life.ready()
        exact = Request(request.kind, request.candidates[:1])
        (answer,) = await read.get(self.stack, [exact], counted=False)
        if isinstance(answer, Fence):
            return None
        return max(0.0, answer.entry.fresh_until - self.stack.now())

    # --- modes --------------------------------------------------------------------------------

    @property
    def passing_by(self) -> bool:
        """Whether this call goes straight to its source."""
        return self.options.mode != "on" or self._bypassed

    @property
    def storing(self) -> bool:
        """Whether the tiers are used at all: not in mode off, nor inside `bypass()`."""
        return self.options.mode != "off" and not self._bypassed

    def bypass(self) -> Bypass:
        """Inside the block, in this task and those it starts, reads go to their sources."""
        return Bypass(self)

    @property
    def _bypassed(self) -> bool:
        # A task that was started inside a block keeps its context when the block has ended.
        return self.stack.bypasses > 0 and self in _bypassed.get()
