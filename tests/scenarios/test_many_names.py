"""Up to 1,024 names in every tier, each of which ends the value; beyond it nothing is stored."""

import pytest

from cascada.api.cache import Cache
from cascada.model.entry import Miss
from cascada.model.errors import BadInput
from cascada.model.loaded import Loaded
from cascada.model.names import MAX_NAMES
from tests.scenarios.conftest import NAMES, MakeCache

MOST = [f"{number}" for number in range(MAX_NAMES)]


@pytest.mark.parametrize("ended_by", [0, 300, MAX_NAMES - 1])
async def test_as_many_tags_as_one_may_bear_are_kept_and_any_one_ends_it(
    make_cache: MakeCache, tiers: str, ended_by: int
) -> None:
    here = make_cache().tenant("acme")
    assert await here.set("x", "1", "value", tags=MOST)
    assert (await here.get("x", "1")).value == "value"
    there = here if tiers == "memory" else make_cache().tenant("acme")
    assert (await there.get("x", "1")).tier == NAMES[tiers][:2][-1]
    await there.invalidate(tag=f"{ended_by}")
    assert isinstance(await there.get("x", "1"), Miss)


async def test_an_answer_made_of_five_hundred_documents_is_kept(make_cache: MakeCache) -> None:
    """By their keys: two names each, and one more for their type."""
    here = make_cache().tenant("acme")
    loads = 0

    def answer() -> Loaded[str]:
        nonlocal loads
        loads += 1
        return Loaded("answer", sources=[f"document:d{number}" for number in range(500)])

    for _ in range(2):
        assert (await here.load("x", "1", answer)).value == "answer"
    assert loads == 1
    await here.invalidate("document", "d7")
    await here.load("x", "1", answer)
    assert loads == 2


async def test_with_more_the_caller_has_his_value_and_is_told_why_it_is_not_kept(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    more = [*MOST, "one more"]
    for _ in range(2):
        hit = await acme.load("x", "1", lambda: Loaded("value", tags=more))
        assert (hit.value, hit.tier) == ("value", "source")
    explanation = await acme.explain("x", "1")
    assert explanation.unstored == "it bears 1025 names of at most 1,024"
    assert "not stored: it bears 1025 names" in str(explanation)
    assert (await acme.explain("x", "2")).unstored is None
    with pytest.raises(BadInput, match=r"1025 tags and sources; at most 1,?024 may"):
        await acme.set("x", "1", "value", tags=more)
    assert isinstance(await acme.get("x", "1"), Miss)
    assert await acme.set("x", "1", "value", tags=MOST)
    assert (await acme.explain("x", "1")).unstored is None
