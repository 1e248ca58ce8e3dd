"""Lists whose items are sealed on their way to where they are kept, and opened on their way back.

A list is of the type that it is called after: it is sealed if that is sensitive, or everything is.
Its items are bound to it, and not to their places in it: who can write to the store can put one
twice, or another order. Counters are numbers that the store adds up itself, so they stay as they
are, as do lists of cascada's own (their names begin with a colon), which hold keys and no values.

Lists are no cache, and what was taken from one is nowhere else. So the key is looked for before an
item is taken; and one that is not sealed, since it is from before or somebody has put it there, is
put back.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.tiers.datastore import DataStore
from cascada.tiers.sealing import Sealing

MARK: Final = b"\xca\xe5"
"""What a sealed item begins with; an envelope, which it is without, begins otherwise."""

NOT_SEALED: Final = (
    "it is not sealed, and this list is: take what was put there before by a cache without "
    "encryption, and put it in again"
)


class SealedData:
    """`data`, by `sealing`. See the module's text."""

    def __init__(self, data: DataStore, sealing: Sealing) -> None:
        self._data = data
        self._sealing = sealing

    async def increment(self, name: str, amount: int, ttl: float | None = None) -> int:
        return await self._data.increment(name, amount, ttl)

    async def counter(self, name: str) -> int:
        return await self._data.counter(name)

    async def push(self, name: str, item: bytes, *, left: bool) -> int:
        if (tenant := self._tenant(name)) is not None:
            await self._sealing.certain([tenant])
            item = MARK + await self._sealing.seal_bytes(tenant, item, self._place(name))
        return await self._data.push(name, item, left=left)

    async def pop(self, name: str, *, left: bool) -> bytes | None:
        if (tenant := self._tenant(name)) is None:
            return await self._data.pop(name, left=left)
        await self._sealing.has_key(tenant)
        item = await self._data.pop(name, left=left)
        if item is None:
            return None
        try:
            return await self._opened(tenant, name, item)
        except (CorruptEntry, TierUnavailable) as error:
            if item.startswith(MARK) and isinstance(error, CorruptEntry):
                raise  # nobody will ever read it
            await self._data.push(name, item, left=left)
            raise

    async def range(self, name: str, start: int, end: int) -> list[bytes]:
        items = await self._data.range(name, start, end)
        if (tenant := self._tenant(name)) is None:
            return items
        return [await self._opened(tenant, name, item) for item in items]

    async def length(self, name: str) -> int:
        return await self._data.length(name)

    async def trim(self, name: str, start: int, end: int) -> None:
        await self._data.trim(name, start, end)

    async def _opened(self, tenant: str, name: str, item: bytes) -> bytes:
        if not item.startswith(MARK):
            raise CorruptEntry(f"an item of the list {name}: {NOT_SEALED}")
        try:
            return await self._sealing.open_bytes(tenant, item[len(MARK) :], self._place(name))
        except CorruptEntry as error:
            raise CorruptEntry(f"an item of the list {name}: {error}") from None

    def _place(self, name: str) -> bytes:
        return self._sealing.place(b"list", name.encode(), b"")

    def _tenant(self, name: str) -> str | None:
        """Whose list it is; None of one that is not sealed."""
        tenant, _, of = name.partition(":")
        return unquote(tenant) if tenant and self._sealing.is_sensitive(unquote(of)) else None
