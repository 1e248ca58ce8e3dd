"""Batches of embeddings: each text once, whoever asks, in few requests, and nothing lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from cascada import Cache, Embeddings, configure, get_embeddings_batch_with_cache
from cascada.model.errors import BadInput, LoadCycle, MissingTenant, SerializationError
from cascada.testing.inside import inside
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import all_stored, until

numpy = pytest.importorskip("numpy", reason="arrays are handed out by numpy, an extra")


def vector(text: str) -> list[float]:
    """Exact in 32 and in 16 bits."""
    return [float(len(text)), float(sum(map(ord, text)) % 1024) / 8, -0.5]


class Provider:
    """Counts what it is asked, and fails where it is told to."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.requests: list[list[str]] = []
        self.failing: set[str] = set()
        self.running = self.most = 0
        self._seconds = seconds

    @property
    def asked(self) -> Counter[str]:
        return Counter(text for request in self.requests for text in request)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.requests.append(list(texts))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self._seconds)
            if self.failing.intersection(texts):
                raise RuntimeError("the provider is overloaded")
        finally:
            self.running -= 1
        return [vector(text) for text in texts]


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def default(cache: Cache) -> Iterator[Cache]:
    configure(cache)
    yield cache
    configure(None)


async def test_only_what_is_missing_is_asked_and_once(default: Cache, provider: Provider) -> None:
    texts = ["one", "two", "one", "three"]
    vectors, metrics = await get_embeddings_batch_with_cache(
        texts=texts, tenant_id="acme", model_name="m", embedding_provider=provider
    )
    assert vectors == [vector(text) for text in texts]
    assert provider.requests == [["one", "two", "three"]]
    assert (metrics["cache_hits"], metrics["cache_misses"]) == (0, 4)
    assert metrics["total_time_ms"] >= metrics["provider_time_ms"] >= 0
    vectors[0].append(1.0)
    assert vectors[2] == vector("one"), "equal texts do not share a list"
    await all_stored(default.tenant("acme"))
    vectors, metrics = await get_embeddings_batch_with_cache(
        ["two", "four", "one"], "acme", "m", provider.embed
    )
    assert vectors == [vector(text) for text in ("two", "four", "one")]
    assert provider.requests[1:] == [["four"]]
    assert (metrics["cache_hits"], metrics["cache_misses"]) == (2, 1)


async def test_model_parameters_and_tenants_are_part_of_the_identity(
    cache: Cache, provider: Provider
) -> None:
    for tenant in (cache.tenant("acme"), cache.tenant("globex")):
        for embeddings in (
            Embeddings(provider, "m"),
            Embeddings(provider, "n"),
            Embeddings(provider, "m", dimensions=3),
            Embeddings(provider, "m", half=True),
        ):
            for _ in range(2):
                await embeddings.of(tenant, ["text"])
    assert len(provider.requests) == 8


async def test_plain_providers_and_arrays_are_taken(cache: Cache) -> None:
    def plain(texts: list[str]) -> Any:
        return numpy.array([vector(text) for text in texts], dtype="f4")

    acme = cache.tenant("acme")
    for _ in range(2):
        vectors, _ = await Embeddings(plain, "m").of(acme, ["one", "two"], as_array=True)
        assert all(isinstance(each, numpy.ndarray) for each in vectors)
        assert [each.tolist() for each in vectors] == [vector("one"), vector("two")]
        assert not vectors[0].flags.writeable
        lists, _ = await Embeddings(plain, "m").of(acme, ["one"])
        assert lists == [vector("one")]


async def test_what_the_provider_gave_as_lists_is_handed_out_as_arrays(
    make_cache: MakeCache, provider: Provider
) -> None:
    embeddings = Embeddings(provider, "m")
    writer = make_cache()
    await embeddings.of(writer.tenant("acme"), ["one", "two"])
    await all_stored(writer.tenant("acme"))
    shared = inside(writer).feed is not None
    for cache in (make_cache() if shared else writer, writer):
        acme = cache.tenant("acme")
        vectors, _ = await embeddings.of(acme, ["one", "new", "two"], as_array=True)
        assert [each.tolist() for each in vectors] == [vector(t) for t in ("one", "new", "two")]
        assert {each.dtype.str for each in vectors} == {"<f4"}
        assert not any(each.flags.writeable for each in vectors)
        kind = inside(cache).kinds.of("acme", "embedding")
        assert (kind.corrupt, kind.refused) == (0, 0)
        await all_stored(acme)
    assert provider.asked == {"one": 1, "two": 1, "new": 1}


