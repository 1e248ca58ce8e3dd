"""A caller with a generator is never answered by a load that did not ask one."""

from __future__ import annotations

import asyncio

import pytest

from cascada import BadInput, Cache, InvalidTTL


async def test_who_boards_a_load_without_a_generator_asks_its_own() -> None:
    async with Cache() as cache:
        acme = cache.tenant("acme")
        reading = asyncio.Event()

        async def nothing() -> None:
            reading.set()
            await asyncio.sleep(0.01)

        first = asyncio.create_task(acme.load("doc", "1", nothing))
        await reading.wait()
        second = await acme.load("doc", "1", nothing, lambda: "made")
        assert not await first
        assert second.value == "made"


async def test_a_wrong_ttl_is_refused_on_a_hit_too() -> None:
    async with Cache() as cache:
        acme = cache.tenant("acme")
        await acme.set("doc", "1", "one")
        with pytest.raises(InvalidTTL, match="-3"):
            await acme.load("doc", "1", lambda: "two", ttl=-3)


async def test_one_tag_is_not_taken_for_its_letters() -> None:
    async with Cache() as cache:
        with pytest.raises(BadInput, match="news"):
            await cache.tenant("acme").set("doc", "1", "one", tags="news")


def test_a_database_url_is_shown_without_its_password() -> None:
    with pytest.raises(BadInput) as caught:
        Cache(database="postgresql://user:secret@host/db")
    assert "secret" not in str(caught.value)
