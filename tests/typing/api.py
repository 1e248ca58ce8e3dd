"""The public names as a user writes them: mypy --strict must take it, and infer what it says."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, assert_type

from langchain_core.outputs import Generation

from cascada import (
    CACHE_TYPE_AGENT_CONFIG,
    FOREVER,
    METRIC_CACHE_HIT,
    TTL_STANDARD,
    BadInput,
    Cache,
    CacheManager,
    CachePriority,
    CascadaError,
    Context,
    Event,
    ForgetReport,
    Hit,
    Invalidated,
    Key,
    Loaded,
    Miss,
    MissingTenant,
    Policy,
    SyncCache,
    SyncList,
    SyncTenant,
    Tenant,
    TenantList,
    advanced_cache_manager,
    cached,
    configure,
    generate_resource_id_hash,
    get_cache_analytics,
    get_cached_value,
    get_ttl_for_data_type,
    get_with_cache_aside,
    personalized_cache,
    reset,
    serialize_for_cache,
    set_cached_value,
    standard_cache,
    swr_cache,
    tagged_cache,
)
from cascada.ai import Tools, request_id
from cascada.integrations import langgraph
from cascada.integrations.fastapi import cached_response, handle_from
from cascada.integrations.langchain import CascadaByteStore, CascadaCache


def observe(event: Event) -> None:
    assert_type(event.key, str | None)


cache = Cache(
    policies={
        CACHE_TYPE_AGENT_CONFIG: Policy(ttl=timedelta(hours=1), varies_by=("agent",)),
        "agent_response": Policy(ttl=300, stale_for=60),
    },
    observers=[observe],
)
configure(cache)


async def perhaps() -> dict[str, int] | None:
    return None


def perhaps_plain() -> dict[str, int] | None:
    return None


def loaded_many(ids: list[str]) -> list[Loaded[int] | None]:
    return [Loaded(len(each)) for each in ids]


async def anything() -> dict[str, Any]:
    return {}


async def int_or_str() -> int | str | None:
    return None


async def many(ids: list[str]) -> dict[str, dict[str, int] | None]:
    return dict.fromkeys(ids)


async def modern() -> None:
    async with cache:
        acme = cache.tenant("acme", agent="a1", conversation=7)
        assert_type(acme, Tenant)
        got = await acme.get("agent_config", "a1")
        assert_type(await acme.touch("agent_config", "a1", timedelta(hours=1)), bool)
        if isinstance(got, Hit):
            assert_type(got.tier, str)
        else:
            assert isinstance(got, Miss)
        key = acme.key("agent_config", "a1")
        assert_type(key, Key)
        await cache.get(key)

        async def row() -> Loaded[dict[str, int]]:
            return Loaded({"n": 1}, ttl=FOREVER, tags=["news"], sources=["document:d1"])

        typed = await acme.load("agent_config", "a1", row, type=dict)
        if isinstance(typed, Hit):
            assert_type(typed.value, dict[Any, Any])
        inbox = acme.list("inbox", type=dict)
        assert_type(inbox, TenantList)
        assert_type(await inbox.rpush({"n": 1}), int)
        assert_type(await inbox.range(0, -1), list[Any])
        assert_type(await acme.increment("api_calls", "chat", amount=2, metadata={}), int)
        assert_type(await acme.counter("api_calls", "chat"), int)
        assert_type(await acme.add("job", 7, {"by": "me"}, ttl=60, tags=["news"]), bool)
        many_set = await acme.set_many("doc", {"d1": 1, "d2": [2]}, ttl=60, tags=["news"])
        assert_type(many_set, list[bool])
        await acme.set_many("doc", [("d1", 1), (7, "two")], priority=CachePriority.LOW)
        assert_type(await acme.delete_many("doc", ["d1", 7]), list[bool])
        assert_type((await acme.invalidate("doc", ["d1", "d2"])).keys, int)

        async def pieces() -> AsyncIterator[str]:
            yield "piece"

        stream = acme.stream("agent_response", "q1", pieces, ttl=300, tags=["news"])
        assert_type(stream, AsyncGenerator[str])
        async for piece in stream:
            assert_type(piece, str)
        done = await acme.within(collection="k").invalidate(tag="news")
        assert_type(done, Invalidated)
        assert_type(done.keys, int)


async def typed_by_the_loader(acme: Tenant) -> None:
    async def row() -> Loaded[dict[str, int]]:
        return Loaded({"n": 1})

    if said := await acme.load("agent_config", "a1", row):
        assert_type(said.value, dict[str, int])
    else:
        assert_type(said.absent, bool)
    if either := await acme.load("agent_config", "a1", perhaps, row, ttl=5, tags=["t"]):
        assert_type(either.value, dict[str, int])
    if plain := await acme.load("agent_config", "a1", lambda: [1]):
        assert_type(plain.value, list[int])
    for one_row in await acme.load_many("agent_config", ["a1"], many):
        if one_row:
            assert_type(one_row.value, dict[str, int])


async def typed_by_other_loaders(acme: Tenant) -> None:
    if mixed := await acme.load("agent_config", "a1", perhaps_plain, perhaps):
        assert_type(mixed.value, dict[str, int])
    if generated := await acme.load("agent_config", "a1", None, perhaps):
        assert_type(generated.value, dict[str, int])
    # What is known of Any is kept: a hit, whatever it holds.
    assert_type(await acme.load("agent_config", "a1", anything), Hit[Any] | Miss)
    either_of: Hit[int | str] | Miss = await acme.load("agent_config", "a1", int_or_str)
    task = asyncio.create_task(acme.load("agent_config", "a1", perhaps))
    assert_type(await task, Hit[dict[str, int]] | Miss)
    assert_type(either_of.value if either_of else None, int | str | None)
    for loaded in await acme.load_many("agent_config", ["a1"], loaded_many):
        if loaded:
            assert_type(loaded.value, int)


async def typed_by_the_caller(acme: Tenant) -> None:
    if of_bytes := await acme.get("agent_config", "a1", type=bytes):
        assert_type(of_bytes.value, bytes)
    for one in await acme.get_many("agent_config", ["a1"], type=bytes):
        if one:
            assert_type(one.value, bytes)


def waited_for() -> None:
    with cache.sync as waiting:
        assert_type(waiting, SyncCache)
        acme = waiting.tenant("acme", agent="a1", conversation=7)
        assert_type(acme, SyncTenant)
        assert_type(acme.within(collection="k"), SyncTenant)
        if of_bytes := acme.get("agent_config", "a1", type=bytes):
            assert_type(of_bytes.value, bytes)
        if said := acme.load("agent_config", "a1", perhaps, ttl=5, tags=["t"]):
            assert_type(said.value, dict[str, int])
        if plain := acme.load("agent_config", "a1", lambda: [1]):
            assert_type(plain.value, list[int])
        for row in acme.load_many("agent_config", ["a1"], loaded_many):
            if row:
                assert_type(row.value, int)
        assert_type(acme.set("agent_config", "a1", {"n": 1}, ttl=FOREVER, cost=0.5), bool)
        assert_type(acme.add("agent_config", "a1", 1), bool)
        assert_type(acme.invalidate("agent_config", "a1"), Invalidated)
        assert_type(acme.increment("api_calls", "chat", amount=2), int)
        inbox = acme.list("inbox", type=dict)
        assert_type(inbox, SyncList)
        assert_type(inbox.rpush({"n": 1}), int)
        for piece in acme.stream("agent_response", "q1", words):
            assert_type(piece, str)
        assert_type(waiting.stats().total.loads, int)
        assert_type(waiting.warm_restart.finished, bool)
        assert_type(waiting.forget("acme", user=7), ForgetReport)
        waiting.forget("acme", 7)  # type: ignore[call-arg]
        acme.set("agent_config")  # type: ignore[call-arg]
        acme.get("agent_config", b"")  # type: ignore[call-overload]
        acme.load("agent_config", "a1", 7)  # type: ignore[call-overload]


async def words() -> AsyncIterator[str]:
    yield "word"


async def documented() -> None:
    value, metrics = await get_with_cache_aside(
        data_type="agent_config",
        resource_id="a1",
        tenant_id="acme",
        fetch_from_db_func=lambda resource_id, tenant_id: None,
        ttl=TTL_STANDARD,
    )
    assert_type(value, Any)
    assert_type(metrics["total_time_ms"], float)
    assert_type(metrics["cache_hit"], bool)
    metrics["hits"]  # type: ignore[typeddict-item]
    await CacheManager.set(
        "agent", generate_resource_id_hash("a", b=1), serialize_for_cache(1, "x"), "acme"
    )
    assert_type(await CacheManager.get_instance().ttl("agent", "a1", "acme"), float | None)
    assert_type(await CacheManager.invalidate("acme", "agent", "*"), int)
    assert_type(get_ttl_for_data_type("embedding"), int)
    manager = CacheManager.get_instance()
    assert_type(await manager.rpush("inbox", {"n": 1}, tenant_id="acme"), int)
    assert_type(await manager.lrange("inbox", 0, -1, "acme"), list[Any])
    await manager.ltrim("inbox", 0, 9, "acme")
    await CacheManager.rpush("inbox", 1, "acme")  # type: ignore[arg-type]
    assert_type(await CacheManager.increment_counter("c", 1, "r", "acme"), int)
    assert_type(await CacheManager.get_counter(scope="c", resource_id="r", tenant_id="acme"), int)
    metric: str = METRIC_CACHE_HIT
    await CacheManager.set(metric, 1, b"", "acme", ttl=timedelta(1), tags=("t",), version=3)
    await CacheManager.get("agent", None, "acme")  # type: ignore[arg-type]
    await reset()


async def documented_in_layers() -> None:
    assert_type(await set_cached_value("k", 1, ttl=None, priority=CachePriority.HIGH), bool)
    assert_type(await get_cached_value("k", default=0), Any)
    assert_type(await standard_cache.set("k", 1, ttl=timedelta(hours=1)), bool)
    assert_type(await swr_cache.get("k", perhaps, ttl=60), dict[str, int] | None)
    assert_type(await swr_cache.get("k", perhaps_plain), dict[str, int] | None)
    assert_type(await tagged_cache.set("k", 1, tags=["news"]), bool)
    assert_type(await tagged_cache.delete_by_tag("news"), int)
    assert_type(await personalized_cache.set("k", 1, user_id=7), bool)
    assert_type(await personalized_cache.get("k", 7, ["new"]), Any)
    assert_type(await personalized_cache.delete_user_cache(7), int)
    plan = await advanced_cache_manager.optimize_cache_distribution(dry_run=True)
    assert_type(plan["moves"][0]["to"], str | None)
    assert_type(plan["expected"]["hits"], float)
    told = await get_cache_analytics()
    assert_type(told["global_statistics"]["global_hit_ratio"], float)
    assert_type(told["layer_statistics"]["l1"]["hits"], int)
    await set_cached_value("k", 1, priority=3)  # type: ignore[arg-type]
    await swr_cache.get("k", 7)  # type: ignore[call-overload]


@cached("weather", ttl=FOREVER)
async def weather(city: str, *, units: str = "C") -> dict[str, float]:
    return {city: 20.0}


@cached(ttl=1800, key_prefix="agent_response")
async def respond(prompt: str) -> Loaded[str]:
    return Loaded(prompt, tags=[prompt])


@cached(ttl=60, key="user:{user_id}", condition=lambda found: bool(found), stale_for=30)
async def user(user_id: int) -> dict[str, str]:
    return {"id": str(user_id)}


@cached("perhaps")
async def perhaps_loaded(prompt: str) -> Loaded[str] | None:
    return Loaded(prompt) if prompt else None


@cached(ttl=None, tags=("rows",), policy=Policy(none_ttl=60))
def rows(table: str, limit: int = 10) -> list[int]:
    return [limit]


@cached("tokens", ttl=60)
async def tokens(prompt: str, *, limit: int = 10) -> AsyncIterator[str]:
    yield prompt[:limit]


class Repository:
    @cached("row-parts", ignore=("self",))
    async def parts(self, number: int) -> AsyncGenerator[bytes]:
        yield bytes(number)

    @cached("row", ignore=("self",))
    async def row(self, number: int) -> str:
        return str(number)

    @cached("plain-row", ignore=["self"])
    def plain_row(self, number: int) -> str:
        return str(number)


async def decorated(repository: Repository, cities: Sequence[str]) -> None:
    with Context(tenant_id="acme", agent_id="a1") as context:
        assert_type(context.get_tenant_id(), str)
        assert_type(context.get_agent_id(), str | None)
        assert_type(await weather(cities[0], units="F"), dict[str, float])
        assert_type(await respond("p"), str)
        assert_type(await perhaps_loaded("p"), str | None)
        assert_type(rows("t", limit=3), list[int])
        assert_type(await rows.aio("t"), list[int])
        assert_type(await repository.row(1), str)
        assert_type(repository.plain_row(number=1), str)
        assert_type(await repository.plain_row.aio(1), str)
        assert_type(await weather.invalidate("Paris"), Invalidated)
        assert_type(rows.invalidate("t"), Invalidated)
        assert_type(await weather.refresh("Paris"), dict[str, float])
        assert_type(weather.cache_key("Paris"), Key)
        assert_type(tokens("p", limit=3), AsyncGenerator[str])
        assert_type(repository.parts(1), AsyncGenerator[bytes])
        assert_type(await tokens.invalidate("p"), Invalidated)
        assert_type(tokens.refresh("p"), AsyncGenerator[str])
        assert_type(tokens.cache_key("p"), Key)
        tokens(7)  # type: ignore[arg-type]
        await weather(7)  # type: ignore[arg-type]
        await repository.row()  # type: ignore[call-arg]
        rows.cache_key(table=b"")  # type: ignore[arg-type]


tools = Tools(cache, tenant="acme", ttl=60)


@tools.reads(("account", "{account}"), lambda account: [("bank", account[:2])], ttl=5)
async def balance(account: str, currency: str = "EUR") -> int:
    return 1


@tools.writes(("account", "{account}"))
def deposit(account: str, amount: int) -> str:
    return "done"


async def called_by_models() -> None:
    assert_type(await balance("a1"), int)
    assert_type(deposit("a1", amount=3), str)
    assert_type(await tools.call("balance", '{"account": "a1"}'), Any)
    assert_type(await tools.wrote(("account", "a1")), Invalidated)
    assert_type(tools.add(deposit, name="give")("a1", 2), str)
    assert_type(list(tools), list[str])
    assert_type(tools.sync.call("balance", {"account": "a1"}), Any)
    assert_type(tools.sync.wrote(("account", "a1")), Invalidated)
    assert_type(request_id("openai", model="m", messages=[]), str)
    await balance(7)  # type: ignore[arg-type]
    deposit("a1")  # type: ignore[call-arg]


async def asked_by_frameworks() -> None:
    of_langchain = CascadaCache(cache, tenant="acme", ttl=60, tags=["news"], wait=5)
    assert_type(await of_langchain.alookup("p", "l"), list[Generation] | None)
    of_langchain.update("p", "l", [Generation(text="a")])
    store = CascadaByteStore(cache, data_type="vectors")
    assert_type(store.mget(["a"]), list[bytes | None])
    await store.amset([("a", "text")])  # type: ignore[list-item]
    CascadaCache(cache, tenants="acme")  # type: ignore[call-arg]
    of_langgraph = langgraph.CascadaCache[int](cache, allow=[Repository])
    assert_type(await of_langgraph.aget([(("a",), "k")]), dict[tuple[tuple[str, ...], str], int])


@cached_response(ttl=60, tags=lambda page_id: [f"page:{page_id}"], vary=["Accept-Language"])
def page(page_id: int) -> str:
    return "text"


async def served_over_http() -> None:
    assert_type(await page(7), Any)
    handle_from(lambda request: request.headers["X-Tenant-ID"], cache)
    await page("7")  # type: ignore[arg-type]
    cached_response(60)  # type: ignore[call-arg]


try:
    asyncio.run(modern())
except MissingTenant as error:
    assert_type(error, MissingTenant)
    fault: BadInput = error
except CascadaError:
    raise
