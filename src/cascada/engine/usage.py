"""Which keys are used most, by all processes that share a store of data, and before a restart.

A process counts, within bounds, and now and then adds what it has counted to a list there. Where
the list has become long, who sees that makes one item of all, with half of their counts, so that
what was hot long ago is forgotten. Two who do so at once may lose a part: it is an estimate.
Where not all find a place, tenants have turns: none keeps the others out.

A `CacheService` has one list for its `warm(top=)`, and a cache one for its warm restart. Key texts
are in the clear there, as in the tiers. It must never keep an access waiting, nor the event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from operator import itemgetter
from typing import Final, TypeVar

import msgspec

from cascada.telemetry.heat import MAX_KEYS, Heat
from cascada.tiers.datastore import DataStore

TOLD: Final = 1024
"""Keys of an item that a process adds."""

LONGEST: Final = 256
"""Characters of a key that others are told of."""

MOST_ITEMS: Final = 16

LARGEST: Final = 16 * 2**20
"""Bytes of an item that somebody may have written; more than that is another hand's."""

HERE: Final = 2**16
"""Bytes of items that are added up on the event loop; more of them by a thread."""

T = TypeVar("T")

Used = tuple[str, str]
"""A tenant and a key of his."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[tuple[str, str, int]]).decode


class Usage:
    """Of one list, called `name`: `keys` of it are remembered, and it has so many `items`. fades:
    what is not told again and again is forgotten, though there is room."""

    def __init__(
        self, name: str, keys: int = MAX_KEYS, items: int = MOST_ITEMS, *, fades: bool = False
    ) -> None:
        self._name = name
        self._least = 0 if fades else 1
        self._keys = keys
        self._items = items
        self._untold: Heat[Used] = Heat()

    def note(self, tenant: str, key: str) -> None:
        """It was used."""
        self._untold.note((tenant, key))

    def drop(self, tenant: str) -> None:
        """Of what was counted of a tenant's keys nobody is told."""
        self._untold.drop(lambda used: used[0] == tenant)

    def clear(self) -> None:
        """What was counted so far, the parent tells."""
        self._untold.clear()

    async def tell(self, store: DataStore) -> None:
        """Add what was counted since the last time. TierUnavailable, and then that is lost."""
        counted = self._untold.hottest(TOLD, lambda used: len(used[1]) <= LONGEST)
        self._untold.clear()
        if counted:
            await self.add(store, dict(counted))

    async def add(self, store: DataStore, counted: Mapping[Used, int]) -> None:
        """Add these counts to the list. TierUnavailable, and then they are lost."""
        length = await store.push(self._name, _item(counted), left=False)
        if length > self._items:
            items = await store.range(self._name, 0, length - 1)
            await self._replace(store, items, partial(_halved, items, self._keys, self._least))

    async def forget(self, store: DataStore, tenant: str) -> None:
        """Let the list have nothing of this tenant. TierUnavailable if it may still have."""
        self._untold.clear()
        items = await store.range(self._name, 0, -1)
        if items:
            await self._replace(store, items, partial(_without, items, tenant))

    async def _replace(self, store: DataStore, items: list[bytes], whole: partial[bytes]) -> None:
        """One item in the place of these: first it comes, then they go."""
        await store.push(self._name, await _done(whole, items), left=False)
        await store.trim(self._name, len(items), -1)

    async def most(self, store: DataStore | None, tenant: str, most: int) -> list[str]:
        """The tenant's keys that were used most, the first of them first."""
        counted = Counter(dict(self._untold.hottest(MAX_KEYS)))
        items = [] if store is None else await store.range(self._name, 0, -1)
        found = await _done(partial(_most, items, most, counted, tenant), items)
        return [key for _, key in found]

    async def most_of_all(self, store: DataStore, most: int) -> list[Used]:
        """Those of all tenants, in turns."""
        items = await store.range(self._name, 0, -1)
        return await _done(partial(_most, items, most, Counter()), items)


async def _done(work: partial[T], items: Iterable[bytes]) -> T:
    """Do it here, or in a thread if it may take long."""
    if sum(map(len, items)) < HERE:
        return work()
    return await asyncio.to_thread(work)


def _item(counted: Mapping[Used, int]) -> bytes:
    return _encode([(*used, n) for used, n in counted.items()])


def _sum(items: Iterable[bytes]) -> Counter[Used]:
    sums: Counter[Used] = Counter()
    for item in items:
        if len(item) > LARGEST:
            continue
        try:
            counted = _decode(item)
        except msgspec.MsgspecError:
            continue  # another hand has put it there
        for tenant, key, n in counted:
            sums[tenant, key] += n
    return sums


def in_turns(sums: Mapping[Used, int], most: int) -> list[Used]:
    """So many of them: of each tenant the first, then of each the second, and so on."""
    tenants: dict[str, list[tuple[int, Used]]] = {}
    for used, n in sums.items():
        tenants.setdefault(used[0], []).append((n, used))
    for each in tenants.values():
        each.sort(key=itemgetter(0), reverse=True)
    ranked = [(rank, used) for each in tenants.values() for rank, (_, used) in enumerate(each)]
    ranked.sort(key=itemgetter(0))
    return [used for _, used in ranked[:most]]


def _most(
    items: list[bytes], most: int, more: Counter[Used], tenant: str | None = None
) -> list[Used]:
    sums = _sum(items) + more
    if tenant is not None:
        sums = Counter({used: n for used, n in sums.items() if used[0] == tenant})
    return in_turns(sums, most)


def _halved(items: list[bytes], keys: int, least: int) -> bytes:
    halves = {used: max(least, n // 2) for used, n in _sum(items).items() if n // 2 or least}
    return _item({used: halves[used] for used in in_turns(halves, keys)})


def _without(items: list[bytes], tenant: str) -> bytes:
    return _item({used: n for used, n in _sum(items).items() if used[0] != tenant})
