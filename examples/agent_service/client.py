"""HTTP/1.1 to one worker of the demo over connections that are kept, and nothing else.

The client shares two processors with what it measures: httpx takes as long for a request as the
service for an answer from memory, and longer the more requests are under way.
"""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

_ANSWERS_WITHIN: Final = 60.0


class NoAnswer(ConnectionError):
    """The worker did not answer, or not in HTTP as it is known here."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a worker answered; names of headers in small letters."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        return json.loads(self.text)


class Client:
    """Connections to one worker; `async with` closes them."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._host, self._port = str(parts.hostname), parts.port
        self._idle: list[tuple[StreamReader, StreamWriter]] = []

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *raised: object) -> None:
        while self._idle:
            _, writer = self._idle.pop()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """The answer, whatever its status. NoAnswer if there is none."""
        content = b"" if body is None else json.dumps(body).encode()
        said = {
            "Host": f"{self._host}:{self._port}",
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        message = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN):
                return await self._exchange(message)
        except (OSError, EOFError, TimeoutError, ValueError, KeyError) as error:
            raise NoAnswer(f"{method} {path}: {error!r}") from error

    async def _exchange(self, message: bytes) -> Response:
        while self._idle:
            try:
                return await self._over(self._idle.pop(), message)
            except (ConnectionError, EOFError):
                continue  # closed by the worker, which had nothing to do on it for some seconds
        return await self._over(await asyncio.open_connection(self._host, self._port), message)

    async def _over(
        self, connection: tuple[StreamReader, StreamWriter], message: bytes
    ) -> Response:
        reader, writer = connection
        try:
            writer.write(message)
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
            fields = (line.partition(":") for line in lines if line)
            headers = {name.lower(): value.strip() for name, _colon, value in fields}
            content = await reader.readexactly(int(headers.get("content-length", "0")))
        except BaseException:
            writer.close()  # half an answer may be on its way
            raise
        self._idle.append(connection)
        return Response(int(first.split()[1]), headers, content.decode())
