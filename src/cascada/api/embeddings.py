"""Embeddings of texts: each text once, whoever asks, in few and large requests to the provider.

`Embeddings` is the engine's: one read for a whole batch, and what is missing asked of the provider
once in all processes, gathered into requests, stored raw. The documents'
`get_embeddings_batch_with_cache` is its argument order and its metrics.
"""

from __future__ import annotations

import struct
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, TypedDict

from cascada.api.default import default_cache
from cascada.api.tenant.handle import Tenant
from cascada.api.vectors import DATA_TYPE, checked_vector, vectors_of
from cascada.codecs.arrays import array_of_list, numpy_if_there
from cascada.codecs.digest import generate_resource_id_hash
from cascada.codecs.public import lists_of
from cascada.codecs.values import AS_ARRAY
from cascada.engine.loading.batching import Gatherer
from cascada.engine.request import LoadResult, Request
from cascada.model.door import arguments
from cascada.model.entry import Hit
from cascada.model.errors import MissingExtra, SerializationError
from cascada.model.keys import Id
from cascada.model.ttl import Duration

Provider = Callable[[list[str]], Any]


class BatchMetrics(TypedDict):
    """Of one batch: texts that the cache had, texts that it had not, and milliseconds."""

    cache_hits: int
    cache_misses: int
    total_time_ms: float
    provider_time_ms: float


class Embeddings:
    """The vectors of one model from one provider.

    provider: a function of a list of texts (or an object with `embed`), async or plain, that
    returns one vector for each, in their order. params: whatever else changes the vectors
    (dimensions, input_type, ...); it is part of their identity. max_batch: texts in one request at
    most. max_wait: seconds for which a request waits for more texts; 0 gathers what one turn of the
    event loop brings. max_calls: requests under way at most. half: store 16 bits a number, which
    halves the space and keeps a relative error of 2**-11 (5e-4) within +-65504.
    """

    def __init__(
        self,
        provider: Any,
        model: str,
        *,
        max_batch: int | None = None,
        max_wait: float = 0.0,
        max_calls: int = 8,
        half: bool = False,
        ttl: Duration | None = None,
        **params: Any,
    ) -> None:
        if max_batch is not None:
            max_batch = arguments.integer(max_batch, "max_batch", 1)
        max_wait = arguments.seconds(max_wait, "max_wait", zero=True)
        max_calls = arguments.integer(max_calls, "max_calls", 1)
        half, ttl = arguments.flag(half, "half"), arguments.ttl(ttl)
        accepted = "a function of a list of texts, or an object with a method embed"
        try:
            function = getattr(provider, "embed", provider)
        except Exception as error:
            raise arguments.refused("embedding_provider", provider, accepted) from error
        arguments.function(function, "embedding_provider", accepted)
        self._ask = partial(vectors_of, function)
        self._identity = _identity(model, {**params, "half": True} if half else params)
        self._limits: dict[str, Any] = {
            "max_batch": max_batch, "max_wait": max_wait, "max_calls": max_calls,
        }  # fmt: skip
        self.half, self.ttl = half, ttl
        # By the tasks of an event loop: a request belongs to the cache and the loop that wait. Held
        # by its requests alone, so that no tenant leaves one behind.
        self._gatherers: weakref.WeakKeyDictionary[
            Any, weakref.WeakValueDictionary[str, Gatherer]
        ] = weakref.WeakKeyDictionary()

    async def of(
        self, tenant: Tenant, texts: Sequence[str], *, as_array: bool = False
    ) -> tuple[list[Any], BatchMetrics]:
        """The vectors of `texts`, in their order, and what it took.

        Lists of floats, or with `as_array` read-only arrays (numpy). If a request to the provider
        fails, its error is raised once all others have been stored.
        """
        arguments.instance(tenant, "tenant", Tenant, "a tenant's handle: cache.tenant(...)")
        texts, as_array = arguments.texts(texts), arguments.flag(as_array, "as_array")
        want = _form(as_array)
        timer = tenant._engine.clock.monotonic
        started = timer()
        each = list(dict.fromkeys(texts))
        identity = self._identity.copy
        ids = [_id_of(text, identity()) for text in each]
        source = _Missing(self, tenant, dict(zip(ids, each, strict=True)), timer)
        request_of = tenant._type_keys(DATA_TYPE).request
        requests = [request_of(each, want) for each in ids]
        hits = await tenant._engine.load_many(requests, source)
        found = dict(zip(each, hits, strict=True))
        absent = {
            text for text, hit in found.items() if not isinstance(hit, Hit) or hit.tier == "source"
        }
        misses = sum(map(absent.__contains__, texts))
        answers = [found[text] for text in texts]
        # Arrays are read-only, so that equal texts may share one.
        vectors = [_as_array(hit.value) for hit in answers] if as_array else _lists(answers)
        return vectors, {
            "cache_hits": len(texts) - misses,
            "cache_misses": misses,
            "total_time_ms": (timer() - started) * 1000,
            "provider_time_ms": source.spent * 1000,
        }


