"""Document S, the cache-aside standard, sections 1 to 5: its examples do what it says."""

import inspect
import logging
import math
from typing import Any

import pytest

import cascada
from cascada import Cache, CacheManager, get_with_cache_aside
from cascada.testing.clock import ManualClock
from tests.api.settled import settled
from tests.documented.cache_aside_standard import get_document_metadata
from tests.documented.sections import without_a_test
from tests.documented.supabase import Database
from tests.scenarios.conftest import MakeCache

SECTIONS = [
    "1_principios_fundamentales",
    "2_1_estructura_de_modulos",
    "2_2_componentes_principales",
    "2_3_importaciones_correctas",
    "3_1_flujo_del_patron",
    "3_2_implementacion_recomendada",
    "3_3_parametros_importantes",
    "4_1_patron_singleton",
    "4_2_metodos_principales",
    "4_3_estructura_de_claves",
    "4_4_cache_multinivel",
    "5_1_constantes_predefinidas",
    "5_2_ttl_por_tipo_de_datos",
]


def test_every_section_has_its_test() -> None:
    assert without_a_test("s", SECTIONS, globals()) == []


# --- 1, 2 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data_type", "value"),
    [
        ("embedding", [0.5, 0.25]),
        ("query_result", {"chunks": ["a"]}),
        ("agent_config", {"model": "small"}),
        ("document", "ingested"),
    ],
)
async def test_s_1_principios_fundamentales(cache: Cache, data_type: str, value: Any) -> None:
    """The same approach for embedding, query, agent and ingestion, with the same metrics."""
    seen = []
    for _ in range(2):
        found, metrics = await get_with_cache_aside(data_type, "r1", "acme", lambda: value)
        await settled()
        assert found == value
        seen.append((metrics["source"], metrics["cache_hit"]))
    assert seen == [("supabase", False), ("cache", True)]
    counted = (await cache.stats()).types[data_type]
    assert (counted.hits, counted.misses, counted.loads) == (1, 1, 1)


def test_s_2_1_estructura_de_modulos() -> None:
    """What the package's `__init__` exports, constants among it, the root has."""
    for name in ("CacheManager", "get_with_cache_aside", "TTL_STANDARD"):
        assert getattr(cascada, name)


def test_s_2_2_componentes_principales() -> None:
    assert inspect.isclass(cascada.CacheManager)
    for function in (
        cascada.get_with_cache_aside, cascada.serialize_for_cache, cascada.deserialize_from_cache,
        cascada.invalidate_document_update, cascada.track_cache_metrics,
    ):  # fmt: skip
        assert inspect.isfunction(function)


def test_s_2_3_importaciones_correctas() -> None:
    # ✅ CORRECTO - Importar desde el módulo principal
    from cascada import (
        TTL_STANDARD,
        CacheManager,
        get_with_cache_aside,
        invalidate_document_update,
        serialize_for_cache,
    )

    assert TTL_STANDARD == 3600
    assert all(
        map(
            callable,
            (CacheManager, get_with_cache_aside, invalidate_document_update, serialize_for_cache),
        )
    )


# --- 3 ------------------------------------------------------------------------------------------


async def test_s_3_1_flujo_del_patron(cache: Cache) -> None:
    asked: list[str] = []

    def source(name: str, answer: Any) -> Any:
        async def called(resource_id: str, tenant_id: str, ctx: Any) -> Any:
            asked.append(name)
            return answer

        return called

    async def read(resource_id: str, row: Any, made: Any) -> tuple[Any, str]:
        asked.clear()
        fetch, generate = source("fetch", row), source("generate", made)
        value, metrics = await get_with_cache_aside("x", resource_id, "acme", fetch, generate)
        await settled()
        return value, metrics["source"]

    assert await read("found", "row", "made") == ("row", "supabase")
    assert asked == ["fetch"]
    assert await read("found", "new row", "made") == ("row", "cache")
    assert asked == []
    assert await read("not found", None, "made") == ("made", "generation")
    assert asked == ["fetch", "generate"]
    assert await read("not found", None, "made again") == ("made", "cache")
    assert await read("nowhere", None, None) == (None, "none")
    assert await read("nowhere", None, "made") == ("made", "generation")


