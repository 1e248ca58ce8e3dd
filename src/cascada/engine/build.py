"""How an engine is put together: its tiers behind their guards, its feed, its life.

`Cache` calls `build`, once; tests that bring tiers of their own do, too. Nothing else makes an
`Engine`, and nothing is connected here: that is done at the first use, on its event loop.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from cascada.codecs.sealing import KeyRing, require
from cascada.codecs.values import ValueCodec
from cascada.engine.bypass import Bypass
from cascada.engine.decide import due_at
from cascada.engine.engine import Engine
from cascada.engine.filing import Filing
from cascada.engine.home.lifecycle import Lifecycle
from cascada.engine.kinds import Kinds
from cascada.engine.left_behind import LeftBehind
from cascada.engine.moving import Mover
from cascada.engine.selfcheck import SelfCheck
from cascada.engine.stack import Stack
from cascada.engine.strategies.ahead import Prefetcher
from cascada.engine.tasks.limits import LoadLimits
from cascada.engine.telling.trace import Trace
from cascada.engine.warm_restart import Restart
from cascada.engine.write_behind import WriteBehind
from cascada.engine.writing.forget import heard
from cascada.model.clock import Clock, SystemClock
from cascada.model.dependencies import Dependencies
from cascada.model.door.wrapping import read_wrapping_keys
from cascada.model.errors import Misuse
from cascada.model.options import Options
from cascada.model.ttl import seconds
from cascada.tiers.capabilities import (
    Bars,
    Feed,
    FeedSource,
    Forgetful,
    KeepsJournal,
    LoadsByTurns,
    Outbox,
    TakesChanges,
)
from cascada.tiers.contract import Tier
from cascada.tiers.datastore import DataStore, KeepsData
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.guarded_datastore import GuardedData
from cascada.tiers.guarded_journal import GuardedJournals
from cascada.tiers.memory.datastore import MemoryData
from cascada.tiers.memory.tier import MemoryTier
from cascada.tiers.sealed import SealedTier
from cascada.tiers.sealed_data import SealedData
from cascada.tiers.sealing import NO_KEYS, KeepsKeys, Sealing

logger = logging.getLogger("cascada")

_NO_JOURNAL: Final = (
    "write_strategy is WRITE_BEHIND, which takes a Redis and a database; without both it is "
    "WRITE_THROUGH"
)


def build(
    options: Options,
    lower: Sequence[Tier],
    clock: Clock | None = None,
    enter: Callable[[str], None] = lambda tenant: None,
) -> Engine:
    """The engine of these options, over the tiers `lower`, top to bottom.

    `enter` makes a tenant the current one, for a loader that no caller has brought.
    """
    clock = clock or SystemClock()
    limits = options.limits
    trace = Trace(options.observers, clock.monotonic, [tier.name for tier in lower])
    kinds = Kinds(
        options.policies,
        options.default_policy,
        seconds(limits.default_ttl),
        refreshes_ahead=options.read_strategy == "REFRESH_AHEAD",
    )
    memory = MemoryTier(
        clock,
        capacity_bytes=limits.l1_bytes,
        eviction=limits.eviction,
        kind_of=kinds.of_prefix,
        kind_for=kinds.of_key,
        due_at=partial(due_at, debug=options.debug),
    )
    kind = GuardedTier if options.encryption_keys is None else SealedTier
    guarded: list[GuardedTier] = [
        kind(
            tier,
            clock,
            timeout=limits.op_timeout,
            catches_up=tier is not lower[-1] and isinstance(lower[-1], Outbox),
            watcher=trace,
        )
        for tier in lower
    ]
    if lower and limits.degraded_l1_ttl == math.inf:
        logger.warning(
            "degraded_l1_ttl is inf, which is for a single process: while a tier is away "
            "memory goes on for ever, and hears of nothing that others change"
        )
    stack = Stack(
        memory,
        guarded,
        kinds=kinds,
        codec=ValueCodec(compress_over=limits.compress_over, debug=options.debug),
        clock=clock,
        trace=trace,
        limits=limits,
        dependencies=Dependencies(options.dependencies),
        prices=options.prices,
        reads_around=options.read_strategy == "READ_AROUND",
        writes_around=options.write_strategy == "WRITE_AROUND",
        observing=options.mode == "observe",
        watched=options.mode != "on",
        debug=options.debug,
    )
    memory.names.on_forgotten = partial(heard, stack)
    trace.hides_all = options.encrypt == "all"
    _seal(options, guarded, kinds, clock)
    stack.journals = GuardedJournals.of_lowest(guarded)
    behind = _behind(stack, guarded)
    if options.write_strategy == "WRITE_BEHIND":
        stack.behind = behind
        if behind is None:
            logger.warning(_NO_JOURNAL)
        else:
            behind.base.written_behind = behind.waiting
    elif behind is not None:
        stack.left_behind = LeftBehind(behind)
    stack.ahead = Prefetcher(stack, limits.prefetch_budget, clock, enter)
    for data_type, policy in options.policies.items():
        if policy.type is not None:
            stack.codec.declared(policy.type, f"the Policy.type of {data_type}")
    data = _data_of(guarded, clock)
    _let_one_process_load(guarded)
    check = SelfCheck(stack, partial(Bypass, stack), limits.self_check)
    feed = _feed(stack, lower[0], limits.op_timeout, clock) if lower else None
    filing = Filing(stack, options.namespace)
    mover = Mover(stack, limits.optimize_every)
    noted = _data_of(guarded[::-1], clock)  # the lowest: it is there when the others are away
    restart = Restart(
        stack,
        None if isinstance(noted, MemoryData) else noted,
        limits.warm_restart or 0 if options.mode == "on" else 0,
    )

    def on_bind() -> None:
        check.settle()
        filing.begin()
        mover.begin()
        restart.begin()

    life = Lifecycle(
        stack,
        feed,
        lambda: LoadLimits(limits.max_loads, limits.max_loads_per_type, limits.load_wait),
        tuple(each for each in (*lower, data, filing) if isinstance(each, Forgetful)),
        on_bind,
    )
    mover.life = restart.life = life
    return Engine(options, clock, stack, life, check, feed, data, filing, mover, restart)


def _seal(options: Options, lower: Sequence[GuardedTier], kinds: Kinds, clock: Clock) -> None:
    """See that what is sensitive leaves sealed; without keys it may be kept in memory alone."""
    if not lower:
        return
    keys, everything = options.encryption_keys, options.encrypt == "all"
    if keys is None:
        sensitive = [name for name, policy in options.policies.items() if policy.sensitive]
        if options.default_policy.sensitive:
            sensitive.append("the default policy")
        if sensitive or everything:
            what = 'encrypt is "all"' if everything else f"{sensitive[0]} is sensitive"
            raise Misuse(f"{what}, which takes keys: {NO_KEYS}")
        return
    base = lower[-1]
    if not isinstance(base.tier, KeepsKeys):
        raise Misuse(f"encryption_keys are given, and {base.tier!r} has no place for tenants' keys")
    require()
    sealing = Sealing(
        KeyRing(read_wrapping_keys(keys)),
        base.tier.wrapped_keys,
        base.breaker,
        base.timeout,
        namespace=options.namespace,
        is_sensitive=lambda data_type: everything or kinds.policy(data_type).sensitive,
        clock=clock,
    )
    for tier in lower:
        tier.sealing = sealing


def _feed(stack: Stack, authority: Tier, timeout: float, clock: Clock) -> Feed:
    """What tells memory of other processes' invalidations: the first tier below it."""
    if not isinstance(authority, FeedSource):
        raise TypeError(f"{authority!r} stands below memory and tells nothing of invalidations")
    feed = authority.make_feed(
        stack.memory,
        clock,
        timeout=timeout,
        on_error=lambda why: stack.trace.tier_failed("feed", why),
    )
    stack.listen(feed)
    return feed


