"""What comes is not always an answer: it reaches who asked, and is not kept for anybody."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import httpx2
import pytest
from openai import RateLimitError

from cascada import Cache
from cascada.ai.httpx2 import AsyncModelTransport
from tests.ai.asking import LIBRARIES, client, said, streamed
from tests.servers.model import (
    Body,
    ModelServer,
    Reply,
    chat,
    events,
    ordinary,
    pieces,
    streaming,
    whole,
)

BOTH = pytest.mark.parametrize("ask", [said, streamed])
GOOD = "a good answer"
Behave = Callable[[str, Body], Reply]


def without(body: Body, index: int) -> Body:
    answer = chat(body, GOOD)
    del answer["choices"][index]
    return answer


def refusing(body: Body) -> Body:
    answer = chat(body, GOOD)
    answer["choices"][0]["message"]["refusal"] = "I will not"
    return answer


ODD: dict[str, Behave] = {
    "cut off by a limit": lambda path, body: whole(chat(body, GOOD, "length")),
    "filtered": lambda path, body: whole(chat(body, GOOD, "content_filter")),
    "no end at all": lambda path, body: whole(chat(body, GOOD, None)),
    "a choice too few": lambda path, body: whole(without(body, 0)),
    "refused": lambda path, body: whole(refusing(body)),
    "an error that says 200": lambda path, body: whole({**chat(body, GOOD), "error": {"code": 1}}),
}


@pytest.mark.parametrize("odd", ODD)
async def test_an_answer_that_did_not_end_well_is_handed_out_and_not_kept(
    models: ModelServer, odd: str
) -> None:
    models.behave = ODD[odd]
    models.before = 0.05
    async with Cache() as cache, client(models, cache) as openai:
        answers = await asyncio.gather(*[said(openai, n=2) for _ in range(5)])
        assert all(each.startswith(GOOD) for each in answers)
        assert len(models.calls) == 1
        await said(openai, n=2)
        assert len(models.calls) == 2


def cut(body: Body, how: slice) -> list[bytes]:
    return pieces(body, ["a good", " answer"])[how]


DONE = b"data: [DONE]\n\n"
STREAMS: dict[str, Behave] = {
    "cut off by a limit": lambda path, body: streaming(pieces(body, [GOOD], "length")),
    "no end mark": lambda path, body: streaming(cut(body, slice(-1))),
    "no reason to end": lambda path, body: streaming([*cut(body, slice(2)), DONE]),
    "a choice that never ended": lambda path, body: streaming(
        [*cut(body, slice(-1)), *events({"choices": [{"index": 1, "delta": {}}]}), DONE]
    ),
    "an error before the end": lambda path, body: streaming(
        [*cut(body, slice(-1)), *events({"choices": [], "error": {"code": 1}}), DONE]
    ),
    "an event called error before the end": lambda path, body: streaming(
        [*cut(body, slice(-1)), b'event: error\r\ndata: {"message": "overloaded"}\r\n\r\n', DONE]
    ),
    "no JSON before the end": lambda path, body: streaming(
        [*cut(body, slice(-1)), b"data: {]\n\n", DONE]
    ),
}


@pytest.mark.parametrize("odd", STREAMS)
async def test_a_stream_that_did_not_end_well_is_handed_out_and_not_kept(
    models: ModelServer, odd: str
) -> None:
    models.behave = STREAMS[odd]
    models.before = 0.05
    question = {"model": "m", "stream": True, "messages": []}
    async with Cache() as cache:
        transport = AsyncModelTransport(cache, tenant="acme")
        async with httpx2.AsyncClient(transport=transport) as http:
            ask = partial(http.post, f"{models.url}/chat/completions", json=question)
            answers = await asyncio.gather(*[ask() for _ in range(5)])
            sent = b"".join(STREAMS[odd]("", question).chunks)
            assert {each.content for each in answers} == {sent}
            assert len(models.calls) == 1
            assert (await ask()).content == sent
            assert len(models.calls) == 2


async def test_a_stream_that_is_broken_off_raises_for_all_and_is_not_kept(
    models: ModelServer,
) -> None:
    models.behave = lambda path, body: streaming(cut(body, slice(2)), pause=0.05, ends=False)
    async with Cache() as cache, client(models, cache) as openai:
        asked = [streamed(openai) for _ in range(5)]
        errors = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, Exception) for each in errors), errors
        models.behave = ordinary
        assert await streamed(openai) == GOOD
        assert len(models.calls) == 2


async def test_a_server_that_never_hangs_up_is_not_waited_for(models: ModelServer) -> None:
    models.behave = lambda path, body: streaming(pieces(body, [GOOD]), held=True)
    async with Cache() as cache, client(models, cache) as openai:
        async with asyncio.timeout(10):
            assert await streamed(openai) == GOOD
            assert await streamed(openai) == GOOD
        assert len(models.calls) == 1


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_bytes_may_be_cut_anywhere(models: ModelServer, size: int) -> None:
    def behave(path: str, body: Body) -> Reply:
        sent = b"".join(pieces(body, ["a ", "g\u00f6\u00f6d ", "answer"]))
        chunks = [sent[at : at + size] for at in range(0, len(sent), size)]
        return streaming(chunks)

    models.behave = behave
    async with Cache() as cache, client(models, cache) as openai:
        for _ in range(2):
            assert await streamed(openai) == "a g\u00f6\u00f6d answer"
        assert len(models.calls) == 1


async def test_the_end_mark_may_be_all_of_the_last_line(models: ModelServer) -> None:
    models.behave = lambda path, body: streaming([*cut(body, slice(-1)), b"data: [DONE]"])
    async with Cache() as cache, client(models, cache) as openai:
        for _ in range(2):
            assert await streamed(openai) == GOOD
        assert len(models.calls) == 1


async def test_a_stream_of_one_endless_line_is_handed_out(models: ModelServer) -> None:
    models.behave = lambda path, body: streaming([b"x" * 2**20] * 20 + [b"\n", DONE])
    async with Cache() as cache:
        transport = AsyncModelTransport(cache, tenant="acme")
        async with httpx2.AsyncClient(transport=transport) as http:
            for _ in range(2):
                body = {"model": "m", "messages": [], "stream": True}
                answer = await http.post(f"{models.url}/chat/completions", json=body)
                assert len(answer.content) > 20 * 2**20
    assert len(models.calls) == 2


@BOTH
async def test_compressed_answers(models: ModelServer, ask: Any) -> None:
    def behave(path: str, body: Body) -> Reply:
        reply = ordinary(path, body)
        reply.chunks = [gzip.compress(b"".join(reply.chunks))]
        reply.headers["content-encoding"] = "gzip"
        return reply

    models.behave = behave
    async with Cache() as cache, client(models, cache) as openai:
        for _ in range(2):
            assert await ask(openai) == GOOD
        assert len(models.calls) == 1


@BOTH
@pytest.mark.parametrize("library", LIBRARIES)
async def test_headers_need_not_be_ascii(models: ModelServer, library: str, ask: Any) -> None:
    models.behave = lambda path, body: whole({}, 429, **{"x-said": "trop de requ\u00eates"})
    async with Cache() as cache, client(models, cache, library) as openai:
        with pytest.raises(RateLimitError) as error:
            await ask(openai)
        assert error.value.response.headers["x-said"] == "trop de requ\u00eates"


ANSWERS = {
    "no JSON": b"hello",
    "a list": b"[1]",
    "nothing": b"",
    "null": b"null",
    "nested": b"[" * 100_000,
    "no UTF-8": b"\xff\xfe{",
    "choices that are none": b'{"choices": 3}',
    "a choice that is none": b'{"choices": [3]}',
    "a reason that is none": b'{"choices": [{"finish_reason": ["stop"]}], "stop_reason": ["x"]}',
    "no choices": b'{"choices": [], "data": [], "status": "completed", "output": []}',
    "vectors that are none": b'{"data": [{"embedding": []}], "output": 3, "status": []}',
    "a refusal": b'{"status": "completed", "output": [{"content": [{"type": "refusal"}]}]}',
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("path", ["chat/completions", "embeddings", "responses", "messages"])
async def test_whatever_comes_goes_to_who_asked(models: ModelServer, name: str, path: str) -> None:
    models.behave = lambda _, body: Reply(chunks=[ANSWERS[name]])
    async with Cache() as cache:
        transport = AsyncModelTransport(cache, tenant="acme")
        async with httpx2.AsyncClient(transport=transport) as http:
            for _ in range(2):
                body = {"model": "m", "messages": [], "input": "x", "n": 0}
                answer = await http.post(f"{models.url}/{path}", json=body)
                assert answer.content == ANSWERS[name]
    assert len(models.calls) == 2


REQUESTS = [b"", b"{", b"[]", b"3", b"[" * 100_000, b'{"model": NaN}', b"\xff", b'{"model": "m"}']


@pytest.mark.parametrize("body", REQUESTS, ids=lambda body: body[:9].decode("latin-1"))
async def test_whatever_is_asked_reaches_the_server(models: ModelServer, body: bytes) -> None:
    async with Cache() as cache:
        inner = httpx.MockTransport(lambda request: httpx.Response(418, content=request.content))
        transport = LIBRARIES["httpx"][1].AsyncModelTransport(cache, transport=inner, tenant="t")
        async with httpx.AsyncClient(transport=transport) as http:
            answer = await http.post("http://h/v1/chat/completions", content=body)
            assert (answer.status_code, answer.content) == (418, body)
