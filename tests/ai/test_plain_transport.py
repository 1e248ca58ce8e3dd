"""The transport of plain clients: threads that wait, one call for all of them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import httpx2
import pytest
from openai import APIConnectionError, OpenAI, RateLimitError

from cascada import Cache, Context
from cascada.ai.httpx2 import ModelTransport
from cascada.model.errors import BadInput, LoadError, MissingTenant, WrongLoop
from tests.ai import asking
from tests.ai.asking import LIBRARIES, plain_client
from tests.servers.model import ModelServer, Reply, ordinary, pieces, streaming, whole

GOOD = "a good answer"
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
Ask = Callable[..., str]


def said(openai: OpenAI, text: str = "hello") -> str:
    messages: list[Any] = [{"role": "user", "content": text}]
    answer = openai.chat.completions.create(model="m", messages=messages)
    return answer.choices[0].message.content or ""


def streamed(openai: OpenAI, text: str = "hello") -> str:
    messages: list[Any] = [{"role": "user", "content": text}]
    stream = openai.chat.completions.create(model="m", messages=messages, stream=True)
    return "".join([each.choices[0].delta.content or "" for each in stream])


BOTH = pytest.mark.parametrize("ask", [said, streamed])


def at_once(times: int, ask: Callable[[], Any]) -> list[Any]:
    def outcome(_: int) -> Any:
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - whatever it is
            return error

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(outcome, range(times)))


@pytest.mark.parametrize("library", LIBRARIES)
@BOTH
def test_a_hundred_equal_calls_at_once_are_one(models: ModelServer, library: str, ask: Ask) -> None:
    models.before = 0.3
    with plain_client(models, Cache(), library) as openai:
        assert set(at_once(100, lambda: ask(openai))) == {GOOD}
        assert len(models.calls) == 1
        assert ask(openai) == GOOD
        assert len(models.calls) == 1
        ask(openai, "another question")
        assert len(models.calls) == 2


@BOTH
def test_an_error_reaches_every_caller_and_is_kept_by_none(models: ModelServer, ask: Ask) -> None:
    models.behave = lambda path, body: whole({"error": {"message": "slow"}}, 429)
    models.before = 1.0  # by then ten threads have begun, on a busy machine as well
    with plain_client(models, Cache()) as openai:
        errors = at_once(10, lambda: ask(openai))
        assert {type(each) for each in errors} == {RateLimitError}
        assert len(models.calls) == 1
        models.behave = lambda path, body: Reply(chunks=[b"{"], ends=False)
        errors = at_once(10, lambda: ask(openai))
        assert {type(each) for each in errors} == {APIConnectionError}
        assert len(models.calls) == 2
        models.behave = ordinary
        assert ask(openai) == GOOD


def test_a_stream_is_followed_as_it_comes_and_may_be_left(models: ModelServer) -> None:
    models.behave = lambda path, body: streaming(pieces(body, list("abcdef")), pause=0.05)
    with plain_client(models, Cache()) as openai, ThreadPoolExecutor(1) as threads:
        other = threads.submit(streamed, openai)
        time.sleep(0.15)
        with openai.chat.completions.create(model="m", messages=HELLO, stream=True) as stream:
            for each in stream:
                assert each.choices[0].delta.content == "a"
                assert not other.done()
                break
        assert other.result() == "abcdef" == streamed(openai)
        assert len(models.calls) == 1


def test_a_stream_may_be_closed_by_another_thread_than_its_reader(models: ModelServer) -> None:
    models.behave = lambda path, body: streaming(pieces(body, list("abcdef")), pause=0.1)
    with plain_client(models, Cache()) as openai, ThreadPoolExecutor(1) as threads:
        stream = openai.chat.completions.create(model="m", messages=HELLO, stream=True)
        reader = threads.submit(list, stream)
        time.sleep(0.05)
        stream.close()
        with pytest.raises(LoadError, match="closed while it was read"):
            reader.result()
        assert streamed(openai) == "abcdef"
        assert len(models.calls) == 2


def test_what_passes_by_is_not_read_first() -> None:
    def upload() -> Iterator[bytes]:
        sent.append("read")
        yield b"x"

    class Inner(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            sent.append("reached")
            return httpx2.Response(200, content=request.read())

    sent: list[str] = []
    with httpx2.Client(transport=ModelTransport(Cache(), transport=Inner())) as http:
        assert http.post("http://h/v1/files", content=upload()).content == b"x"
    assert sent == ["reached", "read"]
    with pytest.raises(BadInput, match="a plain transport of httpx2"):
        ModelTransport(Cache(), transport=httpx.HTTPTransport())


def test_a_stream_that_all_have_left_is_not_kept(models: ModelServer) -> None:
    models.behave = lambda path, body: streaming(pieces(body, list("abcdef")), pause=0.1)
    with plain_client(models, Cache()) as openai:
        for _ in range(2):
            with openai.chat.completions.create(model="m", messages=HELLO, stream=True) as stream:
                next(iter(stream))
        assert len(models.calls) == 2


@pytest.mark.parametrize("times", [1, 3])
def test_who_leaves_at_the_end_mark_has_not_left_too_early(models: ModelServer, times: int) -> None:
    with plain_client(models, Cache()) as openai:
        for _ in range(times):
            stream = openai.chat.completions.create(model="m", messages=HELLO, stream=True)
            for line in stream.response.iter_lines():
                if "[DONE]" in line:
                    break
            stream.close()
            stream.close()
        assert streamed(openai) == GOOD
        assert len(models.calls) == 1


def test_a_server_that_never_hangs_up_is_not_waited_for(models: ModelServer) -> None:
    models.behave = lambda path, body: streaming(pieces(body, [GOOD]), held=True)
    started = time.monotonic()
    with plain_client(models, Cache()) as openai:
        assert streamed(openai) == streamed(openai) == GOOD
    assert len(models.calls) == 1
    assert time.monotonic() - started < 10


def test_the_tenant_is_that_of_each_thread(models: ModelServer) -> None:
    with plain_client(models, Cache(), tenant=None) as openai:

        def of(tenant: str) -> str:
            with Context(tenant_id=tenant):
                return said(openai) + streamed(openai)

        with ThreadPoolExecutor(9) as threads:
            list(threads.map(of, "abcabcabc"))
        assert len(models.calls) == 6


def test_without_a_tenant_nothing_is_asked(models: ModelServer) -> None:
    with httpx2.Client(transport=ModelTransport(Cache())) as http:
        for stream in (False, True):
            with pytest.raises(MissingTenant):
                http.post(
                    f"{models.url}/chat/completions",
                    json={"model": "m", "messages": HELLO, "stream": stream},
                )
    assert models.calls == []


async def test_a_plain_client_on_an_event_loop_is_told_of_the_other(models: ModelServer) -> None:
    with httpx2.Client(transport=ModelTransport(Cache(), tenant="acme")) as http:
        with pytest.raises(WrongLoop, match="AsyncModelTransport"):
            http.post(f"{models.url}/embeddings", json={"model": "e", "input": "x"})
        http.get(f"{models.url}/models")
    assert len(models.calls) == 1


async def test_threads_share_a_cache_with_the_loop_that_it_lives_on(models: ModelServer) -> None:
    async with Cache() as cache, asking.client(models, cache) as openai:
        assert await asking.said(openai) == GOOD
        with plain_client(models, cache) as plain:
            assert await asyncio.to_thread(said, plain) == GOOD
            assert await asyncio.to_thread(streamed, plain) == GOOD
        assert await asking.streamed(openai) == GOOD
        assert len(models.calls) == 2


def test_nothing_is_left_running(models: ModelServer) -> None:
    before = threading.active_count()
    with plain_client(models, Cache()) as openai:
        for number in range(50):
            streamed(openai, str(number % 5))
    assert len(models.calls) == 5
    assert threading.active_count() - before < 70, "the loaders' threads, and the portal"
