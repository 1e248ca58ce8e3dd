"""Reads of one turn of the event loop as one MGET.

Idle, a read is sent at once; while another is under way, what the loop's turn brings is collected
and sent together. So a lone get costs no waiting, and a thousand concurrent ones cost two round
trips. Keys that several reads want (the epoch, generations) are asked for once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from cascada.model.errors import Unanswered
from cascada.tiers.deadline import wait_in
from cascada.tiers.redis.connection import Link
from cascada.tiers.redis.layout import ServerError
from cascada.tiers.redis.refusals import refusal

Values = Mapping[bytes, bytes | None]


class Batcher:
    """Gathers reads on one link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._under_way = 0
        self._collected: dict[bytes, None] = {}
        self._joined: list[asyncio.Future[Values]] = []

    async def get(self, keys: Sequence[bytes]) -> Values:
        """The values of at least these keys, all read in one atomic step."""
        wait_in(self._link)
        if not self._under_way and not self._joined:
            return await self._mget(keys)
        loop = asyncio.get_running_loop()
        if not self._joined:
            loop.call_soon(self._send)
        self._collected.update(dict.fromkeys(keys))
        # One future for each who joins: cancelling one touches no other.
        joined: asyncio.Future[Values] = loop.create_future()
        self._joined.append(joined)
        return await joined

    def _send(self) -> None:
        keys, self._collected = list(self._collected), {}
        joined, self._joined = self._joined, []
        try:
            reply = self._link.send(b"MGET", *keys)
        except Exception as error:  # noqa: BLE001 - whatever it is, they wait for it
            _tell(joined, error)
            return
        self._under_way += 1

        def answer(replied: asyncio.Future[list[bytes | None]]) -> None:
            self._under_way -= 1
            if replied.cancelled():
                _tell(joined, Unanswered("the read was given up"))
                return
            if (error := replied.exception()) is not None:
                _tell(joined, _refused(error))
                return
            values = dict(zip(keys, replied.result(), strict=True))
            for each in joined:
                if not each.done():
                    each.set_result(values)

        reply.add_done_callback(answer)

    async def _mget(self, keys: Sequence[bytes]) -> Values:
        reply = self._link.send(b"MGET", *keys)
        self._under_way += 1
        try:
            # Its own alone, so that it may be cancelled: the wire then drops the reply.
            return dict(zip(keys, await reply, strict=True))
        except ServerError as error:
            raise _refused(error) from error
        finally:
            self._under_way -= 1


def _refused(error: BaseException) -> BaseException:
    return refusal("a read", error) if isinstance(error, ServerError) else error


def _tell(joined: Sequence[asyncio.Future[Values]], error: BaseException) -> None:
    for each in joined:
        if not each.done():
            each.set_exception(error)
