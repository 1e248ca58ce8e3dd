"""A service on a SQLite cache, for `gunicorn --preload`; its source of truth is a folder of files.

The module is imported in gunicorn's master, which uses the cache before it forks: memory is filled
and the database is open then.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response

from cascada import Cache, Hit, Limits, Policy
from cascada.integrations.fastapi import lifespan
from cascada.integrations.prometheus import exposition

SOURCE = Path(os.environ["TEST_SOURCE"])
MASTER = os.getpid()

cache = Cache(
    database=os.environ["TEST_DATABASE"],
    policies={"row": Policy(ttl=3600)},
    limits=Limits(op_timeout=5.0),  # a busy machine must not look like a broken database
)
acme = cache.tenant("acme")
app = FastAPI(lifespan=lifespan(cache))


async def answer(name: str) -> dict[str, Any]:
    # A plain loader, so that the threads that run such were started before the fork as well.
    hit = await acme.load("row", name, lambda: (SOURCE / name).read_text("utf-8"))
    assert isinstance(hit, Hit)
    return {"value": hit.value, "tier": hit.tier, "pid": os.getpid(), "master": MASTER}


@app.get("/row/{name}")
async def row(name: str) -> dict[str, Any]:
    return await answer(name)


@app.put("/row/{name}/{value}")
async def change(name: str, value: str) -> dict[str, Any]:
    (SOURCE / name).write_text(value, "utf-8")
    return {"keys": (await acme.invalidate("row", name)).keys}


@app.get("/slow/{name}/{seconds}")
async def slow(name: str, seconds: float) -> dict[str, Any]:
    async def load() -> str:
        (SOURCE / "loading").touch()
        await asyncio.sleep(seconds)
        return f"loaded by {os.getpid()}"

    hit = await acme.load("row", name, load)
    return {"value": hit.value, "pid": os.getpid()}


@app.get("/metrics")
async def metrics() -> Response:
    return Response(await exposition(cache), headers={"X-Pid": str(os.getpid())})


async def use_before_the_fork() -> list[str]:
    return [str((await answer("early"))["tier"]) for _ in range(2)]


assert asyncio.run(use_before_the_fork()) == ["source", "l1"]
