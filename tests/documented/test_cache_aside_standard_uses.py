"""Document S, sections 10 to 13: contexts, common uses, what is advised, what to look at."""

import asyncio
import logging
from typing import Any

import pytest

import cascada
from cascada import (
    Cache,
    CacheManager,
    Context,
    Limits,
    MissingContext,
    MissingTenant,
    get_embeddings_batch_with_cache,
    get_with_cache_aside,
    with_context,
)
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from tests.api.settled import settled
from tests.documented.cache_aside_standard import get_document_metadata, update_document_in_db
from tests.documented.observed import answer, hits_and_misses
from tests.documented.sections import without_a_test
from tests.documented.supabase import Database
from tests.scenarios.conftest import TIMEOUT, MakeCache

SECTIONS = [
    "10_1_uso_con_sistema_de_contexto",
    "10_2_jerarquia_de_busqueda",
    "11_1_embeddings",
    "11_2_resultados_de_consultas",
    "11_3_configuracion_de_agentes",
    "12_1_uso_del_patron",
    "12_2_organizacion_de_codigo",
    "12_3_rendimiento",
    "12_4_seguridad",
    "13_1_perdida_de_datos",
    "13_2_datos_inconsistentes",
    "13_3_problemas_de_rendimiento",
]

MODEL = "text-embedding-ada-002"


def test_every_section_has_its_test() -> None:
    assert without_a_test("s", SECTIONS, globals()) == []


# --- 10 -----------------------------------------------------------------------------------------


async def test_s_10_1_uso_con_sistema_de_contexto(cache: Cache) -> None:
    fetched: list[tuple[str, str]] = []

    async def fetch_from_db(resource_id: str, tenant_id: str, agent_id: str) -> str:
        fetched.append((tenant_id, agent_id))
        return f"of {agent_id} of {tenant_id}"

    @with_context(tenant=True, agent=True)
    async def my_function(ctx: Context):
        # El tenant_id y agent_id se toman automáticamente del contexto
        result, _metrics = await get_with_cache_aside(
            data_type="my_data",
            resource_id="resource_id",
            tenant_id=ctx.get_tenant_id(),  # Del contexto validado
            agent_id=ctx.get_agent_id(),  # Del contexto
            fetch_from_db_func=fetch_from_db,
        )
        return result

    for agent in ("a1", "a2", "a1"):
        with Context(tenant_id="acme", agent_id=agent):
            assert await my_function() == f"of {agent} of acme"
        await settled()
    assert await my_function(ctx=Context(tenant_id="globex", agent_id="a1")) == "of a1 of globex"
    assert fetched == [("acme", "a1"), ("acme", "a2"), ("globex", "a1")]
    with Context(tenant_id="acme"), pytest.raises(MissingContext, match="needs agent"):
        await my_function()
    with pytest.raises(MissingContext, match="needs tenant, agent"):
        await my_function()


ORDER = [
    "tenant_id:data_type:agent:agent_id:conv:conv_id:coll:coll_id:resource_id",
    "tenant_id:data_type:agent:agent_id:conv:conv_id:resource_id",
    "tenant_id:data_type:agent:agent_id:coll:coll_id:resource_id",
    "tenant_id:data_type:coll:coll_id:resource_id",
    "tenant_id:data_type:agent:agent_id:resource_id",
    "tenant_id:data_type:resource_id",
]
WHOLE = {"agent_id": "agent_id", "conversation_id": "conv_id", "collection_id": "coll_id"}


async def test_s_10_2_jerarquia_de_busqueda(cache: Cache) -> None:
    """What is set higher up answers from then on; what is deleted leaves it to the next one."""

    def at(text: str) -> dict[str, Any]:
        _, _, agent, conversation, collection, _ = cascada.Key.parse(text)
        return {
            "agent_id": agent, "conversation_id": conversation, "collection_id": collection,
        }  # fmt: skip

    async def answer() -> str | None:
        read = {"data_type": "data_type", "resource_id": "resource_id", "tenant_id": "tenant_id"}
        found: str | None = await CacheManager.get(**read, **WHOLE)
        value, _ = await get_with_cache_aside(
            **read, **WHOLE, fetch_from_db_func=lambda: cascada.Loaded(found, store=False)
        )
        assert value == found
        return found

    for text in reversed(ORDER):
        await CacheManager.set("data_type", "resource_id", text, "tenant_id", **at(text))
        assert await answer() == text
    for text, following in zip(ORDER, [*ORDER[1:], None], strict=True):
        await CacheManager.delete("data_type", "resource_id", "tenant_id", **at(text))
        assert await answer() == following


