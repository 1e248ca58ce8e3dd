"""What is done to the workers and to what they stand on, each kind in a thread of its own.

A fault strikes at random moments, lasts as long as it lasts, and heals what it broke before it
ends; `calm` makes it heal at once. Every configuration names the kinds that it is exposed to, so
a new kind is one class here and one name there.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cascada.tiers.redis.layout import Layout
from tests.chaos.configs import DATABASE
from tests.chaos.fleet import Fleet
from tests.chaos.redis_ground import NAMESPACE, Ground


class Arena:
    """What faults act upon."""

    def __init__(self, fleet: Fleet, folder: Path, ground: Ground | None = None) -> None:
        self.fleet = fleet
        self.folder = folder
        self._ground = ground
        self.calm = threading.Event()
        self.struck: Counter[str] = Counter()

    @contextmanager
    def redis(self) -> Iterator[Ground]:
        """The Redis server, which no other fault is upon."""
        assert self._ground is not None, "a fault of Redis, where there is none"
        with self._ground.lock:
            yield self._ground

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than until calm is wished."""
        self.calm.wait(seconds)

    @contextmanager
    def one_worker(self, rng: random.Random) -> Iterator[int]:
        """A worker that no other fault is upon."""
        slot = rng.randrange(self.fleet.size)
        with self.fleet.locks[slot]:
            yield slot


class Fault(Protocol):
    """One kind. `every`: seconds between two strikes, on average; `lasts`: how long one may."""

    @property
    def every(self) -> float: ...

    def strike(self, arena: Arena, rng: random.Random) -> None: ...


