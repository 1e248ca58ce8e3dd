"""The wrapped data keys of tenants in Redis: one string for each, without a life (see `layout`).

A server that evicts what has no life may take one, and with it all that it has sealed: those are
misses then, and its tenant gets another.
"""

from __future__ import annotations

from typing import Final

from cascada.tiers.redis.layout import Layout, literal
from cascada.tiers.redis_client import replies
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_scripts.prelude import Script

ADD: Final = Script(
    r"""
-- KEYS: a tenant's. ARGV: 1 its wrapped key. What is there then.
if redis.call('SET', KEYS[1], ARGV[1], 'NX') then return ARGV[1] end
return redis.call('GET', KEYS[1])
"""
)

REPLACE: Final = Script(
    r"""
-- KEYS: a tenant's. ARGV: 1 the wrapped key that is to be there, 2 the one that takes its place.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
)

PAGE: Final = 500


class RedisKeys:
    """See `sealing.WrappedKeys`."""

    def __init__(self, layout: Layout, link: Link) -> None:
        self._prefix = layout.prefix + b"k:"
        self._link = link

    async def get(self, tenant: str) -> bytes | None:
        found: bytes | None = await self._link.ask(
            b"GET", self._prefix + tenant.encode(), fits=replies.text_or_none
        )
        return found

    async def add(self, tenant: str, wrapped: bytes) -> bytes:
        there: bytes = await ADD.run(
            self._link.ask, [self._prefix + tenant.encode()], [wrapped], replies.text
        )
        return there

    async def replace(self, tenant: str, wrapped: bytes, newer: bytes) -> bool:
        keys = [self._prefix + tenant.encode()]
        done = await REPLACE.run(self._link.ask, keys, [wrapped, newer], replies.at_least(0))
        return bool(done)

    async def drop(self, tenant: str) -> bool:
        key = self._prefix + tenant.encode()
        return bool(await self._link.ask(b"DEL", key, fits=replies.at_least(0)))

    async def tenants(self) -> list[str]:
        found: set[bytes] = set()
        cursor: bytes = b"0"
        while True:
            pattern = literal(self._prefix) + b"*"
            cursor, page = await self._link.ask(
                b"SCAN", cursor, b"MATCH", pattern, b"COUNT", PAGE, fits=_is_page
            )
            found.update(page)
            if cursor == b"0":
                names = [key[len(self._prefix) :].decode(errors="replace") for key in found]
                return sorted(name for name in names if "\ufffd" not in name)


def _is_page(reply: object) -> bool:
    return (
        type(reply) is list
        and len(reply) == 2
        and type(reply[0]) is bytes
        and type(reply[1]) is list
        and all(type(each) is bytes for each in reply[1])
    )
