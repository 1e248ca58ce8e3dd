"""Document C, cascading invalidation: what goes together goes together, is counted, and no more."""

import inspect
import logging
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

import cascada
from cascada import (
    METRIC_CACHE_HIT,
    METRIC_CACHE_INVALIDATION,
    METRIC_CACHE_INVALIDATION_COORDINATED,
    METRIC_CACHE_INVALIDATION_FAILED,
    METRIC_LATENCY,
    Cache,
    CacheManager,
    Event,
    invalidate_agent_cache_cascade,
    invalidate_conversation_cache_cascade,
    register_conversation_resolver,
)
from cascada.testing.clock import ManualClock
from tests.api.settled import settled
from tests.documented import cascading_invalidation as document
from tests.documented.observed import put, there, tracked
from tests.documented.sections import without_a_test
from tests.documented.supabase import Database, get_supabase_client
from tests.scenarios.conftest import MakeCache

SECTIONS = [
    "1_funciones_de_invalidacion",
    "2_jerarquia_de_dependencias",
    "3_implementacion_de_la_cascada",
    "patron_de_uso",
    "beneficios_coherencia_de_datos",
    "beneficios_prevencion_de_estados_inconsistentes",
    "beneficios_trazabilidad",
    "beneficios_eficiencia",
    "metricas_numero_de_recursos",
    "metricas_latencia",
    "metricas_fallos",
]


def test_every_section_has_its_test() -> None:
    assert without_a_test("c", SECTIONS, globals()) == []


OF_THE_AGENT = ["agent", "agent_config", "agent_tools", "agent_execution_state"]
OF_THE_CONVERSATION = [
    "conversation_memory", "conversation_messages_list", "conversation_message",
]  # fmt: skip


async def cached(agent: str, conversation: str) -> None:
    """Everything that a service caches of an agent and of a conversation of it."""
    for data_type in OF_THE_AGENT:
        await put(data_type, agent, agent_id=agent)
    for data_type in OF_THE_CONVERSATION:
        await put(data_type, conversation, agent_id=agent, conversation_id=conversation)


async def left(agent: str, conversation: str) -> list[str]:
    """The types of it that are still there."""
    whole = {"agent_id": agent, "conversation_id": conversation}
    return [name for name in OF_THE_AGENT if await there(name, agent, agent_id=agent)] + [
        name for name in OF_THE_CONVERSATION if await there(name, conversation, **whole)
    ]


# --- Implementación -----------------------------------------------------------------------------


def test_c_1_funciones_de_invalidacion() -> None:
    async def invalidate_agent_cache_cascade(tenant_id, agent_id, invalidate_conversations=False):
        """Invalida en cascada todas las cachés relacionadas con un agente."""

    async def invalidate_conversation_cache_cascade(tenant_id, conversation_id, agent_id=None):
        """Invalida en cascada todas las cachés relacionadas con una conversación."""

    for printed in (invalidate_agent_cache_cascade, invalidate_conversation_cache_cascade):
        ours = getattr(cascada, printed.__name__)
        assert inspect.iscoroutinefunction(ours)
        asked = inspect.signature(printed).parameters.values()
        have = list(inspect.signature(ours).parameters.values())[: len(asked)]
        assert [(each.name, each.default) for each in have] == [
            (each.name, each.default) for each in asked
        ]


async def test_c_2_jerarquia_de_dependencias(cache: Cache) -> None:
    everything = OF_THE_AGENT + OF_THE_CONVERSATION
    await cached("a1", "c1")
    await cached("a2", "c2")
    assert await left("a1", "c1") == await left("a2", "c2") == everything
    await invalidate_agent_cache_cascade("acme", "a1")
    assert await left("a1", "c1") == OF_THE_CONVERSATION
    # A page of the list has an id of its own, and is the conversation's by its context.
    await put("conversation_messages_list", "page 2", conversation_id="c1")
    await invalidate_conversation_cache_cascade("acme", "c1")
    assert await left("a1", "c1") == []
    assert not await there("conversation_messages_list", "page 2", conversation_id="c1")
    await cached("a1", "c1")
    await invalidate_agent_cache_cascade("acme", "a1", invalidate_conversations=True)
    assert await left("a1", "c1") == []
    assert await left("a2", "c2") == everything