async def test_s_3_2_implementacion_recomendada(
    cache: Cache, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "service")
    for tenant in ("tenant_abc", "tenant_xyz"):
        row = {"document_id": "doc_123", "tenant_id": tenant, "collection_id": "coll_456"}
        await database.insert("documents", **row, content=f"of {tenant}")
    assert (await get_document_metadata("doc_123", "tenant_abc"))["content"] == "of tenant_abc"
    await settled()
    assert caplog.messages == []
    assert (await get_document_metadata("doc_123", "tenant_abc"))["content"] == "of tenant_abc"
    assert caplog.messages == ["Cache hit para documento doc_123"]
    assert database.asked == ["documented.documents"]
    # The query names no tenant, and each gets its own all the same.
    assert (await get_document_metadata("doc_123", "tenant_xyz"))["content"] == "of tenant_xyz"
    # Neither found nor made: None, which is not stored.
    database.asked.clear()
    for _ in range(2):
        assert await get_document_metadata("doc_9", "tenant_abc") is None
        await settled()
    assert len(database.asked) == 2


async def test_s_3_3_parametros_importantes(cache: Cache) -> None:
    ctx, got = cascada.Context(tenant_id="tenant_abc"), []

    async def fetch_func(resource_id, tenant_id, ctx, agent_id, conversation_id, collection_id):
        got.append((resource_id, tenant_id, ctx, agent_id, conversation_id, collection_id))

    async def generate_func(resource_id, tenant_id, ctx):
        got.append((resource_id, tenant_id, ctx))
        return [0.5, 0.25]

    value, metrics = await get_with_cache_aside(
        data_type="embedding",  # Tipo de datos para TTL automático
        resource_id="doc_123",  # Identificador único del recurso
        tenant_id="tenant_abc",  # ID del tenant (obligatorio)
        fetch_from_db_func=fetch_func,  # Función para buscar en BD (obligatorio)
        generate_func=generate_func,  # Función para generar (opcional)
        agent_id="agent_456",  # Contexto adicional (opcional)
        conversation_id="conv_789",  # Contexto adicional (opcional)
        collection_id="coll_101112",  # Contexto adicional (opcional)
        ctx=ctx,  # Objeto Context (opcional)
        ttl=3600,  # TTL personalizado (opcional)
        serializer=None,  # Función serialización personalizada
        deserializer=None,  # Función deserialización personalizada
    )
    assert (value, metrics["source"]) == ([0.5, 0.25], "generation")
    basic = ("doc_123", "tenant_abc", ctx)
    assert got == [(*basic, "agent_456", "conv_789", "coll_101112"), basic]
    await settled()
    where = ("embedding", "doc_123", "tenant_abc", "agent_456", "conv_789", "coll_101112")
    assert await CacheManager.ttl(*where) == 3600
    # Without a ttl it is the type's.
    await get_with_cache_aside("embedding", "doc_9", "tenant_abc", lambda: [0.5])
    await settled()
    assert await CacheManager.ttl("embedding", "doc_9", "tenant_abc") == 86400


# --- 4 ------------------------------------------------------------------------------------------


async def test_s_4_1_patron_singleton(cache: Cache) -> None:
    # Obtener la instancia singleton
    cache_manager = CacheManager.get_instance()
    assert CacheManager.get_instance() is cache_manager
    await cache_manager.set("document", "doc_123", {"title": "t"}, "tenant_abc")

    # O usar los métodos estáticos compatibles
    found = await CacheManager.get(
        data_type="document", resource_id="doc_123", tenant_id="tenant_abc"
    )
    assert found == {"title": "t"}


async def test_s_4_2_metodos_principales(cache: Cache) -> None:
    data_type, resource_id, value, tenant_id = "document", "doc_123", {"title": "t"}, "tenant_abc"
    text, model_name, embedding = "texto", "text-embedding-ada-002", [0.5, 0.25]
    query, result, collection_id = "¿Cómo?", {"chunks": ["a"]}, "coll_456"
    agent_id, config = "agent_123", {"model": "small"}

    # Operaciones básicas de caché
    assert await CacheManager.get(data_type, resource_id, tenant_id) is None
    await CacheManager.set(data_type, resource_id, value, tenant_id)
    assert await CacheManager.get(data_type, resource_id, tenant_id) == value
    assert await CacheManager.invalidate(tenant_id, data_type, resource_id) == 1
    assert await CacheManager.get(data_type, resource_id, tenant_id) is None
    await CacheManager.set(data_type, resource_id, value, tenant_id)
    assert await CacheManager.delete(data_type, resource_id, tenant_id) is True
    assert await CacheManager.get(data_type, resource_id, tenant_id) is None

    # Operaciones específicas para tipos comunes
    assert await CacheManager.get_embedding(text, model_name, tenant_id) is None
    await CacheManager.set_embedding(text, embedding, model_name, tenant_id)
    assert await CacheManager.get_embedding(text, model_name, tenant_id) == embedding
    assert await CacheManager.get_query_result(query, collection_id, tenant_id) is None
    await CacheManager.set_query_result(query, result, collection_id, tenant_id)
    assert await CacheManager.get_query_result(query, collection_id, tenant_id) == result
    assert await CacheManager.get_agent_config(agent_id, tenant_id) is None
    await CacheManager.set_agent_config(agent_id, config, tenant_id)
    assert await CacheManager.get_agent_config(agent_id, tenant_id) == config


