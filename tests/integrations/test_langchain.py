"""LangChain's cache: one call of the model, for one tenant, and nothing made of what is stored."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.language_models import FakeListLLM
from langchain_core.outputs import Generation

from cascada import Cache, Context, Limits
from cascada.integrations.langchain import DATA_TYPE, CascadaCache
from cascada.model.errors import BadInput, MissingTenant
from cascada.testing.inside import turns_of
from tests.integrations.chat import Busy, Chat
from tests.servers.redis import RedisServer

ACME, GLOBEX = Context(tenant_id="acme"), Context(tenant_id="globex")


def model(cache: Cache, **how: Any) -> Chat:
    return Chat(cache=CascadaCache(cache, tenant="acme", wait=how.pop("wait", 20.0)), **how)


def kept(chat: Chat) -> CascadaCache:
    assert isinstance(chat.cache, CascadaCache)
    return chat.cache


async def outcomes(chat: Chat, times: int, question: str = "hi") -> list[Any]:
    asked = [chat.ainvoke(question) for _ in range(times)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    return [each if isinstance(each, BaseException) else each.content for each in found]


async def test_a_hundred_equal_calls_at_once_are_one(cache: Cache) -> None:
    chat = model(cache)
    assert await outcomes(chat, 100) == ["answer 1"] * 100
    assert await outcomes(chat, 1) == ["answer 1"]
    assert await outcomes(chat, 1, "another question") == ["answer 2"]
    assert len(chat.calls) == 2
    assert not turns_of(kept(chat))
    # One has looked, and all others have found what it made.
    assert (await cache.stats()).total.misses == 2


async def test_calls_of_models_that_were_made_for_each_request_are_one(cache: Cache) -> None:
    calls: list[str] = []
    models = [Chat(cache=CascadaCache(cache, tenant="acme"), calls=calls) for _ in range(20)]
    for each in models:
        each.calls = calls
    said = await asyncio.gather(*[each.ainvoke("hi") for each in models])
    assert {each.content for each in said} == {"answer 1"}
    assert calls == ["hi"]


async def test_a_batch_of_equal_calls_is_one_and_another_model_is_another(cache: Cache) -> None:
    chat = model(cache)
    said = await chat.abatch(["hi", "ho", "hi", "hi"])
    assert {each.content for each in said} == {"answer 1", "answer 2"}
    assert sorted(chat.calls) == ["hi", "ho"]
    await chat.bind(stop=["."]).ainvoke("hi")
    assert len(chat.calls) == 3


async def test_where_the_leader_fails_the_next_one_leads(cache: Cache) -> None:
    def behave(number: int) -> str:
        if number <= 3:
            raise Busy("429")
        return "at last"

    chat = model(cache, behave=behave, pause=0.01)
    found = await outcomes(chat, 100)
    assert sum(isinstance(each, Busy) for each in found) == 3
    assert found.count("at last") == 97
    assert len(chat.calls) == 4
    assert not turns_of(kept(chat))


async def test_where_the_leader_is_cancelled_the_next_one_leads(cache: Cache) -> None:
    chat = model(cache, pause=0.1)
    leader = asyncio.create_task(chat.ainvoke("hi"))
    others = asyncio.create_task(outcomes(chat, 10))
    await asyncio.sleep(0.03)
    assert len(chat.calls) == 1
    leader.cancel()
    assert await others == ["answer 2"] * 10
    assert len(chat.calls) == 2
    with pytest.raises(asyncio.CancelledError):
        await leader
    assert not turns_of(kept(chat))


async def test_who_waits_may_leave_and_harms_nobody(cache: Cache) -> None:
    chat = model(cache, pause=0.1)
    asked = [asyncio.create_task(chat.ainvoke("hi")) for _ in range(10)]
    await asyncio.sleep(0.03)
    for each in asked[1:9]:
        each.cancel()
    assert (await asked[0]).content == (await asked[9]).content == "answer 1"
    assert len(chat.calls) == 1
    assert not turns_of(kept(chat))


async def test_nobody_waits_longer_than_is_said(cache: Cache) -> None:
    chat = model(cache, pause=0.5, wait=0.05)
    assert len(set(await outcomes(chat, 3))) > 1
    assert len(chat.calls) == 3
    assert await outcomes(chat, 1) == ["answer 1"]  # the first that came stays
    assert not turns_of(kept(chat))


async def test_two_batches_that_wait_for_each_other_go_on(cache: Cache) -> None:
    """A language model that is none for chats looks for all its prompts in one task."""
    of_langchain = CascadaCache(cache, tenant="acme", wait=20)
    model = FakeListLLM(responses=["yes"], sleep=0.05, cache=of_langchain)
    async with asyncio.timeout(10):
        both = [model.agenerate(["a", "b"]), model.agenerate(["b", "a"])]
        for result in await asyncio.gather(*both):
            assert [each[0].text for each in result.generations] == ["yes", "yes"]


async def test_an_answer_is_of_one_tenant(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = Chat(cache=CascadaCache(cache, tenant="initech"))
    with ACME:
        assert await outcomes(chat, 2) == ["answer 1"] * 2
    with GLOBEX:
        assert await outcomes(chat, 2) == ["answer 2"] * 2
    assert await outcomes(chat, 2) == ["answer 3"] * 2
    assert await cache.tenant("acme").invalidate(DATA_TYPE, "*")
    with ACME:
        assert await outcomes(chat, 1) == ["answer 4"]
    with GLOBEX:
        assert await outcomes(chat, 1) == ["answer 2"]

    async def in_a_load() -> list[str]:
        with GLOBEX:
            others = await outcomes(chat, 1)
        return [*others, *await outcomes(chat, 1)]

    with GLOBEX:  # a load knows better whose it is, than the request that it runs in
        found = await cache.tenant("acme").load("x", "1", in_a_load)
    assert found.value == ["answer 2", "answer 4"]
    assert not await cache.tenant("acme").get("x", "1"), "made of what another tenant has"
    nobodys = Chat(cache=CascadaCache(cache))
    monkeypatch.delenv("CASCADA_TENANT", raising=False)
    with pytest.raises(MissingTenant):
        await nobodys.ainvoke("hi")
    monkeypatch.setenv("CASCADA_TENANT", "globex")
    assert await outcomes(nobodys, 1) == ["answer 2"]


async def test_clear_drops_all_of_the_tenant_and_what_is_under_way(cache: Cache) -> None:
    chat = model(cache, pause=0.1)
    await outcomes(chat, 1, "before")
    under_way = asyncio.create_task(outcomes(chat, 5))
    await asyncio.sleep(0.03)
    await kept(chat).aclear()
    assert len(set(await under_way)) == 2  # the leader's is older than the clearing
    await outcomes(chat, 1, "before")
    assert chat.calls == ["before", "hi", "hi", "before"]
    with pytest.raises(BadInput, match="leave prompt out"):
        await kept(chat).aclear(prompt="hi")


async def test_bypassed_everybody_calls_at_once(cache: Cache) -> None:
    chat = model(cache)
    with cache.bypass():
        assert len(set(await outcomes(chat, 5))) == 5
    assert await outcomes(chat, 1) == ["answer 6"]
    with cache.bypass():
        await outcomes(chat, 1)
    assert await outcomes(chat, 1) == ["answer 6"]


@pytest.mark.parametrize("mode", ["off", "observe"])
async def test_in_another_mode_everybody_calls_at_once(mode: Any) -> None:
    async with Cache(mode=mode) as cache:
        chat = model(cache, pause=0.05)
        async with asyncio.timeout(5):
            assert len(set(await outcomes(chat, 20))) == 20


async def test_a_kept_answer_is_each_callers_own_and_whole(cache: Cache) -> None:
    call = {"name": "look", "args": {"of": "x"}, "id": "call_1", "type": "tool_call"}
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    chat = model(cache, more={"tool_calls": [call], "usage_metadata": usage})
    first, second = await chat.ainvoke("hi"), await chat.ainvoke("hi")
    assert second.tool_calls == first.tool_calls == [call]
    assert second.usage_metadata == {**usage, "total_cost": 0}
    second.tool_calls.clear()
    assert (await chat.ainvoke("hi")).tool_calls == [call]
    of = (await cache.stats()).types["langchain_answer"]
    assert (of.spent.tokens_in, of.spent.tokens_out) == (3, 4)
    assert (of.saved.count, of.saved.tokens_in, of.saved.tokens_out) == (2, 6, 8)
    assert len(chat.calls) == 1


async def test_what_cannot_be_read_again_is_for_its_caller_alone(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    chat = model(cache, more={"additional_kwargs": {"odd": object()}}, pause=0.2)
    async with asyncio.timeout(5):  # those who wait do not go on one after the other
        assert len(set(await outcomes(chat, 50))) == 50
    assert [each.levelno for each in caplog.records] == [logging.WARNING]
    assert "an answer of type langchain_answer is not kept" in caplog.text
    assert not turns_of(kept(chat))


async def test_what_is_too_large_is_for_its_caller_alone() -> None:
    async with Cache(limits=Limits(max_value_bytes=1000)) as cache:
        chat = model(cache, behave=lambda number: f"{number} {1000 * 'x'}", pause=0.2)
        async with asyncio.timeout(5):
            assert len(set(await outcomes(chat, 50))) == 50


async def test_plain_calls_are_kept_too_and_are_not_held_back(cache: Cache) -> None:
    chat = model(cache)
    async with cache:
        said = await asyncio.to_thread(chat.invoke, "hi")
        assert (await chat.ainvoke("hi")).content == said.content == "answer 1"
        assert (await asyncio.to_thread(chat.invoke, "hi")).content == "answer 1"


def test_plain_calls_in_threads() -> None:
    chat = model(Cache())
    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(lambda _: chat.invoke("hi").content, range(8)))
    assert len(chat.calls) <= 8  # nobody can tell when a plain call has failed
    assert chat.invoke("hi").content in said
    assert len(chat.calls) <= 8


def test_calls_on_several_event_loops() -> None:
    chat = model(Cache())

    def run(_: int) -> list[Any]:
        return asyncio.run(outcomes(chat, 10))

    with ThreadPoolExecutor(4) as threads:
        said = {each for answers in threads.map(run, range(4)) for each in answers}
    assert len(chat.calls) <= 4  # one for each loop
    assert said <= {f"answer {number}" for number in range(1, 5)}
    assert not turns_of(kept(chat))


def test_a_plain_answer_that_was_cleared_meanwhile_is_not_kept() -> None:
    of_langchain = CascadaCache(Cache(), tenant="acme")
    assert of_langchain.lookup("p", "l") is None
    of_langchain.clear()
    of_langchain.update("p", "l", [Generation(text="old")])
    assert of_langchain.lookup("p", "l") is None
    of_langchain.update("p", "l", [Generation(text="new")])
    assert of_langchain.lookup("p", "l") == [Generation(text="new")]
    of_langchain.update("p", "l", [Generation(text="newer")])
    assert of_langchain.lookup("p", "l") == [Generation(text="newer")]


async def test_a_plain_call_on_the_loops_own_thread_is_made_without_the_cache(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    chat = model(cache)
    assert chat.invoke("hi").content == "answer 1"
    assert chat.invoke("hi").content == "answer 2"
    assert "await ainvoke(...)" in caplog.text
    assert len(caplog.records) == 1


# --- processes, outages -------------------------------------------------------------------------


async def test_another_process_has_the_answer(redis_server: RedisServer) -> None:
    redis_server.flush()
    async with Cache(redis=redis_server.url) as one, Cache(redis=redis_server.url) as other:
        first, second = model(one), model(other)
        assert await outcomes(first, 20) == ["answer 1"] * 20
        assert await outcomes(second, 20) == ["answer 1"] * 20
        assert not second.calls
        await kept(first).aclear()
        both = await asyncio.gather(outcomes(first, 20, "x"), outcomes(second, 20, "x"))
        assert len(first.calls) + len(second.calls) <= 3  # each process makes its own
        assert (await outcomes(first, 1, "x"))[0] in both[0] + both[1]


async def test_without_redis_there_is_one_call_all_the_same(server: RedisServer) -> None:
    async with Cache(redis=server.url) as cache:
        chat = model(cache)
        await outcomes(chat, 1, "before")
        server.kill()
        async with asyncio.timeout(10):
            assert await outcomes(chat, 50) == ["answer 2"] * 50
        assert len(chat.calls) == 2
