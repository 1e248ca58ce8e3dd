"""The flat calls and ready strategies, beside the trodden path (the examples are in
`tests/documented/test_multi_tier_cache.py`)."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from cascada import (
    BadInput,
    Cache,
    CacheManager,
    CachePriority,
    Context,
    InvalidKey,
    InvalidTTL,
    Loaded,
    MissingTenant,
    Misuse,
    Policy,
    delete_cached_value,
    get_cache_analytics,
    get_cached_value,
    personalized_cache,
    set_cached_value,
    standard_cache,
    swr_cache,
    tagged_cache,
)
from cascada.testing.clock import ManualClock
from tests.api.settled import settled


@pytest.fixture(autouse=True)
def tenant(monkeypatch: pytest.MonkeyPatch, no_variables: None) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")


async def none() -> None:
    return None


# --- one namespace --------------------------------------------------------------------------------


async def test_all_find_what_one_has_stored(cache: Cache) -> None:
    async def never() -> int:
        raise AssertionError("it is there")

    finders = [
        get_cached_value, standard_cache.get, tagged_cache.get, personalized_cache.get,
        lambda key: swr_cache.get(key, never),
    ]  # fmt: skip
    await set_cached_value("a", 1)
    await standard_cache.set("b", 1)
    await tagged_cache.set("c", 1, tags=["t"])
    await personalized_cache.set("d", 1)
    await swr_cache.get("e", lambda: 1)
    await settled()
    for key in "abcde":
        assert [await find(key) for find in finders] == [1] * 5, key
    deleters = [
        delete_cached_value, standard_cache.delete, tagged_cache.delete, personalized_cache.delete,
        swr_cache.delete,
    ]  # fmt: skip
    for key, delete in zip("abcde", deleters, strict=True):
        assert await delete(key)
        assert not await delete(key)
        assert await get_cached_value(key) is None


@pytest.mark.parametrize(
    "key", ["a:b:c", "coll:user:u1", "user:u1:k", "*", "100%", "é\n", "a" * 1024, "{x}", " "]
)
async def test_a_flat_key_may_be_any_text(cache: Cache, key: str) -> None:
    await personalized_cache.set("k", "of u1", user_id="u1")
    await set_cached_value(key, 1)
    assert await get_cached_value(key) == 1
    assert await get_cached_value(f"{key[:-1]}~", "none") == "none"
    assert await personalized_cache.get("k", "u1") == "of u1"
    assert await personalized_cache.delete_user_cache("u1") == 1
    assert await get_cached_value(key) == 1


async def test_a_key_is_an_id_like_all_others(cache: Cache) -> None:
    await set_cached_value(7, "seven")
    assert await get_cached_value("7") == "seven"
    await set_cached_value(UUID(int=1), "one")
    assert await get_cached_value(str(UUID(int=1))) == "one"
    for key in (None, 1.5, True, b"k", ["k"], "", "\ud800"):
        with pytest.raises(InvalidKey, match=r"^key is"):
            await get_cached_value(key)  # type: ignore[arg-type]
        with pytest.raises(InvalidKey, match=r"^key is"):
            await set_cached_value(key, 1)  # type: ignore[arg-type]


async def test_it_is_apart_from_other_faces_and_tenants(cache: Cache) -> None:
    await set_cached_value("k", 1)
    assert await CacheManager.get("k", "k", "acme") is None
    assert (await cache.tenant("acme").get("cached_value", "k")).value == 1
    with Context(tenant_id="other"):
        assert await get_cached_value("k") is None
        await set_cached_value("k", 2)
        assert await tagged_cache.delete_by_tag("t") == 0
    assert await get_cached_value("k") == 1


async def test_without_a_tenant_it_says_so(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CASCADA_TENANT")
    for call in (
        get_cached_value("k"), set_cached_value("k", 1), delete_cached_value("k"),
        swr_cache.get("k", none), tagged_cache.delete_by_tag("t"), personalized_cache.get("k", 1),
        personalized_cache.set("k", 1, user_id=1), personalized_cache.delete_user_cache(1),
    ):  # fmt: skip
        with pytest.raises(MissingTenant, match="CASCADA_TENANT"):
            await call


async def test_none_is_no_value(cache: Cache) -> None:
    await set_cached_value("k", 1)
    await set_cached_value("k", None)
    assert await get_cached_value("k", default="none") == "none"
    assert await swr_cache.get("k", none) is None
    for value in (0, "", [], {}, False):
        await set_cached_value("k", value)
        assert await get_cached_value("k", default="none") == value


async def test_what_is_refused_is_refused_before_anything_is_sent(cache: Cache) -> None:
    await set_cached_value("k", 1)
    for priority in (3, True, "HIGH", None):
        with pytest.raises(BadInput, match=r"^priority is .*CachePriority\.HIGH"):
            await set_cached_value("k", 2, priority=priority)  # type: ignore[arg-type]
    for ttl in (-1, True, "60"):
        with pytest.raises(InvalidTTL, match=r"^ttl is"):
            await personalized_cache.set("k", 2, ttl=ttl)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"^tags is 'news'"):
        await tagged_cache.set("k", 2, tags="news")
    with pytest.raises(Misuse, match="revalidate_func: none was given as a coroutine"):
        await swr_cache.get("k", none())  # type: ignore[call-overload]
    with pytest.raises(InvalidTTL, match=r"^stale_for is -1"):
        await swr_cache.get("k", none, stale_for=-1)
    assert await get_cached_value("k") == 1


async def test_a_set_after_a_miss_is_fenced_by_it(cache: Cache) -> None:
    assert await get_cached_value("k") is None
    row = "the row of before"
    await asyncio.create_task(set_cached_value("k", "the new row"))
    assert not await set_cached_value("k", row)
    assert await get_cached_value("k") is None


async def test_ttl_none_and_zero_never_expire(cache: Cache, clock: ManualClock) -> None:
    cache.set_policy("cached_value", Policy(ttl=5))
    await set_cached_value("none", 1, ttl=None)
    await set_cached_value("zero", 1, ttl=0)
    await set_cached_value("policy", 1)
    clock.advance(6)
    assert [await get_cached_value(key) for key in ("none", "zero", "policy")] == [1, 1, None]


# --- stale while it is refreshed ------------------------------------------------------------------


class Source:
    """Counts; `fails` and `waits` as it is told."""

    def __init__(self) -> None:
        self.calls = 0
        self.fails = False

    def __call__(self) -> int:
        self.calls += 1
        if self.fails:
            raise OSError("down")
        return self.calls


async def test_how_long_a_value_is_stale_is_the_callers_to_say(
    cache: Cache, clock: ManualClock
) -> None:
    source = Source()
    assert await swr_cache.get("k", source, ttl=10, stale_for=5) == 1
    clock.advance(12)
    assert await swr_cache.get("k", source, ttl=10, stale_for=0) == 2, "nothing stale was wished"
    await settled()
    clock.advance(12)
    assert await swr_cache.get("k", source, ttl=10, stale_for=5) == 3, "it was stored for no longer"
    await settled()
    clock.advance(14)
    assert await swr_cache.get("k", source, ttl=10, stale_for=5) == 3
    await settled()
    assert await swr_cache.get("k", source, ttl=10, stale_for=5) == 4
    await settled()
    clock.advance(16)
    assert await swr_cache.get("k", source, ttl=10, stale_for=5) == 5, "its time is over"


async def test_a_refresh_that_fails_leaves_the_stale_value(
    cache: Cache, clock: ManualClock
) -> None:
    source = Source()
    await swr_cache.get("k", source, ttl=10)
    clock.advance(15)
    source.fails = True
    assert await swr_cache.get("k", source, ttl=10) == 1
    await settled()
    assert (await swr_cache.get("k", source, ttl=10), source.calls) == (1, 2)
    clock.advance(6)
    with pytest.raises(OSError, match="down"):
        await swr_cache.get("k", source, ttl=10)


async def test_what_was_invalidated_is_never_stale(cache: Cache, clock: ManualClock) -> None:
    source = Source()
    await swr_cache.get("k", source, ttl=10)
    clock.advance(15)
    await delete_cached_value("k")
    assert await swr_cache.get("k", source, ttl=10) == 2


async def test_a_refresh_from_before_an_invalidation_is_not_stored(
    cache: Cache, clock: ManualClock
) -> None:
    await swr_cache.get("k", lambda: "first", ttl=10)
    await settled()
    clock.advance(15)
    read, invalidated = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        read.set()
        await invalidated.wait()
        return "of before"

    assert await swr_cache.get("k", slow, ttl=10) == "first"
    await read.wait()
    await delete_cached_value("k")
    invalidated.set()
    await settled()
    assert await get_cached_value("k") is None
    assert await swr_cache.get("k", lambda: "of after", ttl=10) == "of after"


async def test_a_loader_may_say_more_of_its_value(cache: Cache, clock: ManualClock) -> None:
    def tagged() -> Loaded[str]:
        return Loaded("v", ttl=100, tags=["t"])

    assert await swr_cache.get("k", tagged, ttl=10) == "v"
    await settled()
    clock.advance(50)
    assert await get_cached_value("k") == "v"
    assert await tagged_cache.delete_by_tag("t") == 1


async def test_forever_is_never_stale(cache: Cache, clock: ManualClock) -> None:
    source = Source()
    for _ in range(3):
        assert await swr_cache.get("k", source, ttl=None) == 1
        clock.advance(86400)


# --- of a user ------------------------------------------------------------------------------------


async def test_a_user_is_no_segment_of_that_name(cache: Cache) -> None:
    await personalized_cache.set("k", "user's", user_id="x")
    await personalized_cache.set("k", "segment's", segment="x")
    assert await personalized_cache.get("k", "x", ["x"]) == "user's"
    assert await personalized_cache.get("k", None, ["x"]) == "segment's"
    assert await personalized_cache.get("k", "user:x", ["segment:x"]) is None
    assert await personalized_cache.delete_user_cache("x") == 1
    assert await personalized_cache.get("k", "x", ["x"]) == "segment's"


async def test_the_order_of_segments_counts(cache: Cache) -> None:
    for name in ("a", "b"):
        await personalized_cache.set("k", name, segment=name)
    get = personalized_cache.get
    for _ in range(2):  # what memory keeps of one order is nothing to the other
        assert await get("k", "u", ["a", "b"]) == "a"
        assert await get("k", "u", ["b", "a"]) == "b"
        assert await get("k", "u", ["c", "b", "a"]) == "b"
        assert await get("k", "u") is None
        assert await get("k", "u", ["c", "c"]) is None
    await personalized_cache.delete("k", segment="a")
    assert await get("k", "u", ["a", "b"]) == "b"
    await personalized_cache.set("k", "own", user_id="u")
    assert await get("k", "u", ["a", "b"]) == "own"
    await personalized_cache.set("k", "a2", segment="a")
    assert await get("k", "v", ["a", "b"]) == "a2"


async def test_what_a_user_is_may_not_be_left_out_of_the_key(cache: Cache) -> None:
    cache.set_policy("cached_value", Policy(varies_by=()))
    await personalized_cache.set("k", "u1's", user_id="u1")
    assert await personalized_cache.get("k", "u2") is None
    assert await get_cached_value("k") is None


@pytest.mark.parametrize("segments", [(), ("a", "b")])
async def test_what_is_set_after_a_miss_of_several_is_fenced(
    cache: Cache, segments: tuple[str, ...]
) -> None:
    get, store = personalized_cache.get, personalized_cache.set
    whose: list[dict[str, Any]] = [{"user_id": "u"}, {}]
    for each in [*whose, {"segment": "b"}] if segments else whose:
        assert await get("k", "u", segments) is None
        # Somebody else stores what he has read later.
        await asyncio.create_task(store("k", "new", **each))
        assert not await store("k", "of before", **each)
        assert await get("k", "u", ["b"]) is None
        await store("k", "stored", **each)
        assert await get("k", "u", ["b"]) == "stored"
        await personalized_cache.delete("k", **each)
    assert await get("k", "u", segments) is None
    await asyncio.create_task(personalized_cache.delete_user_cache("u"))
    assert not await store("k", "of before the log-out", user_id="u")
    assert await get("k", "u", segments) is None


async def test_one_read_counts_once(cache: Cache) -> None:
    await set_cached_value("k", 1)
    await personalized_cache.get("k", "u", ["a", "b"])
    await personalized_cache.get("k", "u", ["a", "b"])
    await personalized_cache.get("none", "u", ["a", "b"])
    told = (await get_cache_analytics())["global_statistics"]
    assert (told["hits"], told["misses"], told["total_requests"]) == (2, 1, 3)


async def test_what_is_of_users_is_refused_alike(cache: Cache) -> None:
    with pytest.raises(BadInput, match="user_id and segment were both given"):
        await personalized_cache.set("k", 1, user_id="u", segment="s")
    with pytest.raises(BadInput, match=r"^segments is 'premium'"):
        await personalized_cache.get("k", segments="premium")
    with pytest.raises(BadInput, match="segments holds 65 names; pass at most 64"):
        await personalized_cache.get("k", segments=[f"s{n}" for n in range(65)])
    with pytest.raises(InvalidKey, match=r'^user_id is ""'):
        await personalized_cache.get("k", "")
    with pytest.raises(InvalidKey, match=r"^user_id is"):
        await personalized_cache.delete_user_cache(None)  # type: ignore[arg-type]


async def test_a_priority_is_taken_by_all_that_store(cache: Cache) -> None:
    for priority in CachePriority:
        assert await set_cached_value("k", 1, priority=priority)
        assert await tagged_cache.set("k", 1, ["t"], priority=priority)
        assert await personalized_cache.set("k", 1, user_id="u", priority=priority)