async def test_s_4_3_estructura_de_claves(cache: Cache) -> None:
    whole = cache.tenant(
        "tenant_id", agent="agent_id", conversation="conversation_id", collection="collection_id"
    )
    assert str(whole.key("data_type", "resource_id")) == (
        "tenant_id:data_type:agent:agent_id:conv:conversation_id:coll:collection_id:resource_id"
    )
    example = cache.tenant("tenant_abc", agent="agent_123").key("embedding", "doc_456")
    assert str(example) == "tenant_abc:embedding:agent:agent_123:doc_456"
    # The whole key, then combinations, then the one with the tenant alone.
    where = ("x", "r1", "tenant_abc", "agent_123", "conv_1")
    for value, given in (("basic", 3), ("agent's", 4), ("whole", 5)):
        await CacheManager.set("x", "r1", value, *where[2:given])
        assert await CacheManager.get(*where) == value


async def test_s_4_4_cache_multinivel(make_cache: MakeCache, tiers: str) -> None:
    """Memory answers the process that has read it, the tiers below answer every other one."""
    here, there = make_cache(), make_cache()
    CacheManager.configure(here)
    answers = []
    for _ in range(2):
        _, metrics = await get_with_cache_aside("x", "r1", "acme", lambda: "v")
        await settled()
        answers.append(metrics["tier"])
    CacheManager.configure(there)
    for _ in range(2):
        _, metrics = await get_with_cache_aside("x", "r1", "acme", lambda: "v")
        await settled()
        answers.append(metrics["tier"])
    below = {"memory": None, "sqlite": "l3", "redis and sqlite": "l2"}[tiers]
    assert answers == [None, "l1", below, "l1"]
    CacheManager.configure(None)


# --- 5 ------------------------------------------------------------------------------------------


async def test_s_5_1_constantes_predefinidas(cache: Cache, clock: ManualClock) -> None:
    from cascada import TTL_EXTENDED, TTL_PERMANENT, TTL_SHORT, TTL_STANDARD

    assert (TTL_SHORT, TTL_STANDARD, TTL_EXTENDED, TTL_PERMANENT) == (300, 3600, 86400, 0)
    for ttl, left in ((TTL_SHORT, 300), (TTL_STANDARD, 3600), (TTL_PERMANENT, math.inf)):
        await CacheManager.set("x", ttl, "v", "acme", ttl=ttl)
        assert await CacheManager.ttl("x", ttl, "acme") == left
    clock.advance(3601)
    assert await CacheManager.get("x", TTL_STANDARD, "acme") is None
    assert await CacheManager.get("x", TTL_PERMANENT, "acme") == "v"


@pytest.mark.parametrize(
    ("data_type", "ttl"),
    [
        ("embedding", cascada.TTL_EXTENDED),
        ("vector_store", cascada.TTL_STANDARD),
        ("query_result", cascada.TTL_SHORT),
        ("agent_config", cascada.TTL_STANDARD),
        ("agent_response", cascada.TTL_SHORT),
        ("retrieval_cache", cascada.TTL_SHORT),
        ("semantic_index", cascada.TTL_STANDARD),
    ],
)
async def test_s_5_2_ttl_por_tipo_de_datos(
    cache: Cache, clock: ManualClock, data_type: str, ttl: int
) -> None:
    await CacheManager.set(data_type, "set", [1.0], "acme")
    await get_with_cache_aside(data_type, "loaded", "acme", lambda: [1.0])
    await settled()
    for resource_id in ("set", "loaded"):
        assert await CacheManager.ttl(data_type, resource_id, "acme") == ttl
    clock.advance(ttl - 1)
    assert await CacheManager.get(data_type, "loaded", "acme") == [1.0]
    clock.advance(2)
    assert await CacheManager.get(data_type, "loaded", "acme") is None