# --- 11 -----------------------------------------------------------------------------------------


class Provider:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def embed(self, text: str) -> list[float]:
        self.asked.append(text)
        return [0.5, float(len(text))]


async def test_s_11_1_embeddings(cache: Cache) -> None:
    text, embedding_provider = "Texto a embeber", Provider()
    for _ in range(2):
        # Usando el método especializado
        embedding = await CacheManager.get_embedding(
            text="Texto a embeber", model_name="text-embedding-ada-002", tenant_id="tenant_abc"
        )

        if not embedding:
            # Si no está en caché, generarlo
            embedding = await embedding_provider.embed(text)

            # Guardarlo en caché
            await CacheManager.set_embedding(
                text="Texto a embeber",
                embedding=embedding,
                model_name="text-embedding-ada-002",
                tenant_id="tenant_abc",
            )
        assert embedding == [0.5, 15.0]
    assert embedding_provider.asked == ["Texto a embeber"]
    for other in ((text, "another-model", "tenant_abc"), (text, MODEL, "tenant_xyz")):
        assert await CacheManager.get_embedding(*other) is None


async def test_s_11_2_resultados_de_consultas(cache: Cache, clock: ManualClock) -> None:
    query, collection_id, similarity_top_k = "¿Cómo funciona X?", "coll_123", 4
    executed: list[tuple[str, str, int]] = []

    async def execute_query(query: str, collection_id: str, similarity_top_k: int) -> Any:
        executed.append((query, collection_id, similarity_top_k))
        return {"chunks": ["a", "b"]}

    for _ in range(2):
        # Usando el método especializado
        result = await CacheManager.get_query_result(
            query="¿Cómo funciona X?",
            collection_id="coll_123",
            tenant_id="tenant_abc",
            similarity_top_k=4,
        )

        if not result:
            # Si no está en caché, ejecutar la consulta
            result = await execute_query(query, collection_id, similarity_top_k)

            # Guardar en caché
            await CacheManager.set_query_result(
                query="¿Cómo funciona X?",
                result=result,
                collection_id="coll_123",
                tenant_id="tenant_abc",
                similarity_top_k=4,
            )
        assert result == {"chunks": ["a", "b"]}
    assert executed == [("¿Cómo funciona X?", "coll_123", 4)]
    get = CacheManager.get_query_result
    assert await get(query, "coll_9", "tenant_abc", similarity_top_k=4) is None
    assert await get(query, "coll_123", "tenant_abc", similarity_top_k=5) is None
    clock.advance(301)
    assert await get(query, "coll_123", "tenant_abc", similarity_top_k=4) is None


async def test_s_11_3_configuracion_de_agentes(cache: Cache, database: Database) -> None:
    row = {"id": "agent_123", "tenant_id": "tenant_abc", "name": "Ana", "temperature": 0.5}
    await database.insert("agents", **row)
    agent_id, tenant_id = "agent_123", "tenant_abc"

    async def load_agent_config_from_db(agent_id: str, tenant_id: str) -> Any:
        from tests.documented.supabase import get_supabase_client

        agents = (await get_supabase_client(tenant_id)).table("agents")
        return (await agents.select("*").eq("id", agent_id).execute()).data[0]

    for _ in range(2):
        # Usando el método especializado
        config = await CacheManager.get_agent_config(agent_id="agent_123", tenant_id="tenant_abc")

        if not config:
            # Si no está en caché, cargar desde BD
            config = await load_agent_config_from_db(agent_id, tenant_id)

            # Guardar en caché
            await CacheManager.set_agent_config(
                agent_id="agent_123", config=config, tenant_id="tenant_abc"
            )
        assert config == row
    assert database.asked == ["agents"]
    # It is the one that the pattern reads.
    value, metrics = await get_with_cache_aside(
        "agent_config", "agent_123", "tenant_abc", lambda: None
    )
    assert (value, metrics["source"]) == (row, "cache")


