"""An answer is cached, its document is changed through the service, the question is asked again: in
no random interleaving does anybody who asks after the change has returned get the old answer.

The model takes 50 ms to 2 s, on a real event loop at a hundredth of that (`SCALE`): what happens
between two requests, the cache, the databases and Redis, is as fast as it is, so that relative to
the model it is a hundred times slower than in life, and all the more of it falls into its answers.
`CASCADA_EXAMPLES=10 CASCADA_MODEL_SCALE=1` runs a thousand in life's own time: five minutes.
"""

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from cascada import Tenant
from cascada.engine.engine import Engine
from cascada.engine.writing.cascade import Cascade
from examples.agent_service.answering import Answer, LocalStandIn, Prompt
from examples.agent_service.settings import Settings
from tests.examples.conftest import running
from tests.examples.furniture import AGENT, created
from tests.properties.budget import FACTOR
from tests.servers.redis import RedisServer

INTERLEAVINGS = 60 * FACTOR
LANES = 8
"""Documents whose interleavings are under way at the same time."""

SCALE = float(os.environ.get("CASCADA_MODEL_SCALE", "0.01"))
FASTEST, SLOWEST = 0.05 * SCALE, 2.0 * SCALE
LASTS = 3.0 * SCALE
"""Within this time everybody has asked and everything is changed."""


class MoodyModel(LocalStandIn):
    """Takes another time for each answer, whatever the question."""

    def __init__(self, random: Random) -> None:
        super().__init__(0)
        self._random = random

    async def answer(self, prompt: Prompt) -> Answer:
        answer = await super().answer(prompt)
        await asyncio.sleep(self._random.uniform(FASTEST, SLOWEST))
        return answer


@asynccontextmanager
async def service(folder: Path, **environment: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service with an agent in it, and with a model that takes its time."""
    url = f"sqlite:///{folder / 'service.db'}"
    settings = Settings.from_env({"DATABASE_URL": url, "AGENT_SERVICE_MODEL_LATENCY_MS": "0"})
    async with running(settings) as started:
        started.app.state.service = replace(started.service, model=MoodyModel(Random(9)))
        client = started.client("acme")
        await created(client, "/agents", {"id": "a1", **AGENT})
        yield client


class Lane:
    """One document in a collection of its own, and one interleaving after the other about it."""

    def __init__(self, client: httpx.AsyncClient, name: str, random: Random) -> None:
        self._client = client
        self._name = name
        self._random = random
        self.changed = 0
        self.old: list[str] = []
        self.seen: Counter[str] = Counter()

    async def run(self, interleavings: int) -> None:
        await created(self._client, "/collections", {"id": self._name, "name": "Cranes"})
        await self._change(0)
        for _ in range(interleavings):
            await self._ask("before")
            async with asyncio.TaskGroup() as group:
                for _ in range(self._random.randint(1, 3)):
                    group.create_task(self._at_some_time(self._ask("meanwhile")))
                group.create_task(self._changes())
            await self._ask("afterwards")

    async def _changes(self) -> None:
        for _ in range(self._random.randint(1, 2)):
            await self._at_some_time(self._change(self.changed + 1))
            await self._ask("at once")

    async def _at_some_time(self, what: Awaitable[None]) -> None:
        await asyncio.sleep(self._random.uniform(0, LASTS / 2))
        await what

    async def _change(self, edition: int) -> None:
        """Store the document's next edition, in one of the ways that there are."""
        path = f"/collections/{self._name}/documents"
        text = f"Cranes migrate in the year {edition}."
        name, body = f"{self._name}-cranes", {"title": "Cranes", "text": text}
        if self._random.random() < 0.6:
            answer = await self._client.put(f"{path}/{name}", json=body)
        else:
            documents = {"documents": [{"id": name, **body}]}
            answer = await self._client.post(path, json=documents)
        assert answer.is_success, answer.text
        self.changed = edition  # from here on nobody who asks may be told of an earlier year

    async def _ask(self, when: str) -> None:
        known = self.changed
        body = {"collection_id": self._name, "question": "When do cranes migrate?"}
        answer = await self._client.post("/agents/a1/query", json=body)
        assert answer.status_code == 200, answer.text
        year = re.search(r"in the year (\d+)", answer.json()["answer"])
        assert year is not None, answer.text
        status = answer.headers["Cache-Status"]
        self.seen[status.split(";")[1].strip()] += 1
        if int(year[1]) < known:
            self.old.append(f"{self._name}, {when}: {year[0]} after {known} was stored ({status})")


async def interleavings(client: httpx.AsyncClient, count: int, seed: int) -> list[Lane]:
    """Run so many, in all lanes together."""
    lanes = [Lane(client, f"c{n}", Random(seed * LANES + n)) for n in range(LANES)]
    async with asyncio.TaskGroup() as group:
        for lane in lanes:
            group.create_task(lane.run(count // LANES))
    return lanes


@pytest.mark.parametrize("shared", ["database", "redis"])
async def test_nobody_gets_the_old_answer_after_the_change(
    shared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer
) -> None:
    if shared == "redis":
        redis_server.flush()
        monkeypatch.setenv("REDIS_URL", redis_server.url)
    async with service(tmp_path) as client:
        lanes = await interleavings(client, INTERLEAVINGS // 2, seed=1)
    assert [sentence for each in lanes for sentence in each.old] == []
    seen = sum((each.seen for each in lanes), Counter())
    assert seen["hit"] > INTERLEAVINGS / 8, "there was a cached answer to be wrong"
    assert seen["fwd=miss"] > INTERLEAVINGS / 2, "and it went"


async def test_a_service_that_forgets_its_cascades_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(*_: Any, **__: Any) -> Cascade:
        return Cascade(Counter())

    monkeypatch.setattr(Tenant, "invalidate", forget)
    monkeypatch.setattr(Engine, "cascade", forget)
    async with service(tmp_path) as client:
        lanes = await interleavings(client, 40, seed=2)
    assert len([sentence for each in lanes for sentence in each.old]) > 20
