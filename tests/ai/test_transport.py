"""Calls through the transport: one for all who make it at the same time, and for all who come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from anthropic import AsyncAnthropic
from openai import APIConnectionError, RateLimitError

from cascada import Cache, Context, Limits
from cascada.ai.httpx2 import AsyncModelTransport
from cascada.model.errors import BadInput, LoadError, MissingTenant
from tests.ai.asking import LIBRARIES, client, said, streamed
from tests.servers.model import (
    Body,
    ModelServer,
    Reply,
    ordinary,
    pieces,
    streaming,
    whole,
)
from tests.servers.redis import RedisServer

BOTH = pytest.mark.parametrize("ask", [said, streamed])
GOOD = "a good answer"
Behave = Callable[[str, Body], Reply]


@pytest.mark.parametrize("library", LIBRARIES)
@BOTH
async def test_a_hundred_equal_calls_at_once_are_one(
    models: ModelServer, library: str, ask: Any
) -> None:
    models.before = 0.05
    async with Cache() as cache, client(models, cache, library) as openai:
        assert set(await asyncio.gather(*[ask(openai) for _ in range(100)])) == {GOOD}
        assert len(models.calls) == 1
        assert await ask(openai) == GOOD
        assert len(models.calls) == 1
        await ask(openai, "another question")
        assert len(models.calls) == 2


async def test_a_stream_is_followed_as_it_comes(models: ModelServer) -> None:
    models.behave = lambda path, body: streaming(pieces(body, list("abcdef")), pause=0.05)
    async with Cache() as cache, client(models, cache) as openai:
        whole_of = asyncio.create_task(streamed(openai))
        await asyncio.sleep(0.15)
        stream = await openai.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        async for each in stream:
            assert each.choices[0].delta.content == "a"
            assert not whole_of.done(), "its beginning is there before its end"
            break
        await stream.close()
        assert await whole_of == "abcdef"
        assert await streamed(openai) == "abcdef"
        assert len(models.calls) == 1


async def test_a_stream_may_be_closed_by_another_task_than_its_reader(models: ModelServer) -> None:
    models.behave = lambda path, body: streaming(pieces(body, list("abcdef")), pause=0.1)
    async with Cache() as cache, client(models, cache) as openai:
        stream = await openai.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello"}], stream=True
        )

        async def read() -> list[Any]:
            return [each async for each in stream]

        reader = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        await stream.close()
        with pytest.raises(LoadError, match="closed while it was read"):
            await reader
        await streamed(openai)
        assert len(models.calls) == 2, "nobody has followed the first one to its end"


@BOTH
async def test_who_asked_first_may_go(models: ModelServer, ask: Any) -> None:
    models.before = 0.2
    async with Cache() as cache, client(models, cache) as openai:
        first = asyncio.create_task(ask(openai))
        await asyncio.sleep(0.1)
        others = [asyncio.create_task(ask(openai)) for _ in range(9)]
        await asyncio.sleep(0.02)
        first.cancel()
        assert set(await asyncio.gather(*others)) == {GOOD}
        assert first.cancelled()
        assert await ask(openai) == GOOD
        assert len(models.calls) == 1


@BOTH
async def test_when_all_have_gone_the_call_goes(models: ModelServer, ask: Any) -> None:
    models.before = 0.3
    async with Cache() as cache, client(models, cache) as openai:
        asked = [asyncio.create_task(ask(openai)) for _ in range(5)]
        await asyncio.sleep(0.1)
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        models.before = 0
        assert await ask(openai) == GOOD
        assert len(models.calls) == 2


async def test_a_stream_that_all_have_left_is_not_kept(models: ModelServer) -> None:
    models.behave = lambda path, body: streaming(pieces(body, list("abcdef")), pause=0.1)
    async with Cache() as cache, client(models, cache) as openai:
        for _ in range(2):
            stream = await openai.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hello"}], stream=True
            )
            async for _each in stream:
                break
            await stream.close()
        assert len(models.calls) == 2


async def test_who_leaves_at_the_end_mark_has_not_left_too_early(models: ModelServer) -> None:
    async with Cache() as cache, client(models, cache) as openai:
        stream = await openai.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        async for line in stream.response.aiter_lines():
            if "[DONE]" in line:
                break
        await stream.close()
        assert await streamed(openai) == GOOD
        assert len(models.calls) == 1


@BOTH
async def test_an_error_reaches_every_caller_and_is_kept_by_none(
    models: ModelServer, ask: Any
) -> None:
    limited = {"error": {"message": "slow down", "type": "requests"}}
    headers = {"retry-after": "7", "x-ratelimit-remaining-requests": "0"}
    models.behave = lambda path, body: whole(limited, 429, **headers)
    models.before = 0.05
    async with Cache() as cache, client(models, cache) as openai:
        asked = [ask(openai) for _ in range(20)]
        for error in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(error, RateLimitError)
            assert error.response.headers["retry-after"] == "7"
            assert error.body == limited["error"]
        assert len(models.calls) == 1
        models.behave = ordinary
        assert await ask(openai) == GOOD
        assert len(models.calls) == 2


@BOTH
async def test_an_sdk_tries_again_as_it_would(models: ModelServer, ask: Any) -> None:
    def at_first(path: str, body: Body) -> Reply:
        again = {"retry-after-ms": "10"}
        return whole({}, 429, **again) if len(models.calls) == 1 else ordinary(path, body)

    models.behave = at_first
    async with Cache() as cache, client(models, cache) as openai:
        assert await ask(openai.with_options(max_retries=2)) == GOOD
        assert len(models.calls) == 2


@BOTH
async def test_who_fails_fails_for_all_that_waited(models: ModelServer, ask: Any) -> None:
    models.behave = lambda path, body: Reply(chunks=[b"{"], ends=False)
    models.before = 0.05
    async with Cache() as cache, client(models, cache) as openai:
        asked = [ask(openai) for _ in range(20)]
        errors = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(each) for each in errors} == {APIConnectionError}
        assert len(models.calls) == 1
        models.behave = ordinary
        assert await ask(openai) == GOOD


@BOTH
async def test_tenants_are_apart(models: ModelServer, ask: Any) -> None:
    models.before = 0.05
    async with Cache() as cache, client(models, cache, tenant=None) as openai:

        async def of(tenant: str) -> str:
            with Context(tenant_id=tenant):
                return str(await ask(openai))

        await asyncio.gather(*[of(tenant) for tenant in "abc" * 5])
        assert len(models.calls) == 3
        await of("a")
        assert len(models.calls) == 3


@BOTH
async def test_a_call_in_a_load_is_its_tenants(models: ModelServer, ask: Any) -> None:
    async with Cache() as cache, client(models, cache, tenant=None) as openai:

        async def answer() -> str:
            return str(await ask(openai))

        for tenant in "abab":
            with Context(tenant_id="somebody else"):
                hit = await cache.tenant(tenant).load("agent_response", "q", answer)
                assert hit.value == GOOD
        assert len(models.calls) == 2
        for tenant in "ab":
            assert (await cache.tenant(tenant).invalidate("agent_response", "q")).keys == 1
            await cache.tenant(tenant).load("agent_response", "q", answer)
        assert len(models.calls) == 2, "what was made of the answer went, and the answer stayed"


async def test_without_a_tenant_nothing_is_asked(models: ModelServer) -> None:
    transport = AsyncModelTransport(Cache())
    async with httpx2.AsyncClient(transport=transport) as http:
        with pytest.raises(MissingTenant):
            await http.post(f"{models.url}/embeddings", json={"model": "e", "input": "x"})
    assert models.calls == []


async def test_models_of_anthropic(models: ModelServer) -> None:
    async with Cache() as cache:
        transport = AsyncModelTransport(cache, tenant="acme")
        async with httpx2.AsyncClient(transport=transport) as http:
            url = models.url.removesuffix("/v1")
            claude = AsyncAnthropic(api_key="k", base_url=url, http_client=http, max_retries=0)
            asked: dict[str, Any] = {
                "model": "c",
                "max_tokens": 99,
                "messages": [{"role": "user", "content": "hello"}],
            }
            for _ in range(2):
                answer = await claude.messages.create(**asked)
                assert answer.content[0].text == GOOD
                async with claude.messages.stream(**asked) as stream:
                    assert "".join([each async for each in stream.text_stream]) == GOOD
                    assert (await stream.get_final_message()).stop_reason == "end_turn"
            assert len(models.calls) == 2


async def test_embeddings_and_responses(models: ModelServer) -> None:
    async with Cache() as cache, client(models, cache) as openai:
        for _ in range(2):
            vectors = await openai.embeddings.create(model="e", input=["a", "bc"])
            assert [each.embedding for each in vectors.data] == [[1.0, 0.5], [2.0, 0.5]]
            assert (await openai.responses.create(model="m", input="hello")).output_text == GOOD
            stream = await openai.responses.create(model="m", input="hello", stream=True)
            assert [each.type async for each in stream] == ["response.completed"]
        assert len(models.calls) == 3


async def test_what_is_no_call_to_a_model_passes_by(models: ModelServer) -> None:
    async with Cache() as cache, client(models, cache) as openai:
        for _ in range(2):
            await openai.models.list()
            await openai.responses.create(model="m", input="x", conversation="conv_1")
        assert len(models.calls) == 4


async def test_what_passes_by_is_not_read_first(models: ModelServer) -> None:
    async def upload() -> AsyncIterator[bytes]:
        sent.append("read")
        yield b"x"

    class Inner(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            sent.append("reached")
            return httpx2.Response(200, content=await request.aread())

    sent: list[str] = []
    transport = AsyncModelTransport(Cache(), transport=Inner())
    async with httpx2.AsyncClient(transport=transport) as http:
        assert (await http.post("http://h/v1/files", content=upload())).content == b"x"
    assert sent == ["reached", "read"]


async def test_who_could_not_follow_a_stream_that_was_not_kept_asks_himself(
    models: ModelServer, redis_server: RedisServer
) -> None:
    redis_server.flush()
    models.behave = lambda path, body: streaming(pieces(body, list("abc"), "length"), pause=0.1)
    url = redis_server.url
    async with Cache(redis=url) as cache, client(models, cache) as openai:

        async def answer() -> str:
            return await streamed(openai)

        first = asyncio.create_task(answer())
        await asyncio.sleep(0.15)
        hit = await cache.tenant("acme").load("agent_response", "q", answer)
        assert hit.value == await first == "abc"
        assert len(models.calls) == 2


async def test_answers_outlive_their_process(models: ModelServer, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'answers.db'}"
    for _ in range(2):
        async with Cache(database=url) as cache, client(models, cache) as openai:
            assert await said(openai) == await streamed(openai) == GOOD
    assert len(models.calls) == 2


@BOTH
async def test_processes_that_share_a_redis_ask_once(
    models: ModelServer, redis_server: RedisServer, ask: Any
) -> None:
    redis_server.flush()
    models.before = 0.2
    url = redis_server.url
    async with (
        Cache(redis=url) as one, client(models, one) as first,
        Cache(redis=url) as two, client(models, two, "httpx") as second,
    ):  # fmt: skip
        answers = await asyncio.gather(*[ask(each) for each in (first, second) * 50])
        assert set(answers) == {GOOD}
        assert len(models.calls) == 1
        models.behave = lambda path, body: whole({}, 429)
        asked = [ask(each, "again") for each in (first, second)]
        await asyncio.gather(*asked, return_exceptions=True)
        models.behave = ordinary
        assert await asyncio.gather(ask(first, "again"), ask(second, "again")) == [GOOD, GOOD]


async def test_answers_are_values_like_others(models: ModelServer) -> None:
    async with Cache() as cache, client(models, cache, ttl=60, tags=["m"]) as openai:
        await said(openai)
        await streamed(openai)
        with cache.bypass():
            await said(openai)
            assert len(models.calls) == 3
        await said(openai)
        await cache.tenant("acme").invalidate(tag="m")
        await said(openai)
        await streamed(openai)
        assert len(models.calls) == 5


@BOTH
async def test_more_calls_at_once_than_the_cache_lets_load(models: ModelServer, ask: Any) -> None:
    models.before = 0.3
    limits = Limits(max_loads_per_type=2, load_wait=0.05)
    async with Cache(limits=limits) as cache, client(models, cache) as openai:
        answers = await asyncio.gather(*[ask(openai, str(each)) for each in range(20)])
        assert set(answers) == {GOOD}


@BOTH
@pytest.mark.parametrize("mode", ["on", "observe", "off"])
async def test_every_mode_answers(models: ModelServer, mode: Any, ask: Any) -> None:
    async with Cache(mode=mode) as cache, client(models, cache) as openai:
        for _ in range(3):
            assert await ask(openai) == GOOD
    assert len(models.calls) == (1 if mode == "on" else 3)


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"transport": 3}, "an async transport"),
        ({"transport": httpx2.HTTPTransport()}, "an async transport"),
        ({"transport": httpx.AsyncHTTPTransport()}, "an async transport of httpx2"),
        ({"transport": httpx2.AsyncHTTPTransport}, "an async transport of httpx2"),
        ({"transport": httpx2.AsyncClient()}, "an async transport of httpx2"),
        ({"tenant": ""}, "tenant"),
        ({"ttl": -1}, "ttl"),
        ({"tags": "news"}, "tags"),
        ({"data_type": ""}, "data_type"),
    ],
)
def test_a_wrong_argument_is_named(named: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        AsyncModelTransport(Cache(), **named)
    with pytest.raises(BadInput, match="pass a Cache"):
        AsyncModelTransport("redis://x")  # type: ignore[arg-type]  # a neighbouring type
