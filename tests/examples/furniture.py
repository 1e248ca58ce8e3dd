"""A small library for tests: an agent, a conversation, and documents whose answers differ."""

from __future__ import annotations

from typing import Any

import httpx

AGENT = {"name": "Librarian", "instructions": "Cite.", "max_words": 60}
CRANES = "Cranes migrate in autumn. They fly by day and rest by night."
OWLS = "Owls hunt by night. Their flight is silent because of soft feathers."
QUESTION = "When do cranes migrate?"


async def furnish(client: httpx.AsyncClient) -> None:
    """Create agent a1 with conversation c1, and collection birds with documents cranes and owls."""
    await created(client, "/agents", {"id": "a1", **AGENT})
    await created(client, "/conversations", {"id": "c1", "agent_id": "a1", "title": "Birds"})
    await created(client, "/collections", {"id": "birds", "name": "Birds"})
    documents = [
        {"id": "cranes", "title": "Cranes", "text": CRANES},
        {"id": "owls", "title": "Owls", "text": OWLS},
    ]
    await created(client, "/collections/birds/documents", {"documents": documents})


async def created(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def ask(client: httpx.AsyncClient, question: str = QUESTION, **more: str) -> httpx.Response:
    body = {"collection_id": "birds", "question": question, **more}
    answer = await client.post("/agents/a1/query", json=body)
    assert answer.status_code == 200, answer.text
    return answer


async def said(client: httpx.AsyncClient, **more: str) -> str:
    """The answer to the usual question, which is not made a second time until a change."""
    first = (await ask(client, **more)).json()
    again = await ask(client, **more)
    assert again.json() == first
    assert not made_anew(again), "the answer was not cached"
    text: str = first["answer"]
    return text


def made_anew(answer: httpx.Response) -> bool:
    """Whether this very request asked the model; one that shared a load did not."""
    status = answer.headers["Cache-Status"]
    if "fwd=miss" in status:
        return "collapsed" not in status
    return "fwd=bypass" in status