async def test_many_callers_of_overlapping_batches_ask_each_text_once(
    make_cache: MakeCache,
) -> None:
    provider = Provider(seconds=0.02)
    caches = [make_cache(), make_cache()]
    if inside(caches[0]).feed is None:
        caches.pop()  # memory alone is not shared
    batches = [[f"text {n}" for n in range(first, first + 30)] for first in range(0, 50, 5)]
    found = await asyncio.gather(
        *(
            Embeddings(provider, "m").of(caches[index % len(caches)].tenant("acme"), batch)
            for index, batch in enumerate(batches)
        )
    )
    for batch, (vectors, _) in zip(batches, found, strict=True):
        assert vectors == [vector(text) for text in batch]
    assert len(provider.asked) == 75
    leases = any(tier.name == "l2" for tier in inside(caches[0]).stack.tiers)
    if len(caches) == 1 or leases:  # SQLite has no leases that others wait for
        assert set(provider.asked.values()) == {1}


async def test_requests_are_gathered_bounded_and_no_larger_than_allowed(cache: Cache) -> None:
    provider = Provider(seconds=0.01)
    embeddings = Embeddings(provider, "m", max_batch=8, max_wait=0.1, max_calls=2)
    acme = cache.tenant("acme")
    found = await asyncio.gather(
        *(embeddings.of(acme, [f"{caller} {n}" for n in range(3)]) for caller in range(16))
    )
    assert [vectors for vectors, _ in found][5] == [vector(f"5 {n}") for n in range(3)]
    assert max(map(len, provider.requests)) == 8
    assert len(provider.requests) == 6, "48 texts in requests of 8"
    assert provider.most == 2


async def test_tenants_do_not_travel_together(cache: Cache, provider: Provider) -> None:
    embeddings = Embeddings(provider, "m", max_wait=0.01)
    await asyncio.gather(
        *(embeddings.of(cache.tenant(name), ["a text"]) for name in ("acme", "globex"))
    )
    assert provider.requests == [["a text"], ["a text"]]


async def test_what_one_request_brought_is_kept_when_another_fails(
    cache: Cache, provider: Provider
) -> None:
    acme = cache.tenant("acme")
    embeddings = Embeddings(provider, "m", max_batch=2)
    provider.failing = {"text 3"}
    texts = [f"text {n}" for n in range(6)]
    with pytest.raises(RuntimeError, match="overloaded"):
        await embeddings.of(acme, texts)
    provider.failing.clear()
    await all_stored(acme)
    before = len(provider.requests)
    vectors, metrics = await embeddings.of(acme, texts)
    assert vectors == [vector(text) for text in texts]
    assert provider.requests[before:] == [["text 2", "text 3"]]
    assert (metrics["cache_hits"], metrics["cache_misses"]) == (4, 2)


async def test_a_wrong_number_of_vectors_stores_nothing(cache: Cache) -> None:
    requests = []

    async def short(texts: list[str]) -> list[list[float]]:
        requests.append(texts)
        return [[1.0]]

    acme = cache.tenant("acme")
    for _ in range(2):
        with pytest.raises(ValueError, match="asked for 2 texts and returned 1"):
            await Embeddings(short, "m").of(acme, ["one", "two"])
    assert len(requests) == 2


async def test_none_is_no_vector_and_is_not_stored(cache: Cache) -> None:
    known: set[str] = {"one"}

    async def some(texts: list[str]) -> list[Any]:
        return [vector(text) if text in known else None for text in texts]

    embeddings, acme = Embeddings(some, "m"), cache.tenant("acme")
    for _ in range(2):
        with pytest.raises(ValueError, match="returned None where a vector"):
            await embeddings.of(acme, ["one", "two"])
        await all_stored(acme)
    known.add("two")
    vectors, metrics = await embeddings.of(acme, ["one", "two"])
    assert vectors == [vector("one"), vector("two")]
    assert metrics["cache_hits"] == 1


async def test_a_caller_that_leaves_harms_nobody(cache: Cache) -> None:
    provider = Provider(seconds=0.05)
    embeddings = Embeddings(provider, "m", max_wait=0.01)
    acme = cache.tenant("acme")
    first = asyncio.create_task(embeddings.of(acme, ["shared", "first's"]))
    second = asyncio.create_task(embeddings.of(acme, ["shared", "second's"]))
    await until(lambda: bool(provider.requests))
    first.cancel()
    vectors, _ = await second
    assert vectors == [vector("shared"), vector("second's")]
    assert first.cancelled()


