"""`get_with_cache_aside`: cache, then database, then generator, and a report of what it took.

It is `Tenant.load` with the documents' arguments. Its own are the callbacks' parameters, the
caller's serializer and deserializer, and the report.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal, TypedDict

from cascada.api.context import Context
from cascada.api.default import LEFT_OUT, documents_tenant
from cascada.api.documents.callbacks import Callback, accepts_any, with_accepted
from cascada.codecs.public import as_lists
from cascada.engine.loading.loaders import SingleLoader, Terms, call
from cascada.engine.reading.levels import LevelLookup
from cascada.engine.request import Answer, LoadResult, Origin, Request
from cascada.model.door import arguments
from cascada.model.door.secret import without_values
from cascada.model.entry import MEMORY, Flag
from cascada.model.errors import BadInput
from cascada.model.keys import Id, Scope
from cascada.model.ttl import Duration

logger = logging.getLogger("cascada")

Source = Literal["cache", "supabase", "generation", "none"]
_SOURCES: Final[dict[Origin, Source]] = {
    "loader": "supabase",
    "generator": "generation",
    "nothing": "none",
}


_CONTEXT: Final = ("agent_id", "conversation_id", "collection_id")


class CacheAsideMetrics(TypedDict):
    """What one call took; times that were not spent are 0."""

    source: Source
    cache_hit: bool
    cache_check_time_ms: float
    db_check_time_ms: float
    generation_time_ms: float
    total_time_ms: float
    data_type: str
    resource_id: Id
    tier: str | None
    stale: bool
    coalesced: bool


async def get_with_cache_aside(
    data_type: str,
    resource_id: Id,
    tenant_id: Id = LEFT_OUT,
    fetch_from_db_func: Callback | None = None,
    generate_func: Callback | None = None,
    agent_id: Id | None = None,
    conversation_id: Id | None = None,
    collection_id: Id | None = None,
    ctx: Any = None,
    ttl: Duration | None = None,
    serializer: Callable[[Any], Any] | None = None,
    deserializer: Callable[[Any], Any] | None = None,
) -> tuple[Any, CacheAsideMetrics]:
    """The value from the cache, else from `fetch_from_db_func`, else from `generate_func`.

    Both callbacks, async or plain, get those of `resource_id, tenant_id, ctx, agent_id,
    conversation_id, collection_id` that they accept; of a `ctx`, which must be of the same tenant,
    they get the parts that the arguments leave out. The key is made of the arguments alone. What
    the serializer makes is what is stored; every caller gets what the deserializer makes of a copy
    of its own. `ttl`: None as the data type says, 0 never.
    """
    handle = documents_tenant(tenant_id, agent_id, conversation_id, collection_id)
    known: tuple[Id | None, ...] = agent_id, conversation_id, collection_id
    if ctx is not None:
        known = _known(ctx, handle.tenant, known)
    as_stored = serializer is None and deserializer is None
    if not (as_stored and generate_func is None and callable(fetch_from_db_func)):
        _check(fetch_from_db_func, generate_func, serializer, deserializer)
    if ttl is not None:
        ttl = arguments.duration(ttl, zero=True)
    engine = handle._engine
    clock = engine.clock
    started = clock.monotonic()
    if as_stored and not engine.check.armed:
        hit = handle.peek(data_type, resource_id)
        if hit is not None:
            spent = clock.monotonic() - started
            value = as_lists(hit.value, data_type)
            return value, _metrics(None, spent, spent, data_type, resource_id)
    given = {
        "resource_id": resource_id,
        "tenant_id": tenant_id,
        "ctx": ctx,
        **dict(zip(_CONTEXT, known, strict=True)),
    }
    # What a serializer made is of no declared type.
    want = None if as_stored else Any
    fetch = fetch_from_db_func and with_accepted(fetch_from_db_func, given)
    generate = generate_func and with_accepted(generate_func, given)
    turned: list[float] = []
    make = partial(Aside, turned, serializer, clock=clock, stored=Terms(ttl))

    type_keys = handle._type_keys(data_type)

    async def ask() -> tuple[Any, Answer]:
        generating = generate is not None and not type_keys.by_level
        request = type_keys.request(resource_id, want, generating=generating)
        if not type_keys.by_level:
            return await engine.ask(request, make(fetch, generate))
        at_level = fetch_from_db_func and _by_level(fetch_from_db_func, given)
        levels = LevelLookup(engine.stack, at_level, generate, request.candidates, make)
        return await engine.ask(request, levels)

    stored, answer = await ask()
    try:
        value = _deserialized(stored, answer, data_type, deserializer)
    except Exception as error:
        if answer.tier == "source":
            raise
        # Other code than this has stored it. It is a miss, like all that does not decode.
        why = without_values(error)
        logger.warning("%s %s does not deserialize: %s", data_type, resource_id, why)
        request = type_keys.request(resource_id, want)
        await engine.discard(request, answer, strict=type_keys.kind.policy.strict)
        stored, answer = await ask()
        value = _deserialized(stored, answer, data_type, deserializer)
    total = clock.monotonic() - started
    checked = (turned[0] if turned else started) - started
    return value, _metrics(answer, checked, total, data_type, resource_id)


class Aside(SingleLoader):
    """The callbacks as the engine's loader. `turned`: when they were turned to is added to it."""

    def __init__(
        self,
        turned: list[float],
        serializer: Callback | None,
        *callbacks: Callback | None,
        **named: Any,
    ) -> None:
        super().__init__(*callbacks, **named)
        self._serializer = serializer
        self._turned = turned

    async def load(self, requests: Sequence[Request]) -> list[LoadResult]:
        self._turned.append(self._timer())
        (made,) = await super().load(requests)
        if self._serializer is not None and not made.absent:
            made.value = self._serializer(made.value)
        return [made]


