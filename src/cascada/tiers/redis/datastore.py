"""Lists and counters in Redis: one plain command for each call, on connections of their own.

Their keys (`c:` and `d:`, see `layout`) bear no epoch and no layout, and are in no script of the
cache's: what it does to its entries never reaches them. Redis itself evicts them only under a
policy of `allkeys-`, since with one of `volatile-` keys without a ttl stay; a server that may do so
is warned of, once. A counter with a ttl begins in a script of its own, so that none is ever without
its end.
"""

from __future__ import annotations

import asyncio
import logging
import re
from functools import partial
from typing import Any, Final

from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.tiers.contract import NotPermitted
from cascada.tiers.datastore import overflow
from cascada.tiers.redis.layout import Layout
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_client.lanes import Lanes
from cascada.tiers.redis_client.replies import Argument, Fits
from cascada.tiers.redis_scripts.prelude import Script

INCREMENT: Final = Script(
    r"""
-- KEYS: a counter. ARGV: 1 what is added, 2 its life in ms if it begins. As text: Lua's own numbers
-- have 53 bits.
local begins = redis.call('EXISTS', KEYS[1]) == 0
redis.call('INCRBY', KEYS[1], ARGV[1])
if begins then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('GET', KEYS[1])
"""
)

_WHOLE: Final = re.compile(rb"0|-?[1-9][0-9]{0,18}")

logger = logging.getLogger("cascada")


class RedisData:
    """See `DataStore`. What Redis refuses was not carried out, and the tier has not failed."""

    def __init__(self, link: Link, lanes: Lanes, layout: Layout) -> None:
        self._link = link
        self._lanes = lanes
        self._layout = layout
        self._looked = False

    async def increment(self, name: str, amount: int, ttl: float | None = None) -> int:
        key = self._layout.counter(name)
        try:
            if ttl is None:
                value: int = await self._send(key, b"INCRBY", key, amount)
                return value
            life = max(1, round(1000 * ttl))
            return int(
                await INCREMENT.run(partial(self._send, key), [key], [amount, life], _is_whole)
            )
        except OverflowError:
            raise overflow(name, amount) from None

    async def counter(self, name: str) -> int:
        found = await self._ask(b"GET", self._layout.counter(name))
        # What Redis itself would not count on from is none of its counters.
        if found is None or _WHOLE.fullmatch(found):
            return int(found or 0)
        raise CorruptEntry(f"the counter {name} holds {found[:40]!r}, no number")

    async def push(self, name: str, item: bytes, *, left: bool) -> int:
        command = b"LPUSH" if left else b"RPUSH"
        length: int = await self._ask(command, self._layout.items(name), item)
        return length

    async def pop(self, name: str, *, left: bool) -> bytes | None:
        item: bytes | None = await self._ask(b"LPOP" if left else b"RPOP", self._layout.items(name))
        return item

    async def range(self, name: str, start: int, end: int) -> list[bytes]:
        items: list[bytes] = await self._ask(b"LRANGE", self._layout.items(name), start, end)
        return items

    async def length(self, name: str) -> int:
        length: int = await self._ask(b"LLEN", self._layout.items(name))
        return length

    async def trim(self, name: str, start: int, end: int) -> None:
        await self._ask(b"LTRIM", self._layout.items(name), start, end)

    async def _ask(self, name: bytes, key: bytes, *rest: Argument) -> Any:
        return await self._send(key, name, key, *rest)

    async def _send(self, key: bytes, *command: Argument, fits: Fits | None = None) -> Any:
        if not self._looked:
            self._look_for_eviction()
        try:
            return await self._lanes.ask(key, *command, fits=fits)
        except NotPermitted as error:
            text = str(error)
            if "would overflow" in text:
                raise OverflowError from error
            if ": WRONGTYPE" in text or "is not an integer" in text:
                raise CorruptEntry(
                    f"{key.decode(errors='replace')} holds something else: {text}"
                ) from error
            raise

    def _look_for_eviction(self) -> None:
        """Ask how the server makes room; nobody waits for the answer."""
        try:
            asked = self._link.send(b"INFO", b"memory")
        except TierUnavailable:  # ask with the next command
            return
        self._looked = True
        asked.add_done_callback(_warn_of_eviction)


def _is_whole(reply: Any) -> bool:
    return type(reply) is bytes and _WHOLE.fullmatch(reply) is not None


def _warn_of_eviction(answered: asyncio.Future[Any]) -> None:
    if answered.cancelled() or answered.exception() is not None:  # forbidden, or broken off
        return
    said = dict(
        re.findall(
            r"^(maxmemory|maxmemory_policy):(.*?)\r?$",
            answered.result().decode(errors="replace"),
            re.M,
        )
    )
    policy = said.get("maxmemory_policy", "")
    if policy.startswith("allkeys-") and said.get("maxmemory", "0") != "0":
        logger.warning(
            "Redis has maxmemory-policy %s, so it evicts lists and counters too when it is full; "
            "set volatile%s, which evicts only what has a ttl, as everything cached has",
            policy,
            policy.removeprefix("allkeys"),
        )