async def test_half_the_bits_half_the_space(cache: Cache) -> None:
    exact = [0.1, -1.25, 3.14159, 1e-3, 60000.0]

    async def provider(texts: list[str]) -> list[list[float]]:
        return [exact for _ in texts]

    acme = cache.tenant("acme")
    for _ in range(2):
        ((rough,), _) = await Embeddings(provider, "m", half=True).of(acme, ["text"])
        for was, now in zip(exact, rough, strict=True):
            assert abs(now - was) <= abs(was) * 2**-11
    exact.append(1e6)
    with pytest.raises(SerializationError, match="at most 65504"):
        await Embeddings(provider, "other", half=True).of(acme, ["text"])


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"max_batch": 0}, "max_batch is 0"),
        ({"max_wait": -1}, "max_wait is -1"),
        ({"max_calls": 0}, "max_calls is 0"),
    ],
)
def test_wrong_bounds_are_refused(how: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        Embeddings(len, "m", **how)


async def test_wrong_texts_tenants_and_providers_are_refused(
    default: Cache, provider: Provider
) -> None:
    acme = default.tenant("acme")
    with pytest.raises(BadInput, match="pass a list of texts"):
        await Embeddings(provider, "m").of(acme, "text")
    with pytest.raises(BadInput, match="texts holds 7"):
        await Embeddings(provider, "m").of(acme, ["text", 7])  # type: ignore[list-item]
    with pytest.raises(BadInput, match="embedding_provider is 'gpt'"):
        Embeddings("gpt", "m")
    with pytest.raises(MissingTenant):
        await get_embeddings_batch_with_cache(["text"], "", "m", provider)


async def test_an_empty_batch_asks_nobody(cache: Cache, provider: Provider) -> None:
    vectors, metrics = await Embeddings(provider, "m").of(cache.tenant("acme"), [])
    assert (vectors, metrics["cache_hits"], metrics["cache_misses"]) == ([], 0, 0)
    assert not provider.requests


class Tuned:
    """A provider whose vectors depend on a setting, which it reads when it is asked."""

    def __init__(self, read: Callable[[], Awaitable[float]]) -> None:
        self.requests: list[list[str]] = []
        self.go = asyncio.Event()
        self._read = read

    async def embed(self, texts: list[str]) -> list[list[float]]:
        setting = await self._read()
        self.requests.append(texts)
        await self.go.wait()
        return [[setting] for _ in texts]


async def test_what_was_asked_before_an_invalidation_is_not_taken_after_it(cache: Cache) -> None:
    """Two keys, since they are in two contexts, and one text: a request for it is under way."""
    setting = 1.0

    async def read() -> float:
        return setting

    provider = Tuned(read)
    embeddings = Embeddings(provider, "m")
    acme = cache.tenant("acme")
    first = asyncio.ensure_future(embeddings.of(acme.within(agent="a1"), ["text"]))
    await until(lambda: len(provider.requests) == 1)
    setting = 2.0
    await acme.invalidate("embedding", "*")
    second = asyncio.ensure_future(embeddings.of(acme.within(agent="a2"), ["text"]))
    await until(lambda: len(provider.requests) == 2)
    provider.go.set()
    await first
    assert (await second)[0] == [[2.0]]
    await all_stored(acme)
    assert (await embeddings.of(acme.within(agent="a2"), ["text"]))[0] == [[2.0]]


async def test_what_the_provider_reads_is_a_source_of_all_that_were_asked_together(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")

    async def read() -> float:
        return float((await acme.load("setting", "scale", lambda: 1.0)).value)

    provider = Tuned(read)
    provider.go.set()
    embeddings = Embeddings(provider, "m", max_wait=0.05)
    batches = [["one"], ["two"], ["three"]]
    await asyncio.gather(*(embeddings.of(acme, texts) for texts in batches))
    assert provider.requests == [["one", "two", "three"]]
    await all_stored(acme)
    await acme.invalidate("setting", "scale")
    for texts in batches:
        _, metrics = await embeddings.of(acme, texts)
        assert metrics["cache_misses"] == 1


async def test_a_provider_that_waits_for_a_batch_that_waits_for_it_says_so(cache: Cache) -> None:
    acme = cache.tenant("acme")
    asked = 0

    async def read() -> float:
        nonlocal asked
        asked += 1
        return (await embeddings.of(acme, ["two"]))[0][0][0] if asked == 1 else 1.0

    provider = Tuned(read)
    provider.go.set()
    embeddings = Embeddings(provider, "m", max_wait=0.05)
    async with asyncio.timeout(5):
        for failed in await asyncio.gather(
            *(embeddings.of(acme, [text]) for text in ("one", "two")), return_exceptions=True
        ):
            assert isinstance(failed, LoadCycle)
