"""Every public callable, found by looking, and a plain value for each of its arguments.

The walk goes from the package's root, its test doubles and its integrations to all methods of the
classes there, and on to those of what calls return. Each callable is in COVERED, and every one of
its parameters then has a plain value, or in LEFT_OUT with the reason. What is in neither is new.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from itertools import count
from typing import Any, Final, NamedTuple

import cascada
from cascada import (
    Cache,
    CacheManager,
    CachePriority,
    CacheService,
    Context,
    Dependent,
    Embeddings,
    Hit,
    Limits,
    Policy,
    Scope,
    Tenant,
    cached,
)
from cascada.ai import Tools
from cascada.api.cached.forms import AsyncCached, PlainCached
from cascada.api.cached.streams import StreamCached
from cascada.integrations.prometheus import CacheCollector
from cascada.model.clock import SystemClock
from cascada.testing import ManualClock
from tests.properties.documented import DOCUMENTED
from tests.properties.left_out import WAITING, WHOLE_CLASSES_LEFT_OUT

MODULES: Final = (
    "ai", "ai.httpx2", "testing",
    "integrations.http", "integrations.fastapi", "integrations.prometheus",
)  # fmt: skip


async def row() -> str:
    return "v"


async def rows(ids: list[str]) -> dict[str, str]:
    return dict.fromkeys(ids, "v")


async def fetch(resource_id: str, tenant_id: str) -> str:
    return "v"


async def pieces() -> AsyncIterator[str]:
    yield "a"
    yield "b"


def embed(texts: list[str]) -> list[list[float]]:
    return [[0.5, 1.0] for _ in texts]


def same(value: Any) -> Any:
    return value


class World:
    """The tiers of one run, and a new tenant for every call, so that equal calls do the same."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._numbers = count()
        self.tenant = "t"
        self.miss: Any = None

    def next(self) -> None:
        self.tenant = f"t{next(self._numbers)}"

    async def look(self) -> None:
        """Leave a miss of this call's tenant, for a call that is given one."""
        acme = self.acme
        miss = await acme.get("x", "r1")
        self.tenant, self.miss = acme.tenant, miss  # calls are made at once

    def restore(self) -> None:
        """What a call may have changed for the whole process."""
        cascada.configure(self.cache)
        cascada.register_conversation_resolver(None)

    @property
    def acme(self) -> Tenant:
        return self.cache.tenant(self.tenant)


LEFT: Final = object()
"""The plain value of an argument that is not passed."""

Plain = Callable[[World], Any]


class Made(NamedTuple):
    """A plain value that depends on the world."""

    make: Plain


def constant(value: Any) -> Plain:
    return lambda world: value


PLAIN: Final[dict[str, Plain]] = {
    **{name: constant(value) for name, value in {
        "agent": "a1", "agent_id": "a1", "amount": 1, "as_array": False, "cache_hit": True,
        "cached": [0.5], "collection": "l1", "collection_id": "l1", "condition": LEFT,
        "config": {"model": "small"}, "conversation": "c1", "conversation_id": "c1",
        "counter_type": "hits", "data_type": "x", "default": "d", "deserializer": same,
        "document_id": "d1", "dry_run": False, "embedding": [0.5, 1.0], "embedding_provider": embed,
        "end": -1, "fetch_from_db_func": fetch, "generate_func": fetch, "generator": row,
        "half": False, "hit": True, "ids": {"conversation": "c1"}, "ignore": LEFT,
        "invalidate_conversations": False, "latency_ms": 1.5, "list_name": "inbox", "loader": row,
        "max_batch": 8, "max_calls": 2, "max_items": 10, "max_wait": 0.001, "money": Decimal("1.5"),
        "metadata": {"n": 1}, "metric_type": "seen", "model": "m", "model_name": "m",
        "named": {"name": "part"}, "operation": "read", "params": {"top_k": 4}, "parts": "part",
        "pieces": pieces, "policy": Policy(ttl=60), "priority": CachePriority.HIGH,
        "provider": embed, "query": "q", "resolver": same, "resource_id": "r1",
        "resource_ids": ["r1", "r2"], "result": ["r"], "revalidate_func": row, "scope": LEFT,
        "segment": LEFT, "segments": ["new"], "serializer": same,
        "sources": [("y", "1")], "stale_for": 9.0, "start": 0, "strict": False,
        "subjects": "conversation", "tag": "news", "tags": ["news"], "text": "text",
        "texts": ["one", "two"], "too_many": LEFT, "ttl": 60.0, "type": str,
        "user_id": "u1", "value": "v", "version": 7,
    }.items()},
    "cache": lambda world: world.cache,
    "ctx": lambda world: Context(tenant_id=world.tenant),
    "key": lambda world: world.acme.key("x", "r1"),
    "tenant": lambda world: world.tenant,
    "tenant_id": lambda world: world.tenant,
}  # fmt: skip

