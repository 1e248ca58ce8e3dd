"""Document S, sections 7 to 9: invalidation, batches, and what is measured and counted."""

import asyncio
from typing import Any

import numpy
import pytest

import cascada
from cascada import Cache, CacheManager, get_with_cache_aside
from cascada.testing.clock import ManualClock
from tests.api.settled import settled
from tests.documented.cache_aside_standard import get_document_metadata, update_document_in_db
from tests.documented.observed import tracked
from tests.documented.sections import without_a_test
from tests.documented.supabase import Database
from tests.scenarios.conftest import MakeCache

SECTIONS = [
    "7_1_invalidacion_simple",
    "7_2_invalidacion_coordinada",
    "7_3_invalidacion_completa",
    "8_1_embeddings_en_lote",
    "9_1_metricas_integradas",
    "9_2_metricas_personalizadas",
    "9_3_contadores",
]

MODEL = "text-embedding-ada-002"


def test_every_section_has_its_test() -> None:
    assert without_a_test("s", SECTIONS, globals()) == []


# --- 7 ------------------------------------------------------------------------------------------


async def test_s_7_1_invalidacion_simple(cache: Cache) -> None:
    documents = [("tenant_abc", "doc_123"), ("tenant_abc", "doc_9"), ("tenant_xyz", "doc_123")]

    async def there() -> list[Any]:
        return [await CacheManager.get("document", id_, tenant) for tenant, id_ in documents]

    for tenant, id_ in documents:
        await CacheManager.set("document", id_, 1, tenant)
    await CacheManager.set("document", "doc_123", 1, "tenant_abc", agent_id="a1")
    await CacheManager.set("other_type", "doc_123", 1, "tenant_abc")

    # Invalida una entrada específica
    gone = await CacheManager.invalidate(
        tenant_id="tenant_abc", data_type="document", resource_id="doc_123"
    )
    assert (gone, await there()) == (2, [None, 1, 1])
    assert await CacheManager.get("document", "doc_123", "tenant_abc", agent_id="a1") is None

    # Invalida todas las entradas de un tipo
    await CacheManager.set("document", "doc_123", 1, "tenant_abc")
    gone = await CacheManager.invalidate(
        tenant_id="tenant_abc",
        data_type="document",
        resource_id="*",  # Comodín para todas las entradas
    )
    # The number says how many at most: what the first one ended may be counted again.
    assert 2 <= gone <= 4
    assert await there() == [None, None, 1]
    assert await CacheManager.get("other_type", "doc_123", "tenant_abc") == 1


async def of_collection(document_id: str, collection_id: str) -> None:
    """All that a service caches of a document and of the collection that it is in."""

    async def chunks(resource_id: str) -> list[float]:
        document = await get_document_metadata(document_id, "tenant_abc")
        return [float(len(document["content"]))]

    for chunk in (document_id, f"{document_id}:1"):
        await get_with_cache_aside("embedding", chunk, "tenant_abc", chunks)
    await CacheManager.set("vector_store", collection_id, [[1.0]], "tenant_abc")
    await CacheManager.set_query_result("¿Qué?", [document_id], collection_id, "tenant_abc", k=4)
    await settled()


async def cached_of(document_id: str, collection_id: str) -> list[bool]:
    get, tenant = CacheManager.get, "tenant_abc"
    found = [
        await get("document", document_id, tenant),
        await get("embedding", document_id, tenant),
        await get("embedding", f"{document_id}:1", tenant),
        await get("vector_store", collection_id, tenant),
        await CacheManager.get_query_result("¿Qué?", collection_id, tenant, k=4),
    ]
    return [each is not None for each in found]


async def test_s_7_2_invalidacion_coordinada(cache: Cache, database: Database) -> None:
    from cascada import invalidate_document_update

    for document_id, collection_id in (("doc_123", "coll_456"), ("doc_9", "coll_9")):
        ids = {"document_id": document_id, "collection_id": collection_id}
        await database.insert("documents", tenant_id="tenant_abc", **ids, content="old")
        await of_collection(document_id, collection_id)
        assert await cached_of(document_id, collection_id) == [True] * 5
    document_id, content = "doc_123", "new content"

    # Actualiza documentos o chunks
    await update_document_in_db(document_id, content)

    # Invalida todas las cachés relacionadas
    counts = await invalidate_document_update(
        tenant_id="tenant_abc", document_id="doc_123", collection_id="coll_456"
    )
    # 1. the document, 2. its embeddings, 3. the collection's vector store, 4. its queries
    assert await cached_of("doc_123", "coll_456") == [False] * 5
    assert await cached_of("doc_9", "coll_9") == [True] * 5
    assert (counts["document"], counts["vector_store"], counts["query_result"]) == (1, 1, 1)
    assert counts["embedding"] + counts["made"] >= 2
    assert (await get_document_metadata("doc_123", "tenant_abc"))["content"] == "new content"
    await of_collection("doc_123", "coll_456")
    embedding = await CacheManager.get("embedding", "doc_123:1", "tenant_abc")
    assert embedding == [float(len("new content"))]


