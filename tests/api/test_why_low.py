"""A low hit ratio has a reason, which the statistics tell: short ttls, keys that never come again,
values that go before their time, and such as cannot be stored."""

from collections.abc import Callable
from typing import Any

import pytest

from cascada import Cache
from cascada.model.policy import Policy
from cascada.telemetry.restores import MAX_KEYS, MAX_TYPES, Restores
from cascada.testing.clock import ManualClock

TIMES = 120


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("short ttl", "of what is stored was there until its ttl ended: a longer one would keep"),
        ("new keys", "100% of what is stored never was before: do equal questions have equal keys"),
        ("invalidated", "of what is stored goes before its ttl ends: it is invalidated"),
        ("no form", f"{TIMES} of {TIMES} loaded values could not be stored: ask explain"),
    ],
)
async def test_what_misses_often_says_why(clock: ManualClock, case: str, says: str) -> None:
    cache = Cache(clock=clock, policies={"x": Policy(ttl=60)})
    acme = cache.tenant("acme")
    made: Callable[[], Any] = object if case == "no form" else lambda: "v"

    async def load() -> Any:
        return made()

    for number in range(TIMES):
        await acme.load("x", f"{number}" if case == "new keys" else "1", load)
        if case == "short ttl":
            clock.advance(61)
        elif case == "invalidated":
            await acme.invalidate("x", "1")
    statistics = await cache.stats()
    (why,) = statistics.types["x"].why_low
    assert says in why
    assert str(statistics).endswith(f"x has 0% hits: {why}.")
    await cache.aclose()


async def test_what_hits_often_or_was_hardly_asked_for_is_not_explained(cache: Cache) -> None:
    acme = cache.tenant("acme")
    for number in range(99):
        await acme.get("rare", f"{number}")
    await acme.set("good", "1", "v")
    for _ in range(200):
        await acme.get("good", "1")
    types = (await cache.stats()).types
    assert types["rare"].why_low == types["good"].why_low == []
    assert types["good"].stores == {"new": 1, "expired": 0, "sooner": 0}


def test_a_sample_is_enough_of_many_keys_and_types_are_bounded() -> None:
    restores = Restores()
    for now in (0.0, 100.0):
        for number in range(50_000):
            restores.note("x", ("acme", "x", f"{number}"), now + 10, now)
    counts = restores.of("x")
    assert counts["expired"] > MAX_KEYS / 4
    assert counts["sooner"] == 0
    assert counts["new"] + counts["expired"] < 20 * MAX_KEYS
    for number in range(2 * MAX_TYPES):
        restores.note(f"type{number}", ("k", 0), 1.0, 0.0)
    assert restores.of(f"type{2 * MAX_TYPES - 1}") == {}
