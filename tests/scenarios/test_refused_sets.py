"""A `set` that is refused stores nothing, and leaves nothing older behind either."""

from cascada.api.cache import Cache
from cascada.testing.flaky import FlakyTier
from cascada.testing.nodes import hear
from tests.scenarios.conftest import MakeNodes


async def test_after_a_miss_of_an_unreadable_tier_it_is_refused_and_the_old_value_goes(
    pair: tuple[Cache, Cache, FlakyTier],
) -> None:
    here, there, tier = pair
    mine, theirs = here.tenant("acme"), there.tenant("acme")
    assert await theirs.set("x", "1", "old")
    tier.fail("read")
    assert not await mine.get("x", "1")
    tier.heal("read")

    assert not await mine.set("x", "1", "new"), "what happened since the miss cannot be known"
    await hear(there)
    assert not await theirs.get("x", "1")
    assert not await mine.get("x", "1")


async def test_after_an_invalidation_since_the_miss_it_is_refused_and_nothing_old_is_left(
    nodes: MakeNodes,
) -> None:
    both = nodes()
    mine, theirs = (cache.tenant("acme") for cache in both)
    assert not await mine.get("x", "1")
    await theirs.set("x", "1", "other")
    assert not await mine.set("x", "1", "mine"), "somebody has set it since the miss"
    await both.hear()
    assert not await theirs.get("x", "1")
    assert not await mine.get("x", "1")


async def test_a_refused_version_keeps_older_ones_out(nodes: MakeNodes) -> None:
    both = nodes()
    mine, theirs = (cache.tenant("acme") for cache in both)
    assert not await mine.get("x", "1")
    await theirs.invalidate("x", "1")
    assert not await mine.set("x", "1", "newest", version=18), "it was invalidated since the miss"
    assert not await theirs.set("x", "1", "overtaken", version=17)
    assert not await mine.get("x", "1")
    assert await theirs.set("x", "1", "next", version=19)
