"""The service as a process of its own: started on a free port, and stopped whatever happens."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import examples

_ROOT: Final = Path(examples.__file__).resolve().parent.parent
_STARTS_WITHIN: Final = 120.0
_STOPS_WITHIN: Final = 10.0


class DidNotStart(RuntimeError):
    """The service ended, or said nothing, before it listened."""


@asynccontextmanager
async def running_service(environment: Mapping[str, str]) -> AsyncIterator[str]:
    """Start the service with these variables added; yields its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.agent_service.serve", "--port", "0", "--bare"),
        cwd=_ROOT,
        env={**os.environ, **environment},
        stdout=PIPE,
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