async def test_s_7_2_invalidacion_coordinada_in_the_middle_of_a_read(
    cache: Cache, database: Database
) -> None:
    """Who has read the old row and is slow leaves nothing of it behind."""
    ids = {"document_id": "doc_123", "tenant_id": "tenant_abc", "collection_id": "coll_456"}
    await database.insert("documents", **ids, content="old")
    has_read, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(resource_id: str) -> str:
        row = await get_document_metadata(resource_id, "tenant_abc")
        has_read.set()
        await go_on.wait()
        return f"summary of {row['content']}"

    async with asyncio.TaskGroup() as tasks:
        early = tasks.create_task(get_with_cache_aside("summary", "doc_123", "tenant_abc", slowly))
        await has_read.wait()
        await update_document_in_db("doc_123", "new")
        await cascada.invalidate_document_update("tenant_abc", "doc_123", "coll_456")
        go_on.set()
    await settled()
    assert early.result()[0] == "summary of old"
    value, _ = await get_with_cache_aside("summary", "doc_123", "tenant_abc", slowly)
    assert value == "summary of new"


async def test_s_7_3_invalidacion_completa(cache: Cache) -> None:
    async def fill(part: str, value: str) -> None:
        await CacheManager.set("anything", "1", 1, "tenant_abc", **{f"{part}_id": value})
        await CacheManager.set("of_both", "1", 1, "tenant_abc", "agent_9", collection_id=value)
        if part == "agent":
            await CacheManager.set_agent_config(value, {"model": "small"}, "tenant_abc")
        else:
            await CacheManager.set("vector_store", value, [[1.0]], "tenant_abc")

    async def there(part: str, value: str) -> list[bool]:
        by_id = "agent_config" if part == "agent" else "vector_store"
        where = {f"{part}_id": value}
        found = [
            await CacheManager.get("anything", "1", "tenant_abc", **where),
            await CacheManager.get(by_id, value, "tenant_abc"),
        ]
        return [each is not None for each in found]

    for agent in ("agent_123", "agent_7"):
        await fill("agent", agent)
    for collection in ("coll_456", "coll_7"):
        await fill("collection", collection)

    # Invalida toda la caché de un agente
    gone = await CacheManager.invalidate_agent_complete(
        tenant_id="tenant_abc", agent_id="agent_123"
    )
    assert gone == 2
    assert await there("agent", "agent_123") == [False, False]
    assert await there("agent", "agent_7") == [True, True]
    assert await there("collection", "coll_456") == [True, True]

    # Invalida toda la caché de una colección
    gone = await CacheManager.invalidate_collection_complete(
        tenant_id="tenant_abc", collection_id="coll_456"
    )
    assert gone == 3
    assert await there("collection", "coll_456") == [False, False]
    assert await there("collection", "coll_7") == [True, True]
    where = {"agent_id": "agent_9", "collection_id": "coll_456"}
    assert await CacheManager.get("of_both", "1", "tenant_abc", **where) is None


# --- 8 ------------------------------------------------------------------------------------------


