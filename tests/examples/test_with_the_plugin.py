"""The service's reads, tested as a user tests his own: with the fixtures of cascada's plugin."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from cascada import Cache
from cascada.testing import ManualClock, RedisServer
from examples.agent_service.caching import POLICIES
from examples.agent_service.queries.agents import AgentRows
from examples.agent_service.records import Agent
from examples.agent_service.service import open_service
from examples.agent_service.settings import Settings

LIBRARIAN = Agent(id="a1", name="Librarian", instructions="Cite.", max_words=50)


@pytest.fixture
def settings(tmp_path: object) -> Settings:
    return Settings.from_env(
        {"DATABASE_URL": f"sqlite:///{tmp_path}/service.db", "AGENT_SERVICE_MODEL_LATENCY_MS": "0"}
    )


async def test_of_callers_at_once_one_asks_the_database(
    settings: Settings,
    cascada_cache: Cache,
    ran_once: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = ran_once(AgentRows.get)
    monkeypatch.setattr(AgentRows, "get", lambda *args: row(*args))  # a function: it is a method
    async with open_service(settings, cascada_cache) as service:
        acme = service.tenant("acme")
        await acme.writes.add_agent(LIBRARIAN)
        served = await asyncio.gather(*(acme.reads.agent("a1") for _ in range(20)))
        assert all(each.value == LIBRARIAN for each in served)


async def test_an_agent_is_asked_for_again_after_an_hour(
    settings: Settings, cascada_cache: Cache, manual_clock: ManualClock
) -> None:
    async with open_service(settings, cascada_cache) as service:
        acme = service.tenant("acme")
        await acme.writes.add_agent(LIBRARIAN)
        await acme.reads.agent("a1")
        asked = service.database.queries
        manual_clock.advance(3590)
        await acme.reads.agent("a1")
        assert service.database.queries == asked
        manual_clock.advance(20)
        await acme.reads.agent("a1")
        assert service.database.queries == asked + 1


async def test_no_reader_sees_that_redis_is_down(
    settings: Settings,
    cascada_redis: RedisServer,
    redis_down: Callable[[], AbstractContextManager[None]],
) -> None:
    cache = Cache(redis=cascada_redis.url, policies=POLICIES)
    async with open_service(settings, cache) as service:
        acme = service.tenant("acme")
        await acme.writes.add_agent(LIBRARIAN)
        assert (await acme.reads.agent("a1")).value == LIBRARIAN
        with redis_down():
            assert (await acme.reads.agent("a1")).value == LIBRARIAN
            assert (await acme.reads.tools("a1")).value == []
