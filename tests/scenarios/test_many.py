"""Many ids in one call: in their order, each loaded once, and one loader call for all missing."""

import asyncio
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest

from cascada import Limits
from cascada.api.cache import Cache
from cascada.model.entry import Hit, Miss
from cascada.model.errors import BadInput
from cascada.model.loaded import Loaded
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from tests.scenarios.conftest import TIMEOUT, MakeCache
from tests.scenarios.row import Row, all_stored, turns, under_way, until


class Table:
    """Rows by id, and what was asked for in each call."""

    def __init__(self, *, as_list: bool = False, missing: tuple[str, ...] = ()) -> None:
        self.calls: list[list[str]] = []
        self.as_list = as_list
        self.missing = missing
        self.held = asyncio.Event()
        self.held.set()

    async def read(self, ids: list[str]) -> Any:
        self.calls.append(ids)
        await self.held.wait()
        if self.as_list:
            return [None if each in self.missing else f"row {each}" for each in ids]
        return {each: f"row {each}" for each in ids if each not in self.missing}


def values(hits: Any) -> list[Any]:
    return [hit.value for hit in hits]


@pytest.mark.parametrize("as_list", [False, True])
async def test_one_call_brings_what_is_missing_and_answers_stand_in_the_order_of_the_ids(
    cache: Cache, as_list: bool
) -> None:
    acme = cache.tenant("acme")
    table = Table(as_list=as_list)
    await acme.set("x", "b", "set")
    hits = await acme.load_many("x", ["c", "b", "a", "c", "b"], table.read)
    assert values(hits) == ["row c", "set", "row a", "row c", "set"]
    assert table.calls == [["c", "a"]]
    tiers = [hit.tier for hit in hits]
    assert (tiers[0], tiers[2], tiers[3]) == ("source",) * 3
    # Not from memory while the set's own push waits in the socket.
    assert {tiers[1], tiers[4]} <= {"l1", "l2"}
    await all_stored(acme)
    assert values(await acme.load_many("x", ["a", "b", "c"], table.read)) == [
        "row a", "set", "row c",
    ]  # fmt: skip
    assert len(table.calls) == 1


@pytest.mark.parametrize("as_list", [False, True])
async def test_what_the_loader_does_not_have_is_a_miss(cache: Cache, as_list: bool) -> None:
    acme = cache.tenant("acme")
    table = Table(as_list=as_list, missing=("b",))
    hits = await acme.load_many("x", ["a", "b", "c"], table.read)
    assert isinstance(hits[1], Miss)
    assert values(hits) == ["row a", None, "row c"]
    await all_stored(acme)
    await acme.load_many("x", ["a", "b"], table.read)
    assert table.calls[1] == ["b"]


async def test_duplicates_get_values_of_their_own(cache: Cache) -> None:
    acme = cache.tenant("acme")
    one, two = await acme.load_many("x", ["a", "a"], lambda ids: [[each] for each in ids])
    one.value.append("mine")
    assert two.value == ["a"]
    assert (one.coalesced, two.coalesced) == (False, True)


async def test_ids_may_be_numbers_and_uuids_and_rows_be_keyed_by_them(cache: Cache) -> None:
    acme = cache.tenant("acme")
    long = UUID(int=7)

    def rows(ids: list[str]) -> dict[Any, str]:
        assert ids == ["7", str(long), "x"]
        return {7: "seven", long: "long", "x": "text"}

    assert values(await acme.load_many("x", [7, long, "x", "7"], rows)) == [
        "seven", "long", "text", "seven",
    ]  # fmt: skip


@pytest.mark.parametrize("returned", [["one"], ["one", "two", "three"], []])
async def test_a_list_of_the_wrong_length_is_an_error_and_nothing_is_stored(
    cache: Cache, returned: list[str]
) -> None:
    acme = cache.tenant("acme")
    with pytest.raises(ValueError, match=f"asked for 2 ids and returned {len(returned)} values"):
        await acme.load_many("x", ["a", "b"], lambda ids: returned)
    assert not any(await acme.get_many("x", ["a", "b"]))


async def test_a_row_is_keyed_by_anything_that_is_an_id_and_by_nothing_else(cache: Cache) -> None:
    class Code(StrEnum):
        A = "a"

    acme = cache.tenant("acme")
    hits = await acme.load_many("x", [Code.A], lambda ids: {Code.A: ids})
    assert values(hits) == [["a"]]
    with pytest.raises(BadInput, match=r"a key of what the loader returned is 1\.0"):
        await acme.load_many("x", ["1"], lambda ids: {1.0: ids})


@pytest.mark.parametrize("returned", [{"a", "b"}, "ab", b"ab", bytearray(b"ab"), None, 7])
async def test_what_is_neither_mapping_nor_sequence_is_an_error(
    cache: Cache, returned: Any
) -> None:
    acme = cache.tenant("acme")
    with pytest.raises(TypeError, match="return a mapping from id to value"):
        await acme.load_many("x", ["a", "b"], lambda ids: returned)