async def test_s_8_1_embeddings_en_lote(
    cache: Cache, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    from cascada import get_embeddings_batch_with_cache

    asked: list[list[str]] = []

    async def generate_embeddings_batch(texts: list[str]) -> Any:
        asked.append(texts)
        clock.advance(0.250)
        return numpy.array([[float(text[-1]), 0.5] for text in texts], "f4")

    await CacheManager.set_embedding("texto2", [2.0, 0.5], MODEL, "tenant_abc")
    for hits, misses in ((1, 2), (3, 0)):
        # Procesar múltiples textos eficientemente
        embeddings, metrics = await get_embeddings_batch_with_cache(
            texts=["texto1", "texto2", "texto3"],
            tenant_id="tenant_abc",
            model_name="text-embedding-ada-002",
            embedding_provider=generate_embeddings_batch,  # Función que genera embeddings en lote
        )

        # Métricas específicas de lote
        print(f"Cache hits: {metrics['cache_hits']}")  # noqa: T201
        print(f"Cache misses: {metrics['cache_misses']}")  # noqa: T201

        await settled()
        assert embeddings == [[1.0, 0.5], [2.0, 0.5], [3.0, 0.5]]
        assert capsys.readouterr().out == f"Cache hits: {hits}\nCache misses: {misses}\n"
        assert metrics["provider_time_ms"] == pytest.approx(250 if misses else 0)
        assert metrics["total_time_ms"] >= metrics["provider_time_ms"]
    # Only what was missing was made, in one call, and it is stored for a day.
    assert asked == [["texto1", "texto3"]]
    assert await CacheManager.get_embedding("texto3", MODEL, "tenant_abc") == [3.0, 0.5]
    clock.advance(86_000)
    assert await CacheManager.get_embedding("texto3", MODEL, "tenant_abc") == [3.0, 0.5]
    clock.advance(500)
    assert await CacheManager.get_embedding("texto3", MODEL, "tenant_abc") is None


# --- 9 ------------------------------------------------------------------------------------------


async def test_s_9_1_metricas_integradas(make_cache: MakeCache, clock: ManualClock) -> None:
    """They come by themselves; their names are there for what a service tracks of its own."""
    cache = make_cache()
    CacheManager.configure(cache)

    async def fetch(resource_id: str) -> str:
        clock.advance(0.030)
        return "x" * 1000

    sources = []
    for resource_id in ("r1", "r1", "r1", "r2"):
        _, metrics = await get_with_cache_aside("x", resource_id, "acme", fetch)
        await settled()
        sources.append(metrics["source"])
    assert sources == ["supabase", "cache", "cache", "supabase"]
    counted = (await cache.stats()).types["x"]
    assert (counted.hits, counted.misses, counted.hit_ratio) == (2, 2, 0.5)
    assert counted.load_seconds == pytest.approx(0.060)
    assert (
        (await cache.stats()).tiers["l1"].size_bytes
        >= 2 * counted.stored_bytes / counted.stored
        > 20
    )
    assert (await cache.stats()).tracked == []
    names = (
        cascada.METRIC_CACHE_HIT, cascada.METRIC_CACHE_MISS, cascada.METRIC_LATENCY,
        cascada.METRIC_CACHE_SIZE,
    )  # fmt: skip
    for name in names:
        await cascada.track_cache_metrics("x", "acme", name, 2)
    assert [each.metric for each in (await cache.stats()).tracked] == list(names)
    CacheManager.configure(None)


async def test_s_9_2_metricas_personalizadas(cache: Cache) -> None:
    from cascada import track_cache_metrics

    # Registrar una métrica personalizada
    await track_cache_metrics(
        data_type="embedding",
        tenant_id="tenant_abc",
        metric_type="custom_metric_name",
        value=35.7,  # Valor numérico
        metadata={"source": "mi_servicio", "operation": "custom_op"},
    )
    series = tracked(cache, "custom_metric_name", "embedding")
    assert (series.tenant, series.count, series.last) == ("tenant_abc", 1, 35.7)
    assert series.metadata == {"source": "mi_servicio", "operation": "custom_op"}


async def test_s_9_3_contadores(cache: Cache) -> None:
    for expected in (1, 2, 3):
        # Incrementar un contador para seguimiento a largo plazo
        await CacheManager.increment_counter(
            counter_type="api_calls",
            amount=1,
            resource_id="my_endpoint",
            tenant_id="tenant_abc",
            metadata={"status": "success"},
        )

        # Obtener el valor actual
        count = await CacheManager.get_counter(
            scope="api_calls", resource_id="my_endpoint", tenant_id="tenant_abc"
        )
        assert count == expected
    for other in (
        ("api_calls", "my_endpoint", "tenant_xyz"),
        ("errors", "my_endpoint", "tenant_abc"),
    ):
        assert await CacheManager.get_counter(*other) == 0
    # For the long term: no invalidation reaches it.
    await CacheManager.invalidate("tenant_abc", "api_calls", "*")
    assert await CacheManager.get_counter("api_calls", "my_endpoint", "tenant_abc") == 3
    calls = [
        CacheManager.increment_counter("api_calls", 2, "busy", "tenant_abc") for _ in range(50)
    ]
    assert max(await asyncio.gather(*calls)) == 100
