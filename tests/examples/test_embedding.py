"""Vectors: the lexical embedder, an OpenAI-compatible endpoint, and the search."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from examples.agent_service.embedding import (
    Embedder,
    EmbeddingFailed,
    HttpEmbedder,
    embedder_of,
)
from examples.agent_service.ingest import PIECE_LENGTH, split
from examples.agent_service.lexical import DIMENSIONS, LexicalEmbedder
from examples.agent_service.settings import Settings
from examples.agent_service.vectors import (
    nearest,
    numpy_products,
    pack,
    plain_products,
    unpack,
)
from tests.examples.serving import served

KEY = "sk-not-for-logs"


def similarity(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_the_built_in_embedder_is_lexical() -> None:
    vectors = await LexicalEmbedder().embed(
        ["cancel the order", "do not cancel the order", "ordering and cancelling", "owls hunt"]
    )
    order, negated, related, other = vectors
    assert {len(vector) for vector in vectors} == {DIMENSIONS}
    assert similarity(order, order) == pytest.approx(1)
    assert similarity(order, negated) > 0.8, "it knows words, not meaning"
    assert similarity(order, related) > similarity(order, other) + 0.2, "and parts of words"


async def test_the_built_in_embedder_is_the_same_on_every_machine() -> None:
    (vector,) = await LexicalEmbedder().embed(["Owls hunt by night."])
    strongest = sorted(range(DIMENSIONS), key=lambda place: -abs(vector[place]))[:3]
    assert strongest == [71, 151, 177], "owls, hunt and night, hashed"
    assert [round(vector[place], 4) for place in strongest] == [-0.4874] * 3
    assert (await LexicalEmbedder().embed(["", "?!"])) == [[0.0] * DIMENSIONS] * 2


async def test_a_vector_is_the_same_from_the_embedder_and_from_bytes() -> None:
    embedder = Embedder(LexicalEmbedder())
    vectors = await embedder.embed(["Owls hunt by night.", "Cranes fly."])
    assert [unpack(pack(vector)) for vector in vectors] == vectors
    assert (embedder.calls, embedder.texts) == (1, 2)


async def test_both_ways_of_searching_find_the_same() -> None:
    texts = [f"text {number} about owls and cranes" for number in range(50)]
    vectors = await Embedder(LexicalEmbedder()).embed([*texts, "text 17"])
    matrix = b"".join(pack(vector) for vector in vectors[:50])
    found = nearest(matrix, vectors[50], 5, plain_products)
    assert found[0][0] == 17
    assert nearest(matrix, vectors[50], 5, numpy_products) == found
    assert nearest(matrix, vectors[50], 5) == found
    twins = pack(vectors[0]) * 4
    assert [row for row, _ in nearest(twins, vectors[0], 3)] == [0, 1, 2], "equals keep their order"
    assert nearest(b"", vectors[0], 3) == []


def test_a_text_is_split_where_its_sentences_end() -> None:
    text = "\n\n".join(f"Paragraph {number}. " + "It has words. " * 20 for number in range(9))
    text += "\n\n" + "x" * (2 * PIECE_LENGTH + 1)
    pieces = split(text)
    assert all(0 < len(piece) <= PIECE_LENGTH for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(piece.endswith(".") for piece in pieces[:-3])
    assert split("  \n ") == []


@dataclass
class Endpoint:
    """A small OpenAI-compatible server; `answer` can be replaced to make it misbehave."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answer: JSONResponse | None = None


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    state, app = Endpoint(), FastAPI()

    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> JSONResponse:
        body = json.loads(await request.body())
        state.requests.append(body)
        state.headers.append(dict(request.headers))
        if state.answer is not None:
            return state.answer
        data = [
            {"object": "embedding", "index": index, "embedding": [float(len(text)), index]}
            for index, text in enumerate(body["input"])
        ]
        return JSONResponse({"object": "list", "model": body["model"], "data": data[::-1]})

    async with served(app) as url:
        state.url = f"{url}/v1"
        yield state


async def test_an_endpoint_is_asked_as_openai_is(endpoint: Endpoint) -> None:
    embedder = embedder_of(
        Settings(embeddings_url=endpoint.url, embeddings_model="small", embeddings_api_key=KEY)
    )
    assert embedder.name == "small"
    assert await embedder.embed(["a", "bb", "ccc"]) == [[1, 0], [2, 1], [3, 2]]
    assert endpoint.requests == [
        {"model": "small", "input": ["a", "bb", "ccc"], "encoding_format": "float"}
    ]
    assert endpoint.headers[0]["authorization"] == f"Bearer {KEY}"
    await embedder.aclose()


async def test_many_texts_go_in_several_requests(endpoint: Endpoint) -> None:
    embedder = HttpEmbedder(endpoint.url, "small")
    vectors = await embedder.embed(["x" * (number % 7) for number in range(600)])
    assert [vector[0] for vector in vectors] == [number % 7 for number in range(600)]
    assert [len(request["input"]) for request in endpoint.requests] == [256, 256, 88]
    assert "authorization" not in endpoint.headers[0]
    await embedder.aclose()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (JSONResponse({"error": KEY}, 429), "answered 429 for model 'small'"),
        (JSONResponse({"data": []}), "answered 0 vectors for 1 texts"),
        (JSONResponse({"data": [{"index": 0}]}), "answered something else than vectors"),
        (JSONResponse(["no"]), "answered something else than vectors"),
    ],
)
async def test_an_endpoint_that_fails_is_named(
    endpoint: Endpoint, answer: JSONResponse, sentence: str
) -> None:
    endpoint.answer = answer
    embedder = HttpEmbedder(endpoint.url, "small", KEY)
    with pytest.raises(EmbeddingFailed) as failed:
        await embedder.embed(["a"])
    assert str(failed.value) == f"{endpoint.url}/embeddings {sentence}"
    assert KEY not in str(failed.value)
    await embedder.aclose()


async def test_an_endpoint_that_is_not_there_is_named() -> None:
    embedder = HttpEmbedder("http://127.0.0.1:9/v1", "small", KEY)
    with pytest.raises(EmbeddingFailed, match=r"^http://127.0.0.1:9/v1/embeddings did not answer"):
        await embedder.embed(["a"])
    await embedder.aclose()
