"""Which tiers are attacked, how they are opened, and what they promise.

A configuration also names the faults that it is exposed to. What it stands on (servers that have
to run) is started by `stand` in the parent, before any worker; the workers find it through the
folder of the run.
"""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cascada import Cache, Limits
from cascada.engine import write_behind
from cascada.model.clock import SystemClock
from cascada.testing.inside import InsidePoll, inside
from cascada.tiers.capabilities import L1_LEASE, Change, Fate
from cascada.tiers.polled_feed import Changes, PolledFeed
from cascada.tiers.sqlite.tier import SqliteTier
from tests.chaos.keyspace import POLICIES, placed_policies
from tests.chaos.redis_ground import Ground, ProxiedTier, redis_ground
from tests.chaos.witness import Promise, Witness

DATABASE: Final = "cache.db"

PUSH: Final = 0.05
"""Seconds that an invalidation may take to reach another process's memory, pushed."""

ON_REDIS: Final = (
    "stopped redis", "restarted redis", "restored redis", "cut pushes", "cut commands", "flushed",
    "squeezed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Configuration:
    """See the module's text. `settle`: seconds of quiet after which all must be well: a feed has
    polled, what was owed is paid, the breaker has closed, the slowest loader has ended.
    `remembers_versions`: whether a version outlives its row and all tombstones (SqliteTier says
    that it does not, so it must not be asked for where tombstones are swept every second).
    `loses`: the lowest tier may lose what was added, to eviction or with its server.
    `rotates`: each worker wraps the tenants' keys anew all the time."""

    name: str
    about: str
    workers: int
    promise: Promise
    open: Callable[[Path, int], Cache]
    faults: tuple[str, ...]
    settle: float = 2.5
    remembers_versions: bool = True
    loses: bool = False
    rotates: bool = False
    stand: Callable[[Path, int], AbstractContextManager[Ground | None]] = lambda folder, workers: (
        nullcontext()
    )

    @property
    def shares(self) -> bool:
        """Whether there is a tier below memory, which a second audit asks without memory."""
        return self.workers > 1


# So short that an outage outlasts it, and what is pending is met, too.
# And willing to bring much ahead, where a workload has it, and to move entries all the time.
_HASTY: Final = Limits(
    degraded_l1_ttl=0, invalidate_patience=0.5, prefetch_budget=0.5, optimize_every=0.1
)


def _memory(folder: Path, slot: int) -> Cache:
    return Cache(policies=POLICIES, limits=Limits(prefetch_budget=0.5))


def _sqlite(folder: Path, slot: int) -> Cache:
    return Cache(database=str(folder / DATABASE), policies=POLICIES, limits=_HASTY)


def _tight(folder: Path, slot: int) -> Cache:
    """Everything is too small: rows are evicted, tombstones swept and memory full all the time."""
    tier = SqliteTier(
        folder / DATABASE,
        namespace="cascada",
        clock=SystemClock(),
        capacity_bytes=50_000,
        max_tombstones=24,
    )
    return Cache(
        tiers=[tier], policies=POLICIES, limits=Limits(**{**_HASTY.said, "l1_bytes": 60_000})
    )


def _redis(folder: Path, slot: int) -> Cache:
    return Cache(tiers=[ProxiedTier(folder, slot)], policies=POLICIES, limits=_HASTY)


def _full(folder: Path, slot: int) -> Cache:
    """Most values find no room in Redis, and have it in memory alone."""
    return Cache(
        tiers=[ProxiedTier(folder, slot, capacity=20_000)], policies=POLICIES, limits=_HASTY
    )


def _cut_off(folder: Path, slot: int) -> Cache:
    tier = ProxiedTier(folder, slot, whole=True)
    return Cache(tiers=[tier], policies=POLICIES, limits=_HASTY)


def _three(folder: Path, slot: int) -> Cache:
    database = SqliteTier(folder / DATABASE, namespace="chaos", clock=SystemClock())
    return Cache(tiers=[ProxiedTier(folder, slot), database], policies=POLICIES, limits=_HASTY)


def _sealed(folder: Path, slot: int) -> Cache:
    """All values are sealed, by keys that each worker wraps by another of the operator's."""
    keys = [f"{name}:{base64.b64encode(name.encode() * 32).decode()}" for name in "abcd"]
    return Cache(
        tiers=[
            ProxiedTier(folder, slot),
            SqliteTier(folder / DATABASE, namespace="chaos", clock=SystemClock()),
        ],
        policies=POLICIES,
        limits=_HASTY,
        encryption_keys=",".join(keys[slot % 4 :] + keys[: slot % 4]),
        encrypt="all",
    )


class Dawdling(SqliteTier):
    """A database that often takes longer for a change than its claim lasts."""

    async def apply(self, changes: Sequence[Change]) -> list[Fate]:
        await asyncio.sleep(random.choice((0, 0.01, 0.05, 0.3)))
        return await super().apply(changes)


def _behind(folder: Path, slot: int) -> Cache:
    """Values are written behind, and claims end so soon that others are faster."""
    write_behind.CLAIM = 0.1  # type: ignore[misc]
    return Cache(
        tiers=[
            ProxiedTier(folder, slot),
            Dawdling(folder / DATABASE, namespace="chaos", clock=SystemClock()),
        ],
        policies=POLICIES,
        limits=_HASTY,
        write_strategy="WRITE_BEHIND",
    )


def _durable_ground(folder: Path, workers: int) -> AbstractContextManager[Ground]:
    return redis_ground(folder, workers, "--appendonly", "yes", "--appendfsync", "always")


def _spared(folder: Path, slot: int) -> Cache:
    """Processes that do not mean the same types by `durable=False`."""
    database = SqliteTier(folder / DATABASE, namespace="chaos", clock=SystemClock())
    return Cache(
        tiers=[ProxiedTier(folder, slot), database], policies=placed_policies(slot), limits=_HASTY
    )


def _alone(folder: Path, slot: int) -> Cache:
    """Redis alone, and all defaults: memory keeps what is loaded and set while Redis is away."""
    return Cache(tiers=[ProxiedTier(folder, slot, whole=True)], policies=POLICIES)


def _defaults(folder: Path, slot: int) -> Cache:
    """As a user's, who has set nothing: memory goes on while the others are away."""
    database = SqliteTier(folder / DATABASE, namespace="chaos", clock=SystemClock())
    return Cache(tiers=[ProxiedTier(folder, slot), database], policies=POLICIES)


CONFIGURATIONS: Final = {
    each.name: each
    for each in (
        Configuration(
            "memory",
            "memory alone, one process",
            1,
            Promise(lease=0),
            _memory,
            faults=("stop",),
            settle=1.5,
        ),
        Configuration(
            "sqlite",
            "memory over a database, four processes",
            4,
            Promise(lease=L1_LEASE),
            _sqlite,
            faults=("stop", "kill", "lock"),
        ),
        Configuration(
            "sqlite-tight",
            "the same, with a database that evicts and sweeps all the time",
            4,
            Promise(lease=L1_LEASE),
            _tight,
            faults=("stop", "kill", "lock"),
            remembers_versions=False,
            loses=True,
        ),
        Configuration(
            "redis",
            "memory over Redis, which all share; four processes",
            4,
            Promise(lease=PUSH),
            _redis,
            faults=("stop", "kill", *ON_REDIS),
            loses=True,
            stand=redis_ground,
        ),
        Configuration(
            "redis-full",
            "the same, with so little room in Redis that memory alone has most values",
            4,
            Promise(lease=PUSH),
            _full,
            faults=("stop", "kill", *ON_REDIS),
            loses=True,
            stand=redis_ground,
        ),
        Configuration(
            "redis-frozen",
            "the same, with pushes that freeze on their way",
            4,
            Promise(lease=L1_LEASE + PUSH),
            _redis,
            faults=("stop", "frozen pushes"),
            loses=True,
            stand=redis_ground,
        ),
        Configuration(
            "redis-cut-off",
            "the same, with workers that are cut off from Redis without being told",
            4,
            Promise(lease=L1_LEASE + PUSH),
            _cut_off,
            faults=("stop", "frozen network", "cut commands", "flushed"),
            settle=4.0,
            loses=True,
            stand=redis_ground,
        ),
        Configuration(
            "redis-sqlite",
            "memory over Redis over a database, four processes",
            4,
            Promise(lease=PUSH),
            _three,
            faults=("stop", "kill", "lock", *ON_REDIS),
            settle=4.0,
            stand=redis_ground,
        ),
        Configuration(
            "sealed",
            "the same, with all values encrypted and their keys wrapped anew all the time",
            4,
            Promise(lease=PUSH),
            _sealed,
            faults=("stop", "kill", "lock", *ON_REDIS),
            settle=4.0,
            rotates=True,
            stand=redis_ground,
        ),
        Configuration(
            "redis-behind",
            "the same, the database written behind by way of a journal in a durable Redis",
            4,
            Promise(lease=PUSH),
            _behind,
            faults=(
                "stop",
                "kill",
                "lock",
                "stopped redis",
                "killed redis",
                "cut pushes",
                "cut commands",
                "short of room",
            ),
            settle=6.0,
            stand=_durable_ground,
        ),
        Configuration(
            "spared",
            "the same; each process spares the database other types",
            4,
            Promise(lease=PUSH),
            _spared,
            faults=("stop", "kill", "lock", *ON_REDIS),
            settle=4.0,
            loses=True,
            stand=redis_ground,
        ),
        Configuration(
            "redis-alone",
            "memory over Redis alone with all defaults: it keeps what comes while Redis is away",
            4,
            Promise(lease=L1_LEASE + PUSH, degrades=True),
            _alone,
            faults=("stop", "kill", "frozen network", "cut commands", *ON_REDIS),
            settle=7.0,
            loses=True,
            stand=redis_ground,
        ),
        Configuration(
            "defaults",
            "the same with all defaults: memory goes on while Redis is away, and says so",
            4,
            Promise(lease=PUSH, degrades=True),
            _defaults,
            faults=("stop", "kill", "lock", *ON_REDIS),
            settle=4.0,
            stand=redis_ground,
        ),
    )
}


def watch(cache: Cache, witness: Witness, late: float, rng: random.Random) -> None:
    """Let the witness know when this process has last looked at its feed; make some answers late.

    The public API does not tell, and without it every answer from memory within the lease would
    have to be excused, also one that is old although the process had looked. A feed that is pushed
    to has no such moments.
    """
    feed = inside(cache).feed
    if not isinstance(feed, PolledFeed):
        return
    poll, log = feed.poll, InsidePoll(feed).log

    class LateLog:
        async def changes(self, since: int | None) -> Changes:
            answer = await log.changes(since)
            # Just in time, or too late, so that the next look has to make up for it.
            await asyncio.sleep(rng.choice((0, 0.9, 2.0)) * late)
            return answer

    if late:
        InsidePoll(feed).log = LateLog()

    async def watched() -> bool:
        started = time.monotonic_ns()
        looked = await poll()
        if looked:
            witness.heard = started
        return looked

    feed.poll = watched  # type: ignore[method-assign]
