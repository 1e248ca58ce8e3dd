"""A shared tier that fails on command: it refuses, hangs, is late, or loses its answers.

The nastiest fault is the lost answer: the call was carried out, and the caller cannot know. `lose`
and `hang(..., carried_out=True)` make it. A fault stays until `heal`, or for `times` calls.

    import asyncio
    from cascada import Cache, Limits
    from cascada.model.clock import SystemClock
    from cascada.testing import FlakyTier
    from cascada.tiers.sqlite.tier import SqliteTier

    flaky = FlakyTier(SqliteTier("cache.db", namespace="test", clock=SystemClock()))
    async with Cache(tiers=[flaky], limits=Limits(op_timeout=10)) as cache:
        acme = cache.tenant("acme")
        flaky.fail("read")                         # every read raises TierUnavailable
        assert not await acme.get("document", "d1")
        flaky.heal()
        with flaky.hang("fill", carried_out=True) as held:
            storing = asyncio.ensure_future(acme.set("document", "d1", "text"))
            await held.reached()                   # a fill was carried out, its answer is held
            assert not storing.done()              # leaving the block lets the answer go
        assert await storing
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol, TypeVar, cast, get_args

from cascada.model.clock import Clock
from cascada.model.errors import BadInput, TierUnavailable, Unanswered
from cascada.model.keys import Key
from cascada.tiers.capabilities import InvalidationSink
from cascada.tiers.contract import Busy, Found, Lease, Seen, Tier
from cascada.tiers.datastore import DataStore, KeepsData
from cascada.tiers.polled_feed import ChangeLog, PolledFeed

T = TypeVar("T")

Call = Literal[
    "read",
    "lease",
    "fill",
    "renew",
    "invalidate",
    "touch",
    "count_entries",
    "usage",
    "changes",
    "data",
]
CALLS: Final[tuple[Call, ...]] = get_args(Call)


class SharedTier(Tier, ChangeLog, Protocol):
    """What stands below memory: a tier that tells what was invalidated."""


class Held:
    """Calls that were made to hang."""

    def __init__(self) -> None:
        self._arrived = asyncio.Event()
        self._released = asyncio.Event()

    async def reached(self) -> None:
        """Wait until a call hangs here."""
        await self._arrived.wait()

    async def pass_through(self) -> None:
        self._arrived.set()
        await self._released.wait()

    def release(self) -> None:
        """Let go of all that hang, and hold nobody from now on."""
        self._released.set()


@dataclass
class Fault:
    """What happens to a call before and after the tier carries it out."""

    before: Callable[[], Awaitable[None]] | None = None
    after: Callable[[], Awaitable[None]] | None = None
    times: int | None = None


def _obedient(call: Call) -> Callable[..., Coroutine[Any, Any, Any]]:
    """A method that does what the tier's does, unless it is told otherwise."""

    async def through(self: FlakyTier, *args: Any, **how: Any) -> Any:
        return await self._through(call, lambda: getattr(self.tier, call)(*args, **how))

    return through


class FlakyTier:
    """`tier`, obedient until it is told otherwise. `made` counts the calls that arrived."""

    def __init__(self, tier: SharedTier) -> None:
        self.tier = tier
        self.name = tier.name
        self.made: Counter[Call] = Counter()
        self._faults: dict[Call, Fault] = {}
        self._busy: list[float] = []

    @property
    def data(self) -> DataStore:
        """Lists and counters, as obedient as itself; over a tier that has none, AttributeError."""
        return cast(DataStore, FlakyData(cast(KeepsData, self.tier).data, self))

    # --- commands: without a name, all calls are meant -----------------------------------------

    def fail(self, *calls: Call, error: Exception | None = None, times: int | None = None) -> None:
        """Raise instead of carrying out."""
        refused = error or TierUnavailable("this tier was told to fail")
        self._set(calls, Fault(before=_raiser(refused), times=times))

    def lose(self, *calls: Call, error: Exception | None = None, times: int | None = None) -> None:
        """Carry out, then raise instead of answering."""
        untold = error or Unanswered("this tier was told to lose its answers")
        self._set(calls, Fault(after=_raiser(untold), times=times))

    def delay(self, *calls: Call, seconds: float, times: int | None = None) -> None:
        """Carry out only after a pause."""
        self._set(calls, Fault(before=lambda: asyncio.sleep(seconds), times=times))

    @contextmanager
    def hang(self, *calls: Call, carried_out: bool = False) -> Iterator[Held]:
        """Inside the block calls hang, before or after they are carried out."""
        held = Held()
        fault = Fault(after=held.pass_through) if carried_out else Fault(before=held.pass_through)
        self._set(calls, fault)
        try:
            yield held
        finally:
            held.release()
            for call in calls or CALLS:
                if self._faults.get(call) is fault:
                    del self._faults[call]

    def busy(self, times: int, retry_after: float = 0.001) -> None:
        """Answer the next leases as if another process held them."""
        self._busy = [retry_after] * times

    def heal(self, *calls: Call) -> None:
        for call in calls or CALLS:
            self._faults.pop(call, None)

    # --- the tier --------------------------------------------------------------------------------

    read = _obedient("read")

    async def lease(
        self,
        keys: Sequence[Key],
        seen: Sequence[Seen],
        *,
        force: bool = False,
        once: bool = False,
        digests: Sequence[bytes] = (),
    ) -> list[Lease | Found | Busy]:
        if self._busy and not force and not once:
            self.made["lease"] += 1
            return [Busy(self._busy.pop())] * len(keys)
        return await self._through(
            "lease",
            lambda: self.tier.lease(keys, seen, force=force, once=once, digests=digests),
        )

    fill = _obedient("fill")
    renew = _obedient("renew")
    invalidate = _obedient("invalidate")
    touch = _obedient("touch")
    count_entries = _obedient("count_entries")
    usage = _obedient("usage")
    changes = _obedient("changes")

    def make_feed(
        self,
        sink: InvalidationSink,
        clock: Clock,
        *,
        timeout: float | None = None,
        on_error: Callable[[str], None] = lambda why: None,
    ) -> PolledFeed:
        """A feed that asks this tier for its changes, which may fail on command."""
        return PolledFeed(self, sink, clock, timeout=timeout, on_error=on_error)

    async def aclose(self) -> None:
        await self.tier.aclose()

    async def _through(self, call: Call, carry_out: Callable[[], Awaitable[T]]) -> T:
        self.made[call] += 1
        fault = self._taken(call)
        if fault.before is not None:
            await fault.before()
        answer = await carry_out()
        if fault.after is not None:
            await fault.after()
        return answer

    def _taken(self, call: Call) -> Fault:
        fault = self._faults.get(call)
        if fault is None:
            return Fault()
        if fault.times is not None:
            fault.times -= 1
            if not fault.times:
                del self._faults[call]
        return fault

    def _set(self, calls: tuple[Call, ...], fault: Fault) -> None:
        if unknown := [call for call in calls if call not in CALLS]:
            raise BadInput(
                f"call is {unknown[0]!r}; pass some of {', '.join(CALLS)}, or none for all"
            )
        for call in calls or CALLS:
            # Each call counts its own `times`; one without is the same for all.
            self._faults[call] = fault if fault.times is None else replace(fault)


class FlakyData:
    """The lists and counters of a flaky tier; each of their calls is a call "data"."""

    def __init__(self, data: DataStore, tier: FlakyTier) -> None:
        self._data = data
        self._tier = tier

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        call = getattr(self._data, name)
        return lambda *args, **how: self._tier._through("data", lambda: call(*args, **how))


def _raiser(error: Exception) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail
