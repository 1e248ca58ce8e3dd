"""What the processes of one service tell each other: accesses by the hour, hits, misses, tenants.

They are counters and lists in the store of data that the tiers share, under names of no tenant (the
first segment is empty, which no tenant is). A process adds what it has counted since the last time,
and learns the sums. So they survive a restart, and what is known here is about EACH seconds old.

What cannot be told now is told later. What may have been told is not told twice: a sum is rather
too small than too great. In memory alone nobody is told.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Final

from cascada.engine.engine import Engine
from cascada.engine.home.carrying import awaited
from cascada.engine.kinds import OTHER, Kind
from cascada.engine.shared_lists import TENANTS, USED
from cascada.engine.usage import Usage, Used
from cascada.model.errors import BadInput, CascadaError, CorruptEntry, TierUnavailable, Unanswered
from cascada.model.keys import quote
from cascada.service.hours import Hour, Hours
from cascada.tiers.datastore import DataStore

EACH: Final = 1.0
"""Seconds between two times."""

MINUTE: Final = 60.0
"""Seconds between two looks at the keys of others, for who has none to tell."""

LASTS: Final = 9 * 86400.0
"""Seconds that the count of an hour is kept, a day more than it is asked for."""

MOST_HOURS: Final = 512
"""Hours that are listed, of processes in several time zones."""

MOST_TENANTS: Final = 1000
"""Tenants that are listed, of which the keys are counted."""

SLOTS: Final = 400
"""Lists of keys' hashes, one for each half of an hour of the days that count."""

MOST_ITEMS: Final = 64
"""What processes have added to one, before one of them makes one of all."""

_AT_ONCE: Final = 8


class Shared:
    """One service's, of one engine. `hours` are its accesses, as far as they are known here."""

    def __init__(self, engine: Engine, data_type: str, zone: tzinfo | None) -> None:
        self.hours = Hours(engine.clock.time, zone)
        self._tenants: set[str] = set()
        self._engine = engine
        self._data_type = data_type
        self._prefix = f":{quote(data_type)}:"
        self.usage = Usage(f"{self._prefix[:-1]}{USED}")
        self._untold: Counter[Hour] = Counter()
        self._new_keys: dict[Hour, list[int]] = {}
        self._listed: set[int] = set()
        self._told = self._counts
        self._sums: list[int] | None = None
        self._is_read = False
        self._next = self._next_keys = self._next_used = 0.0
        self._going: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._process = os.getpid()
        self._synced = self._synced_told = 0
        self._gone: dict[str, int] = {}

    def synced(self, now: float) -> None:
        """A round of the sync has ended well here."""
        self._synced = int(now * 1000)
        self.nudge()

    async def last_sync(self) -> datetime | None:
        """When one did last, in any process."""
        last = self._synced
        if self._engine.shared_data is not None:
            with suppress(CascadaError):
                store = await self._engine.data()
                told = await store.range(f"{self._prefix}synced", 0, -1)
                last = max([last, *map(_began, told)])
        return datetime.fromtimestamp(last / 1000, UTC) if last else None

    def forgotten(self, tenant: str) -> None:
        """What is noted of him goes; his name, too, until he is asked for again."""
        self.usage.drop(tenant)
        self._tenants.discard(tenant)
        self._gone[tenant] = self._asked_for(tenant)

    def record(self, key: str) -> None:
        """Count an access."""
        self._see_to_fork()
        hour, new_key = self.hours.record(key)
        if self._engine.shared_data is not None:
            self._untold[hour] += 1
            if new_key is not None:
                self._new_keys.setdefault(hour, []).append(new_key)

    async def most_used(self, tenant: str, most: int) -> list[str]:
        """The tenant's keys that were read most, by all processes, the first of them first."""
        if self._engine.shared_data is not None:
            with suppress(CascadaError):
                return await self.usage.most(await self._engine.data(), tenant, most)
        return await self.usage.most(None, tenant, most)

    async def most_used_of_all(self, most: int) -> list[Used]:
        """Those of all tenants, in turns. TierUnavailable if the others' are not known."""
        if self._engine.shared_data is None:
            return []
        return await self.usage.most_of_all(await self._engine.data(), most)

    async def tenants(self) -> set[str]:
        """Those of all processes, the first MOST_TENANTS, and this one's."""
        if self._engine.shared_data is not None:
            with suppress(CascadaError):
                self._tenants |= await self._listed_tenants(await self._engine.data())
        return self._tenants | self._own_tenants

    def _see_to_fork(self) -> None:
        """What the parent has counted, the parent tells."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._untold.clear()
            self._new_keys.clear()
            self.usage.clear()
            self._told = self._counts
            self._synced = self._synced_told = 0

    @property
    def hits_and_misses(self) -> tuple[int, int]:
        """Those of all processes, as of the last time; of this one, if nobody else is known of."""
        hits, misses = self._counts
        if self._sums is None:
            return hits, misses
        # With those that were counted since.
        return self._sums[0] + hits - self._told[0], self._sums[1] + misses - self._told[1]

    async def heard(self, *, now: bool = False) -> None:
        """Tell and learn, if that was not done for EACH seconds (or at any rate, `now`).

        Who asks waits for it, but no longer than for an operation of a tier.
        """
        if self._engine.shared_data is not None and (now or self._is_due):
            work = partial(self._wait, now=now)
            if await self._engine.life.ready():
                await work()
            else:
                await awaited(self._engine.life, work)

    def nudge(self) -> None:
        """The same for who does not wait."""
        engine = self._engine
        if engine.shared_data is None or not self._is_due:
            return
        if engine.life.settled is asyncio.get_running_loop():
            self._begin()

    @property
    def _is_due(self) -> bool:
        return asyncio.get_running_loop().time() >= self._next

    async def _wait(self, *, now: bool) -> None:
        timeout = self._engine.options.limits.op_timeout
        if now and (earlier := self._under_way(self._telling)):  # it lacks what was counted since
            await asyncio.wait([earlier], timeout=timeout)
        await asyncio.wait([self._begin()], timeout=timeout)

    def _begin(self) -> asyncio.Task[None]:
        """On the loop that the engine is at home on."""
        self._see_to_fork()
        self._next = asyncio.get_running_loop().time() + EACH
        background = self._engine.stack.background
        self._telling = self._under_way(self._telling)
        if self._telling is None:
            self._telling = background.run_aside(self._exchange(), "service counts")
        self._going = self._under_way(self._going)
        if self._going is None:
            self._going = background.run_aside(self._go_on(), "service counts later")
            background.at_last(self._at_last, f"counts of {self._data_type}")
        return self._telling

    @staticmethod
    def _under_way(task: asyncio.Task[None] | None) -> asyncio.Task[None] | None:
        """It, if it runs: neither done, nor of a loop before this one, or of the parent's."""
        here = asyncio.get_running_loop()
        return task if task and not task.done() and task.get_loop() is here else None

    async def _go_on(self) -> None:
        """Tell what is counted after the last time, if nobody asks any more."""
        while True:
            await asyncio.sleep(EACH)
            if (self._synced, self._told, not self._untold) == (
                self._synced_told, self._counts, True,
            ):  # fmt: skip
                return
            await self._exchange()

    async def _exchange(self) -> None:
        store = self._engine.shared_data
        assert store is not None  # or nobody would have begun
        steps = (
            self._read, self._tell_hours, self._tell_counts, self._tell_tenants, self._tell_used,
            self._tell_sync,
        )  # fmt: skip
        for step in steps:
            try:
                await step(store)
            except CorruptEntry:  # what another hand has written keeps nobody from the rest
                self._is_read = True
            except CascadaError:  # the tier's outage is told of by its breaker
                return

    async def _tell_sync(self, store: DataStore) -> None:
        if (synced := self._synced) == self._synced_told:
            return
        name = f"{self._prefix}synced"
        # Each process tells its own: the latest is the greatest of a few.
        if await store.push(name, synced.to_bytes(8), left=False) > MOST_ITEMS:
            await store.trim(name, -MOST_ITEMS, -1)
        self._synced_told = synced

    async def _at_last(self) -> None:
        self._next_used = 0.0
        await self._exchange()

    async def _tell_used(self, store: DataStore) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_used:
            self._next_used = now + MINUTE
            await self.usage.tell(store)

    async def _read(self, store: DataStore) -> None:
        """What was counted before this process began."""
        if self._is_read:
            return
        listed = map(int.from_bytes, await store.range(f"{self._prefix}hours", 0, -1))
        self._listed.update(filter(self.hours.is_remembered, listed))
        hours = sorted(self._listed)
        for first in range(0, len(hours), _AT_ONCE):
            part = [self.hours.at(began) for began in hours[first : first + _AT_ONCE]]
            counts = await asyncio.gather(*(store.counter(self._name(each)) for each in part))
            keys = await asyncio.gather(*(store.range(self._slot(each), 0, -1) for each in part))
            for hour, count, items in zip(part, counts, keys, strict=True):
                self._learn(hour, count)
                self._learn_keys(hour, items)
        self._is_read = True

    async def _tell_hours(self, store: DataStore) -> None:
        for hour in {self.hours.current(), *self._untold}:
            if not self._untold[hour]:
                self._learn(hour, await store.counter(self._name(hour)))
                await self._tell_keys(store, hour)
                continue
            await self._list(store, hour)
            untold = self._untold.pop(hour, 0)  # another may have told it in between
            try:
                count = await store.increment(self._name(hour), untold, LASTS)
            except Unanswered:
                raise
            except TierUnavailable:  # nothing was changed
                self._untold[hour] += untold
                raise
            self._learn(hour, count)
            await self._tell_keys(store, hour)

    async def _tell_keys(self, store: DataStore, hour: Hour) -> None:
        """Add to the list of this hour's place what others cannot know, and learn what they do.

        A place is used again after SLOTS of them: what is of another hour goes. If two see to that
        at once, they may drop a part of a sketch; it is an estimate.
        """
        hashes, name = self._new_keys.pop(hour, None), self._slot(hour)
        if hashes is None:
            now = asyncio.get_running_loop().time()
            if now >= self._next_keys:
                self._next_keys = now + MINUTE
                self._learn_keys(hour, await store.range(name, 0, -1))
            return
        try:
            await store.push(name, _item(hour, hashes), left=False)
            items = await store.range(name, 0, -1)
            if len(items) > MOST_ITEMS or any(_began(each) != hour.began for each in items):
                self._learn_keys(hour, items)
                whole = _item(hour, self.hours.of(hour).keys.smallest)
                await store.push(name, whole, left=False)
                await store.trim(name, len(items), -1)
        except TierUnavailable:
            self._new_keys.setdefault(hour, []).extend(hashes)  # to tell it twice harms nobody
            raise
        self._learn_keys(hour, items)

    def _learn_keys(self, hour: Hour, items: list[bytes]) -> None:
        keys = self.hours.of(hour).keys
        for item in items:
            if _began(item) == hour.began:
                for place in range(8, len(item) - 7, 8):
                    keys.take(int.from_bytes(item[place : place + 8]))

    def _slot(self, hour: Hour) -> str:
        return f"{self._prefix}keys:{hour.began // 1800 % SLOTS}"

    def _learn(self, hour: Hour, count: int) -> None:
        self.hours.of(hour).count = count + self._untold[hour]

    async def _list(self, store: DataStore, hour: Hour) -> None:
        """Let those who begin later know that this hour has a count."""
        if hour.began in self._listed:
            return
        name, item = f"{self._prefix}hours", hour.began.to_bytes(8)
        if item not in await store.range(name, 0, -1):
            await store.push(name, item, left=False)
            await store.trim(name, -MOST_HOURS, -1)
        self._listed.add(hour.began)

    async def _tell_counts(self, store: DataStore) -> None:
        sums = []
        for place, what in enumerate(("hits", "misses")):
            counted, name = self._counts[place], f"{self._prefix}{what}"
            more = counted - self._told[place]
            if not more:
                sums.append(await store.counter(name))
                continue
            self._told[place] = counted
            try:
                sums.append(await store.increment(name, more))
            except Unanswered:
                raise
            except TierUnavailable:
                self._told[place] -= more
                raise
        self._sums = sums

    async def _tell_tenants(self, store: DataStore) -> None:
        own = self._own_tenants
        if own <= self._tenants:
            return
        self._tenants = await self._listed_tenants(store)
        for tenant in sorted(own - self._tenants)[: MOST_TENANTS - len(self._tenants)]:
            await store.push(f"{self._prefix[:-1]}{TENANTS}", tenant.encode(), left=False)
        self._tenants |= own

    async def _listed_tenants(self, store: DataStore) -> set[str]:
        listed = await store.range(f"{self._prefix[:-1]}{TENANTS}", 0, MOST_TENANTS - 1)
        return {item.decode(errors="replace") for item in listed}

    @property
    def _counts(self) -> list[int]:
        """Hits and misses of this process."""
        kinds = self._kinds()
        return [sum(each.hits for each in kinds), sum(each.misses for each in kinds)]

    @property
    def _own_tenants(self) -> set[str]:
        own = {each.tenant for each in self._kinds()} - {OTHER}
        return {each for each in own if self._gone.get(each) != self._asked_for(each)}

    def _asked_for(self, tenant: str) -> int:
        return sum(each.hits + each.misses for each in self._kinds() if each.tenant == tenant)

    def _kinds(self) -> list[Kind]:
        return [each for each in self._engine.kinds.all() if each.data_type == self._data_type]

    def _name(self, hour: Hour) -> str:
        return f"{self._prefix}accesses:{hour.began}"


def _item(hour: Hour, hashes: list[int]) -> bytes:
    return hour.began.to_bytes(8) + b"".join([each.to_bytes(8) for each in hashes])


def _began(item: bytes) -> int:
    return int.from_bytes(item[:8])


def shared_of(engine: Engine, data_type: str, zone: tzinfo | None) -> Shared:
    """One for all services of a name: or each of them would tell what all have counted."""
    shared: Shared | None = engine.beside.get(data_type)
    if shared is None:
        shared = engine.beside[data_type] = Shared(engine, data_type, zone)
        engine.stack.on_forgotten.append(shared.forgotten)
    if shared.hours.zone != zone:
        raise BadInput(
            f"time_zone is {zone}, and another CacheService of this name has {shared.hours.zone}; "
            "pass the same, or another name"
        )
    return shared
