"""Batches of many keys on the SQLite tier: chunks, one commit, one moment."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cascada.model.names import type_name
from cascada.testing.inside import InsideSqlite
from cascada.tiers.contract import Found, Lease
from tests.tiers.sqlite_world import (
    World,
    entry,
    grant,
    key,
    load,
)


async def test_long_batches_let_the_loop_breathe(world: World) -> None:
    tier = world.tier(inline_reads=True)
    keys = [key(i) for i in range(1000)]
    leases = await tier.lease(keys, await tier.read(keys))
    await tier.fill([lease for lease in leases if isinstance(lease, Lease)], [entry()] * 1000)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.ensure_future(count())
    await tier.read(keys)
    counter.cancel()
    assert turns >= 10


async def test_a_thousand_writes_are_one_commit_and_let_the_loop_breathe(world: World) -> None:
    tier = world.tier()
    await load(tier, key("first"))
    keys = [key(i) for i in range(1000)]
    leases = await tier.lease(keys, await tier.read(keys), force=True)
    statements: list[str] = []
    with InsideSqlite(tier).writer.link as connection:
        connection.set_trace_callback(statements.append)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.ensure_future(count())
    filled = await tier.fill([each for each in leases if isinstance(each, Lease)], [entry()] * 1000)
    counter.cancel()
    assert all(each.accepted for each in filled)
    assert statements[: statements.index("COMMIT")].count("BEGIN IMMEDIATE") == 1
    assert sum("INTO entries" in text for text in statements[: statements.index("COMMIT")]) == 1000
    assert turns >= 10
    assert all(isinstance(each, Found) for each in await tier.read(keys))
    world.check_sums()


async def test_one_odd_chunk_of_a_batch_fails_it_and_leaves_no_future_unheard(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    tier = world.tier()
    keys = [key(i) for i in range(300)]
    leases = [await grant(tier, each) for each in keys]
    odd = [entry()] * 100 + [entry(version=2**80)] * 200
    with pytest.raises(Exception, match="version"):
        await tier.fill(leases, odd)
    task = asyncio.ensure_future(tier.fill(leases, odd))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await tier.aclose()
    assert not caplog.records


async def test_a_batch_that_is_overtaken_is_read_in_one_go_and_tells_its_own_counter(
    world: World,
) -> None:
    a, b = world.tier(), world.tier()
    keys = [key(i) for i in range(300)]
    (first,) = await a.read([keys[0]])
    reading = InsideSqlite(a).questions.read
    numbers: list[int] = []

    def read_and_be_overtaken(*args: object, **how: object) -> object:
        answers = reading(*args, **how)
        numbers.append(answers[0].seq)
        done = threading.Event()

        async def invalidate() -> None:
            await b.invalidate([type_name("acme", "document")])
            done.set()

        asyncio.run_coroutine_threadsafe(invalidate(), loop)
        done.wait(10)
        return answers

    loop = asyncio.get_running_loop()
    InsideSqlite(a).questions.read = read_and_be_overtaken
    answers = await a.read(keys)
    assert numbers == [first.seq, first.seq + 1, first.seq + 2, first.seq + 3]
    assert [answer.seq for answer in answers] == [numbers[-1]] * 300


# --- closing ------------------------------------------------------------------------------