# --- 12 -----------------------------------------------------------------------------------------


async def test_s_12_1_uso_del_patron(cache: Cache, database: Database) -> None:
    """None is "there is nothing", and what is empty is a value."""
    for empty in (0, "", [], {}, False):
        await get_with_cache_aside("x", "empty", "acme", lambda value=empty: value)
        await settled()
        value, metrics = await get_with_cache_aside("x", "empty", "acme", lambda: "asked again")
        assert (value, metrics["source"]) == (empty, "cache")
        await CacheManager.invalidate("acme", "x", "empty")
    assert await get_document_metadata("doc_1", "tenant_abc") is None
    await settled()
    row = {"document_id": "doc_1", "tenant_id": "tenant_abc", "collection_id": "c"}
    await database.insert("documents", **row, content="")
    assert (await get_document_metadata("doc_1", "tenant_abc"))["content"] == ""


async def test_s_12_2_organizacion_de_codigo(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    """A cache whose tier fails interrupts nothing."""
    cache = Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=TIMEOUT))
    CacheManager.configure(cache)
    flaky.fail()
    for resource_id in ("r1", "r2"):
        value, metrics = await get_with_cache_aside("x", resource_id, "acme", lambda: "row")
        await settled()
        assert (value, metrics["source"]) == ("row", "supabase")
    assert await CacheManager.get("x", "r3", "acme", default="default") == "default"
    assert await CacheManager.set("x", "r3", "v", "acme") is False
    vectors, _ = await get_embeddings_batch_with_cache(["t"], "acme", MODEL, lambda texts: [[0.5]])
    assert vectors == [[0.5]]
    flaky.heal()
    CacheManager.configure(None)
    await cache.aclose()


async def test_s_12_3_rendimiento(cache: Cache) -> None:
    # 1. The ttl of the type, without being told; 2. a part is read without the whole.
    await get_with_cache_aside("agent_response", "r1", "acme", lambda: "v", agent_id="a1")
    await settled()
    assert await CacheManager.ttl("agent_response", "r1", "acme", agent_id="a1") == 300
    # 3. What is invalidated is what was named.
    for agent in ("a1", "a2"):
        await CacheManager.set("agent_tools", agent, ["t"], "acme", agent_id=agent)
    await CacheManager.invalidate("acme", "agent_tools", "a1", agent_id="a1")
    assert await CacheManager.get("agent_tools", "a2", "acme", agent_id="a2") == ["t"]
    assert await CacheManager.get("agent_response", "r1", "acme", agent_id="a1") == "v"
    # 4. Many at once: one call for a hundred texts, whoever asks.
    calls: list[int] = []

    async def provider(texts: list[str]) -> Any:
        calls.append(len(texts))
        return [[float(text)] for text in texts]

    texts = [str(number % 100) for number in range(250)]
    batches = [get_embeddings_batch_with_cache(texts, "acme", MODEL, provider) for _ in range(4)]
    for vectors, _ in await asyncio.gather(*batches):
        assert vectors == [[float(text)] for text in texts]
    assert calls == [100]


