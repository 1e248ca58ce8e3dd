"""What a transport says: on its answers what the cache did, and in errors what to do."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from cascada import Cache
from cascada.ai import httpx as of_httpx
from cascada.ai import httpx2 as of_httpx2
from cascada.ai.httpx2 import AsyncModelTransport, ModelTransport
from cascada.model.errors import WrongLoop
from tests.servers.model import ModelServer, whole

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


async def test_an_answer_says_what_the_cache_did_for_it(models: ModelServer) -> None:
    async with Cache() as cache:
        transport = AsyncModelTransport(cache, tenant="acme", ttl=60)
        async with httpx2.AsyncClient(transport=transport) as http:

            async def says(**more: Any) -> str:
                found = await http.post(f"{models.url}/chat/completions", json={**BODY, **more})
                return str(found.headers.get("cache-status", ""))

            models.before = 0.05
            first, second = await asyncio.gather(says(), says())
            assert first.startswith("cascada; fwd=miss; stored")
            assert second.startswith("cascada; fwd=miss; stored; collapsed")
            assert (await says()).startswith("cascada; hit; ttl=5")
            with cache.bypass():
                assert await says() == "cascada; fwd=bypass"
            models.behave = lambda path, body: whole({}, 429, **{"cache-status": "edge; fwd=miss"})
            assert await says(seed=1) == "edge; fwd=miss, cascada; fwd=miss"
            assert await says(conversation="c") == "edge; fwd=miss", "it passed by"


def test_an_answer_to_a_thread_says_so_too(models: ModelServer) -> None:
    transport = ModelTransport(Cache(), tenant="acme", ttl=60)
    with httpx2.Client(transport=transport) as http:
        said = [
            http.post(f"{models.url}/chat/completions", json=BODY).headers["cache-status"]
            for _ in range(2)
        ]
    assert said[0].startswith("cascada; fwd=miss; stored")
    assert said[1].startswith("cascada; hit")


@pytest.mark.parametrize(
    "transport",
    [
        of_httpx.AsyncModelTransport, of_httpx.ModelTransport,
        of_httpx2.AsyncModelTransport, of_httpx2.ModelTransport,
    ],
)  # fmt: skip
def test_an_argument_that_is_not_taken_is_told_by_the_name_that_was_called(transport: Any) -> None:
    says = rf"^{transport.__name__}\(\) got an unexpected keyword argument 'ttls'; it takes cache, "
    with pytest.raises(TypeError, match=says):
        transport(Cache(), ttls=3)


def test_a_thread_whose_cache_has_a_loop_that_stands_still_is_told_what_there_is() -> None:
    cache, loop = Cache(), asyncio.new_event_loop()
    loop.run_until_complete(cache.tenant("acme").get("x", "1"))
    try:
        with (
            httpx2.Client(transport=ModelTransport(cache, tenant="acme")) as http,
            ThreadPoolExecutor(1) as threads,
        ):
            asked = threads.submit(http.post, "http://127.0.0.1:9/chat/completions", json=BODY)
            with pytest.raises(WrongLoop, match="does not run") as told:
                asked.result()
            assert "aio" not in str(told.value)
    finally:
        loop.run_until_complete(cache.aclose())
        loop.close()