@dataclass(frozen=True, slots=True)
class Stop:
    """A worker stands still, wherever it is: in a load, a transaction, between read and answer."""

    every: float
    lasts: tuple[float, ...]

    def strike(self, arena: Arena, rng: random.Random) -> None:
        with arena.one_worker(rng) as slot:
            arena.fleet.stop(slot)
            try:
                arena.pause(rng.choice(self.lasts) * rng.uniform(0.5, 1.0))
            finally:
                arena.fleet.go_on(slot)


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker dies without a word, and another takes its place."""

    every: float

    def strike(self, arena: Arena, rng: random.Random) -> None:
        with arena.one_worker(rng) as slot:
            arena.fleet.kill(slot)


@dataclass(frozen=True, slots=True)
class Lock:
    """Somebody else (a backup, a person with a shell) holds the database's write lock."""

    every: float
    lasts: tuple[float, ...]

    def strike(self, arena: Arena, rng: random.Random) -> None:
        connection = sqlite3.connect(arena.folder / DATABASE, timeout=5, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
            arena.pause(rng.choice(self.lasts) * rng.uniform(0.5, 1.0))
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return  # the workers write so much that even this could not get in
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class StopRedis:
    """Redis stands still, with commands in its sockets."""

    every: float
    lasts: tuple[float, ...]

    def strike(self, arena: Arena, rng: random.Random) -> None:
        with arena.redis() as ground:
            ground.stop()
            try:
                arena.pause(rng.choice(self.lasts) * rng.uniform(0.5, 1.0))
            finally:
                ground.go_on()


@dataclass(frozen=True, slots=True)
class RestartRedis:
    """Redis dies, and comes back with nothing, or with what it was some time ago."""

    every: float
    empty: bool

    def strike(self, arena: Arena, rng: random.Random) -> None:
        if not self.empty:
            with arena.redis() as ground:
                ground.take_snapshot()
            arena.pause(rng.uniform(0.3, 2.0))
        with arena.redis() as ground:
            ground.restart(empty=self.empty)


@dataclass(frozen=True, slots=True)
class KillRedis:
    """Redis dies, and comes back with all that it has said to have (`appendfsync always`)."""

    every: float

    def strike(self, arena: Arena, rng: random.Random) -> None:
        with arena.redis() as ground:
            ground.server.kill()
            ground.server.start()


@dataclass(frozen=True, slots=True)
class CutConnections:
    """The server closes all connections of one kind: pubsub or normal."""

    every: float
    kind: str

    def strike(self, arena: Arena, rng: random.Random) -> None:
        with arena.redis() as ground:
            ground.server.say("CLIENT", "KILL", "TYPE", self.kind)


@dataclass(frozen=True, slots=True)
class FlushRedis:
    """Somebody empties the server."""

    every: float

    def strike(self, arena: Arena, rng: random.Random) -> None:
        with arena.redis() as ground:
            ground.server.say("FLUSHALL")


@dataclass(frozen=True, slots=True)
class SqueezeRedis:
    """Memory gets short: keys of any kind are evicted, or nothing more may be written."""

    every: float
    lasts: tuple[float, ...]
    policies: tuple[str, ...] = (
        "allkeys-random",
        "allkeys-random",
        "volatile-random",
        "noeviction",
    )

    def strike(self, arena: Arena, rng: random.Random) -> None:
        with arena.redis() as ground:
            policy = rng.choice(self.policies)
            ground.server.say("CONFIG", "SET", "maxmemory-policy", policy)
            ground.server.say("CONFIG", "SET", "maxmemory", f"{ground.used_memory() - 20_000}")
            try:
                arena.pause(rng.choice(self.lasts))
            finally:
                ground.server.say("CONFIG", "SET", "maxmemory", "0")


@dataclass(frozen=True, slots=True)
class ForgetRings:
    """Redis evicts the memory of the latest invalidations, and nothing else."""

    every: float

    def strike(self, arena: Arena, rng: random.Random) -> None:
        layout = Layout(NAMESPACE, 0)
        with arena.redis() as ground:
            ground.server.say("DEL", layout.names_ring.decode(), layout.keys_ring.decode())


@dataclass(frozen=True, slots=True)
class Freeze:
    """What goes through one worker's proxy is held up, both ways, and nobody says so."""

    every: float
    lasts: tuple[float, ...]

    def strike(self, arena: Arena, rng: random.Random) -> None:
        with arena.redis() as ground:
            proxy = rng.choice(ground.proxies)
            proxy.freeze()
            try:
                arena.pause(rng.choice(self.lasts) * rng.uniform(0.5, 1.0))
            finally:
                proxy.thaw()


FAULTS: Final[dict[str, Fault]] = {
    "stop": Stop(every=1.0, lasts=(0.05, 0.2, 0.7, 1.5)),
    "kill": Kill(every=4.0),
    "lock": Lock(every=4.0, lasts=(0.05, 0.3, 1.0, 2.0)),
    # Nothing but the worst of them, for mutants that are only seen in it.
    "freeze": Stop(every=0.3, lasts=(0.7, 1.5)),
    "siege": Lock(every=0.5, lasts=(1.0, 2.0)),
    "stopped redis": StopRedis(every=4.0, lasts=(0.05, 0.2, 0.6, 1.5)),
    "restarted redis": RestartRedis(every=6.0, empty=True),
    "restored redis": RestartRedis(every=6.0, empty=False),
    "cut pushes": CutConnections(every=1.5, kind="pubsub"),
    "cut commands": CutConnections(every=3.0, kind="normal"),
    "flushed": FlushRedis(every=6.0),
    "squeezed": SqueezeRedis(every=5.0, lasts=(0.3, 1.0)),
    # What a journal is proof against: only what has a life of its own goes.
    "killed redis": KillRedis(every=4.0),
    "short of room": SqueezeRedis(
        every=1.5, lasts=(0.1, 0.3), policies=("volatile-random", "volatile-random", "noeviction")
    ),
    # The same without a pause, for mutants that are only seen in it.
    "restored again and again": RestartRedis(every=0.5, empty=False),
    "cut again and again": CutConnections(every=0.2, kind="pubsub"),
    "flushed again and again": FlushRedis(every=0.6),
    "squeezed again and again": SqueezeRedis(every=0.3, lasts=(0.2,)),
    "forgotten rings": ForgetRings(every=0.02),
    # The same; which connections go through the proxy is the configuration's.
    "frozen pushes": Freeze(every=0.7, lasts=(0.3, 0.8, 1.5)),
    "frozen network": Freeze(every=0.7, lasts=(0.1, 0.3, 0.8, 1.5)),
}


@contextmanager
def striking(arena: Arena, names: tuple[str, ...], seed: str) -> Iterator[None]:
    """Let these kinds strike inside the block; after it all is healed."""
    arena.calm.clear()
    failed: list[BaseException] = []

    def go_on(name: str) -> None:
        fault, rng = FAULTS[name], random.Random(f"{seed} {name}")
        try:
            while not arena.calm.wait(rng.expovariate(1 / fault.every)):
                fault.strike(arena, rng)
                arena.struck[name] += 1
        except BaseException as error:  # noqa: BLE001 - raised again where the block ends
            failed.append(error)

    threads = [threading.Thread(target=go_on, args=(name,), name=name) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        arena.calm.set()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]
