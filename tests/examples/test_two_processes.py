"""Two processes of the service on one database and one Redis: nothing that is appended is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from examples.agent_service.caching import REMEMBERED
from examples.agent_service.process import running_service
from tests.examples.furniture import created, furnish
from tests.properties.budget import FACTOR
from tests.servers.redis import RedisServer

MESSAGES = 150 * FACTOR
AT_ONCE = 4
"""Requests of each process under way at the same time."""

MESSAGE_PATH, MEMORY_PATH = "/conversations/c1/messages", "/conversations/c1/memory"


@pytest.fixture
async def processes(
    tmp_path: Path, redis_server: RedisServer
) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client of each of two processes."""
    redis_server.flush()
    environment = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'service.db'}",
        "REDIS_URL": redis_server.url,
        "CACHE_DATABASE_URL": "",
        "AGENT_SERVICE_MODEL_LATENCY_MS": "0",
    }
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            address = await stack.enter_async_context(running_service(environment))
            client = httpx.AsyncClient(
                base_url=address, headers={"X-Tenant-ID": "acme"}, timeout=30, trust_env=False
            )
            clients.append(await stack.enter_async_context(client))
        yield clients


async def append(client: httpx.AsyncClient, texts: list[str]) -> None:
    """Each is in the memory of who has heard that it was appended."""
    while texts:
        text = texts.pop()
        made = await created(client, MESSAGE_PATH, {"text": text})
        memory = (await client.get(MEMORY_PATH)).json()
        ids = [message["id"] for message in memory["messages"]]
        # Others may have said so much since that it is among the latest no more.
        assert made["id"] in ids or made["id"] < min(ids), text
        assert ids == sorted(ids)


async def test_two_processes_that_append_at_once_lose_no_message(
    processes: list[httpx.AsyncClient],
) -> None:
    await furnish(processes[0])
    for client in processes:  # both remember the empty conversation
        assert (await client.get(MEMORY_PATH)).json()["messages"] == []
    shares = [[f"{at}-{n}" for n in range(MESSAGES // 2)] for at in range(2)]
    said = {text for share in shares for text in share}
    async with asyncio.TaskGroup() as group:
        for client, share in zip(processes, shares, strict=True):
            for _ in range(AT_ONCE):
                group.create_task(append(client, share))
    for client in processes:
        # The other process hears of the last one a few milliseconds later.
        for _ in range(100):
            if (await client.get(MEMORY_PATH)).json()["metadata"]["messages_in_all"] == MESSAGES:
                break
            await asyncio.sleep(0.05)
        messages = (await client.get(MESSAGE_PATH)).json()
        assert len(messages) == MESSAGES
        assert {message["text"] for message in messages} == said
        memory = (await client.get(MEMORY_PATH)).json()
        assert memory["messages"] == messages[-REMEMBERED:]
        assert memory["metadata"]["messages_in_all"] == MESSAGES
