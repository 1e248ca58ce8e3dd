"""Lists and counters in Redis: one plain command for each call, on the tier's own connection.

Their keys (`c:` and `d:`, see `redis_layout`) bear no epoch and no layout, are in no script, and
have no ttl: what a cache does to its entries never reaches them. Redis itself evicts them only
under a policy of `allkeys-`, since with one of `volatile-` keys without a ttl stay.
"""

from __future__ import annotations

from typing import Any

from cascada.model.errors import CorruptEntry
from cascada.tiers.base import Barred
from cascada.tiers.data import overflow
from cascada.tiers.redis_layout import Layout, ServerError
from cascada.tiers.redis_link import Argument, Link


class RedisData:
    """See `DataStore`. What Redis refuses was not carried out, and the tier has not failed."""

    def __init__(self, link: Link, layout: Layout) -> None:
        self._link = link
        self._layout = layout

    async def increment(self, name: str, amount: int) -> int:
        try:
            value: int = await self._send(b"INCRBY", self._layout.counter(name), amount)
        except OverflowError:
            raise overflow(name, amount) from None
        return value

    async def counter(self, name: str) -> int:
        found = await self._send(b"GET", self._layout.counter(name))
        try:
            return int(found or 0)
        except ValueError:
            raise CorruptEntry(f"the counter {name} holds {found[:40]!r}, no number") from None

    async def push(self, name: str, item: bytes, *, left: bool) -> int:
        command = b"LPUSH" if left else b"RPUSH"
        length: int = await self._send(command, self._layout.items(name), item)
        return length

    async def pop(self, name: str, *, left: bool) -> bytes | None:
        item: bytes | None = await self._send(
            b"LPOP" if left else b"RPOP", self._layout.items(name)
        )
        return item

    async def range(self, name: str, start: int, end: int) -> list[bytes]:
        items: list[bytes] = await self._send(b"LRANGE", self._layout.items(name), start, end)
        return items

    async def length(self, name: str) -> int:
        length: int = await self._send(b"LLEN", self._layout.items(name))
        return length

    async def trim(self, name: str, start: int, end: int) -> None:
        await self._send(b"LTRIM", self._layout.items(name), start, end)

    async def _send(self, *command: Argument) -> Any:
        try:
            # A caller that is cancelled cancels its own reply, which the wire reads and drops.
            return await self._link.send(*command)
        except ServerError as error:
            text = str(error)
            if "would overflow" in text:
                raise OverflowError from error
            if text.startswith("WRONGTYPE") or "is not an integer" in text:
                raise CorruptEntry(f"{_text(command[1])} holds something else: {text}") from error
            raise Barred(f"Redis refused {_text(command[0])}: {text}") from error


def _text(argument: Argument) -> str:
    return argument.decode(errors="replace") if isinstance(argument, bytes) else str(argument)