async def test_c_3_implementacion_de_la_cascada(cache: Cache) -> None:
    """Made by hand it works as well; cascada's own has its keys, and counts what has gone."""
    await cached("a1", "c1")
    by_hand = await document.invalidate_agent_cache_cascade("acme", "a1")
    assert await left("a1", "c1") == ["agent_execution_state", *OF_THE_CONVERSATION]
    assert by_hand == {
        "agent": 1, "agent_config": 1, "agent_tools": 1, "conversations": 0, "messages": 0,
    }  # fmt: skip
    assert tracked(cache, METRIC_CACHE_HIT, "agent_cascade").metadata == {"operation": "invalidate"}
    assert tracked(cache, METRIC_LATENCY, "agent_cascade").total == 0
    await cached("a2", "c2")
    results = await invalidate_agent_cache_cascade("acme", "a2", ctx=None)
    assert {key: results[key] for key in by_hand} == by_hand
    assert results["execution_state"] == 1


# --- Patrón de uso ------------------------------------------------------------------------------


async def test_c_patron_de_uso(
    cache: Cache, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "agent_service")
    app = FastAPI()
    app.include_router(document.router, prefix="/agents")
    for tenant in ("acme", "globex"):
        await database.insert("agents", id="a1", tenant_id=tenant, name="old", temperature=0.5)
    await cached("a1", "c1")
    await CacheManager.invalidate("acme", "agent_config", "a1")
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
    async with client as http:

        async def name_of(tenant: str) -> str:
            said = await http.get("/agents/a1", headers={"X-Tenant-ID": tenant})
            await settled()
            name: str = said.json()["name"]
            return name

        assert await name_of("acme") == await name_of("globex") == "old"
        said = await http.put("/agents/a1", json={"name": "new"}, headers={"X-Tenant-ID": "acme"})
        row = {"id": "a1", "tenant_id": "acme", "name": "new", "temperature": 0.5}
        assert (said.status_code, said.json()) == (
            200, {"success": True, "message": "Agent updated successfully", "data": row},
        )  # fmt: skip
        assert "Cache invalidation results: {'agent': 1, 'agent_config': " in caplog.text
        assert await name_of("acme") == "new"
        assert await name_of("globex") == "old"
        assert await left("a1", "c1") == ["agent_config", *OF_THE_CONVERSATION]
        # No tenant, no agent: nobody's cache is touched.
        assert (await http.put("/agents/a1", json={"name": "x"})).status_code == 400
        said = await http.put("/agents/a9", json={"name": "x"}, headers={"X-Tenant-ID": "acme"})
        assert (said.status_code, said.json()["detail"]) == (404, "service: a9")
        # What the route asks of a client is the document's: no `ctx` among it.
        operation = (await http.get("/openapi.json")).json()["paths"]["/agents/{agent_id}"]["put"]
        assert "ctx" not in str(operation)
        assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith(
            "/AgentUpdate"
        )


# --- Beneficios ---------------------------------------------------------------------------------


async def test_c_beneficios_coherencia_de_datos(cache: Cache, database: Database) -> None:
    """Whatever was made from an agent is made anew, of the new row."""
    await database.insert("agents", id="a1", tenant_id="acme", name="old", temperature=0.5)

    async def fetch(resource_id: str, tenant_id: str) -> str:
        agents = (await get_supabase_client(tenant_id)).table("agents")
        name: str = (await agents.select("*").eq("id", "a1").execute()).data[0]["name"]
        return name

    async def read() -> set[Any]:
        return {
            (await cascada.get_with_cache_aside(data_type, "a1", "acme", fetch, agent_id="a1"))[0]
            for data_type in OF_THE_AGENT
        }

    assert await read() == {"old"}
    await database.update("agents", "a1", name="new")
    assert await read() == {"old"}
    await invalidate_agent_cache_cascade("acme", "a1")
    assert await read() == {"new"}


