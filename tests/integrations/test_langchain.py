"""LangChain's cache: one call of the model, for one tenant, and nothing made of what is stored."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.language_models import FakeListLLM
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.prompts import PromptTemplate

from cascada import Cache, Context, Loaded, Policy
from cascada.integrations.langchain import DATA_TYPE, CascadaByteStore, CascadaCache
from cascada.model.errors import BadInput, InvalidKey, MissingTenant
from cascada.testing.inside import inside, turns_of
from tests.integrations.chat import Busy, Chat
from tests.servers.redis import RedisServer

ACME, GLOBEX = Context(tenant_id="acme"), Context(tenant_id="globex")


@pytest.fixture
async def cache() -> AsyncIterator[Cache]:
    async with Cache() as cache:
        yield cache


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

    async def in_a_load() -> Loaded[str]:
        with GLOBEX:  # a load knows best whose it is
            return Loaded((await outcomes(chat, 1))[0])

    assert (await cache.tenant("acme").load("x", "1", in_a_load)).value == "answer 4"
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
    assert len(chat.calls) == 1


async def test_what_cannot_be_read_again_is_for_its_caller_alone(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    chat = model(cache, more={"additional_kwargs": {"odd": object()}}, pause=0.05)
    async with asyncio.timeout(1):  # those who wait do not go on one after the other
        assert len(set(await outcomes(chat, 50))) == 50
    assert [each.levelno for each in caplog.records] == [logging.WARNING]
    assert "an answer of type langchain_answer is not kept" in caplog.text
    assert not turns_of(kept(chat))


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


# --- the same call ----------------------------------------------------------------------------


def prompt(*messages: Any) -> str:
    return dumps(list(messages))


def step(called: str, **said_of_it: Any) -> str:
    """What an agent asks after a tool has answered."""
    call = {"name": "look", "args": {"id": "call_1"}, "id": called, "type": "tool_call"}
    return prompt(
        HumanMessage("hi"),
        AIMessage(content=[{"type": "tool_use", "id": called}], tool_calls=[call], **said_of_it),
        ToolMessage("found", tool_call_id=called),
    )


SAME = {
    "ids of tool calls": (step("call_1"), step("call_2")),
    "what a provider says of an answer": (
        step("c", id="run-1", response_metadata={"id": "chatcmpl-1"}),
        step("c", id="run-2", response_metadata={"id": "chatcmpl-2"}),
    ),
    "what a kept answer costs": (
        step("c", usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}),
        step("c"),
    ),
}
OTHER = {
    "text": (prompt(HumanMessage("a")), prompt(HumanMessage("b"))),
    "who says it": (prompt(HumanMessage("a")), prompt(SystemMessage("a"))),
    "order": (
        prompt(HumanMessage("a"), HumanMessage("b")),
        prompt(HumanMessage("b"), HumanMessage("a")),
    ),
    "a tool's arguments": (step("c"), step("c").replace('"call_1"', '"call_2"')),
    "plain prompts": ("a", "b"),
    "a text like an id": (
        prompt(HumanMessage("call_1"), *[]),
        prompt(HumanMessage("call_2"), *[]),
    ),
    "a dict of the caller's own that looks like a message": (
        prompt(HumanMessage([{"lc": 1, "kwargs": {"id": "1"}}])),
        prompt(HumanMessage([{"lc": 1, "kwargs": {"id": "2"}}])),
    ),
    "what is no JSON": ("[1", "[2"),
    "lone surrogates": ("\ud800", "\ud801"),
    "depth": ("[" * 100_000, "[" * 100_001),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_the_same_call(one: str, other: str) -> None:
    of_langchain = CascadaCache(Cache(), tenant="acme")
    of_langchain.update(one, "l", [Generation(text="a")])
    assert of_langchain.lookup(other, "l") == [Generation(text="a")]
    assert of_langchain.lookup(other, "m") is None


@pytest.mark.parametrize(("one", "other"), OTHER.values(), ids=OTHER)
def test_another_call(one: str, other: str) -> None:
    of_langchain = CascadaCache(Cache(), tenant="acme")
    of_langchain.update(one, "l", [Generation(text="a")])
    assert of_langchain.lookup(one, "l") == [Generation(text="a")]
    assert of_langchain.lookup(other, "l") is None


def test_prompt_and_model_are_not_one_text() -> None:
    of_langchain = CascadaCache(Cache(), tenant="acme")
    of_langchain.update("ab", "c", [Generation(text="a")])
    assert of_langchain.lookup("a", "bc") is None


def test_what_is_named_by_its_address_is_nothing_that_can_be_kept() -> None:
    of_langchain = CascadaCache(Cache(), tenant="acme")
    said = "[('tools', <function look at 0x7f3a5c1d2e50>)]"
    of_langchain.update("p", said, [Generation(text="a")])
    assert of_langchain.lookup("p", said) is None


async def test_keys_hold_no_secret(cache: Cache) -> None:
    chat = model(cache)
    secret = "sk-" + 20 * "7"
    await chat.bind(api_key=secret).ainvoke(f"my key is {secret}")
    (record,) = inside(cache).memory.records
    assert record.partition.prefix[1] == DATA_TYPE
    assert secret not in record.resource_id + str(record.names)


# --- what is stored is never made into anything else --------------------------------------------


def written(module: str, name: str, **how: Any) -> str:
    identity = [*module.split("."), name]
    return json.dumps({"lc": 1, "type": "constructor", "id": identity, "kwargs": how})


EVAL = written("builtins", "eval", source="1")
GENERATION = written("langchain.schema.output", "Generation", text="a", generation_info={"x": 0})
TRAPS = {
    "a class of LangChain": written("langchain_core.prompts.prompt", "PromptTemplate", template=""),
    "a class of Python": written("subprocess", "Popen", args=["true"]),
    "inside an answer": GENERATION.replace("0", EVAL),
    "a secret of the environment": json.dumps({"lc": 1, "type": "secret", "id": ["PATH"]}),
    "no answer": json.dumps({"a": 1}),
    "a message": dumps(AIMessage("a")),
    "no JSON": "x",
    "deep": "[" * 5000 + "]" * 5000,
}


@pytest.mark.parametrize("stored", TRAPS.values(), ids=TRAPS)
async def test_nothing_else_is_made_of_what_is_stored(
    cache: Cache, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr(PromptTemplate, "__init__", lambda self, **how: made.append(how))
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda self, **how: made.append(how))
    of_langchain = CascadaCache(cache, tenant="acme")
    await of_langchain.aupdate("p", "l", [ChatGeneration(message=AIMessage("good"))])
    (record,) = inside(cache).memory.records
    await cache.tenant("acme").set(DATA_TYPE, record.resource_id, [stored])
    assert await of_langchain.alookup("p", "l") is None
    assert made == []
    await cache.tenant("acme").set(DATA_TYPE, record.resource_id, {"not": "a list"})
    assert await of_langchain.alookup("p", "l") is None


def test_nothing_is_pickled() -> None:
    import cascada.integrations.asked
    import cascada.integrations.langchain
    import cascada.integrations.langgraph

    for module in (
        cascada.integrations.asked,
        cascada.integrations.langchain,
        cascada.integrations.langgraph,
    ):
        assert not hasattr(module, "pickle")


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


async def test_without_redis_calls_are_made_all_the_same(server: RedisServer) -> None:
    async with Cache(redis=server.url) as cache:
        chat = model(cache)
        await outcomes(chat, 1, "before")
        server.kill()
        async with asyncio.timeout(10):
            assert None not in await outcomes(chat, 5)


# --- bytes --------------------------------------------------------------------------------------


async def test_bytes_are_of_one_tenant_and_may_go(cache: Cache) -> None:
    store = CascadaByteStore(cache, tenant="acme", tags=["news"])
    await store.amset([("a", b"1"), ("b", b"")])
    assert await store.amget(["a", "b", "c"]) == [b"1", b"", None]
    assert await asyncio.to_thread(store.mget, ["b", "a"]) == [b"", b"1"]
    with GLOBEX:
        assert await store.amget(["a"]) == [None]
    await store.amdelete(["a", "x"])
    assert await store.amget(["a", "b"]) == [None, b""]
    await cache.tenant("acme").invalidate(tag="news")
    assert await store.amget(["b"]) == [None]
    assert await store.amget([]) == []


async def test_bytes_that_are_none_are_refused_before_any_is_stored(cache: Cache) -> None:
    store = CascadaByteStore(cache, tenant="acme")
    odd: list[Any] = ["b", b"b", ("b",), ("b", "text"), ("b", None), ("", b"1"), (None, b"1")]
    for pair in odd:
        with pytest.raises(BadInput):
            await store.amset([("a", b"1"), pair])
    with pytest.raises(InvalidKey):
        await store.amget([""])
    with pytest.raises(BadInput):
        await store.amget("ab")
    assert await store.amget(["a"]) == [None]


async def test_keys_are_not_listed(cache: Cache) -> None:
    store = CascadaByteStore(cache, tenant="acme")
    with pytest.raises(NotImplementedError, match="lists no keys"):
        store.yield_keys()
    with pytest.raises(NotImplementedError, match="lists no keys"):
        [each async for each in store.ayield_keys()]


# --- the door -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [{"wait": 0}, {"wait": True}, {"ttl": -1}, {"tags": "news"}, {"tenant": ""}, {"data_type": 3}],
)
def test_what_is_passed_is_checked(how: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        CascadaCache(Cache(), **how)
    with pytest.raises(BadInput):
        CascadaCache("redis://localhost")  # type: ignore[arg-type]  # on purpose


async def test_ttl_and_policy_say_how_long(cache: Cache) -> None:
    cache.set_policy(DATA_TYPE, Policy(ttl=60))
    for given, seconds in ((None, 60), (5, 5)):
        of_langchain = CascadaCache(cache, tenant="acme", ttl=given)
        await of_langchain.aclear()
        await of_langchain.aupdate("p", "l", [Generation(text="a")])
        (record,) = inside(cache).memory.records
        ttl = await cache.tenant("acme").ttl(DATA_TYPE, record.resource_id)
        assert ttl == pytest.approx(seconds, abs=1)


def test_without_the_library_the_error_says_what_to_install() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['langchain_core'] = None\n"
            "import cascada.integrations.langchain",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert "MissingExtra" in said.stderr
    assert "pip install cascada[langchain]" in said.stderr
