"""What goes with an agent, a conversation or a document, counted, in one step (document C)."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cascada import (
    METRIC_CACHE_INVALIDATION,
    METRIC_CACHE_INVALIDATION_COORDINATED,
    METRIC_LATENCY,
    BadInput,
    Cache,
    CacheManager,
    Context,
    Dependent,
    Loaded,
    Policy,
    invalidate_agent_cache_cascade,
    invalidate_conversation_cache,
    invalidate_conversation_cache_cascade,
    invalidate_document_update,
    register_conversation_resolver,
)
from cascada.telemetry.custom import Series
from cascada.testing.inside import inside
from tests.api.settled import settled

MakeCache = Callable[..., Cache]


@pytest.fixture
async def cache(make_cache: MakeCache) -> AsyncIterator[Cache]:
    cache = make_cache()
    CacheManager.configure(cache)
    yield cache
    CacheManager.configure(None)
    register_conversation_resolver(None)


async def put(data_type: str, resource_id: str, tenant: str = "acme", **context: str) -> None:
    assert await CacheManager.set(data_type, resource_id, {"v": 1}, tenant, **context)


async def there(data_type: str, resource_id: str, tenant: str = "acme", **context: str) -> bool:
    return await CacheManager.get(data_type, resource_id, tenant, **context) is not None


async def an_agent(agent: str = "a1", tenant: str = "acme") -> None:
    await put("agent", agent, tenant)
    await put("agent_config", agent, tenant)
    await put("agent_config", agent, tenant, agent_id=agent)
    await put("agent_tools", "t1", tenant, agent_id=agent)
    await put("agent_tools", "t2", tenant, agent_id=agent)
    await put("agent_execution_state", f"{agent}/c1/e1", tenant, agent_id=agent,
              conversation_id="c1")  # fmt: skip


async def a_conversation(conversation: str, agent: str = "a1", messages: int = 3) -> None:
    await put("conversation_memory", conversation, conversation_id=conversation, agent_id=agent)
    await put("conversation_messages_list", conversation)
    for number in range(messages):
        await put(
            "conversation_message", f"{conversation}-m{number}",
            conversation_id=conversation, agent_id=agent,
        )  # fmt: skip


def tracked(cache: Cache, metric: str, data_type: str) -> Series:
    (found,) = [
        each
        for each in inside(cache).counted.tracked
        if (each.metric, each.data_type) == (metric, data_type)
    ]
    return found


async def test_an_agents_cascade_takes_what_is_its_and_counts_it(cache: Cache) -> None:
    await an_agent("a1")
    await an_agent("a2")
    await a_conversation("c1")
    assert await invalidate_agent_cache_cascade("acme", "a1") == {
        "agent": 1, "agent_config": 2, "agent_tools": 2, "execution_state": 1,
        "conversations": 0, "messages": 0,
    }  # fmt: skip
    assert not await there("agent", "a1")
    assert not await there("agent_config", "a1", agent_id="a1")
    assert not await there("agent_tools", "t1", agent_id="a1")
    assert await there("agent", "a2")
    assert await there("agent_config", "a2", agent_id="a2")
    assert await there("agent_tools", "t1", agent_id="a2")
    assert await there("conversation_memory", "c1", conversation_id="c1")
    assert sum((await invalidate_agent_cache_cascade("acme", "a1")).values()) == 0


async def test_another_tenants_agent_of_the_same_id_stays(cache: Cache) -> None:
    await an_agent("a1", "acme")
    await an_agent("a1", "globex")
    await invalidate_agent_cache_cascade("acme", "a1", invalidate_conversations=True)
    assert await there("agent", "a1", "globex")
    assert await there("agent_tools", "t1", "globex", agent_id="a1")


async def test_its_conversations_go_by_the_ids_that_the_resolver_knows(cache: Cache) -> None:
    asked: list[tuple[str, str]] = []

    async def resolver(tenant_id: str, agent_id: str) -> list[str]:
        asked.append((tenant_id, agent_id))
        return ["c1", "c2"]

    register_conversation_resolver(resolver)
    await an_agent("a1")
    await a_conversation("c1")
    await a_conversation("c2", agent="another name for it")
    await a_conversation("c3", agent="a2")
    counts = await invalidate_agent_cache_cascade("acme", "a1", invalidate_conversations=True)
    assert asked == [("acme", "a1")]
    assert (counts["conversations"], counts["messages"]) == (2, 6)
    for gone in ("c1", "c2"):
        assert not await there("conversation_memory", gone, conversation_id=gone)
        assert not await there("conversation_messages_list", gone)
        assert not await there("conversation_message", f"{gone}-m0", conversation_id=gone)
    assert await there("conversation_message", "c3-m0", conversation_id="c3")
    assert await there("conversation_messages_list", "c3")


async def test_without_a_resolver_all_that_was_cached_for_its_conversations_goes(
    cache: Cache,
) -> None:
    await a_conversation("c1", agent="a1")
    await a_conversation("c2", agent="a2")
    counts = await invalidate_agent_cache_cascade("acme", "a1", invalidate_conversations=True)
    assert (counts["conversations"], counts["messages"]) == (1, 3)
    assert not await there("conversation_memory", "c1", conversation_id="c1")
    assert not await there("conversation_message", "c1-m0", conversation_id="c1")
    assert await there("conversation_memory", "c2", conversation_id="c2")


async def test_a_resolver_that_fails_is_heard_but_holds_up_nothing_else(cache: Cache) -> None:
    def resolver(tenant_id: str, agent_id: str) -> list[str]:
        raise OSError("the database is away")

    register_conversation_resolver(resolver)
    await an_agent("a1")
    await a_conversation("c1")
    with pytest.raises(OSError, match="the database is away"):
        await invalidate_agent_cache_cascade("acme", "a1", invalidate_conversations=True)
    assert not await there("agent", "a1")
    assert not await there("conversation_message", "c1-m0", conversation_id="c1")
    assert tracked(cache, "cache_invalidation_failed", "agent_cascade").count == 1


async def test_a_resolver_of_one_id_is_told_to_return_a_list(cache: Cache) -> None:
    """Its letters would be taken for conversations."""
    register_conversation_resolver(lambda tenant_id, agent_id: "c1")
    await an_agent("a1")
    with pytest.raises(BadInput, match="resolver returned 'c1'; return a list of ids"):
        await invalidate_agent_cache_cascade("acme", "a1", invalidate_conversations=True)
    assert not await there("agent", "a1")


async def test_a_conversations_cascade(cache: Cache) -> None:
    await a_conversation("c1")
    await a_conversation("c2")
    # agent_id is a label: whoever else it was cached for, it goes.
    assert await invalidate_conversation_cache_cascade("acme", "c1", agent_id="another") == {
        "memory": 1, "messages_list": 1, "messages": 3,
    }  # fmt: skip
    assert not await there("conversation_memory", "c1", conversation_id="c1")
    assert not await there("conversation_message", "c1-m2", conversation_id="c1")
    assert await invalidate_conversation_cache("acme", "c2", dry_run=True) == 5
    assert await invalidate_conversation_cache("acme", "c2") == 5


async def test_a_documents_change_takes_all_that_was_made_from_it(cache: Cache) -> None:
    acme = cache.tenant("acme")
    for document, collection in (("d1", "k1"), ("d2", "k2")):
        await put("document", document)
        await put("embedding", document)
        await put("vector_store", collection)
        await put("collection_metadata", collection)
        for query in ("q1", "q2"):
            await put("query_result", query, collection_id=collection)

    async def chunk() -> Loaded[list[float]]:
        return Loaded([0.5], sources=["document:d1"])

    await acme.load("embedding", "chunk 7 of d1", chunk)

    async def answer() -> str:
        found = await acme.within(collection="k1").get("query_result", "q1")
        return f"made of {found.value}"

    await acme.load("agent_response", "r1", answer)
    await acme.set("agent_response", "r2", "of another")
    await settled()
    assert await invalidate_document_update("acme", "d1", "k1") == {
        "document": 1, "embedding": 1, "vector_store": 1, "semantic_index": 0,
        "collection_metadata": 1, "query_result": 2, "retrieval_cache": 0, "agent_response": 0,
        "made": 2,
    }  # fmt: skip
    assert not await there("document", "d1")
    assert not await there("embedding", "chunk 7 of d1")
    assert not await there("query_result", "q1", collection_id="k1")
    assert not await there("agent_response", "r1"), "made of what the collection was asked"
    assert await there("agent_response", "r2")
    assert await there("document", "d2")
    assert await there("vector_store", "k2")
    assert await there("query_result", "q1", collection_id="k2")


async def test_a_dry_run_says_what_would_go_and_lets_it_stay(cache: Cache) -> None:
    await an_agent("a1")
    await a_conversation("c1")
    would = await invalidate_agent_cache_cascade(
        "acme", "a1", invalidate_conversations=True, dry_run=True
    )
    assert await there("agent", "a1")
    assert await there("conversation_memory", "c1", conversation_id="c1")
    assert (await cache.stats()).tracked == []
    assert await invalidate_agent_cache_cascade("acme", "a1", True) == would
    assert would["agent_tools"] == 2
    assert would["messages"] == 3


async def test_any_invalidation_can_be_tried_dry(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "one", tags=["news"])
    await acme.set("x", "2", "two", tags=["news"])
    assert (await acme.invalidate(tag="news", dry_run=True)).keys == 2
    assert (await acme.invalidate("x", "1", dry_run=True)).keys == 1
    assert (await acme.get("x", "1")).value == "one"
    assert (await acme.invalidate(tag="news")).keys == 2
    assert (await acme.invalidate(tag="news", dry_run=True)).keys == 0


async def test_its_metrics_are_the_documents(cache: Cache) -> None:
    await an_agent("a1")
    await a_conversation("c1")
    result = await invalidate_agent_cache_cascade("acme", "a1")
    coordinated = tracked(cache, METRIC_CACHE_INVALIDATION_COORDINATED, "agent_cascade")
    assert coordinated.last == sum(result.values()) == 6
    assert coordinated.metadata == {"agent_id": "a1", **result}
    await invalidate_conversation_cache_cascade("acme", "c1", "a1")
    conversation = tracked(cache, METRIC_CACHE_INVALIDATION, "conversation")
    assert (conversation.last, conversation.metadata["agent_id"]) == (5, "a1")
    for data_type in ("agent_cascade", "conversation"):
        assert tracked(cache, METRIC_LATENCY, data_type).count == 1


async def test_a_context_of_another_tenant_is_refused(cache: Cache) -> None:
    await invalidate_agent_cache_cascade("acme", "a1", ctx=Context(tenant_id="acme"))
    with pytest.raises(BadInput, match="tenant_id is 'acme', and ctx is of tenant 'globex'"):
        await invalidate_agent_cache_cascade("acme", "a1", ctx=Context(tenant_id="globex"))


async def test_everything_of_an_agent_or_a_collection_goes(cache: Cache) -> None:
    await an_agent("a1")
    await put("anything", "1", agent_id="a1")
    await put("anything", "1", agent_id="a2")
    assert await CacheManager.invalidate_agent_complete("acme", "a1") == 7
    assert not await there("anything", "1", agent_id="a1")
    assert not await there("agent_config", "a1")
    assert await there("anything", "1", agent_id="a2")
    await put("vector_store", "k1")
    await put("query_result", "q", collection_id="k1")
    assert await CacheManager.invalidate_collection_complete("acme", "k1") == 2
    assert not await there("vector_store", "k1")
    assert not await there("query_result", "q", collection_id="k1")


async def test_an_application_declares_rows_of_its_own(make_cache: MakeCache) -> None:
    cache = make_cache(
        dependencies={
            "agent": [Dependent(data_type="avatar", by_id="agent")],
            "invoice": [
                Dependent(data_type="invoice", by_id="invoice"),
                Dependent(data_type="balance", by_id="customer", label="balances"),
            ],
        },
        policies={"avatar": Policy(ttl=60)},
    )
    acme = cache.tenant("acme")
    for data_type, id_ in [
        ("avatar", "a1"),
        ("invoice", "i1"),
        ("balance", "u1"),
        ("invoice", "i2"),
    ]:
        await acme.set(data_type, id_, "value")
    assert (await acme.cascade("agent", agent="a1")).counts["avatar"] == 1
    done = await acme.cascade("invoice", invoice=["i1", "i2"], customer="u1")
    assert (done.counts, done.keys, done.pending) == ({"invoice": 2, "balances": 1}, 3, False)
    assert not await acme.get("balance", "u1")


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (lambda acme: acme.cascade("agnet", agent="a1"), "nothing depends on 'agnet'; there is"),
        (lambda acme: acme.cascade("agent"), "reaches agent by agent, which was not given"),
        (lambda acme: acme.cascade("agent", agent=""), "agent"),
        (lambda acme: acme.cascade("agent", agent=b"a1"), "agent is b'a1'"),
    ],
)
async def test_a_cascade_that_makes_no_sense_says_so(
    cache: Cache, start: Callable[[Any], Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        await start(cache.tenant("acme"))


def test_a_row_that_reaches_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="says not which values are meant"):
        Dependent(data_type="avatar")
    with pytest.raises(BadInput, match="within is 'tenant'; pass one of agent"):
        Dependent(data_type="avatar", within="tenant")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="pass Dependent"):
        Cache(dependencies={"agent": ["avatar"]})  # type: ignore[list-item]


async def test_a_cascade_is_one_invalidation(cache: Cache) -> None:
    """One number is drawn for all of it, so that no reader sees half."""
    calls: list[int] = []
    lowest = inside(cache).stack.tiers[-1]
    call = "invalidate_now" if lowest is inside(cache).memory else "invalidate"
    tell = getattr(lowest, call)

    def counted(names: list[str], **named: Any) -> Any:
        calls.append(len(names))
        return tell(names, **named)

    await an_agent("a1")
    setattr(lowest, call, counted)
    await invalidate_agent_cache_cascade("acme", "a1", invalidate_conversations=True)
    assert len(calls) == 1
    assert calls[0] > 10


async def test_a_list_of_no_ids_reaches_nothing(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.within(conversation="c1").set("conversation_memory", "c1", 1)
    for dry_run in (True, False):
        done = await acme.cascade("conversation", conversation=[], dry_run=dry_run)
        assert done.keys == 0
    assert await acme.within(conversation="c1").get("conversation_memory", "c1")


async def test_what_is_named_twice_is_counted_once(cache: Cache) -> None:
    await an_agent("a1")
    acme = cache.tenant("acme")
    for dry_run in (True, False):
        done = await acme.cascade("agent", "agent", agent=["a1", "a1"], dry_run=dry_run)
        assert done.keys == 6


async def test_what_was_made_from_several_is_all_counted(cache: Cache) -> None:
    acme = cache.tenant("acme")
    for each in ("d1", "d2", "d3"):
        made = Loaded(each, sources=[f"document:{each}"])
        await acme.load("summary", each, lambda made=made: made)
    await settled()
    for dry_run in (True, False):
        done = await acme.cascade(
            "document", document=["d1", "d2", "d3"], collection="k1", dry_run=dry_run
        )
        assert (sum(done.counts.values()), done.made) == (0, 3)
