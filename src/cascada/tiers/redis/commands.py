"""Commands and scripts on the tier's connection, each sent once and never again.

`TierUnavailable` says that nobody knows whether it was carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from cascada.model.errors import TierUnavailable
from cascada.tiers.coalesce import Coalescer
from cascada.tiers.deadline import wait_in
from cascada.tiers.redis.connection import Link
from cascada.tiers.redis.lanes import Lanes
from cascada.tiers.redis.layout import ServerError
from cascada.tiers.redis.refusals import refusal
from cascada.tiers.redis.replies import Argument, Fits, anything
from cascada.tiers.redis.script_prelude import Script


class Calls:
    """What is sent on one link, beside the reads."""

    def __init__(self, link: Link, lanes: Lanes) -> None:
        self._link = link
        self._lanes = lanes
        self._pings: Coalescer[None, bytes] = Coalescer(
            lambda asked: link.send(b"PING"), share=lambda asked, pong: [pong] * len(asked)
        )

    async def run(
        self,
        script: Script,
        keys: Sequence[Argument],
        arguments: Sequence[Argument],
        fits: Fits,
        *,
        aside: bytes = b"",
    ) -> Any:
        """Run a script once. A server that does not know it yet has not run it.

        `aside`: it is large, and nobody else should have to wait until it has left; a name of its
        own.
        """
        what = len(keys), *keys, *arguments
        send = partial(self._lanes.ask, aside) if aside else self._send
        try:
            return await send(b"EVALSHA", script.digest, *what, fits=fits)
        except ServerError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise refusal("a script", error) from error
        try:
            return await send(b"EVAL", script.text, *what, fits=fits)
        except ServerError as error:
            raise refusal("a script", error) from error

    def post(self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument]) -> None:
        """Send a script whose reply nobody waits for, if there is a connection."""
        with suppress(TierUnavailable):
            self._link.send(b"EVAL", script.text, len(keys), *keys, *arguments, fits=anything)

    async def settle(self) -> None:
        """Wait until what was published before has left the server.

        A server writes what it has published before it reads the next commands. So one PING that
        is sent after the script's reply settles it, also those of all who wait for one.
        """
        # Without an answer the message is on its way all the same; the feed knows when it is not.
        with suppress(TierUnavailable, ServerError):
            await self._pings.ask(None)

    def _send(self, *command: Argument, fits: Fits | None = None) -> asyncio.Future[Any]:
        wait_in(self._link)
        return self._link.send(*command, fits=fits)

    async def command(self, *command: Argument) -> Any:
        reply = self._send(*command)
        try:
            # A caller that is cancelled cancels its own reply, which the wire reads and drops.
            return await reply
        except ServerError as error:
            raise refusal(command[0], error) from error