ANY: Final = frozenset(
    {"value", "default", "metadata", "embedding", "result", "config", "cached", "answer", "type"}
    | {"parts", "named", "params", "args", "kwargs", "request", "kept"}
)
"""Arguments that may be of any type: what cannot be stored or hashed exactly is refused."""


async def answer(question: Any = None, also: Any = None) -> str:
    return "v"


def plain_answer(question: Any = None, also: Any = None) -> str:
    return "v"


async def streamed_answer(question: Any = None, also: Any = None) -> AsyncIterator[str]:
    yield "v"


def tools_of(cache: Cache) -> Tools:
    tools = Tools(cache)
    tools.reads(("x", "{question}"))(answer)
    return tools


_OWNERS: Final[dict[str, Callable[[World], Any]]] = {
    "AdvancedCacheManager": lambda world: cascada.advanced_cache_manager,
    "AsyncCached": lambda world: cached("x", cache=world.cache)(answer),
    "Cache": lambda world: world.cache,
    "CacheCollector": lambda world: CacheCollector(world.cache),
    "CacheManager": lambda world: CacheManager.get_instance(),
    "CacheService": lambda world: CacheService(cache=world.cache),
    "Context": lambda world: Context(tenant_id=world.tenant, agent_id="a1"),
    "Embeddings": lambda world: Embeddings(embed, "m"),
    "Key": lambda world: cascada.Key,
    "ManualClock": lambda world: ManualClock(),
    "PersonalizedCache": lambda world: cascada.personalized_cache,
    "StandardCache": lambda world: cascada.standard_cache,
    "SwrCache": lambda world: cascada.swr_cache,
    "TaggedCache": lambda world: cascada.tagged_cache,
    "PlainCached": lambda world: cached("x", cache=world.cache)(plain_answer),
    "StreamCached": lambda world: cached("x", cache=world.cache)(streamed_answer),
    "Tenant": lambda world: world.acme,
    "TenantList": lambda world: world.acme.list("inbox"),
    "Tools": lambda world: tools_of(world.cache),
}


class Door(NamedTuple):
    """One public callable: what to call, and the plain value of each of its parameters."""

    name: str
    make: Callable[[World], Callable[..., Any]]
    plain: dict[str, Plain]
    parameters: tuple[inspect.Parameter, ...]

    def call(self, world: World, changed: str = "", value: Any = None) -> Any:
        """Call it with its plain values, one of them changed."""
        args: list[Any] = []
        named: dict[str, Any] = {}
        for each in self.parameters:
            given = value if each.name == changed else self.plain[each.name](world)
            if given is LEFT and each.default is not each.empty:
                given = each.default
            if each.kind is each.VAR_POSITIONAL:
                args += [] if given is LEFT else [given]
            elif each.kind is each.VAR_KEYWORD:
                if each.name == changed:
                    given = dict.fromkeys(NAMES_OF[each.name], value)
                named |= {} if given is LEFT else given
            elif each.kind is each.KEYWORD_ONLY:
                named[each.name] = given
            else:
                args.append(given)
        return self.make(world)(*args, **named)


NAMES_OF: Final = {
    "ids": ("conversation",), "kept": ("ttl",), "request": ("model", "input"),
    "params": ("top_k",), "named": ("name",), "kwargs": ("also",),
}  # fmt: skip
"""By which keyword an odd value is passed where a callable takes any."""


