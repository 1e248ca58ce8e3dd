"""`lookup="by_level"`: a general value answers only where nothing more specific is known to be."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cascada import BadInput, Cache, CacheManager, Loaded, Policy, Scope, get_with_cache_aside
from cascada.testing.clock import ManualClock
from tests.api.settled import settled

MakeCache = Callable[..., Cache]
STRICT = Policy(ttl=100, lookup="by_level")

FULL, AGENT_CONVERSATION = Scope("a1", "c1", "k1"), Scope("a1", "c1")
AGENT_COLLECTION, COLLECTION, AGENT, NONE = (
    Scope("a1", None, "k1"), Scope(None, None, "k1"), Scope("a1"), Scope(),
)  # fmt: skip
ORDER = [FULL, AGENT_CONVERSATION, AGENT_COLLECTION, COLLECTION, AGENT, NONE]


@pytest.fixture
def cache(make_cache: MakeCache) -> Cache:
    return make_cache(policy=STRICT)


class Rows:
    """A source that knows rows by their context, and what it was asked."""

    def __init__(self, **rows: str) -> None:
        self.rows: dict[Scope, str] = {}
        self.asked: list[Scope] = []

    async def of(self, scope: Scope) -> str | None:
        self.asked.append(scope)
        await asyncio.sleep(0)
        return self.rows.get(scope)


def handle(cache: Cache) -> Any:
    return cache.tenant("acme", agent="a1", conversation="c1", collection="k1")


async def test_the_source_is_asked_level_by_level_and_absences_are_stored(cache: Cache) -> None:
    rows = Rows()
    rows.rows[COLLECTION] = "of the collection"
    acme = handle(cache)
    hit = await acme.load("x", "1", rows.of)
    assert (hit.value, hit.tier) == ("of the collection", "source")
    assert rows.asked == ORDER[:4]
    await settled()
    again = await acme.load("x", "1", rows.of)
    assert (again.value, again.tier == "source") == ("of the collection", False)
    assert (await acme.get("x", "1")).value == "of the collection"
    assert rows.asked == ORDER[:4], "what is not there is known"


async def test_a_general_value_does_not_answer_while_a_specific_one_may_be_there(
    cache: Cache,
) -> None:
    await cache.tenant("acme").set("x", "1", "general")
    acme = handle(cache)
    assert not await acme.get("x", "1"), "nobody knows what there is for the agent"
    rows = Rows()
    rows.rows[AGENT] = "of the agent"
    assert (await acme.load("x", "1", rows.of)).value == "of the agent"
    await settled()
    assert (await acme.get("x", "1")).value == "of the agent"
    assert (await cache.tenant("acme").get("x", "1")).value == "general"


async def test_the_general_value_that_is_stored_answers_the_last_level(cache: Cache) -> None:
    await cache.tenant("acme").set("x", "1", "general")
    rows = Rows()
    assert (await handle(cache).load("x", "1", rows.of)).value == "general"
    assert rows.asked == ORDER[:5], "the last level was stored"


async def test_a_more_specific_value_that_is_set_answers_at_once(cache: Cache) -> None:
    rows = Rows()
    rows.rows[NONE] = "general"
    acme = handle(cache)
    await acme.load("x", "1", rows.of)
    await settled()
    assert (await acme.get("x", "1")).value == "general"
    await cache.tenant("acme", agent="a1").set("x", "1", "of the agent")
    assert (await acme.get("x", "1")).value == "of the agent"
    await acme.set("x", "1", "its own")
    assert (await acme.get("x", "1")).value == "its own"


async def test_an_absence_ends_like_a_value(cache: Cache, clock: ManualClock) -> None:
    rows = Rows()
    rows.rows[NONE] = "general"
    acme = handle(cache)
    await acme.load("x", "1", rows.of)
    await settled()
    clock.advance(101)
    rows.rows[FULL] = "its own"
    rows.asked.clear()
    assert (await acme.load("x", "1", rows.of)).value == "its own"
    assert rows.asked == [FULL]


async def test_invalidating_the_resource_takes_its_absences_along(cache: Cache) -> None:
    rows = Rows()
    rows.rows[NONE] = "general"
    acme = handle(cache)
    await acme.load("x", "1", rows.of)
    await settled()
    await cache.tenant("acme").invalidate("x", "1")
    rows.rows[AGENT_CONVERSATION] = "of the conversation"
    rows.asked.clear()
    assert (await acme.load("x", "1", rows.of)).value == "of the conversation"
    assert rows.asked == ORDER[:2]


async def test_where_nothing_is_that_is_known_as_well(cache: Cache) -> None:
    rows = Rows()
    acme = handle(cache)
    assert not await acme.load("x", "1", rows.of)
    await settled()
    hit = await acme.load("x", "1", rows.of)
    assert (hit.value, hit.absent, bool(hit)) == (None, True, False), "a known absence"
    assert rows.asked == ORDER


async def test_a_loader_may_answer_for_all_levels_at_once(cache: Cache) -> None:
    calls = 0

    async def loader() -> Loaded[str]:
        nonlocal calls
        calls += 1
        return Loaded("of the collection", scope=COLLECTION)

    acme = handle(cache)
    assert (await acme.load("x", "1", loader)).value == "of the collection"
    await settled()
    assert calls == 1
    other = cache.tenant("acme", agent="a2", collection="k1")
    assert not await other.get("x", "1"), "the agent may have one of its own"
    assert (await cache.tenant("acme", collection="k1").get("x", "1")).value == "of the collection"
    assert (await acme.load("x", "1", loader)).tier != "source"


async def test_a_loader_without_scope_answers_for_the_full_context(cache: Cache) -> None:
    acme = handle(cache)
    assert (await acme.load("x", "1", lambda: "its own")).value == "its own"
    await settled()
    assert (await acme.get("x", "1")).value == "its own"
    assert not await cache.tenant("acme").get("x", "1")
    assert not await acme.load("x", "2", lambda: None)
    await settled()
    assert (await acme.get("x", "2")).absent, "and what it has not is nowhere"


async def test_a_scope_that_is_not_looked_up_is_refused(cache: Cache) -> None:
    elsewhere = Loaded("x", scope=Scope("another"))
    with pytest.raises(BadInput, match=r"Loaded.scope is .*another.* not looked up here"):
        await handle(cache).load("x", "1", lambda: elsewhere)


async def test_many_callers_ask_each_level_once(cache: Cache) -> None:
    rows = Rows()
    rows.rows[NONE] = "general"
    acme = handle(cache)
    hits = await asyncio.gather(*(acme.load("x", "1", rows.of) for _ in range(50)))
    assert {hit.value for hit in hits} == {"general"}
    assert rows.asked == ORDER


async def test_a_batch_goes_level_by_level_for_each_id(cache: Cache) -> None:
    asked: list[tuple[str, Scope]] = []

    async def rows(ids: list[str], scope: Scope) -> dict[str, str]:
        asked.extend((each, scope) for each in ids)
        return {"1": "one"} if scope == FULL else {"2": "two"} if scope == NONE else {}

    hits = await handle(cache).load_many("x", ["1", "2"], rows)
    assert [hit.value for hit in hits] == ["one", "two"]
    assert [scope for each, scope in asked if each == "1"] == [FULL]
    assert [scope for each, scope in asked if each == "2"] == ORDER


async def test_callbacks_get_the_context_of_the_level(cache: Cache) -> None:
    CacheManager.configure(cache)
    asked: list[tuple[str | None, str | None, str | None]] = []

    async def fetch(resource_id: str, tenant_id: str, **kwargs: Any) -> str | None:
        level = (kwargs["agent_id"], kwargs["conversation_id"], kwargs["collection_id"])
        asked.append(level)
        return "of the agent" if level == ("a1", None, None) else None

    async def ask(fetch: Any, generate: Any = None) -> tuple[Any, Any]:
        return await get_with_cache_aside(
            "x", "1", "acme", fetch, generate, agent_id="a1", conversation_id="c1"
        )

    value, metrics = await ask(fetch)
    assert (value, metrics["source"], metrics["cache_hit"]) == ("of the agent", "supabase", False)
    assert asked == [("a1", "c1", None), ("a1", None, None)]
    await settled()
    value, metrics = await ask(fetch)
    assert (value, metrics["source"]) == ("of the agent", "cache")
    await cache.tenant("acme").invalidate("x", "1")
    calls: list[str] = []
    value, metrics = await ask(lambda resource_id: calls.append(resource_id), lambda: "made up")
    assert (value, metrics["source"]) == ("made up", "generation")
    assert calls == ["1"], "what does not look at the context is asked once"
    await settled()
    assert (await ask(fetch))[1]["source"] == "cache"
    CacheManager.configure(None)


async def test_modes_and_bypass_ask_the_source_alone(make_cache: MakeCache) -> None:
    off = make_cache(policy=STRICT, mode="off")
    rows = Rows()
    rows.rows[NONE] = "general"
    for _ in range(2):
        assert (await handle(off).load("x", "1", rows.of)).value == "general"
    assert rows.asked == ORDER * 2
