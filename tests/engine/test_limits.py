"""The slots of loads: none is lost, none is given twice, however a load stops waiting."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from cascada.engine.tasks.limits import LoadLimits, Ticket
from cascada.model.errors import SourceBusy


@asynccontextmanager
async def slot(limits: LoadLimits, data_type: str, ticket: Ticket) -> AsyncIterator[None]:
    if not limits.enter(data_type, ticket):
        await limits.wait(data_type, ticket)
    try:
        yield
    finally:
        limits.leave(data_type, ticket)


async def hold(limits: LoadLimits, data_type: str = "x") -> AsyncExitStack:
    stack = AsyncExitStack()
    await stack.enter_async_context(slot(limits, data_type, Ticket()))
    return stack


async def queue(limits: LoadLimits, data_type: str = "x") -> "asyncio.Task[AsyncExitStack]":
    waiting = asyncio.create_task(hold(limits, data_type))
    for _ in range(3):
        await asyncio.sleep(0)
    return waiting


async def test_slots_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    limits = LoadLimits(1, 1)
    first = await hold(limits)
    waiting = [await queue(limits) for _ in range(3)]
    for expected in range(3):
        await first.aclose()
        first = await waiting[expected]
        assert [task.done() for task in waiting] == [index <= expected for index in range(3)]
    await first.aclose()


async def test_a_type_that_is_full_does_not_hold_up_another() -> None:
    limits = LoadLimits(3, 1)
    held = await hold(limits, "x")
    waiting = await queue(limits, "x")
    other = await hold(limits, "y")
    assert not waiting.done()
    await other.aclose()
    assert not waiting.done()
    await held.aclose()
    await (await waiting).aclose()


async def test_who_gives_up_loses_no_slot() -> None:
    limits = LoadLimits(1, 1)
    held = await hold(limits)
    waiting = [await queue(limits) for _ in range(3)]
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    await held.aclose()
    held = await waiting[1]
    assert not waiting[2].done()
    await held.aclose()
    await (await waiting[2]).aclose()


async def test_a_slot_that_was_given_in_the_moment_of_giving_up_goes_to_the_next() -> None:
    limits = LoadLimits(1, 1)
    held = await hold(limits)
    giving_up = await queue(limits)
    following = await queue(limits)
    await held.aclose()  # the slot is his now, and he does not know yet
    giving_up.cancel()
    await asyncio.gather(giving_up, return_exceptions=True)
    async with asyncio.timeout(5):
        held = await following
    await held.aclose()
    await (await hold(limits)).aclose()


async def test_who_waits_too_long_is_told_so_and_leaves_the_queue() -> None:
    limits = LoadLimits(1, 1, patience=0.01)
    held = await hold(limits)
    with pytest.raises(SourceBusy, match=r"1 loads of x or 1 in all run already.*0\.01 s"):
        await hold(limits)
    await held.aclose()
    await (await hold(limits)).aclose()


async def test_an_urgent_load_needs_no_slot_whenever_it_becomes_urgent() -> None:
    limits = LoadLimits(1, 1)
    held = await hold(limits)
    async with slot(limits, "x", Ticket(urgent=True)):
        pass
    ticket = Ticket()
    running = asyncio.Event()

    async def run() -> None:
        async with slot(limits, "x", ticket):
            running.set()

    waiting = asyncio.create_task(run())
    await asyncio.sleep(0)
    ticket.hurry()
    async with asyncio.timeout(5):
        await running.wait()
    await waiting
    ticket.hurry()  # once more does no harm
    following = await queue(limits)
    assert not following.done(), "the urgent ones gave back no slot that they did not hold"
    await held.aclose()
    await (await following).aclose()


async def test_an_error_inside_gives_the_slot_back() -> None:
    limits = LoadLimits(1, 1)
    with pytest.raises(KeyError):
        async with slot(limits, "x", Ticket()):
            raise KeyError
    await (await hold(limits)).aclose()


async def test_a_function_that_goes_on_in_its_thread_keeps_its_slot() -> None:
    """Nothing ends it: else the next ones would take all threads, and who comes then hangs."""
    limits, running = LoadLimits(1, 1, patience=0.01), Future[None]()
    ticket = Ticket()
    async with slot(limits, "x", ticket):
        ticket.threads.append(running)
    with pytest.raises(SourceBusy):
        await hold(limits)
    following = asyncio.create_task(hold(limits))
    limits.patience = 5
    await asyncio.to_thread(running.set_result, None)
    await (await following).aclose()
