"""Executions, single messages and memory; what reads say of themselves; what /docs says of them."""

import re
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from cascada import TTL_EXTENDED, TTL_SHORT, TTL_STANDARD
from examples.agent_service import caching
from examples.agent_service.app import create_app
from examples.agent_service.caching import LARGEST, REMEMBERED, execution_state_id
from examples.agent_service.settings import Settings
from tests.examples.attack import OF_A_TENANT, OPEN
from tests.examples.conftest import Running, running
from tests.examples.furniture import AGENT, ask, created, furnish
from tests.integrations.fields import Token, parse

EXECUTIONS = "/agents/a1/conversations/c1/executions"


async def status_of(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """What the header Cache-Status says of a read."""
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    ((name, said),) = parse(answer.headers["Cache-Status"])
    assert name == Token("cascada")
    return said


async def test_an_execution_is_begun_and_goes_on(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    begun = await created(acme, EXECUTIONS, {"id": "e1", "step": "searching"})
    assert begun["status"] == "running"
    for step in ("reading", "writing"):
        assert (await acme.get(f"{EXECUTIONS}/e1")).json() == begun
        assert (await status_of(acme, f"{EXECUTIONS}/e1"))["hit"] is True
        body = {"status": "done", "step": step, "detail": "3 of 4"}
        begun = (await acme.put(f"{EXECUTIONS}/e1", json=body)).json()
        assert (await acme.get(f"{EXECUTIONS}/e1")).json() == {**begun, **body}


async def test_an_execution_belongs_to_its_agent_and_conversation(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    await created(acme, "/agents", {"id": "a2", **AGENT})
    await created(acme, EXECUTIONS, {"id": "e1", "step": "searching"})
    again = await acme.post(EXECUTIONS, json={"id": "e1", "step": "again"})
    assert (again.status_code, again.json()["detail"]) == (409, "execution 'e1' exists already")
    other = await acme.post(EXECUTIONS.replace("a1", "a2"), json={"id": "e1", "step": "s"})
    assert other.status_code == 404
    assert other.json()["detail"] == "conversation 'c1' of agent 'a2' does not exist"
    lost = await acme.get(f"{EXECUTIONS}/e1".replace("a1", "a2"))
    assert (lost.status_code, lost.json()["detail"]) == (404, "execution 'e1' does not exist")


@pytest.mark.parametrize("gone", ["/agents/a1", "/conversations/c1"])
async def test_an_execution_goes_with_what_it_belongs_to(
    acme: httpx.AsyncClient, gone: str
) -> None:
    await furnish(acme)
    await created(acme, EXECUTIONS, {"id": "e1", "step": "searching"})
    assert (await acme.get(f"{EXECUTIONS}/e1")).status_code == 200
    await acme.delete(gone)
    assert (await acme.get(f"{EXECUTIONS}/e1")).status_code == 404


def test_the_id_of_an_execution_state_is_of_all_three() -> None:
    ids = {
        execution_state_id(*parts)
        for parts in (("a", "b", "c"), ("a:b", "c", ""), ("", "a", "b:c"))
    }
    assert len(ids) == 3


async def test_one_message(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    made = await created(acme, "/conversations/c1/messages", {"text": "I live in Oslo."})
    path = f"/conversations/c1/messages/{made['id']}"
    assert (await acme.get(path)).json() == made
    assert (await status_of(acme, path))["hit"] is True
    await created(acme, "/conversations", {"id": "c2", "agent_id": "a1", "title": "Other"})
    assert (await acme.get(path.replace("c1", "c2"))).status_code == 404
    assert (await acme.get("/conversations/c1/messages/999")).status_code == 404
    await acme.delete("/conversations/c1")
    assert (await acme.get(path)).status_code == 404


async def test_memory_is_the_latest_messages(acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    path = "/conversations/c1/memory"
    empty = (await acme.get(path)).json()
    assert empty == {
        "messages": [],
        "metadata": {"conversation_id": "c1", "agent_id": "a1", "messages_in_all": 0},
    }
    for number in range(REMEMBERED + 3):
        await created(acme, "/conversations/c1/messages", {"text": f"message {number}"})
        memory = (await acme.get(path)).json()
        assert memory["messages"][-1]["text"] == f"message {number}"
        assert memory["metadata"]["messages_in_all"] == number + 1
    texts = [message["text"] for message in memory["messages"]]
    assert texts == [f"message {number}" for number in range(3, REMEMBERED + 3)]


async def test_reads_live_as_long_as_documented(service: Running, acme: httpx.AsyncClient) -> None:
    await furnish(acme)
    made = await created(acme, "/conversations/c1/messages", {"text": "Hello."})
    await created(acme, EXECUTIONS, {"id": "e1", "step": "searching"})
    lives = {
        "/agents/a1": TTL_STANDARD,
        "/agents/a1/tools": TTL_STANDARD,
        "/conversations/c1": TTL_EXTENDED,
        "/conversations/c1/messages": TTL_EXTENDED,
        f"/conversations/c1/messages/{made['id']}": TTL_EXTENDED,
        "/conversations/c1/memory": TTL_EXTENDED,
        f"{EXECUTIONS}/e1": TTL_SHORT,
        "/collections/birds": TTL_STANDARD,
        "/collections/birds/documents/owls": TTL_STANDARD,
    }
    first = await status_of(acme, "/collections/birds")
    assert first == {"fwd": Token("miss"), "stored": True}
    gets = [each for each in OF_A_TENANT if each.method == "GET" and each.told]
    assert len(gets) == len(lives), "every read is in the table"
    for path, seconds in lives.items():
        await acme.get(path)
        said = await status_of(acme, path)
        assert 0 < seconds - said.pop("ttl") < 60, path
        assert said == {"hit": True, "detail": Token("l1")}
    await ask(acme)
    ((_, said),) = parse((await ask(acme)).headers["Cache-Status"])
    assert TTL_SHORT - 60 < said["ttl"] < TTL_SHORT


async def test_what_is_large_lives_for_less_long(
    acme: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    noise = Random(1).randbytes(90_000).hex()  # compressed, it is half of that
    await created(acme, "/agents", {"id": "large", **AGENT, "instructions": noise})
    await created(acme, "/agents", {"id": "small", **AGENT, "instructions": "x" * 100_000})
    for name, seconds in (("large", TTL_SHORT), ("small", TTL_STANDARD)):
        await acme.get(f"/agents/{name}")
        assert seconds - 60 < (await status_of(acme, f"/agents/{name}"))["ttl"] <= seconds, name
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith("acme:agent_config:agent:large:large has ")
    metrics = (await acme.get("/metrics")).text
    assert 'cache_bulky_total{data_type="agent_config"} 1.0' in metrics


def test_every_cached_type_has_its_largest_size() -> None:
    source = Path(caching.__file__)
    loaded = re.findall(r'_load\(\s*"(\w+)"', source.read_text("utf-8"))
    for routes in (source.parent / "routes").glob("*.py"):
        loaded += re.findall(r'@kept\(\s*"(\w+)"', routes.read_text("utf-8"))
    assert set(loaded) == set(LARGEST)


async def test_without_a_cache_reads_say_so(database_url: str) -> None:
    settings = Settings.from_env({"DATABASE_URL": database_url, "AGENT_SERVICE_CACHE": "off"})
    async with running(settings) as started:
        acme = started.client("acme")
        await created(acme, "/agents", {"id": "a1", **AGENT})
        assert await status_of(acme, "/agents/a1") == {"fwd": Token("bypass")}


async def test_what_cannot_be_sent_back_is_refused_all_the_same(acme: httpx.AsyncClient) -> None:
    for text in ('{"id": "\\ud800"}', '{"max_words": NaN}', '{"name": 1e999}', "[", "\udcff"):
        answer = await acme.post(
            "/agents",
            content=text.encode(errors="surrogateescape"),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code in (400, 422), text
        assert "input" not in str(answer.json()["detail"][0])


def test_the_document_declares_each_refusal() -> None:
    document = create_app(Settings(jwt_secret="x" * 32)).openapi()
    for path, methods in document["paths"].items():
        for method, declared in methods.items():
            assert declared["summary"], path
            assert len(declared["tags"]) == 1, path
            if path in OPEN:
                continue
            wanted = {"400", "401", "422", "503"}
            # What `CacheService` reads does not say where it came from.
            read = (method == "get" or path.endswith("/query")) and "campaigns" not in path
            assert ("headers" in declared["responses"].get("200", {})) == read, path
            if "{" in path or "conversations" in path:
                wanted |= {"404"}
            if method == "post" and path in (
                "/agents",
                "/campaigns",
                "/collections",
                "/conversations",
            ):
                wanted |= {"409"}
            assert wanted <= set(declared["responses"]), (method, path)
    described = {tag["name"] for tag in document["tags"]}
    used = {tag for m in document["paths"].values() for each in m.values() for tag in each["tags"]}
    assert described == used


async def test_the_examples_of_the_document_can_be_tried(acme: httpx.AsyncClient) -> None:
    """In the order of the description, with nothing but what /docs proposes."""
    document = create_app(Settings()).openapi()

    def body(name: str) -> dict[str, Any]:
        properties = document["components"]["schemas"][name]["properties"]
        return {
            key: each["examples"][0] for key, each in properties.items() if each.get("examples")
        }

    await created(acme, "/collections", body("NewCollection"))
    await created(acme, "/collections/birds/documents", {"documents": [body("NewDocument")]})
    await created(acme, "/agents", body("NewAgent"))
    await created(acme, "/agents/librarian/tools", body("NewTool"))
    await created(acme, "/conversations", body("NewConversation"))
    await created(acme, "/conversations/monday/messages", body("NewMessage"))
    path = "/agents/librarian/conversations/monday/executions"
    await created(acme, path, body("NewExecution"))
    assert (await acme.put(f"{path}/run-1", json=body("ExecutionBody"))).status_code == 200
    answer = await acme.post("/agents/librarian/query", json=body("Question"))
    assert "Cranes migrate in autumn." in answer.json()["answer"]
