"""Document S, section 6: what vectors and objects are turned into, and what comes back of them."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy
import pytest

import cascada
from cascada import (
    Cache,
    CacheManager,
    Policy,
    get_embeddings_batch_with_cache,
    get_with_cache_aside,
)
from tests.api.settled import settled
from tests.documented.sections import without_a_test
from tests.documented.tensors import tensorflow_tensor, torch_tensor
from tests.scenarios.conftest import MakeCache

SECTIONS = [
    "6_1_funciones_centralizadas",
    "6_2_reglas_para_embeddings",
    "6_3_serializacion_personalizada",
]


def test_every_section_has_its_test() -> None:
    assert without_a_test("s", SECTIONS, globals()) == []


MATRIX = [[0.5, 0.25], [1.0, -2.0]]
VECTORS = {
    "list": MATRIX,
    "numpy": numpy.array(MATRIX, "f4"),
    "torch": torch_tensor(MATRIX),
    "tensorflow": tensorflow_tensor(MATRIX),
}


@pytest.mark.parametrize("vector", VECTORS.values(), ids=list(VECTORS))
async def test_s_6_1_funciones_centralizadas(cache: Cache, vector: Any) -> None:
    from cascada import deserialize_from_cache, serialize_for_cache

    original_value = vector
    # Serializar según tipo
    cached_value = serialize_for_cache(original_value, "embedding")
    assert json.loads(json.dumps(cached_value)) == MATRIX

    # Deserializar según tipo
    original_value = deserialize_from_cache(cached_value, "embedding")
    assert original_value == MATRIX

    # What they make, and what they were made of, is stored and comes back as the same lists.
    for stored in (vector, cached_value):
        await CacheManager.set("embedding", "e1", stored, "acme")
        assert await CacheManager.get("embedding", "e1", "acme") == MATRIX


@pytest.mark.parametrize("vector", VECTORS.values(), ids=list(VECTORS))
def test_s_6_2_reglas_para_embeddings(vector: Any) -> None:
    def rules(value):
        # Numpy arrays -> listas Python planas
        if hasattr(value, "tolist"):
            return value.tolist()

        # Tensores PyTorch
        if "torch" in str(type(value)) and hasattr(value, "detach"):
            return value.detach().cpu().numpy().tolist()

        # Tensores TensorFlow
        if "tensorflow" in str(type(value)) and hasattr(value, "numpy"):
            return value.numpy().tolist()
        return value

    assert rules(vector) == cascada.serialize_for_cache(vector, "embedding") == MATRIX


async def test_s_6_3_serializacion_personalizada(make_cache: MakeCache) -> None:
    @dataclass
    class CustomClass:
        name: str
        parts: list[int]

        def to_dict(self) -> dict[str, Any]:
            return asdict(self)

        @classmethod
        def from_dict(cls, data: dict[str, Any]) -> "CustomClass":
            return cls(**data)

    fetched = []

    async def fetch_from_db(resource_id: str) -> CustomClass | None:
        fetched.append(resource_id)
        return CustomClass("one", [1, 2]) if resource_id == "c1" else None

    async def get_complex_data(data_id, tenant_id):
        # Funciones de serialización específicas
        def custom_serializer(value):
            # Lógica específica para este tipo
            return {"serialized": True, "data": value.to_dict()}

        def custom_deserializer(cached_value):
            # Convertir de vuelta al tipo original
            return CustomClass.from_dict(cached_value["data"])

        result, _metrics = await get_with_cache_aside(
            data_type="complex_data",
            resource_id=data_id,
            tenant_id=tenant_id,
            fetch_from_db_func=fetch_from_db,
            serializer=custom_serializer,
            deserializer=custom_deserializer,
        )
        return result

    CacheManager.configure(make_cache(policies={"complex_data": Policy(none_ttl=60)}))
    first = await get_complex_data("c1", "acme")
    await settled()
    first.parts.append(3)  # the caller's own
    assert await get_complex_data("c1", "acme") == CustomClass("one", [1, 2])
    assert await CacheManager.get("complex_data", "c1", "acme") == {
        "serialized": True,
        "data": {"name": "one", "parts": [1, 2]},
    }
    # Neither function is bothered with what is not there, even where that is remembered.
    for _ in range(2):
        assert await get_complex_data("c9", "acme") is None
        await settled()
    assert fetched == ["c1", "c9"]
    CacheManager.configure(None)


@pytest.mark.parametrize("vector", VECTORS.values(), ids=list(VECTORS))
async def test_s_6_2_reglas_para_embeddings_on_every_way_in(cache: Cache, vector: Any) -> None:
    """However a vector comes in, whoever loads it and whoever finds it get the same lists."""
    for resource_id in ("e1", "e2"):
        for source in ("supabase", "cache"):
            value, metrics = await get_with_cache_aside(
                "embedding", resource_id, "acme", lambda: vector
            )
            await settled()
            assert (value, metrics["source"]) == (MATRIX, source)
    row = next(iter(vector))  # of a text there is one vector
    await CacheManager.set_embedding("text", row, "model", "acme")
    assert await CacheManager.get_embedding("text", "model", "acme") == MATRIX[0]
    array = await CacheManager.get_embedding("text", "model", "acme", as_array=True)
    assert array.tolist() == MATRIX[0]
    assert not array.flags.writeable
    # A vector store holds its vectors beside other things.
    store = {"ids": ["a", "b"], "vectors": vector}
    await CacheManager.set("vector_store", "v1", store, "acme")
    kept = await CacheManager.get("vector_store", "v1", "acme")
    assert kept["ids"] == ["a", "b"]
    assert cascada.serialize_for_cache(kept["vectors"], "vector_store") == MATRIX


@pytest.mark.parametrize("make", [numpy.array, torch_tensor, tensorflow_tensor, list])
async def test_s_6_2_reglas_para_embeddings_of_a_provider(cache: Cache, make: Any) -> None:
    """What a model gives for a batch, one matrix or a list of vectors, comes back as lists."""
    for provider in (lambda texts: make(MATRIX), lambda texts: [make(row) for row in MATRIX]):
        for hits in (0, 2):
            vectors, metrics = await get_embeddings_batch_with_cache(
                ["a", "b"], "acme", "model", provider
            )
            await settled()
            assert (vectors, metrics["cache_hits"]) == (MATRIX, hits)
        await CacheManager.invalidate("acme", "embedding", "*")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i8", "u1", "bool"])
async def test_s_6_2_reglas_para_embeddings_keep_every_number(cache: Cache, dtype: str) -> None:
    array = numpy.random.default_rng(7).normal(size=(3, 50)).astype(dtype)
    await CacheManager.set("vector_store", "v1", array, "acme")
    assert await CacheManager.get("vector_store", "v1", "acme") == array.tolist()
    hit = await cache.tenant("acme").get("vector_store", "v1")
    assert (hit.value.dtype, hit.value.flags.writeable) == (array.dtype, False)


async def test_s_6_2_reglas_para_embeddings_round_lists_to_32_bits(cache: Cache) -> None:
    numbers = numpy.random.default_rng(7).normal(size=1536).tolist()
    await CacheManager.set("embedding", "e1", numbers, "acme")
    assert await CacheManager.get("embedding", "e1", "acme") == pytest.approx(numbers, rel=6e-8)


async def test_s_6_2_reglas_para_embeddings_exactly_if_the_policy_says_so(
    make_cache: MakeCache,
) -> None:
    cache = make_cache(policies={"embedding": Policy(codec="f64")})
    CacheManager.configure(cache)
    numbers = numpy.random.default_rng(7).normal(size=1536).tolist()
    await CacheManager.set("embedding", "e1", numbers, "acme")
    assert await CacheManager.get("embedding", "e1", "acme") == numbers
    for source in ("provider", "cache"):
        vectors, _ = await get_embeddings_batch_with_cache(
            ["a"], "acme", "model", lambda texts: [numbers]
        )
        await settled()
        assert vectors == [numbers], source
    CacheManager.configure(None)