async def test_s_12_4_seguridad(make_cache: MakeCache, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def validator(tenant: str) -> None:
        if not tenant.startswith("tenant_"):
            raise PermissionError(tenant)

    CacheManager.configure(make_cache(tenant_validator=validator))
    # 1. No id of one tenant names a value of another.
    await CacheManager.set("x", "r1", "s3cret", "tenant_abc")
    for tenant, resource_id in (
        ("tenant_a", "bc:x:r1"),
        ("tenant_abc:x", "r1"),
        ("tenant_*", "r1"),
    ):
        assert await CacheManager.get("x", resource_id, tenant) is None
        await CacheManager.invalidate(tenant, "x", "*")
    assert await CacheManager.get("x", "r1", "tenant_abc") == "s3cret"
    # 2. Values are in no log.
    assert "s3cret" not in caplog.text
    # 3. The tenant is looked at before the cache is.
    for tenant in ("", "  "):
        with pytest.raises(MissingTenant):
            await CacheManager.get("x", "r1", tenant)
    with pytest.raises(PermissionError):
        await CacheManager.get("x", "r1", "intruder")
    CacheManager.configure(None)


# --- 13 -----------------------------------------------------------------------------------------


async def test_s_13_1_perdida_de_datos(cache: Cache, clock: ManualClock, tiers: str) -> None:
    # 1. The ttl, to the second.
    await CacheManager.set("data_type", "resource_id", "v", "tenant_id", ttl=60)
    assert await CacheManager.ttl("data_type", "resource_id", "tenant_id") == 60
    clock.advance(59)
    assert await CacheManager.ttl("data_type", "resource_id", "tenant_id") == pytest.approx(1)
    assert await CacheManager.get("data_type", "resource_id", "tenant_id") == "v"
    clock.advance(2)
    assert await CacheManager.ttl("data_type", "resource_id", "tenant_id") is None
    # 2. Whether a cascade took it: the cascade has left a measurement, and the value its reason.
    await CacheManager.set("vector_store", "c1", [[1.0]], "tenant_id")
    await cascada.invalidate_document_update("tenant_id", "d1", "c1")
    (coordinated, _latency) = (await cache.stats()).tracked
    assert coordinated.metric == cascada.METRIC_CACHE_INVALIDATION_COORDINATED
    assert coordinated.metadata["vector_store"] == 1
    assert await CacheManager.ttl("vector_store", "c1", "tenant_id") is None
    # 3. Whether the tiers answer.
    answering = {"memory": {"l1"}, "sqlite": {"l1", "l3"}, "redis and sqlite": {"l1", "l2", "l3"}}
    assert await answer(cache) == answering[tiers]


async def test_s_13_1_perdida_de_datos_of_a_tier_that_is_away(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    async with Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=TIMEOUT)) as cache:
        flaky.fail()
        assert await answer(cache) == {"l1"}
        explained = await cache.tenant("tenant_id").explain("data_type", "resource_id")
        assert [each.state for each in explained.findings if each.tier == "l3"] == ["unavailable"]
        flaky.heal()


async def test_s_13_2_datos_inconsistentes(make_cache: MakeCache, database: Database) -> None:
    """Two processes; after the document's function neither reads what was."""
    here, there = make_cache(), make_cache()
    ids = {"document_id": "doc_1", "tenant_id": "tenant_abc", "collection_id": "c1"}
    await database.insert("documents", **ids, content="old")

    async def read(cache: Cache) -> str:
        CacheManager.configure(cache)
        content: str = (await get_document_metadata("doc_1", "tenant_abc"))["content"]
        await settled()
        return content

    assert await read(here) == "old"
    await update_document_in_db("doc_1", "new")
    assert await read(here) == "old"  # 1. nobody has told the cache
    await cascada.invalidate_document_update("tenant_abc", "doc_1", "c1")  # 2.
    assert await read(here) == "new"
    # Another process, which reads what this one has stored, never gets what was before it.
    assert await read(there) == "new"
    CacheManager.configure(None)


async def test_s_13_3_problemas_de_rendimiento(cache: Cache, clock: ManualClock) -> None:
    async def slow(resource_id: str) -> str:
        clock.advance(0.080)
        return "row"

    async def read(ttl: int) -> tuple[float, float]:
        """Five reads, 100 s apart: the share of hits, and the milliseconds of the database."""
        sources, spent = [], 0.0
        for _ in range(5):
            _, metrics = await get_with_cache_aside("x", f"of {ttl}", "acme", slow, ttl=ttl)
            await settled()
            sources.append(metrics["cache_hit"])
            spent += metrics["db_check_time_ms"]
            clock.advance(100)
        return sum(sources) / 5, spent

    assert await read(ttl=60) == (0, pytest.approx(400))
    assert hits_and_misses(cache) == (0, 5)
    assert await read(ttl=3600) == (0.8, pytest.approx(80))  # 3. adjusting the ttl
    assert hits_and_misses(cache) == (4, 6)