COVERED: Final[dict[str, dict[str, Any]]] = {
    # --- the modern face
    "Cache": {
        "redis": LEFT, "redis_password": LEFT, "database": LEFT, "policies": {"x": Policy()},
        "default_policy": Policy(), "limits": Limits(), "namespace": "n", "mode": "on",
        "read_strategy": "READ_AROUND", "write_strategy": "WRITE_AROUND",
        "encryption_keys": LEFT, "encrypt": "all",
        "dependencies": {"plan": [Dependent(data_type="plan", by_id="plan")]},
        "tenant_validator": same, "observers": [same], "debug": False, "clock": SystemClock(),
        "tiers": [], "prices": {"m": {"input": 1.25}},
    },
    "Limits": {
        "redis_connection_timeout": 20.0, "redis_socket_timeout": 5.0, "redis_max_connections": 4,
        "redis_pool_timeout": 5.0, "default_ttl": 60.0,
        "l1_bytes": 2**20, "l2_bytes": 2**20, "l3_bytes": 2**20, "op_timeout": 1.0,
        "degraded_l1_ttl": 1.0, "load_timeout": 1.0, "invalidate_patience": 1.0,
        "on_pending": "warn", "max_loads": 4, "max_loads_per_type": 4, "load_wait": 1.0,
        "compress_over": 4096, "max_value_bytes": 2**20, "self_check": 0.0, "optimize_every": 0.0,
        "prefetch_budget": 0.5, "eviction": "lru", "warm_restart": 100,
    },
    "Cache.bypass": {}, "Cache.get": {}, "Cache.stats": {"tenants": 3}, "Cache.tenant": {},
    "Cache.set_policy": {}, "Tenant.add": {}, "Tenant.delete_many": {},
    "Tenant.set_many": {"values": {"r1": "v", "r2": "v"}},
    "Tenant.cascade": {}, "Tenant.counter": {"counter_type": "hits"}, "Tenant.delete": {},
    "Tenant.explain": {}, "Tenant.get": {}, "Tenant.get_many": {}, "Tenant.increment": {},
    "Tenant.invalidate": {}, "Tenant.key": {}, "Tenant.list": {}, "Tenant.load": {},
    "Tenant.fill": {"miss": Made(lambda world: world.miss), "cost": Decimal("1.5")},
    "Tenant.load_many": {"loader": rows}, "Tenant.peek": {},
    "Tenant.set": {"cost": Decimal("1.5")},
    "Tenant.stream": {}, "Tenant.touch": {}, "Tenant.ttl": {}, "Tenant.within": {},
    "TenantList.length": {}, "TenantList.lpop": {}, "TenantList.lpush": {},
    "TenantList.range": {}, "TenantList.rpop": {}, "TenantList.rpush": {}, "TenantList.trim": {},
    "Policy": {
        "ttl": 60.0, "stale_for": 5.0, "stale_if_error": 5.0, "refresh_at": 0.5, "none_ttl": 5.0,
        "refresh_hits": 2, "varies_by": ("agent",), "lookup": "exact",
        "durable": False, "strict": False, "shared": False, "sensitive": False, "max_ttl": 60.0,
        "bulky_bytes": 1000, "bulky_ttl": 60.0, "codec": "f64", "version": 1,
        "checkable": True, "sources": "required", "prefetch": True, "loader": row,
        "trial": Policy(ttl=9), "trial_share": 0.25,
    },
    "Loaded": {"scope": Scope("a1"), "cost": Decimal("1.5"), "store": True},
    "Cost": {"tokens_in": 7, "tokens_out": 3, "tokens_cached": 2, "tokens_written": 1},
    "Price": dict.fromkeys(("input", "output", "cached", "written", "call"), Decimal("1.5")),
    "Context": {},
    "Dependent": {"by_id": "agent", "within": "agent", "label": "l"},
    "Context.get_agent_id": {}, "Context.get_collection_id": {},
    "Context.get_conversation_id": {}, "Context.get_tenant_id": {},
    "Context.lacks": {"part": "agent"},
    "Key.parse": {"text": "a:b:c"},
    "cached": {"key_prefix": LEFT, "key": LEFT, "sources": LEFT},
    "Embeddings": {}, "Embeddings.of": {"tenant": Made(lambda world: world.acme)},
    **DOCUMENTED,
    # --- beside them
    "ManualClock": {"now": 1.0}, "ManualClock.advance": {"seconds": 1.0},
    "ManualClock.step_wall": {"seconds": 1.0}, "ManualClock.monotonic": {},
    "ManualClock.time": {},
    "cache_status": {
        "answer": Hit("v", "l1"), "ttl": 1.5, "stored": True, "bypassed": False, "cache": "c",
    },
    "lifespan": {"services": LEFT},
    "tenant_from": {"resolver": same}, "handle_from": {"resolver": same},
    "cached_response": {"tenant": LEFT, "vary": ("Accept",), "max_age": 5.0},
    # Of a cache of its own: what a scrape takes grows with the tenants that were met.
    "CacheCollector": {"tenants": 2, "data_types": 2, "times_by_type": True},
    "exposition": {"cache": Cache(), "tenants": 2, "times_by_type": True},
    **{f"{kind}.{name}": {"args": "q", "kwargs": LEFT} for kind in (
        "AsyncCached", "PlainCached", "StreamCached"
    ) for name in ("cache_key", "invalidate", "refresh") if (kind, name) not in WAITING},
    # --- models and their tools
    "request_id": {"provider": "openai", "request": {"model": "m", "input": "x"}},
    "AsyncModelTransport": {"transport": LEFT, "kept": LEFT},
    "ModelTransport": {"transport": LEFT, "kept": LEFT},
    "Tools": {},
    "Tools.add": {"function": answer, "reads": [("x", "1")], "writes": LEFT, "name": "n"},
    "Tools.call": {"name": "answer", "arguments": {"question": "q"}},
    "Tools.reads": {"sources": ("x", "1"), "name": "n"},
    "Tools.writes": {"names": ("x", "1"), "name": "n"}, "Tools.wrote": {"names": ("x", "1")},
    "CacheCollector.refresh": {}, "CacheCollector.describe": {}, "CacheCollector.collect": {},
}  # fmt: skip


