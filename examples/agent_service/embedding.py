"""Texts to vectors: the protocol, an OpenAI-compatible endpoint, and a count of the calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from examples.agent_service.lexical import LexicalEmbedder
from examples.agent_service.settings import Settings
from examples.agent_service.vectors import pack, unpack

_TIMEOUT: Final = 15.0
_BATCH: Final = 256
"""Texts in one request; hosted endpoints refuse more than some thousand."""


class EmbeddingFailed(RuntimeError):
    """The provider did not answer, or not with one vector for each text."""


class EmbeddingProvider(Protocol):
    """What makes vectors. `name` is part of the identity of what is cached."""

    @property
    def name(self) -> str: ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]: ...

    async def aclose(self) -> None: ...


class HttpEmbedder:
    """A client of `POST {url}/embeddings`, as OpenAI and most local servers offer it."""

    def __init__(self, url: str, model: str, api_key: str | None = None) -> None:
        self.name = model
        # httpx writes addresses into its log and its errors: who is asking goes beside them.
        address, auth = without_user(url)
        self._url = address.rstrip("/") + "/embeddings"
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(headers=headers, auth=auth, timeout=_TIMEOUT)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = []
        for start in range(0, len(texts), _BATCH):
            vectors += await self._request(list(texts[start : start + _BATCH]))
        return vectors

    async def _request(self, texts: list[str]) -> list[list[float]]:
        try:
            answer = await self._client.post(
                self._url, json={"model": self.name, "input": texts, "encoding_format": "float"}
            )
            answer.raise_for_status()
            # The answer need not stand in the order of the texts: each item says its own place.
            items = sorted(answer.json()["data"], key=lambda item: item["index"])
            vectors = [[float(x) for x in item["embedding"]] for item in items]
        except httpx.HTTPStatusError as error:
            raise EmbeddingFailed(
                f"{self._url} answered {error.response.status_code} for model {self.name!r}"
            ) from error
        except httpx.HTTPError as error:
            raise EmbeddingFailed(f"{self._url} did not answer: {error!r}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise EmbeddingFailed(f"{self._url} answered something else than vectors") from error
        if len(vectors) != len(texts):
            raise EmbeddingFailed(
                f"{self._url} answered {len(vectors)} vectors for {len(texts)} texts"
            )
        return vectors

    async def aclose(self) -> None:
        await self._client.aclose()


def without_user(url: str) -> tuple[str, tuple[str, str] | None]:
    """A URL without its user and password, and these for themselves."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    auth = (unquote(name), unquote(password)) if at else None
    return urlunsplit(parts._replace(netloc=host)), auth


class Embedder:
    """A provider, counted, whose vectors are exact in float32.

    So a vector is bit for bit the same whether it comes from the provider, the database or a
    cache, and answers do not depend on where it came from.
    """

    def __init__(self, provider: EmbeddingProvider) -> None:
        self.name = provider.name
        self.calls = 0
        self.texts = 0
        self._provider = provider

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.calls += 1
        self.texts += len(texts)
        return [unpack(pack(vector)) for vector in await self._provider.embed(texts)]

    async def aclose(self) -> None:
        await self._provider.aclose()


def embedder_of(settings: Settings) -> Embedder:
    """The endpoint if one is configured, else the built-in one."""
    if settings.embeddings_url is None or settings.embeddings_model is None:
        return Embedder(LexicalEmbedder())
    return Embedder(
        HttpEmbedder(
            settings.embeddings_url, settings.embeddings_model, settings.embeddings_api_key
        )
    )
