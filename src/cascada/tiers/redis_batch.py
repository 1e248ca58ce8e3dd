"""Reads of one turn of the event loop as one MGET.

Idle, a read is sent at once; while another is under way, what the loop's turn brings is collected
and sent together. So a lone get costs no waiting, and a thousand concurrent ones cost two round
trips. Keys that several reads want (the epoch, generations) are asked for once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from cascada.model.errors import TierUnavailable
from cascada.tiers.redis_layout import ServerError
from cascada.tiers.redis_link import Link

Values = Mapping[bytes, bytes | None]


class Batcher:
    """Gathers reads on one link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._under_way = 0
        self._collected: dict[bytes, None] = {}
        self._round: asyncio.Future[Values] | None = None

    async def get(self, keys: Sequence[bytes]) -> Values:
        """The values of at least these keys, all read in one atomic step."""
        if not self._under_way and self._round is None:
            return await self._mget(keys)
        if self._round is None:
            loop = asyncio.get_running_loop()
            self._round = loop.create_future()
            loop.call_soon(self._send, self._round)
        self._collected.update(dict.fromkeys(keys))
        # The round belongs to all who joined it: cancelling one must not cancel it.
        return await asyncio.shield(self._round)

    def _send(self, waiting: asyncio.Future[Values]) -> None:
        keys, self._collected, self._round = list(self._collected), {}, None
        try:
            reply = self._link.send(b"MGET", *keys)
        except TierUnavailable as error:
            waiting.set_exception(error)
            waiting.exception()
            return
        self._under_way += 1

        def answer(replied: asyncio.Future[list[bytes | None]]) -> None:
            self._under_way -= 1
            if waiting.done():
                return
            if (error := replied.exception()) is not None:
                waiting.set_exception(error)
                waiting.exception()
            else:
                waiting.set_result(dict(zip(keys, replied.result(), strict=True)))

        reply.add_done_callback(answer)

    async def _mget(self, keys: Sequence[bytes]) -> Values:
        reply = self._link.send(b"MGET", *keys)
        self._under_way += 1
        try:
            return dict(zip(keys, await asyncio.shield(reply), strict=True))
        except ServerError as error:
            raise TierUnavailable(f"Redis refused a read: {error}") from error
        finally:
            self._under_way -= 1