class _Missing:
    """The engine's loader of the vectors that no tier has. `spent`: seconds in the provider."""

    generating = False

    def __init__(
        self,
        embeddings: Embeddings,
        tenant: Tenant,
        texts: dict[str, str],
        timer: Callable[[], float],
    ) -> None:
        self._embeddings = embeddings
        self._tenant = tenant
        self._texts = texts
        self._timer = timer
        self.spent = 0.0

    async def load(self, requests: Sequence[Request]) -> list[LoadResult]:
        started = self._timer()
        texts = [self._texts[request.key.resource_id] for request in requests]
        of, stack, name = self._embeddings, self._tenant._engine.stack, self._tenant.tenant
        of_loop = of._gatherers.setdefault(stack.background, weakref.WeakValueDictionary())
        gatherer = of_loop.get(name)
        if gatherer is None:  # one for each tenant: nobody's texts travel with another's
            gatherer = of_loop[name] = Gatherer(of._ask, stack, name, **of._limits)
        results = await gatherer.ask(texts)
        self.spent += self._timer() - started
        return [
            LoadResult(None, error=each)
            if isinstance(each, BaseException)
            else LoadResult(Half(lists_of(each)) if of.half else each, ttl=of.ttl)
            for each in results
        ]


def _form(as_array: bool) -> Any:
    """What the engine is asked to hand out: arrays at once, else whatever is stored."""
    if as_array and numpy_if_there() is None:
        raise MissingExtra("as_array needs numpy: pip install 'cascada[numpy]'")
    return AS_ARRAY if as_array else None


def _lists(hits: list[Any]) -> list[list[float]]:
    """Lists of the caller's own: what a tier had was decoded for this call, but only once."""
    lists: list[list[float]] = []
    handed: set[int] = set()
    for hit in hits:
        vector = hit.value
        if vector.__class__ is not list or hit.tier == "source" or id(vector) in handed:
            vector = _as_list(vector)
        lists.append(vector)
        handed.add(id(vector))
    return lists


def _as_list(vector: Any) -> list[float]:
    """A list of the caller's own: equal texts do not share one."""
    return list(vector) if isinstance(vector, list) else lists_of(vector)


def _as_array(vector: Any) -> Any:
    """A read-only array; 16-bit numbers come with 32, as nobody calculates with 16."""
    numpy = numpy_if_there()
    if not isinstance(vector, numpy.ndarray):
        return array_of_list(_as_list(vector), "<f4")
    if vector.dtype.str == "<f2":
        return array_of_list(vector, "<f4")
    return array_of_list(vector) if vector.flags.writeable else vector


class Half:
    """A vector as 16-bit floats, as far as the codecs look at arrays."""

    dtype = "<f2"

    def __init__(self, numbers: list[float]) -> None:
        self.shape = (len(numbers),)
        try:
            self._raw = struct.pack(f"<{len(numbers)}e", *numbers)
        except (OverflowError, struct.error) as error:
            raise SerializationError(
                f"a vector with a number of {max(map(abs, numbers)):g} does not fit into 16 bits "
                "(at most 65504); store it without half=True"
            ) from error

    def tobytes(self) -> bytes:
        return self._raw

    def tolist(self) -> list[float]:
        """The numbers as they come back."""
        return list(struct.unpack(f"<{self.shape[0]}e", self._raw))


async def get_embeddings_batch_with_cache(
    texts: Sequence[str],
    tenant_id: Id,
    model_name: str,
    embedding_provider: Any,
    as_array: bool = False,
    max_batch: int | None = None,
    **params: Any,
) -> tuple[list[Any], BatchMetrics]:
    """The vectors of `texts`, in their order, and `cache_hits, cache_misses, total_time_ms,
    provider_time_ms`.

    One read for all; one request to the provider with the missing texts alone, each once, in
    requests of `max_batch` texts where that is given. Other keywords are part of the vectors'
    identity. What one request brought is kept when another fails.
    """
    tenant = default_cache().tenant(tenant_id)
    embeddings = Embeddings(embedding_provider, model_name, max_batch=max_batch)
    # Not as arguments: one that is called `model` or `ttl` is a parameter like the others here.
    embeddings._identity = _identity(model_name, params)
    return await embeddings.of(tenant, texts, as_array=as_array)


async def stored_vector(
    tenant: Tenant, text: str, model: str, params: Mapping[str, Any], *, as_array: bool = False
) -> Any:
    """The vector of one text, from where a batch would find it; None if there is none."""
    resource_id = embedding_id(text, model, params)
    as_array = arguments.flag(as_array, "as_array")
    hit = await tenant.get(DATA_TYPE, resource_id, type=_form(as_array))
    if not hit:
        return None
    return _as_array(hit.value) if as_array else _as_list(hit.value)


async def store_vector(
    tenant: Tenant, text: str, vector: Any, model: str, params: Mapping[str, Any]
) -> bool:
    """Store the vector of one text where a batch finds it, unless there is one; None voids it."""
    resource_id = embedding_id(text, model, params)
    if vector is not None:
        vector, _ = checked_vector(vector)
    return await tenant._fill_anew(DATA_TYPE, resource_id, vector)


def embedding_id(text: str, model: str, params: Mapping[str, Any]) -> str:
    """The id under which the vector of a text is stored."""
    return _id_of(arguments.text(text, "text"), _identity(model, params))


def _id_of(text: str, identity: Any) -> str:
    identity.update(text.encode("utf-8", "surrogatepass"))
    return str(identity.hexdigest())


def _identity(model: str, params: Mapping[str, Any]) -> Any:
    """A hash that has taken all but the text, which comes last and so needs no length."""
    head = generate_resource_id_hash(arguments.text(model, "model_name"), **params)
    return blake2b(head.encode(), digest_size=16, person=b"cascada embed 1")
