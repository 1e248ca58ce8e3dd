"""Cache-Status: a structured field, and true of what the cache did."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascada.api.cache import Cache
from cascada.api.default import configure
from cascada.api.documents.cache_aside import CacheAsideMetrics, get_with_cache_aside
from cascada.integrations.http import cache_status
from cascada.model.entry import Hit, Miss
from cascada.model.errors import BadInput
from cascada.model.policy import Policy
from cascada.testing import ManualClock
from tests.integrations.fields import NotAField, Token, parse

TIERS = ("l1", "l2", "l3", "source")
FORWARDED = {"bypass", "miss", "stale"}


def hit(tier: str = "l1", **facts: bool) -> Hit[str]:
    return Hit("value", tier, 1.0, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "more", "said"),
    [
        (hit(), {"ttl": 123.9}, "cascada; hit; ttl=123; detail=l1"),
        (hit("l2"), {}, "cascada; hit; detail=l2"),
        (hit(), {"ttl": math.inf}, "cascada; hit; detail=l1"),
        (hit("l3", stale=True), {}, "cascada; fwd=stale; detail=l3"),
        (hit("source"), {}, "cascada; fwd=miss; stored"),
        (hit("source"), {"stored": False}, "cascada; fwd=miss"),
        (hit("source", stale=True), {}, "cascada; fwd=miss"),
        (hit("source", coalesced=True), {}, "cascada; fwd=miss; stored; collapsed"),
        (hit("source"), {"bypassed": True}, "cascada; fwd=bypass"),
        (Miss(), {}, "cascada; fwd=miss"),
        (hit(), {"cache": "eu-1.example"}, "eu-1.example; hit; detail=l1"),
    ],
)
def test_what_is_said(answer: Hit[str] | Miss, more: dict[str, float], said: str) -> None:
    assert cache_status(answer, **more) == said  # type: ignore[arg-type]


@given(
    tier=st.sampled_from(TIERS),
    stale=st.booleans(),
    coalesced=st.booleans(),
    ttl=st.none() | st.floats(allow_nan=False, allow_infinity=True) | st.integers(),
    stored=st.booleans(),
    bypassed=st.booleans(),
)
def test_it_is_a_structured_field_whatever_is_said(
    tier: str, stale: bool, coalesced: bool, ttl: float | None, stored: bool, bypassed: bool
) -> None:
    answer = hit(tier, stale=stale, coalesced=coalesced)
    text = cache_status(answer, ttl=ttl, stored=stored, bypassed=bypassed)
    ((name, said),) = parse(text)
    assert name == Token("cascada")
    assert ("hit" in said) != ("fwd" in said), "one of the two, never both (RFC 9211, 2.1)"
    for flag in ("hit", "stored", "collapsed"):
        assert said.get(flag, True) is True
    assert isinstance(said.get("ttl", 0), int)
    assert said.get("fwd", "miss") in FORWARDED
    assert isinstance(said.get("fwd", Token("miss")), Token)
    assert isinstance(said.get("detail", Token("l1")), Token)


@given(st.text(max_size=12))
def test_a_name_is_a_token_or_refused(name: str) -> None:
    try:
        text = cache_status(hit(), cache=name)
    except BadInput:
        return
    assert parse(text)[0][0] == name


@pytest.mark.parametrize("wrong", ["a;", "a; B", "a; b=", "a,", 'a; b="', "a; b=1.", "a b", "?2"])
def test_the_grammar_refuses_what_is_wrong(wrong: str) -> None:
    with pytest.raises(NotAField):
        parse(wrong)


async def test_it_says_what_happened() -> None:
    """Through the tenant's handle and through get_with_cache_aside, from miss to stale."""
    clock = ManualClock()
    cache = Cache(policies={"page": Policy(ttl=60, stale_for=30)}, clock=clock)
    acme = cache.tenant("acme")
    go = asyncio.Event()

    async def page() -> str:
        await go.wait()
        return "text"

    async def ask() -> str:
        answer = await acme.load("page", "p1", page)
        ttl = await acme.ttl("page", "p1") if answer and answer.tier != "source" else None
        return cache_status(answer, ttl=ttl)

    async def metrics() -> CacheAsideMetrics:
        return (await get_with_cache_aside("page", "p2", "acme", lambda: "text"))[1]

    configure(cache)
    try:
        async with cache:
            async with asyncio.TaskGroup() as group:
                both = [group.create_task(ask()) for _ in range(2)]
                await asyncio.sleep(0)
                go.set()
            said = {task.result() for task in both}
            assert said == {"cascada; fwd=miss; stored", "cascada; fwd=miss; stored; collapsed"}
            clock.advance(10)
            assert await ask() == "cascada; hit; ttl=50; detail=l1"
            assert cache_status(await acme.get("page", "p1")) == "cascada; hit; ttl=50; detail=l1"
            assert cache_status(await metrics()) == "cascada; fwd=miss; stored"
            assert cache_status(await metrics(), ttl=60) == "cascada; hit; ttl=60; detail=l1"
            clock.advance(60)
            go.clear()
            assert (await ask()).startswith("cascada; fwd=stale")
            go.set()
    finally:
        configure(None)


async def test_metrics_of_nothing_say_nothing_stored() -> None:
    cache = Cache()
    configure(cache)
    try:
        async with cache:
            _, found = await get_with_cache_aside("page", "p3", "acme", lambda: None)
            assert cache_status(found) == "cascada; fwd=miss"
    finally:
        configure(None)


async def test_to_ask_how_long_is_no_read() -> None:
    async with Cache() as cache:
        acme = cache.tenant("acme")
        await acme.set("page", "p1", "text")
        assert await acme.ttl("page", "p1") is not None
        assert await acme.ttl("page", "other") is None
        total = (await cache.stats()).total
        assert (total.hits, total.misses) == (0, 0)