async def test_c_beneficios_prevencion_de_estados_inconsistentes(make_cache: MakeCache) -> None:
    """Nobody sees a part of a cascade: all of it is one invalidation."""
    events: list[Event] = []
    CacheManager.configure(make_cache(observers=[events.append]))
    register_conversation_resolver(lambda agent_id: ["c1", "c2"])
    await cached("a1", "c1")
    await cached("a1", "c2")
    events.clear()
    await invalidate_agent_cache_cascade("acme", "a1", invalidate_conversations=True)
    assert [event.kind for event in events].count("invalidate") == 1
    register_conversation_resolver(None)
    CacheManager.configure(None)


async def test_c_beneficios_trazabilidad(cache: Cache) -> None:
    await cached("a1", "c1")
    results = await invalidate_agent_cache_cascade("acme", "a1", True)
    traced = tracked(cache, METRIC_CACHE_INVALIDATION_COORDINATED, "agent_cascade")
    assert (traced.tenant, traced.last) == ("acme", sum(results.values()))
    assert traced.metadata == {"agent_id": "a1", **results}


async def test_c_beneficios_eficiencia(cache: Cache) -> None:
    """As much as was asked: with or without conversations, of one agent, of one conversation."""
    await cached("a1", "c1")
    await cached("a1", "c2")
    await invalidate_conversation_cache_cascade("acme", "c1", agent_id="a1")
    assert await left("a1", "c1") == OF_THE_AGENT
    assert await left("a1", "c2") == OF_THE_AGENT + OF_THE_CONVERSATION
    # To know without doing it.
    would = await invalidate_agent_cache_cascade("acme", "a1", dry_run=True)
    assert await left("a1", "c2") == OF_THE_AGENT + OF_THE_CONVERSATION
    assert await invalidate_agent_cache_cascade("acme", "a1") == would


# --- Métricas y monitoreo -----------------------------------------------------------------------


async def test_c_metricas_numero_de_recursos(cache: Cache) -> None:
    async def conversations(tenant_id: str, agent_id: str) -> list[str]:
        return ["c1", "c2", "never cached"]

    register_conversation_resolver(conversations)
    await cached("a1", "c1")
    await cached("a1", "c2")
    assert await invalidate_agent_cache_cascade("acme", "a1", invalidate_conversations=True) == {
        "agent": 1, "agent_config": 1, "agent_tools": 1, "execution_state": 1,
        "conversations": 3, "messages": 2,
    }  # fmt: skip
    await cached("a1", "c1")
    counts = await invalidate_conversation_cache_cascade("acme", "c1")
    assert counts == {"memory": 1, "messages_list": 1, "messages": 1}
    assert tracked(cache, METRIC_CACHE_INVALIDATION, "conversation").last == 3


async def test_c_metricas_latencia(cache: Cache, clock: ManualClock) -> None:
    def slow(tenant_id: str, agent_id: str) -> list[str]:
        clock.advance(0.040)
        return []

    register_conversation_resolver(slow)
    await invalidate_agent_cache_cascade("acme", "a1", invalidate_conversations=True)
    latency = tracked(cache, METRIC_LATENCY, "agent_cascade")
    assert (latency.count, latency.last) == (1, pytest.approx(40))


async def test_c_metricas_fallos(cache: Cache) -> None:
    def resolver(tenant_id: str, agent_id: str) -> list[str]:
        raise ConnectionError("no database")

    register_conversation_resolver(resolver)
    await cached("a1", "c1")
    with pytest.raises(ConnectionError, match="no database"):
        await invalidate_agent_cache_cascade("acme", "a1", invalidate_conversations=True)
    failed = tracked(cache, METRIC_CACHE_INVALIDATION_FAILED, "agent_cascade")
    assert (failed.count, failed.tenant, failed.metadata) == (1, "acme", {"agent_id": "a1"})
    # What is known has gone all the same.
    assert await left("a1", "c1") == []
