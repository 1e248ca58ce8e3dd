"""The breaker counts what the tier did, and nothing else."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from cascada.model.clock import SystemClock
from cascada.model.errors import BadInput, CascadaError, TierUnavailable, Unanswered
from cascada.model.keys import Key
from cascada.testing.clock import ManualClock
from cascada.testing.inside import InsideSqlite
from cascada.tiers import guarded as guarded_module
from cascada.tiers.breaker import FAILURES_TO_OPEN, MAX_CAUSES, RETRY_AFTER, Call
from cascada.tiers.contract import Full, Missing, NotPermitted
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.redis_client.refusals import refusal
from cascada.tiers.sqlite.tier import SqliteTier

T = TypeVar("T")

FOREVER = 60.0
SHORT = 0.05


class Told:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, object]] = []

    def tier_changed(self, tier: str, available: bool, why: str) -> None:
        self.said.append(("up" if available else "down", why))

    def tier_still_away(self, tier: str, why: str) -> None:
        self.said.append(("still away", why))

    def tier_full(self, tier: str, why: str) -> None:
        self.said.append(("full", why))

    def own_fault(self, tier: str, error: Exception) -> None:
        self.said.append(("fault", type(error)))

    @property
    def kinds(self) -> list[str]:
        return [what for what, _ in self.said]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def guarded(clock: ManualClock, tmp_path: Path, told: Told) -> AsyncIterator[GuardedTier]:
    tier = SqliteTier(tmp_path / "cache.db", namespace="test", clock=clock)
    yield GuardedTier(tier, clock, timeout=FOREVER, watcher=told)
    await tier.aclose()


def raising(error: Exception) -> Callable[[], Awaitable[None]]:
    async def send() -> None:
        raise error

    return send


async def answering() -> str:
    return "answered"


async def silent() -> None:
    await asyncio.sleep(FOREVER)


async def call(guarded: GuardedTier, send: Callable[[], Awaitable[T]]) -> T:
    with Call(guarded.breaker, guarded.timeout):
        return await send()


async def often(guarded: GuardedTier, send: Callable[[], Awaitable[object]]) -> None:
    for _ in range(2 * FAILURES_TO_OPEN):
        with pytest.raises(CascadaError):
            await call(guarded, send)


AWAY = [
    TierUnavailable("no connection"),
    Unanswered("the connection broke"),
    OSError("no route"),
    ConnectionResetError("reset"),
    TimeoutError("the system's own"),
    EOFError("cut off"),
    refusal("a script", "READONLY You can't write against a read only replica."),
    refusal("a read", "LOADING Redis is loading the dataset in memory"),
    refusal("a script", "NOAUTH Authentication required."),
]
NOT_AWAY = [
    BadInput("a wrong argument"),
    TypeError("a wrong argument that the driver was the first to find"),
    ValueError("as large as that"),
    OverflowError("as large as that"),
    RuntimeError("a fault of our own"),
    MemoryError(),
    sqlite3.ProgrammingError("a value that SQLite does not take"),
    NotPermitted("another layout"),
    Full("no room"),
    refusal("a script", "OOM command not allowed when used memory > 'maxmemory'."),
    refusal("a script", "MISCONF Redis is configured to save RDB snapshots"),
    refusal("GET", "NOPERM this user has no permissions"),
    refusal("INCRBY", "ERR value is not an integer or out of range"),
    refusal("SET", "ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
]


def shown(error: Exception) -> str:
    return f"{type(error).__name__} {str(error)[:30]}"


@pytest.mark.parametrize("error", AWAY, ids=shown)
async def test_what_the_tier_did_opens_the_breaker(
    guarded: GuardedTier, told: Told, error: Exception
) -> None:
    await often(guarded, raising(error))
    assert told.said == [("down", str(error))]
    with pytest.raises(TierUnavailable, match=f"skipped .* the last one: {re.escape(str(error))}"):
        await call(guarded, answering)


@pytest.mark.parametrize("error", NOT_AWAY, ids=shown)
async def test_what_it_did_not_do_takes_it_from_nobody(
    guarded: GuardedTier, told: Told, error: Exception
) -> None:
    await often(guarded, raising(error))
    assert "down" not in told.kinds
    assert await call(guarded, answering) == "answered"


async def test_an_own_fault_is_told_and_reaches_no_reader(guarded: GuardedTier, told: Told) -> None:
    with pytest.raises(TierUnavailable, match="could not be used"):
        await call(guarded, raising(TypeError("secret")))
    assert told.said == [("fault", TypeError)]


async def test_a_tier_that_says_nothing_is_away(guarded: GuardedTier, told: Told) -> None:
    guarded.timeout = SHORT
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(Unanswered, match=r"no answer within 0\.05 s"):
            await call(guarded, silent)
    assert told.said == [("down", "no answer within 0.05 s")]


async def test_a_read_of_many_keys_may_take_longer(
    guarded: GuardedTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(keys: Sequence[Key]) -> list[Missing]:
        await asyncio.sleep(4 * SHORT)
        return [Missing(0)] * len(keys)

    monkeypatch.setattr(guarded.tier, "read", slow)
    guarded.timeout = SHORT
    key = Key("acme", "doc", None, None, None, "1")
    with pytest.raises(Unanswered, match=r"no answer within 0\.05 s"):
        await guarded.read([key])
    assert len(await guarded.read([key] * 10_000)) == 10_000


async def test_another_cause_of_the_same_outage_is_told_once(
    guarded: GuardedTier, told: Told, clock: ManualClock
) -> None:
    await often(guarded, raising(TierUnavailable("refused")))
    for cause in ("refused", "WRONGPASS", "WRONGPASS", *map(str, range(3 * MAX_CAUSES))):
        clock.advance(RETRY_AFTER + 0.1)
        with pytest.raises(TierUnavailable):
            await call(guarded, raising(TierUnavailable(cause)))
    assert told.said[:2] == [("down", "refused"), ("still away", "WRONGPASS")]
    assert len(told.said) == MAX_CAUSES, "an outage may have a new one every second"


async def test_an_invalidation_that_waits_is_the_trial_call(
    guarded: GuardedTier, told: Told
) -> None:
    """The breaker is open, and nobody but the invalidation asks whether the tier is back."""
    await often(guarded, raising(OSError("away")))
    until = asyncio.get_running_loop().time() + FOREVER
    assert (await guarded.invalidate(["k:acme:x:1"], until=until)).keys == 0
    assert told.kinds == ["down", "up"]
    assert await call(guarded, answering) == "answered"


async def test_an_unanswered_invalidation_is_awaited_and_not_sent_again(
    guarded: GuardedTier, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded.timeout = SHORT
    sent, late = [], asyncio.Event()

    async def slow(names: list[str]) -> str:
        sent.append(names)
        await late.wait()
        return "told"

    monkeypatch.setattr(guarded.tier, "invalidate", slow)
    until = asyncio.get_running_loop().time() + FOREVER
    answer: object = await guarded.invalidate(["k:acme:x:1"], until=until, on_late=late.set)
    assert answer == "told"
    assert len(sent) == 1
    assert guarded.worth_waiting_until(5.0) >= until - FOREVER + 5.0, "it is silent no more"


@pytest.mark.parametrize("reads", [False, True], ids=["silent", "answering reads all the same"])
async def test_patience_counts_from_when_the_tier_took_no_invalidation_any_more(
    guarded: GuardedTier, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    now = asyncio.get_running_loop().time
    monkeypatch.setattr(guarded.tier, "invalidate", lambda names: raising(OSError("away"))())
    began = now()
    with pytest.raises(TierUnavailable):
        await guarded.invalidate(["k:acme:x:1"])
    ended = now()
    if reads:
        await call(guarded, answering)
    await asyncio.sleep(0.01)
    assert began <= guarded.worth_waiting_until(0.0) <= ended
    monkeypatch.undo()
    await guarded.invalidate(["k:acme:x:1"])
    assert guarded.worth_waiting_until(0.0) > ended


async def test_a_value_that_sqlite_does_not_take_harms_nobody_who_writes_with_it(
    tmp_path: Path,
) -> None:
    """They share a commit; one's odd value must undo its own work alone."""
    tier = SqliteTier(tmp_path / "cache.db", namespace="test", clock=SystemClock())
    guarded = GuardedTier(tier, SystemClock(), timeout=FOREVER)

    class Odd:
        pass

    def odd(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT ?", (Odd(),))

    others = [guarded.invalidate([f"k:acme:x:{number}"]) for number in range(5)]
    writer = InsideSqlite(tier).writer
    outcomes = await asyncio.gather(writer.run(odd), *others, return_exceptions=True)
    assert [isinstance(each, Exception) for each in outcomes] == [True] + [False] * 5
    await tier.aclose()


async def test_what_is_deferred_of_many_tenants_is_taken_together_now_and_then_alone(
    guarded: GuardedTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at each further name, or that would cost as much as all before it."""
    looked_at: list[str] = []
    whole_tenant_of = guarded_module.whole_tenant_of

    def counted(name: str) -> str:
        looked_at.append(name)
        return whole_tenant_of(name)

    monkeypatch.setattr(guarded_module, "whole_tenant_of", counted)
    monkeypatch.setattr(guarded_module, "MAX_DEFERRED", 100)
    for number in range(5000):
        guarded.defer([f"k:t{number}:x:1"])
    assert len(looked_at) < 20_000
    for number in range(5000):
        guarded.defer([f"k:t{number}:x:{other}" for other in range(10)])
    assert len(guarded.deferred) <= 10_000
    deferred = dict(guarded.deferred)
    assert all({f"t:t{number}", f"k:t{number}:x:9"} & deferred.keys() for number in range(5000))
    monkeypatch.setattr(guarded, "deferred", {})
    guarded.defer([f"k:t1:x:{number}" for number in range(101)])
    assert list(guarded.deferred) == ["t:t1"], "the bound is the usual one again"
