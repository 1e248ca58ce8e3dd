"""The service over HTTP, on SQLite and on PostgreSQL, with its cache."""

import asyncio
from urllib.parse import quote

import httpx
import pytest

from examples.agent_service.settings import Settings
from tests.examples.conftest import Running, running
from tests.examples.furniture import AGENT, CRANES, ask, created, furnish, made_anew, said

ODD_IDS = ["a:b", "100%", "*", "{x}", "ümlaut", "two words", "a\nb", "🦉"]


async def test_a_question_is_answered_from_the_documents(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    answer = await ask(acme)
    assert answer.json()["answer"] == (
        "Librarian (Cite.): Cranes migrate in autumn. Owls hunt by night."
    )
    assert answer.json()["documents"] == ["cranes", "owls"]
    assert answer.json()["tokens"] > 0
    assert made_anew(answer)


async def test_an_answer_is_made_once(service: Running, acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    answers = await asyncio.gather(*(ask(acme) for _ in range(20)))
    assert len({answer.text for answer in answers}) == 1
    assert service.service.model.calls == 1
    before = service.service.database.queries
    assert (await ask(acme)).text == answers[0].text
    assert service.service.database.queries == before
    assert service.service.model.calls == 1


async def test_an_answer_changes_with_its_agent(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    assert (await said(acme)).startswith("Librarian (Cite.)")
    await acme.put("/agents/a1", json={**AGENT, "name": "Curator"})
    assert (await said(acme)).startswith("Curator (Cite.)")
    assert (await acme.get("/agents/a1")).json()["name"] == "Curator"


async def test_an_answer_changes_with_the_agents_tools(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    assert "Using" not in await said(acme)
    await created(acme, "/agents/a1/tools", {"id": "t", "name": "maps", "description": "Shows."})
    assert "Using maps." in await said(acme)
    assert [tool["id"] for tool in (await acme.get("/agents/a1/tools")).json()] == ["t"]
    assert (await acme.delete("/agents/a1/tools/t")).status_code == 204
    assert "Using" not in await said(acme)
    assert (await acme.get("/agents/a1/tools")).json() == []


async def test_an_answer_changes_with_a_document_it_was_made_from(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    assert "in autumn" in await said(acme)
    text = CRANES.replace("autumn", "spring")
    path = "/collections/birds/documents/cranes"
    await acme.put(path, json={"title": "Cranes", "text": text})
    assert "in spring" in await said(acme)
    assert (await acme.get(path)).json()["text"] == text
    assert (await acme.delete(path)).status_code == 204
    assert "migrate" not in await said(acme)
    assert (await acme.get(path)).status_code == 404


async def test_an_answer_changes_with_a_document_it_was_made_without(
    acme: httpx.AsyncClient,
) -> None:
    await furnish(acme)
    before = await said(acme)
    new = {"id": "new", "title": "New", "text": "When do cranes migrate? In May, we found."}
    await created(acme, "/collections/birds/documents", {"documents": [new]})
    assert "When do cranes migrate?" in await said(acme) != before
    assert (await acme.get("/collections/birds")).json()["documents"] == 3


async def test_an_answer_changes_with_documents_that_are_stored_at_once(
    acme: httpx.AsyncClient,
) -> None:
    await furnish(acme)
    assert "in autumn" in await said(acme)
    documents = [
        {"id": "cranes", "title": "Cranes", "text": CRANES.replace("autumn", "spring")},
        {"id": "gulls", "title": "Gulls", "text": "Gulls stay."},
    ]
    await created(acme, "/collections/birds/documents", {"documents": documents})
    assert "in spring" in await said(acme)


async def test_an_answer_changes_with_what_was_said(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    assert "You said" not in await said(acme, conversation_id="c1")
    await created(acme, "/conversations/c1/messages", {"text": "I live in Oslo."})
    assert "You said: I live in Oslo." in await said(acme, conversation_id="c1")
    assert "You said" not in await said(acme)


async def test_an_answer_given_outside_a_conversation_is_none_within_it(
    acme: httpx.AsyncClient,
) -> None:
    await furnish(acme)
    await created(acme, "/conversations/c1/messages", {"text": "I live in Oslo."})
    assert "You said" not in await said(acme)
    assert "You said: I live in Oslo." in await said(acme, conversation_id="c1")


async def test_a_conversation_shows_its_agents_present_name(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    assert (await acme.get("/conversations/c1")).json()["agent_name"] == "Librarian"
    await acme.put("/agents/a1", json={**AGENT, "name": "Curator"})
    assert (await acme.get("/conversations/c1")).json()["agent_name"] == "Curator"


async def test_what_belongs_to_a_deleted_agent_is_gone(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    made = await created(acme, "/conversations/c1/messages", {"text": "Hello."})
    talk = "/conversations/c1"
    paths = ["/agents/a1", "/agents/a1/tools", talk, f"{talk}/messages", f"{talk}/memory",
             f"{talk}/messages/{made['id']}"]  # fmt: skip
    for path in paths:
        assert (await acme.get(path)).status_code == 200
    await said(acme, conversation_id="c1")
    assert (await acme.delete("/agents/a1")).status_code == 204
    for path in paths:
        assert (await acme.get(path)).status_code == 404, path
    body = {"collection_id": "birds", "question": "When do cranes migrate?"}
    answer = await acme.post("/agents/a1/query", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (404, "agent 'a1' does not exist")


@pytest.mark.parametrize("path", ["/collections/birds", "/conversations/c1"])
async def test_an_answer_goes_with_what_it_was_made_in(acme: httpx.AsyncClient, path: str) -> None:
    await furnish(acme)
    await said(acme, conversation_id="c1")
    assert (await acme.get(path)).status_code == 200
    assert (await acme.delete(path)).status_code == 204
    assert (await acme.get(path)).status_code == 404
    body = {"collection_id": "birds", "question": "Why?", "conversation_id": "c1"}
    assert (await acme.post("/agents/a1/query", json=body)).status_code == 404


async def test_messages_that_are_appended_at_once_are_all_kept(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    texts = {f"message {number}" for number in range(40)}

    async def append(text: str) -> int:
        made = await created(acme, "/conversations/c1/messages", {"text": text})
        listed = (await acme.get("/conversations/c1/messages")).json()
        assert text in [message["text"] for message in listed], "what was written is not read"
        number: int = made["id"]
        return number

    numbers = await asyncio.gather(*map(append, texts))
    listed = (await acme.get("/conversations/c1/messages")).json()
    assert {message["text"] for message in listed} == texts
    assert [message["id"] for message in listed] == sorted(numbers)


async def test_any_id_is_an_id(acme: httpx.AsyncClient) -> None:
    for odd in ODD_IDS:
        await is_an_id(acme, odd)


async def is_an_id(acme: httpx.AsyncClient, odd: str) -> None:
    agent, collection = f"/agents/{quote(odd, safe='')}", f"/collections/{quote(odd, safe='')}"
    await created(acme, "/agents", {"id": odd, **AGENT})
    await created(acme, "/collections", {"id": odd, "name": "Odd"})
    document = {"id": odd, "title": "Odd", "text": "Strange things happen."}
    await created(acme, f"{collection}/documents", {"documents": [document]})
    body = {"collection_id": odd, "question": "What happens?"}
    for _ in range(2):
        answer = await acme.post(f"{agent}/query", json=body)
        assert answer.json()["documents"] == [odd]
    changed = {**AGENT, "name": "Other"}
    assert (await acme.put(agent, json=changed)).status_code == 200
    answer = await acme.post(f"{agent}/query", json=body)
    assert answer.json()["answer"].startswith("Other")


async def test_what_is_wrong_is_said_in_a_sentence(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    again = await acme.post("/agents", json={"id": "a1", **AGENT})
    assert (again.status_code, again.json()["detail"]) == (409, "agent 'a1' exists already")
    tool = {"name": "t", "description": "d"}
    orphan = await acme.post("/agents/nobody/tools", json=tool)
    assert (orphan.status_code, orphan.json()["detail"]) == (404, "agent 'nobody' does not exist")
    await created(acme, "/collections", {"id": "other", "name": "Other"})
    moved = await acme.put("/collections/other/documents/owls", json={"title": "O", "text": "o."})
    assert moved.status_code == 409
    assert moved.json()["detail"] == "one of ['owls'] in another collection exists already"
    lost = await acme.put("/collections/nowhere/documents/d", json={"title": "O", "text": "o."})
    assert lost.status_code == 404
    assert lost.json()["detail"] == "collection 'nowhere' does not exist"
    for wrong in ("a\0b", "a/b", ""):
        assert (await acme.post("/agents", json={**AGENT, "id": wrong})).status_code == 422


async def test_a_collection_may_be_empty(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    for name in ("cranes", "owls"):
        await acme.delete(f"/collections/birds/documents/{name}")
    assert await said(acme) == "Librarian (Cite.): The documents say nothing about this."


async def test_statistics_count_what_was_asked(service: Running, acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    for _ in range(5):
        answer = await ask(acme)
    stats = (await acme.get("/stats")).json()
    assert stats["model"]["name"] == "local stand-in for a hosted model"
    assert stats["model"]["calls"] == 1
    assert stats["model"]["tokens"] == answer.json()["tokens"]
    assert stats["embedding"]["calls"] == 2  # the documents, the question
    assert stats["database"]["queries"] == service.service.database.queries
    total = stats["cache"]["total"]
    assert total["by_tier"].get("l1", 0) + total["coalesced"] == 4
    # the answer, the agent, its tools, the passages, the collection, its vectors, the embedding
    assert total["misses"] == 7
    assert (await acme.get("/health")).json() == {"status": "ok"}
    metrics = (await acme.get("/metrics")).text
    assert "agent_service_model_calls_total 1.0" in metrics
    assert 'cache_miss_total{data_type="agent_response",layer="l1"} 1.0' in metrics


async def test_without_the_cache_the_same_code_asks_every_time(database_url: str) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "AGENT_SERVICE_MODEL_LATENCY_MS": "0",
        "AGENT_SERVICE_CACHE": "off",
    }
    async with running(Settings.from_env(environment)) as started:
        acme = started.client("acme")
        await furnish(acme)
        first = await ask(acme)
        queries = started.service.database.queries
        again = await ask(acme)
        assert again.text == first.text
        assert made_anew(first)
        assert made_anew(again)
        assert started.service.model.calls == 2
        # the agent, its tools, the collection, the vectors
        assert started.service.database.queries == queries + 4
