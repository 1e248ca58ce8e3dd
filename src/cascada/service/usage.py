"""Which keys of a service are read most, by all its processes, and before a restart.

A process counts its reads, within bounds, and once a minute adds the most used keys, with their
counts, to a list in the store of data that the tiers share. Where the list has become long, who
sees that makes one item of all, with half of their counts, so that what was hot long ago is
forgotten. Two who do so at once may lose a part: it is an estimate.

`sharing.py` has one, and says when to tell. It must never keep an access waiting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import nlargest
from operator import itemgetter
from typing import Final

import msgspec

from cascada.telemetry.heat import MAX_KEYS, Heat
from cascada.tiers.datastore import DataStore

TOLD: Final = 1024
"""Keys of an item that a process adds."""

LONGEST: Final = 256
"""Characters of a key that others are told of."""

MOST_ITEMS: Final = 16

Used = tuple[str, str]
"""A tenant and a key of his."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[tuple[str, str, int]]).decode


class Usage:
    """Of one service. `name`: that of the list."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._untold: Heat[Used] = Heat()

    def note(self, tenant: str, key: str) -> None:
        """It was read."""
        self._untold.note((tenant, key))

    def forget(self) -> None:
        """What was counted so far, the parent tells."""
        self._untold.clear()

    async def tell(self, store: DataStore) -> None:
        """Add what was counted since the last time. TierUnavailable, and then that is lost."""
        counted = self._untold.hottest(TOLD, lambda used: len(used[1]) <= LONGEST)
        self._untold.clear()
        if not counted:
            return
        length = await store.push(self._name, _item(counted), left=False)
        if length > MOST_ITEMS:
            items = await store.range(self._name, 0, length - 1)
            halved = ((used, (n + 1) // 2) for used, n in _sum(items).items())
            whole = nlargest(MAX_KEYS, halved, key=itemgetter(1))
            await store.push(self._name, _item(whole), left=False)
            await store.trim(self._name, len(items), -1)

    async def most(self, store: DataStore | None, tenant: str, most: int) -> list[str]:
        """The tenant's keys that were read most, the first of them first."""
        sums = Counter(dict(self._untold.hottest(MAX_KEYS)))
        if store is not None:
            sums.update(_sum(await store.range(self._name, 0, -1)))
        own = ((key, n) for (whose, key), n in sums.items() if whose == tenant)
        return [key for key, _ in nlargest(most, own, key=itemgetter(1))]


def _item(counted: Iterable[tuple[Used, int]]) -> bytes:
    return _encode([(*used, n) for used, n in counted])


def _sum(items: Iterable[bytes]) -> Counter[Used]:
    sums: Counter[Used] = Counter()
    for item in items:
        try:
            counted = _decode(item)
        except msgspec.MsgspecError:
            continue  # another hand has put it there
        for tenant, key, n in counted:
            sums[tenant, key] += n
    return sums