def _check(
    fetch: Callback | None,
    generate: Callback | None,
    serializer: Callback | None,
    deserializer: Callback | None,
) -> None:
    """Refuse what cannot be called. The usual callbacks, one to fetch, do not come here."""
    if fetch is None and generate is None:
        raise BadInput("get_with_cache_aside has nothing to ask; pass fetch_from_db_func")
    for name, each in (("fetch_from_db_func", fetch), ("generate_func", generate)):
        if each is not None:
            arguments.function(each, name)
    for name, each in (("serializer", serializer), ("deserializer", deserializer)):
        if each is not None:
            arguments.plain_function(each, name)


def _known(ctx: object, tenant: str, given: tuple[Id | None, ...]) -> tuple[Id | None, ...]:
    """The context that callbacks see: the arguments, else what a ctx of this tenant says."""
    if not isinstance(ctx, Context):  # callbacks may have one of their own making
        return given
    ctx.must_be_of(tenant)
    said = ctx.get_agent_id(), ctx.get_conversation_id(), ctx.get_collection_id()
    return tuple([told if own is None else own for own, told in zip(given, said, strict=True)])


def _by_level(callback: Callback, given: dict[str, Any]) -> Callback:
    """The callback with the context of a level, if it looks at any of it."""
    if not accepts_any(callback, tuple(given), _CONTEXT):
        return with_accepted(callback, given)

    async def at_level(scope: Scope) -> Any:
        at = dict(zip(_CONTEXT, scope, strict=True))
        return await call(with_accepted(callback, {**given, **at}))

    return at_level


def _deserialized(
    stored: Any, answer: Answer, data_type: str, deserializer: Callback | None
) -> Any:
    if answer.absent or answer.entry.flags & Flag.ABSENT:
        return None
    if deserializer is None:
        return as_lists(stored, data_type)
    return deserializer(stored)


def _metrics(
    answer: Answer | None, check: float, total: float, data_type: str, resource_id: Id
) -> CacheAsideMetrics:
    """The report; without an answer, of a hit in memory.

    A follower's waiting is in its total alone: another caller spent the times.
    """
    tier: str | None = MEMORY
    source: Source = "cache"
    fetched = generated = 0.0
    if answer is not None:
        tier = None if answer.tier == "source" else answer.tier
        if answer.origin is not None:
            source = _SOURCES[answer.origin]
        elif answer.entry.flags & Flag.ABSENT:
            source = "none"
        if tier is None and answer.coalesced:
            check = 0.0
        elif tier is None:
            fetched, generated = answer.loader_seconds, answer.generator_seconds
    return {
        "source": source,
        "cache_hit": tier is not None,
        "cache_check_time_ms": (check if tier is None else total) * 1000,
        "db_check_time_ms": fetched * 1000,
        "generation_time_ms": generated * 1000,
        "total_time_ms": total * 1000,
        "data_type": data_type,
        "resource_id": resource_id,
        "tier": tier,
        "stale": answer is not None and answer.stale,
        "coalesced": answer is not None and answer.coalesced,
    }
