"""One Redis server: from its URL to connections that it has greeted.

`RedisTier` makes one `Server`. The link, the lanes and the push feed open their connections by it.
It speaks to servers itself, through `Wire`, and to Sentinels as well: no other client of Redis is
imported, which would cost a process more than all the rest of its start. An error that is raised
here is never chained to a parser's, whose text would hold the URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from cascada.model.door.secret import Secret, Url
from cascada.model.errors import BadInput, TierUnavailable, Unanswered
from cascada.tiers.redis_client.refusals import without_arguments
from cascada.tiers.redis_client.replies import Argument, exactly, greeted, texts_or_none
from cascada.tiers.redis_client.urls import Address, address_of, what_is_wrong
from cascada.tiers.redis_client.wire import Wire

SENTINEL_SILENCE: Final = 1.0
"""Seconds that one Sentinel may take before the next one is asked."""


class Server:
    """How connections to one server are opened and greeted. `database`: its number."""

    def __init__(self, address: Address, password: str | Secret | None = None) -> None:
        self.address = address
        self.database = address.database
        given = address.password if password is None else Secret(password)
        self._password = given if given is not None and given.reveal() else None
        self._username = address.username
        self._secrets = [each for each in (self._password, self._username) if each is not None]

    async def open(
        self,
        on_push: Callable[[list[Any]], None] = lambda message: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> Wire:
        """A new connection on which nothing has been said yet."""
        address, loop = self.address, asyncio.get_running_loop()
        wire = Wire(on_push, on_lost)
        if address.path is not None:
            await loop.create_unix_connection(lambda: wire, address.path)
            return wire
        host, port = await self._master() if address.service else address.hosts[0]
        # It reads all certificates that this machine trusts: too long for the loop. Each time anew,
        # since they may have been replaced.
        tls = None if address.tls is None else await asyncio.to_thread(address.tls.context)
        await loop.create_connection(lambda: wire, host, port, ssl=tls)
        return wire

    async def greet(self, wire: Wire) -> None:
        """What a server is told first. RESP3 is asked for, since pushes depend on it."""
        user, password = self._username, self._password
        proof: tuple[Argument, ...] = ()
        if user is not None or password is not None:
            name = b"default" if user is None else user.reveal()
            proof = (b"AUTH", name, b"" if password is None else password.reveal())
        await wire.send((b"HELLO", b"3", *proof), greeted)
        if self.address.client_name:
            named = (b"CLIENT", b"SETNAME", self.address.client_name)
            await wire.send(named, exactly(b"OK"))
        if self.database:
            await wire.send((b"SELECT", self.database), exactly(b"OK"))

    def said(self, error: BaseException) -> str:
        """What a server or the operating system says of a failure, for a log.

        A server that does not know HELLO repeats what it was sent, and that is the password.
        """
        text = without_arguments(str(error)) or type(error).__name__
        if isinstance(error, Unanswered) and self.address.tls is not None:
            # So it looks to whom a server has not let in: TLS 1.3 says that after its handshake.
            text += "; if the server asks for a certificate, give it one it trusts (ssl_certfile=)"
        for secret in self._secrets:
            text = secret.hidden_in(text)
        return text

    async def _master(self) -> tuple[str, int]:
        """Where the master is at present, as the first Sentinel says that answers."""
        whys = []
        for sentinel in self.address.hosts:
            try:
                async with asyncio.timeout(SENTINEL_SILENCE):
                    return await self._ask(*sentinel)
            except (OSError, TierUnavailable, ValueError) as error:
                whys.append(self.said(error))
        raise ConnectionError(f"no Sentinel knows the master: {'; '.join(whys)}")

    async def _ask(self, host: str, port: int) -> tuple[str, int]:
        wire = Wire(lambda message: None, lambda: None)
        try:
            await asyncio.get_running_loop().create_connection(lambda: wire, host, port)
            command = (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self.address.service)
            found = await wire.send(command, texts_or_none)
            if not found:
                raise ValueError(f"{host}:{port} watches no such master")
            name, number = found
            return name.decode(), int(number)
        finally:
            wire.close("it has answered")


def server_of(url: str | Url, password: str | Secret | None = None) -> Server:
    """BadInput for what is no URL of a Redis server, or could be taken for another one.

    `redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB` asks Sentinels for the master, at every
    connect.
    """
    url = Url(url)
    wrong = what_is_wrong(url)
    address = None if wrong else address_of(url)
    if address is None:
        raise BadInput(f"redis is {url!r}: {wrong or 'an option after its ? is none'}")
    return Server(address, password)
