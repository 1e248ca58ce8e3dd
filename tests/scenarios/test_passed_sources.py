"""`sources=`: what callers may pass, what is refused, and types that must have one."""

import asyncio
import logging
from typing import Any

import pytest

from cascada.api.cache import Cache
from cascada.api.cached.decorator import cached
from cascada.api.context import Context
from cascada.api.tenant.handle import Tenant
from cascada.model.entry import Hit
from cascada.model.errors import BadInput, InvalidKey, InvalidPolicy
from cascada.model.loaded import Loaded
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored, kept


async def document(acme: Tenant, text: str = "text") -> Hit[Any]:
    hit = await acme.load("document", "d", Row(text).read)
    await all_stored(acme)
    assert isinstance(hit, Hit)
    return hit


async def test_a_hit_from_whichever_tier_carries_its_key(cache: Cache, tiers: str) -> None:
    acme = cache.tenant("acme").within(agent="a")
    loaded = await document(acme)
    for hit in (loaded, await acme.get("document", "d"), acme.peek("document", "d")):
        assert isinstance(hit, Hit)
        assert hit.key == acme.key("document", "d")
        await acme.load("x", "1", lambda: "made of it", sources=[hit])
        assert await kept(acme) == "made of it"
        await acme.invalidate("x", "1")


async def test_a_hit_brings_what_it_was_made_from_itself(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def summary() -> str:
        return f"of {(await acme.load('document', 'd', Row('text').read)).value}"

    middle = await acme.load("summary", "s", summary)
    await acme.load("x", "1", lambda: "made", sources=[middle])
    assert await kept(acme) == "made"
    await acme.invalidate("document", "d")
    assert await kept(acme) is None


async def test_a_general_hit_holds_until_a_more_specific_one_is_there(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await document(acme)
    narrow = acme.within(agent="a")
    for _ in range(2):  # found below, then in memory, under the key that was asked for
        hit = await narrow.get("document", "d")
        await narrow.load("x", "1", lambda: "made", sources=[hit])
        assert await kept(narrow) == "made"
        await narrow.invalidate("x", "1")
    await narrow.load("x", "1", lambda: "made", sources=[hit])
    await narrow.set("document", "d", "its own")
    assert await kept(narrow) is None


async def test_what_is_made_of_something_stale_is_stale_and_not_stored(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    policies = {"document": Policy(ttl=10, stale_for=100), "x": Policy()}
    async with make_cache(policies=policies) as cache:
        acme = cache.tenant("acme")
        await document(acme)
        clock.advance(20)
        old = await acme.get("document", "d")
        assert old
        assert old.stale
        made = await acme.load("x", "1", lambda: "made", sources=[old])
        assert made
        assert made.stale
        assert await kept(acme) is None
        assert not await acme.set("x", "1", "made", sources=[old])
        assert not await acme.fill(await acme.get("x", "1"), "made", sources=[old])
        assert await kept(acme) is None


async def test_a_hit_of_another_tenant_is_refused_everywhere(cache: Cache) -> None:
    acme, globex = cache.tenant("acme"), cache.tenant("globex")
    hit = await document(globex)
    with pytest.raises(BadInput, match="of tenant 'globex'"):
        await acme.load("x", "1", lambda: "made", sources=[hit])
    with pytest.raises(BadInput, match="of tenant 'globex'"):
        await acme.set("x", "1", "made", sources=[hit])
    with pytest.raises(BadInput, match="of tenant 'globex'"):
        await acme.load("x", "1", lambda: Loaded("made", sources=[hit]))
    assert await kept(acme) is None


@pytest.mark.parametrize(
    "odd",
    ["document", "a:b:c", [5], [None], [("d",)], [b"document:d"], 7, [("d", "*")], ["d:*"]],
)
async def test_what_could_be_misread_is_refused_on_a_hit_as_well(cache: Cache, odd: Any) -> None:
    acme = cache.tenant("acme")
    for _ in range(2):
        with pytest.raises((BadInput, InvalidKey), match="source"):
            await acme.load("x", "1", lambda: "made", sources=odd)
        await acme.set("x", "1", "there")


async def test_a_hit_of_what_is_called_so_is_no_wildcard(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("document", "*", "star")
    hit = await acme.get("document", "*")
    assert await acme.set("x", "1", "made", sources=[hit, acme.key("document", "*")])


async def test_a_cached_function_tells_its_sources_from_its_arguments(cache: Cache) -> None:
    calls: list[str] = []

    @cached("summary", cache=cache, sources=lambda doc: [("document", doc)])
    async def summary(doc: str) -> str:
        calls.append(doc)
        return f"of {doc}"

    @cached("report", cache=cache, sources=[("document", "d")])
    async def report() -> str:
        calls.append("report")
        return "report"

    acme = cache.tenant("acme")
    with Context(tenant_id="acme"):
        for _ in range(2):
            await summary("d")
            await summary("e")
            await report()
            await all_stored(acme)
        assert calls == ["d", "e", "report"]
        await acme.invalidate("document", "d")
        await summary("d")
        await summary("e")
        await report()
    assert calls == ["d", "e", "report", "d", "report"]
    with pytest.raises(InvalidKey):
        cached("x", sources=["a:b:c"])


async def test_a_type_that_must_have_sources(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_cache(policy=Policy(sources="required")) as cache:
        acme = cache.tenant("acme")
        with caplog.at_level(logging.WARNING, logger="cascada"):
            for _ in range(3):
                assert (await acme.load("x", "1", lambda: "of nothing")).value == "of nothing"
                await all_stored(acme)
        assert len([r for r in caplog.records if "goes to its callers" in r.getMessage()]) == 1
        assert not await acme.get("x", "1")
        assert "has no source" in str((await acme.explain("x", "1")).unstored)
        with pytest.raises(BadInput, match="Policy\\(sources='required'\\)"):
            await acme.set("x", "1", "of nothing")
        hit = await document(acme)
        for passed in ([hit], [("document", "d")]):
            await acme.load("x", "1", lambda: "of d", sources=passed)
            assert await kept(acme) == "of d"
            (finding, *_) = (await acme.explain("x", "1")).findings
            assert finding.made_of == ("acme:document:d",)
            assert "made from acme:document:d" in str(finding)
            await acme.invalidate("x", "1")

        async def reads() -> str:
            return f"of {(await acme.load('document', 'd', Row('t').read)).value}"

        await acme.load("x", "1", reads)
        assert await kept(acme) == "of text"
    with pytest.raises(InvalidPolicy, match=r"Policy.sources is 'always'"):
        Policy(sources="always")  # type: ignore[arg-type]  # that is what is tried


async def test_loads_that_name_each_other_or_themselves_are_stored_or_not_but_end(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    old = [await acme.load("x", name, Row(name).read) for name in "12"]
    await all_stored(acme)
    await acme.invalidate("x", "*")
    await asyncio.gather(
        acme.load("x", "1", Row("new").read, sources=old),
        acme.load("x", "2", Row("new").read, sources=old),
    )
    await all_stored(acme)
    assert not await acme.get("x", "1")
