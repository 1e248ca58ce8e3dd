"""Commands and scripts on the tier's connection, each sent once and never again.

`TierUnavailable` says that nobody knows whether it was carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from cascada.model.errors import TierUnavailable
from cascada.tiers.redis_layout import ServerError
from cascada.tiers.redis_link import Argument, Link
from cascada.tiers.redis_scripts import Script


class Calls:
    """What is sent on one link, beside the reads."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._settling: asyncio.Future[None] | None = None

    async def run(
        self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument]
    ) -> Any:
        """Run a script once. A server that does not know it yet has not run it."""
        try:
            return await self.command(b"EVALSHA", script.digest, len(keys), *keys, *arguments)
        except ServerError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise TierUnavailable(f"Redis refused a script: {error}") from error
        try:
            return await self.command(b"EVAL", script.text, len(keys), *keys, *arguments)
        except ServerError as error:
            raise TierUnavailable(f"Redis refused a script: {error}") from error

    async def settled(
        self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument]
    ) -> Any:
        """Run a script that publishes, and wait until its message has left the server.

        A server writes what it has published before it reads the next commands. So one PING that
        is sent after the script's reply settles it; calls in one turn of the loop share it.
        """
        reply = await self.run(script, keys, arguments)
        if self._settling is None:
            self._settling = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(self._ping, self._settling)
        await asyncio.shield(self._settling)
        return reply

    def _ping(self, settling: asyncio.Future[None]) -> None:
        self._settling = None
        try:
            reply = self._link.send(b"PING")
        except TierUnavailable:
            settling.set_result(None)  # the message is on its way; the feed knows when it is not
            return
        reply.add_done_callback(lambda _: None if settling.done() else settling.set_result(None))

    async def command(self, *command: Argument) -> Any:
        # Shielded: a cancelled caller's reply is still read, by the wire, and dropped.
        return await asyncio.shield(self._link.send(*command))
