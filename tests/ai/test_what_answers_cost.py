"""What the transport reads of an answer's cost, and what a real bill says of it."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic

from cascada import Bill, Cache, Price
from cascada.ai.httpx2 import AsyncModelTransport
from tests.ai.asking import client, plain_client
from tests.ai.billing import compare
from tests.servers.model import (
    Body,
    ModelServer,
    Reply,
    chat,
    events,
    message_pieces,
    ordinary,
    pieces,
    response,
    streaming,
    whole,
)
from tests.servers.redis import RedisServer

PRICES = {"m": Price(input=2, output=8, cached=0.5, written=2.5)}
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
INCLUDED = {"include_usage": True}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def with_usage(body: Body) -> list[bytes]:
    """A stream whose last chunk says what it took, as it does if it is asked to."""
    *said, done = pieces(body, ["a", "b"])
    last = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": body["model"],
            "choices": [], "usage": USAGE}  # fmt: skip
    return [*said, *events(last), done]


def bill(times: int = 1, into: int = 7, out: int = 3, cached: int = 0, money: str = "") -> Bill:
    """Without seconds, which nobody knows beforehand."""
    price = Decimal(money) if money else (into * Decimal(2) + out * 8) / 10**6
    return Bill(times, 0.0, times * into, times * out, times * cached, times * price, 0)


def timeless(found: Bill) -> Bill:
    assert found.seconds > 0 or not found.count
    return Bill(
        found.count, 0.0, found.tokens_in, found.tokens_out, found.tokens_cached, found.money,
        found.unpriced,
    )  # fmt: skip


async def figures(cache: Cache) -> dict[str, Bill]:
    total = (await cache.stats()).total
    return {name: timeless(each) for name, each in {**total.saved_by, "spent": total.spent}.items()}


async def test_a_chat(models: ModelServer) -> None:
    models.before = 0.05
    async with Cache(prices=PRICES) as cache, client(models, cache) as openai:
        ask = openai.chat.completions.create
        await asyncio.gather(*[ask(model="m", messages=HELLO) for _ in range(5)])
        for _ in range(3):
            await ask(model="m", messages=HELLO)
        told = await figures(cache)
    assert told == {"spent": bill(), "coalesced": bill(4), "hits": bill(3), "replays": Bill()}


@pytest.mark.parametrize("asked", [True, False], ids=["asked for usage", "not asked"])
async def test_a_stream_says_what_it_took_if_it_is_asked_to(
    models: ModelServer, asked: bool
) -> None:
    def behave(path: str, body: Body) -> Reply:
        sent = with_usage(body) if body.get("stream_options") else pieces(body, ["a", "b"])
        return streaming(sent, pause=0.01)

    models.behave = behave
    how: dict[str, Any] = {"stream_options": INCLUDED} if asked else {}
    async with Cache(prices=PRICES) as cache, client(models, cache) as openai:

        async def read() -> None:
            create = openai.chat.completions.create
            async for _ in await create(model="m", messages=HELLO, stream=True, **how):
                pass

        await asyncio.gather(*[read() for _ in range(4)])
        for _ in range(2):
            await read()
        told = await figures(cache)
    of = bill if asked else lambda times=1: Bill(times, unpriced=times)
    assert len(models.calls) == 1
    assert told == {"spent": of(), "coalesced": of(3), "hits": Bill(), "replays": of(2)}


def test_plain_clients_too(models: ModelServer) -> None:
    models.behave = lambda path, body: (
        streaming(with_usage(body)) if body.get("stream") else ordinary(path, body)
    )
    cache = Cache(prices=PRICES)
    with plain_client(models, cache) as openai:
        for _ in range(2):
            openai.chat.completions.create(model="m", messages=HELLO)
            create = openai.chat.completions.create
            for _ in create(model="m", messages=HELLO, stream=True, stream_options=INCLUDED):
                pass
        total = cache.sync.stats().total
        cache.sync.close()
    assert timeless(total.spent) == bill(2)
    assert {how: timeless(each) for how, each in total.saved_by.items()} == {
        "hits": bill(), "replays": bill(), "coalesced": Bill(),
    }  # fmt: skip


async def test_all_that_providers_call_it(models: ModelServer) -> None:
    def behave(path: str, body: Body) -> Reply:
        if path.endswith("/responses"):
            answer = response(body, "text")
            answer["usage"] = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110,
                               "input_tokens_details": {"cached_tokens": 40},
                               "output_tokens_details": {"reasoning_tokens": 3}}  # fmt: skip
            done = {"type": "response.completed", "response": answer, "sequence_number": 1}
            return streaming(events(done)) if body.get("stream") else whole(answer)
        return ordinary(path, body)

    models.behave = behave
    price = str((60 * Decimal(2) + 40 * Decimal("0.5") + 10 * 8) / 10**6)
    async with Cache(prices=PRICES) as cache, client(models, cache) as openai:
        await openai.responses.create(model="m", input="hello")
        assert (await figures(cache))["spent"] == bill(1, 100, 10, 40, price)
        async for _ in await openai.responses.create(model="m", input="hello", stream=True):
            pass
        assert (await figures(cache))["spent"] == bill(2, 100, 10, 40, price)
        await openai.embeddings.create(model="m", input="hello", encoding_format="float")
        assert (await figures(cache))["spent"].tokens_in == 201
        assert (await figures(cache))["spent"].unpriced == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropic_counts_its_cache_apart(models: ModelServer, stream: bool) -> None:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 100,
             "cache_creation_input_tokens": 50, "output_tokens": 1}  # fmt: skip

    def behave(path: str, body: Body) -> Reply:
        if body.get("stream") is not True:
            reply = ordinary(path, body)
            said = json.loads(reply.chunks[0])
            return whole({**said, "usage": {**usage, "output_tokens": 3}})
        sent = message_pieces(body, ["a"])
        begun = sent[0].replace(b'"input_tokens": 7, "output_tokens": 3',
                                json.dumps(usage)[1:-1].encode())  # fmt: skip
        return streaming([begun, *sent[1:]])

    models.behave = behave
    async with Cache(prices=PRICES) as cache:
        http = httpx2.AsyncClient(transport=AsyncModelTransport(cache, tenant="acme"))
        async with http:
            root = models.url.removesuffix("/v1")
            claude = AsyncAnthropic(api_key="k", base_url=root, http_client=http, max_retries=0)
            for _ in range(2):
                if stream:
                    async with claude.messages.stream(
                        model="m", max_tokens=9, messages=HELLO
                    ) as read:
                        await read.get_final_message()
                else:
                    await claude.messages.create(model="m", max_tokens=9, messages=HELLO)
        told = await figures(cache)
    price = str((10 * Decimal(2) + 100 * Decimal("0.5") + 50 * Decimal("2.5") + 3 * 8) / 10**6)
    assert told["spent"] == told["replays" if stream else "hits"] == bill(1, 160, 3, 100, price)


async def test_what_is_not_kept_has_cost_all_the_same(models: ModelServer) -> None:
    async with Cache(prices=PRICES) as cache, client(models, cache) as openai:
        models.behave = lambda path, body: whole(chat(body, "cut", "length"))
        for times in (1, 2):
            await openai.chat.completions.create(model="m", messages=HELLO)
            assert (await figures(cache))["spent"] == bill(times)
        models.behave = lambda path, body: whole({"error": {"message": "no"}}, 429)
        with pytest.raises(Exception, match="no"):
            await openai.chat.completions.create(model="m", messages=HELLO)
        told = await figures(cache)
    assert told["spent"] == Bill(3, 0.0, 14, 6, 0, bill(2).money, 1), "an error does not say"
    assert told["hits"] == told["coalesced"] == Bill()


@pytest.mark.parametrize("usage", [
    None, [], "7", {"prompt_tokens": "7", "completion_tokens": 3}, {"prompt_tokens": -7},
    {"prompt_tokens": True, "completion_tokens": 3}, {"prompt_tokens": 2**70}, {"total_tokens": 9},
    {"prompt_tokens": 7.5, "completion_tokens": 3}, {"completion_tokens": 3},
    {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}},
])  # fmt: skip
async def test_a_usage_that_makes_no_sense_is_unknown(models: ModelServer, usage: Any) -> None:
    models.behave = lambda path, body: whole({**chat(body, "text"), "usage": usage})
    async with Cache(prices=PRICES) as cache, client(models, cache) as openai:
        for _ in range(2):
            await openai.chat.completions.create(model="m", messages=HELLO)
        told = await figures(cache)
    assert len(models.calls) == 1
    assert told["spent"] == told["hits"] == Bill(1, unpriced=1)


async def test_a_price_is_known_by_the_name_that_was_asked_for_as_well(models: ModelServer) -> None:
    names = iter(["m-2025-08-07", "m@20250807", "another", "m-2025-08-07", None, 7, "x" * 300])
    models.behave = lambda path, body: whole({**chat(body, "text"), "model": next(names)})
    async with Cache(prices=PRICES) as cache, client(models, cache) as openai:
        for number in range(7):
            messages: list[Any] = [{"role": "user", "content": str(number)}]
            await openai.chat.completions.create(model="m", messages=messages)
        told = await figures(cache)
    assert told["spent"] == bill(7)


def test_all_is_equal_to_a_full_bill(redis_server: RedisServer) -> None:
    """The short form of `python -m tests.ai.billing`."""
    redis_server.flush()
    for how, (noted, said) in compare(160, 1, redis_server.url).items():
        assert noted == said, how
        assert noted.count, how
        assert noted.unpriced, how