async def test_a_failure_reaches_all_who_wait_for_one_of_its_ids(cache: Cache) -> None:
    acme = cache.tenant("acme")
    table = Table()
    table.held.clear()

    async def fails(ids: list[str]) -> Any:
        await table.held.wait()
        raise OSError("down")

    first = asyncio.create_task(acme.load_many("x", ["a", "b"], fails))
    await under_way(acme, "a", "b")
    second = asyncio.create_task(acme.load_many("x", ["b", "c"], table.read))
    await under_way(acme, "c")
    third = asyncio.create_task(acme.load("x", "c", Row("not asked").read))
    await until(lambda: len(table.calls) == 1)
    table.held.set()
    for caller in (first, second):
        with pytest.raises(OSError, match="down"):
            await caller
    assert (await third).value == "row c"


async def test_callers_whose_ids_overlap_load_each_id_once(cache: Cache) -> None:
    acme = cache.tenant("acme")
    table = Table()
    table.held.clear()
    first = asyncio.create_task(acme.load_many("x", ["a", "b", "c"], table.read))
    await until(lambda: len(table.calls) == 1)
    second = asyncio.create_task(acme.load_many("x", ["d", "c", "b", "e"], table.read))
    await under_way(acme, "d", "e")
    third = asyncio.create_task(acme.load("x", "e", Row("not asked").read))
    await until(lambda: len(table.calls) == 2)
    await turns()
    table.held.set()
    assert values(await first) == ["row a", "row b", "row c"]
    assert values(await second) == ["row d", "row c", "row b", "row e"]
    assert (await third).value == "row e"
    assert table.calls == [["a", "b", "c"], ["d", "e"]]


async def test_one_id_that_was_invalidated_during_the_load_is_loaded_again_for_who_asks_later(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    table = Table()
    table.held.clear()
    first = asyncio.create_task(acme.load_many("x", ["a", "b"], table.read))
    await until(lambda: len(table.calls) == 1)
    await acme.invalidate("x", "a")
    later = asyncio.create_task(acme.load_many("x", ["a", "b"], table.read))
    await turns()
    table.held.set()
    await asyncio.gather(first, later)
    assert table.calls == [["a", "b"], ["a"]]


async def test_stale_ids_are_served_and_refreshed_while_missing_ones_are_awaited(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=10, stale_for=60)).tenant("acme")
    await acme.set("x", "a", "stale")
    clock.advance(20)
    table = Table()
    hits = await acme.load_many("x", ["a", "b"], table.read)
    assert [(hit.value, hit.stale) for hit in hits] == [("stale", True), ("row b", False)]
    await all_stored(acme)
    assert values(await acme.get_many("x", ["a", "b"])) == ["row a", "row b"]


async def test_what_a_row_brings_with_it_is_its_own(cache: Cache) -> None:
    acme = cache.tenant("acme")
    rows = {"a": Loaded("A", tags=["news"], ttl=5), "b": Loaded("B", store=False), "c": "C"}
    assert values(await acme.load_many("x", [*"abc"], lambda ids: rows, ttl=60)) == ["A", "B", "C"]
    await all_stored(acme)
    assert await acme.ttl("x", "a") == 5
    assert await acme.ttl("x", "b") is None
    assert await acme.ttl("x", "c") == 60
    await acme.invalidate(tag="news")
    assert values(await acme.get_many("x", [*"abc"])) == [None, None, "C"]


async def test_get_many_answers_in_order_and_asks_the_shared_tier_once(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    async with Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=TIMEOUT)) as cache:
        acme = cache.tenant("acme")
        for name in "abcd":
            await acme.set("x", name, name.upper())
        inside(cache).memory.flush()
        await acme.get("x", "a")
        flaky.made.clear()
        hits = await acme.get_many("x", ["d", "a", "missing", "b", "d"])
        assert values(hits) == ["D", "A", None, "B", "D"]
        assert [hit.tier if isinstance(hit, Hit) else None for hit in hits] == [
            "l3", "l1", None, "l3", "l3",
        ]  # fmt: skip
        assert flaky.made["read"] == 1
        assert [hit.tier for hit in await acme.get_many("x", [*"dab"])] == ["l1"] * 3


async def test_a_full_miss_of_many_costs_the_shared_tier_one_call_of_each_kind(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    async with Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=TIMEOUT)) as cache:
        acme = cache.tenant("acme")
        await acme.load_many("x", range(200), Table().read)
        await all_stored(acme)
        assert (flaky.made["read"], flaky.made["lease"], flaky.made["fill"]) == (1, 1, 1)


async def test_what_was_read_before_memory_was_emptied_is_asked_again(
    flaky: FlakyTier,
    clock: ManualClock,
    nothing_left_behind: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its number may be another epoch's: what memory kept by it, nothing there would end."""
    async with Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=TIMEOUT)) as cache:
        acme = cache.tenant("acme")
        await acme.get("x", "warm")
        flaky.made.clear()
        with monkeypatch.context() as patched:

            async def read(keys: Any) -> Any:
                answers = await FlakyTier.read(flaky, keys)
                patched.undo()
                inside(cache).memory.flush()
                return answers

            patched.setattr(flaky, "read", read)
            assert values(await acme.load_many("x", ["a", "b"], Table().read)) == ["row a", "row b"]
        assert flaky.made["read"] == 2


async def test_no_ids_are_no_call(cache: Cache) -> None:
    acme = cache.tenant("acme")
    table = Table()
    assert await acme.load_many("x", [], table.read) == []
    assert await acme.get_many("x", []) == []
    with cache.bypass():
        assert await acme.load_many("x", [], table.read) == []
    assert table.calls == []