HANDLES: Final = (AsyncCached, PlainCached, StreamCached)
"""Classes that no name of the root is, but that calls return; the test sees that it is all of them
that have methods."""


def roots() -> Iterator[tuple[str, Any]]:
    """Whatever a user can import."""
    for name in sorted(cascada._HOME):
        yield name, getattr(cascada, name)
    for module in MODULES:
        home = importlib.import_module(f"cascada.{module}")
        for name in home.__all__:
            yield name, getattr(home, name)


def found() -> dict[str, Any]:
    """All public callables that are reached without calling anything."""
    callables: dict[str, Any] = {}
    for name, value in roots():
        if inspect.isclass(value) and issubclass(value, BaseException):
            continue  # raised by cascada, not called
        if callable(value):
            callables[name] = value
        if inspect.isclass(value):
            callables |= methods_of(value)
        elif type(value).__module__.startswith("cascada"):
            callables |= methods_of(type(value))  # an object of ours, such as a ready strategy
    for kind in HANDLES:
        callables |= methods_of(kind)
    return callables


def methods_of(kind: type) -> dict[str, Any]:
    """The public methods that a class of cascada has from cascada."""
    if kind.__name__ in WHOLE_CLASSES_LEFT_OUT:
        return {}
    return {
        f"{kind.__name__}.{name}": value
        for name in dir(kind)
        if not name.startswith("_")
        and not isinstance(inspect.getattr_static(kind, name), property)
        and callable(value := getattr(kind, name))
        and not inspect.isclass(value)
        and (getattr(value, "__module__", None) or "").startswith("cascada")
    }


def doors() -> list[Door]:
    """All that are covered; KeyError names a parameter that has no plain value."""
    callables = found()
    return [_door(name, callables[name]) for name in COVERED]


def _door(name: str, target: Any) -> Door:
    parameters = [
        each for each in inspect.signature(target).parameters.values() if each.name != "self"
    ]
    plain = {**PLAIN, **{each: _as_plain(value) for each, value in COVERED[name].items()}}
    return Door(
        name,
        _maker(name, target),
        {each.name: plain[each.name] for each in parameters},
        tuple(parameters),
    )


def _as_plain(value: Any) -> Plain:
    return value.make if isinstance(value, Made) else constant(value)


def _maker(name: str, target: Any) -> Callable[[World], Callable[..., Any]]:
    owner, dot, method = name.partition(".")
    if name == "Cache.set_policy":  # it empties the memory of all tenants, and is meant to
        return lambda world: Cache().set_policy
    if not dot:
        return lambda world: target  # type: ignore[no-any-return]  # whatever it is
    return lambda world: getattr(_OWNERS[owner](world), method)
