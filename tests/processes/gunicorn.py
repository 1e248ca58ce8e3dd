"""A gunicorn that runs `app.py`, and one connection to each of its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


class Gunicorn:
    """`gunicorn --preload` on a Unix socket in `folder`. Start it with `with`."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.workers = workers
        self.source = folder / "source"
        self.database = folder / "cache.sqlite"
        self._log = folder / "log"
        self._socket = str(folder / "s")  # short: a socket's path may have 107 characters
        self.source.mkdir()
        (self.source / "early").write_text("0", "utf-8")

    def __enter__(self) -> Gunicorn:
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "tests.processes.app:app", "--preload"),
                    *("--workers", str(self.workers), "--bind", f"unix:{self._socket}"),
                    *("--worker-class", "uvicorn_worker.UvicornWorker", "--keep-alive", "60"),
                ],
                cwd=ROOT,
                env={
                    **os.environ,
                    "TEST_SOURCE": str(self.source),
                    "TEST_DATABASE": str(self.database),
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(self, *error: object) -> None:
        # The workers do not notice that their master was killed: the whole group has to go.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def said(self) -> str:
        return self._log.read_text("utf-8")

    def client(self) -> httpx.AsyncClient:
        """A client that keeps one connection, so that it always speaks to the same worker."""
        return httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=self._socket,
                limits=httpx.Limits(max_connections=1, keepalive_expiry=None),
            ),
            base_url="http://workers",
            timeout=PATIENCE,
        )

    async def one_client_for_each_worker(self, open_clients: AsyncExitStack) -> list[Worker]:
        """Connect until every worker has taken a connection."""
        found: dict[int, Worker] = {}
        until = time.monotonic() + PATIENCE
        while len(found) < self.workers:
            assert time.monotonic() < until, f"{len(found)} workers answer\n{self.said}"
            assert self.process.poll() is None, self.said
            client = self.client()
            try:
                said = (await client.get("/row/early")).json()
            except httpx.TransportError:
                await client.aclose()  # not yet up
                continue
            if said["pid"] in found:
                await client.aclose()
            else:
                open_clients.push_async_callback(client.aclose)
                found[said["pid"]] = Worker(client, said)
        return list(found.values())

    def terminate(self) -> float:
        """SIGTERM; the seconds until all have ended."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        return time.monotonic() - started


class Worker:
    """One worker, over a connection of its own; `first` is its first answer."""

    def __init__(self, client: httpx.AsyncClient, first: dict[str, Any]) -> None:
        self.client = client
        self.first = first
        self.pid: int = first["pid"]

    async def row(self, name: str) -> dict[str, Any]:
        said: dict[str, Any] = (await self.client.get(f"/row/{name}")).json()
        assert said["pid"] == self.pid
        return said

    async def change(self, name: str, value: str) -> None:
        (await self.client.put(f"/row/{name}/{value}")).raise_for_status()
