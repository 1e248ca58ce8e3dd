"""Clients whose calls go through the transport to the test's own provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import httpx2
from openai import AsyncOpenAI, OpenAI

from cascada import Cache
from cascada.ai import httpx as of_httpx
from cascada.ai import httpx2 as of_httpx2
from tests.servers.model import ModelServer

LIBRARIES: dict[str, tuple[Any, Any]] = {
    "httpx": (httpx, of_httpx),
    "httpx2": (httpx2, of_httpx2),
}


@asynccontextmanager
async def client(
    models: ModelServer, cache: Cache, library: str = "httpx2", **kept: Any
) -> AsyncIterator[AsyncOpenAI]:
    of_library, ours = LIBRARIES[library]
    transport = ours.AsyncModelTransport(cache, **{"tenant": "acme", **kept})
    async with of_library.AsyncClient(transport=transport, timeout=20) as http:
        yield AsyncOpenAI(api_key="k", base_url=models.url, http_client=http, max_retries=0)


@contextmanager
def plain_client(
    models: ModelServer, cache: Cache, library: str = "httpx2", **kept: Any
) -> Iterator[OpenAI]:
    of_library, ours = LIBRARIES[library]
    transport = ours.ModelTransport(cache, **{"tenant": "acme", **kept})
    with of_library.Client(transport=transport, timeout=20) as http:
        yield OpenAI(api_key="k", base_url=models.url, http_client=http, max_retries=0)


async def said(openai: AsyncOpenAI, text: str = "hello", **more: Any) -> str:
    messages: list[Any] = [{"role": "user", "content": text}]
    answer = await openai.chat.completions.create(model="m", messages=messages, **more)
    return " | ".join([each.message.content or "" for each in answer.choices])


async def streamed(openai: AsyncOpenAI, text: str = "hello", **more: Any) -> str:
    messages: list[Any] = [{"role": "user", "content": text}]
    stream = await openai.chat.completions.create(model="m", messages=messages, stream=True, **more)
    return "".join([each.choices[0].delta.content or "" async for each in stream])