def _behind(stack: Stack, lower: Sequence[GuardedTier]) -> WriteBehind | None:
    """What tells the lowest tier later what was set, if one above it has a journal."""
    if (
        len(lower) > 1
        and isinstance((upper := lower[0]).tier, KeepsJournal)
        and isinstance(journal := upper.tier.journal_of(""), Bars)
        and isinstance((base := lower[-1]).tier, TakesChanges)
    ):
        parts = upper, journal, journal, base, base.tier
        return WriteBehind(*parts, background=lambda: stack.background, trace=stack.trace)
    return None


def _data_of(lower: Sequence[GuardedTier], clock: Clock) -> DataStore:
    """Where lists and counters are kept: by the first shared tier that does, else here."""
    for guarded in lower:
        if isinstance(guarded.tier, KeepsData):
            data = GuardedData(guarded, guarded.tier.data)
            return data if guarded.sealing is None else SealedData(data, guarded.sealing)
    return MemoryData(clock)


def _let_one_process_load(lower: Sequence[GuardedTier]) -> None:
    """By turns in the lowest tier, while no tier above it can say by a lease whose turn it is."""
    if lower and isinstance(base := lower[-1].tier, LoadsByTurns):
        base.somebody_above = lambda: any(tier.available for tier in lower[:-1])
