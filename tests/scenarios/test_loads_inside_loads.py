"""A loader may load what it needs; a circle is an error, never a wait without end."""

import asyncio
from typing import Any

from cascada.api.cache import Cache
from cascada.model.errors import LoadCycle
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row

PATIENCE = 5.0
"""What would wait for ever fails after so many seconds."""


async def in_time(*awaited: Any) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*awaited, return_exceptions=True)


async def test_a_loader_that_loads_its_own_key_is_told_so(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def itself() -> Any:
        return (await acme.load("x", "1", itself)).value

    (error,) = await in_time(acme.load("x", "1", itself))
    assert isinstance(error, LoadCycle)
    assert "acme:x:1" in str(error)


async def test_a_circle_through_other_loaders_is_told_to_all_of_them(cache: Cache) -> None:
    acme = cache.tenant("acme")

    def ring(number: int) -> Any:
        async def fetch() -> Any:
            following = (number + 1) % 5
            return (await acme.load("x", following, ring(following))).value

        return fetch

    answers = await in_time(*(acme.load("x", 0, ring(0)) for _ in range(3)))
    assert all(isinstance(answer, LoadCycle) for answer in answers)


async def test_two_loads_that_come_to_wait_for_each_other_do_not_wait_for_ever(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    both_run = asyncio.Barrier(2)

    def half(other: str, others: Any = None) -> Any:
        async def fetch() -> Any:
            await both_run.wait()
            return (await acme.load("x", other, Row("never asked").read)).value

        return fetch

    left, right = await in_time(acme.load("x", "a", half("b")), acme.load("x", "b", half("a")))
    assert isinstance(left, LoadCycle) or isinstance(right, LoadCycle)


async def test_a_circle_inside_one_call_for_many_is_found(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def rows(ids: list[str]) -> Any:
        await acme.load("x", "b", Row().read)
        return {each: each for each in ids}

    (error,) = await in_time(acme.load_many("x", ["a", "b"], rows))
    assert isinstance(error, LoadCycle)


async def test_what_was_asked_for_beside_a_circle_can_be_loaded_afterwards(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def rows(ids: list[str]) -> Any:
        return {each: each for each in ids}

    async def both() -> Any:
        return await acme.load_many("x", ["beside", "a"], rows)

    (error,) = await in_time(acme.load("x", "a", both))
    assert isinstance(error, LoadCycle)
    (beside,) = await in_time(acme.load("x", "beside", Row("there").read))
    assert beside.value == "there"


async def test_loaders_that_share_what_they_need_are_no_circle(cache: Cache) -> None:
    acme = cache.tenant("acme")
    shared = Row("base", seconds=0.01)

    def made_of_base(name: str) -> Any:
        async def fetch() -> str:
            return name + (await acme.load("x", "base", shared.read)).value

        return fetch

    answers = await in_time(*(acme.load("x", name, made_of_base(name)) for name in "abc"))
    assert [answer.value for answer in answers] == ["abase", "bbase", "cbase"]
    assert shared.reads == 1


async def test_a_loader_may_load_the_same_id_of_another_type_context_or_tenant(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    row = Row("inner")

    async def outer() -> Any:
        return [
            (await acme.load("y", "1", row.read)).value,
            (await acme.within(agent="a").load("x", "1", row.read)).value,
            (await cache.tenant("other").load("x", "1", row.read)).value,
        ]

    (answer,) = await in_time(acme.load("x", "1", outer))
    assert answer.value == ["inner"] * 3


async def test_more_nested_loads_than_slots_do_not_wait_for_each_other(
    make_cache: MakeCache,
) -> None:
    acme = make_cache(max_loads=4, max_loads_per_type=4, load_wait=PATIENCE * 2).tenant("acme")

    def nest(name: str, depth: int) -> Any:
        async def fetch() -> str:
            await asyncio.sleep(0.001)
            if not depth:
                return name
            return (await acme.load("x", f"{name}.{depth}", nest(name, depth - 1))).value

        return fetch

    answers = await in_time(*(acme.load("x", name, nest(name, 6)) for name in "abcdefgh"))
    assert [answer.value for answer in answers] == list("abcdefgh")


async def test_a_load_that_others_inside_loads_wait_for_is_not_kept_waiting_by_them(
    make_cache: MakeCache,
) -> None:
    """The inner key was asked for first and waits for a slot, which the outer loads hold: they
    would wait for it, and it for them."""
    acme = make_cache(max_loads=2, max_loads_per_type=2, load_wait=PATIENCE * 2).tenant("acme")
    running = asyncio.Barrier(3)

    def outer(name: str) -> Any:
        async def fetch() -> str:
            await running.wait()
            await asyncio.sleep(0.02)
            return name + (await acme.load("x", "inner", Row("!").read)).value

        return fetch

    async def inner() -> Any:
        await running.wait()
        return await acme.load("x", "inner", Row("!").read)

    answers = await in_time(
        acme.load("x", "a", outer("a")), acme.load("x", "b", outer("b")), inner()
    )
    assert [answer.value for answer in answers if not isinstance(answer, Exception)] == [
        "a!", "b!", "!",
    ]  # fmt: skip
