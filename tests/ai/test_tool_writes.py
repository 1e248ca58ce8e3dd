"""What a tool has written is void when it has ended, however it did, whoever reads meanwhile."""

from __future__ import annotations

import asyncio
import logging
import threading

import anyio
import pytest

from cascada import Cache, Limits, Loaded
from cascada.ai import Tools
from cascada.model.errors import CacheClosed
from tests.ai.bank import Bank
from tests.servers.redis import RedisServer


async def test_what_failed_may_have_written() -> None:
    async with Cache() as cache:
        bank = Bank(cache)
        await bank.balances()
        with pytest.raises(ValueError, match="half of it"):
            await bank.transfer("a1", "a2", 101)
        assert await bank.balances() == {"a1": -100, "a2": 2, "b1": 3}


async def test_what_was_cancelled_may_have_written() -> None:
    async with Cache() as cache:
        bank, tools = Bank(cache), Tools(cache, tenant="acme")
        written = asyncio.Event()

        @tools.writes(("account", "{account}"))
        async def slow(account: str) -> None:
            bank.money[account] = 99
            written.set()
            await asyncio.sleep(60)

        for how in ("task", "scope", "timeout"):
            bank.money["a1"] = 1
            await bank.tools.wrote(("account", "a1"))
            written.clear()
            assert await bank.say("balance", account="a1") == 1
            if how == "task":
                task = asyncio.create_task(slow("a1"))
                await written.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            elif how == "scope":  # of anyio, which cancels again and again, as MCP's does
                with anyio.move_on_after(0.01):
                    await slow("a1")
            else:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(slow("a1"), 0.01)
            assert await bank.say("balance", account="a1") == 99, how


async def test_a_thread_that_goes_on_writes_after_its_caller_has_gone() -> None:
    async with Cache() as cache:
        bank, tools = Bank(cache), Tools(cache, tenant="acme")
        began, go_on = threading.Event(), threading.Event()

        @tools.writes(("account", "{account}"))
        def slow(account: str) -> None:
            began.set()
            go_on.wait(10)
            bank.money[account] = 99

        task = asyncio.create_task(tools.call("slow", {"account": "a1"}))
        assert await asyncio.to_thread(began.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await bank.say("balance", account="a1") == 1, "it has not written yet"
        go_on.set()
        for _ in range(1000):
            if await bank.say("balance", account="a1") == 99:
                return
            await asyncio.sleep(0.01)
    pytest.fail("what it wrote was not invalidated")


@pytest.mark.parametrize("tier", ["memory", "redis"])
async def test_a_read_that_crosses_a_write_is_not_kept(
    tier: str, redis_server: RedisServer
) -> None:
    """It has read the old value, and ends after the write has returned."""
    redis_server.flush()
    url = redis_server.url if tier == "redis" else None
    async with Cache(redis=url) as cache, Cache(redis=redis_server.url) as other:
        bank = Bank(cache)
        reader = cache if tier == "memory" else other
        tools, has_read, go_on = Tools(reader, tenant="acme"), asyncio.Event(), asyncio.Event()

        @tools.reads(("account", "{account}"))
        async def slow(account: str) -> int:
            found = bank.money[account]
            has_read.set()
            await go_on.wait()
            return found

        crossing = asyncio.create_task(slow("a1"))
        await has_read.wait()
        await bank.say("transfer", source="a1", target="b1", amount=1)
        later = asyncio.create_task(slow("a1"))
        await asyncio.sleep(0.05)
        go_on.set()
        assert await crossing == 1, "it was asked before the write"
        assert await later == 0, "it was asked afterwards"
        assert await slow("a1") == 0


async def test_nothing_is_written_that_a_closed_cache_could_not_tell() -> None:
    cache = Cache()
    async with cache:
        bank = Bank(cache)
    with pytest.raises(CacheClosed):
        await bank.transfer("a1", "a2", 1)
    assert not bank.ran


async def test_who_has_written_is_told_so_though_a_tier_is_away(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(invalidate_patience=0.05)
    async with Cache(redis=server.url, limits=limits) as cache:
        bank = Bank(cache)
        assert await bank.balances()
        server.kill()
        with caplog.at_level(logging.WARNING, "cascada"):
            assert await bank.say("deposit", account="a1", amount=1) == 2
        assert "what the tool deposit has written" in caplog.text
        with pytest.raises(ValueError, match="half"):
            await bank.transfer("a1", "a2", 101)
        assert await bank.say("balance", account="a1") == -99


def test_a_call_on_another_loop_writes_there_and_is_heard_at_home() -> None:
    """Also when its caller has gone there, and a thread goes on."""
    began, go_on = threading.Event(), threading.Event()

    async def home() -> None:
        async with Cache() as cache:
            bank, tools = Bank(cache), Tools(cache, tenant="acme")

            @tools.writes(("account", "{account}"))
            def slow(account: str) -> None:
                began.set()
                go_on.wait(10)
                bank.money[account] = 99

            async def elsewhere() -> None:
                assert await bank.say("balance", account="a1") == 1
                assert await bank.say("transfer", source="a1", target="b1", amount=1) == "done"
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(tools.call("slow", {"account": "a1"}), 0.2)

            assert await bank.say("balance", account="a1") == 1
            await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
            assert began.is_set()
            assert await bank.say("balance", account="a1") == 0
            go_on.set()
            for _ in range(1000):
                if await bank.say("balance", account="a1") == 99:
                    return
                await asyncio.sleep(0.01)
        pytest.fail("what it wrote was not invalidated")

    asyncio.run(home())


async def test_a_tool_may_return_what_it_knows_of_its_result() -> None:
    async with Cache(limits=Limits(max_loads_per_type=1, load_wait=0.05)) as cache:
        tools = Tools(cache, tenant="acme")

        @tools.writes(("a", "1"))
        async def write() -> Loaded[str]:
            return Loaded("written", tags=["x"])

        @tools.reads()
        async def read(number: int) -> Loaded[str]:
            await asyncio.sleep(0.2)
            return Loaded("read", sources=[("b", "1")])

        assert await tools.call("write") == "written"
        asked = [tools.call("read", {"number": each}) for each in range(3)]
        assert await asyncio.gather(*asked) == ["read"] * 3
