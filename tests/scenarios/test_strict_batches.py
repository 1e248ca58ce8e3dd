"""`get_many` of a strict type: values of one moment, whatever memory has of them."""

from pathlib import Path
from typing import Any

import pytest

from cascada import Limits
from cascada.api.cache import Cache
from cascada.model.clock import SystemClock
from cascada.model.keys import Key
from cascada.model.names import type_name
from cascada.model.policy import Policy
from cascada.testing.flaky import FlakyTier
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.sqlite.tier import SqliteTier
from tests.scenarios.conftest import MakeCache, MakeNodes
from tests.scenarios.row import all_stored
from tests.servers.redis import RedisServer

STRICT = Policy(ttl=100, strict=True)


async def test_what_there_is_is_found_beside_what_there_is_not(make_cache: MakeCache) -> None:
    acme = make_cache(policy=STRICT).tenant("acme")
    await acme.set("x", "there", 1)
    there, nowhere = await acme.get_many("x", ["there", "nowhere"])
    assert (there.value, bool(nowhere)) == (1, False)


async def changed_elsewhere(here: Cache, there: Cache, value: Any) -> Any:
    """`a` is in the memory of `here`, which has not heard yet that both are 2 now."""
    await here.tenant("acme").load("x", "a", lambda: value)
    await all_stored(here.tenant("acme"))
    acme = there.tenant("acme")
    await acme.invalidate("x", "*", strict=False)
    for each in "ab":
        await acme.set("x", each, 2)
    return here.tenant("acme")


async def found(acme: Any, **how: Any) -> list[Any]:
    return [hit.value if hit else None for hit in await acme.get_many("x", ["a", "b"], **how)]


@pytest.mark.parametrize("how", [{}, {"type": int}])
async def test_a_value_in_memory_is_no_answer_beside_newer_ones(
    nodes: MakeNodes, how: dict[str, Any]
) -> None:
    here, there = nodes(2, policies={"x": STRICT})
    acme = await changed_elsewhere(here, there, 1)
    assert await found(acme, **how) == [2, 2]


@pytest.mark.parametrize(
    ("below", "expected"),
    [("has both", [1, 1]), ("was told first", [None, None]), ("is away", [1, None])],
)
async def test_what_redis_has_is_no_answer_beside_what_the_database_says(
    redis_server: RedisServer, tmp_path: Path, below: str, expected: list[Any]
) -> None:
    lower = FlakyTier(SqliteTier(tmp_path / "cache.db", namespace="n", clock=SystemClock()))
    upper = RedisTier(redis_server.url, namespace="n", clock=SystemClock())
    async with Cache(
        tiers=[upper, lower], policies={"x": STRICT}, limits=Limits(l1_bytes=1)
    ) as cache:
        acme = cache.tenant("acme")
        for each in "ab":
            await acme.set("x", each, 1)
        assert await found(acme) == [1, 1]
        gone = Key("acme", "x", None, None, None, "b")  # evicted, say
        assert redis_server.say("DEL", upper.layout.entry(gone).decode()) == b":1\r\n"
        if below == "was told first":
            await lower.invalidate([type_name("acme", "x")])
        elif below == "is away":
            lower.fail("read")
        assert await found(acme) == expected


async def test_nor_is_a_known_absence(nodes: MakeNodes) -> None:
    here, there = nodes(2, policies={"x": Policy(ttl=100, none_ttl=100, strict=True)})
    acme = await changed_elsewhere(here, there, None)
    assert await found(acme) == [2, 2]
