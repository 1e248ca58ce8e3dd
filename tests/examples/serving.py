"""Any ASGI application on a real port of this machine, inside the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI


class _Server(uvicorn.Server):
    def __init__(self, app: FastAPI) -> None:
        super().__init__(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        port = self.servers[0].sockets[0].getsockname()[1]
        self.address.set_result(f"http://127.0.0.1:{port}")


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    server = _Server(app)
    async with asyncio.TaskGroup() as group:
        # not `serve`, which would take over the signals of the test run
        group.create_task(server._serve())
        yield await server.address
        server.should_exit = True
