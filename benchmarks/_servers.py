"""A Redis server for a benchmark, and the least that a client of it can be."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hiredis

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.servers.redis import RedisServer, binary  # the tests' own, found by the line above


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A server of its own, on a free port, which keeps nothing."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = RedisServer(Path(folder))
        try:
            yield server
        finally:
            server.kill()


def server_version() -> str:
    """What it is, without where it lies."""
    said = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=True)
    words = said.stdout.split()
    number = next(word.partition("=")[2] for word in words if word.startswith("v="))
    return f"{words[0]} server {number}"


class RawClient(asyncio.Protocol):
    """Commands and replies in order on one connection, and nothing else."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: Any = None

    @classmethod
    async def connect(cls, port: int) -> RawClient:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(cls, "127.0.0.1", port)
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._waiting.popleft().set_result(reply)

    def send(self, *command: bytes) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._transport.write(hiredis.pack_command(command))
        return future

    def close(self) -> None:
        self._transport.close()


def client_side_cache() -> dict[str, Any]:
    """Options with which valkey-glide keeps what it has read, and is told when it changes."""
    import glide

    local = glide.ClientSideCache.create(
        max_cache_kb=50 * 1024, entry_ttl_ms=600_000, server_assisted=True
    )
    return {"client_side_cache": local, "protocol": glide.ProtocolVersion.RESP3}


async def glide_client(port: int, **options: Any) -> Any:
    """A client of valkey-glide, which speaks in one multiplexed connection."""
    import glide

    glide.Logger.init(glide.LogLevel.OFF)
    addresses = [glide.NodeAddress("127.0.0.1", port)]
    configuration = glide.GlideClientConfiguration(addresses, request_timeout=30_000, **options)
    return await glide.GlideClient.create(configuration)
