"""A deadline counts what the other side takes, and not what this process's own lag takes."""

import asyncio
import socket
import time
from collections.abc import Awaitable

import pytest

from cascada.tiers.deadline import TICKS, Deadline, wait_in

SECONDS = 0.1
FOREVER = 60.0


class Queue:
    done = 0


async def given_up(deadline: Deadline, work: Awaitable[object]) -> bool:
    try:
        with deadline:
            await work
    except TimeoutError:
        return True
    return False


async def test_what_never_answers_is_late_and_to_blame() -> None:
    deadline = Deadline(SECONDS)
    assert await given_up(deadline, asyncio.sleep(FOREVER))
    assert deadline.expired
    assert deadline.late


async def test_what_answers_in_time_is_not() -> None:
    deadline = Deadline(FOREVER)
    assert not await given_up(deadline, asyncio.sleep(SECONDS))
    assert not deadline.expired
    assert not deadline.late


async def test_an_answer_that_arrived_while_the_loop_was_blocked_is_taken() -> None:
    """The end of the time and the answer are seen in the same turn; through pipes and futures the
    answer takes a few more turns."""
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    here.setblocking(False)
    first, second = loop.create_future(), loop.create_future()
    first.add_done_callback(lambda done: second.set_result(done.result()))
    loop.add_reader(here, lambda: first.done() or first.set_result(here.recv(1)))

    async def answer() -> None:
        there.send(b"!")
        time.sleep(3 * SECONDS)  # noqa: ASYNC251 - the loop is to be blocked
        await second

    deadline = Deadline(SECONDS, at_most=2 * SECONDS, on_late=lambda: None)
    assert not await given_up(deadline, answer())
    loop.remove_reader(here)
    here.close()
    there.close()


async def test_a_blocked_loop_is_not_the_other_sides_time() -> None:
    """Nothing has arrived when the loop goes on: a round trip is still to come."""
    deadline = Deadline(SECONDS)

    async def round_trip() -> None:
        time.sleep(5 * SECONDS)  # noqa: ASYNC251 - the loop is to be blocked
        await asyncio.sleep(SECONDS / TICKS)

    assert not await given_up(deadline, round_trip())


async def test_a_loop_that_is_blocked_again_and_again_looks_in_between() -> None:
    """What takes a few turns has them, though each of them takes long."""
    deadline = Deadline(SECONDS)

    async def turns() -> None:
        for _ in range(TICKS - 2):
            time.sleep(SECONDS)  # noqa: ASYNC251 - the loop is to be blocked
            await asyncio.sleep(0)

    assert not await given_up(deadline, turns())


async def test_what_never_answers_is_to_blame_also_on_a_loop_that_is_blocked_often() -> None:
    """Else a dead tier would cost every caller a long wait on a busy machine."""
    deadline = Deadline(SECONDS)

    async def hold_up() -> None:
        while True:
            time.sleep(3 * SECONDS / TICKS)  # noqa: ASYNC251 - the loop is to be blocked
            await asyncio.sleep(0)

    blocking = asyncio.ensure_future(hold_up())
    assert await given_up(deadline, asyncio.sleep(FOREVER))
    blocking.cancel()
    assert deadline.late


async def test_who_waits_in_a_queue_that_moves_is_not_late() -> None:
    queue, deadline = Queue(), Deadline(SECONDS)

    async def queued() -> None:
        wait_in(queue)
        for _ in range(2 * TICKS):
            await asyncio.sleep(SECONDS / TICKS)
            queue.done += 1

    assert not await given_up(deadline, queued())


async def test_who_waits_in_a_queue_that_stands_still_is_late() -> None:
    queue, deadline = Queue(), Deadline(SECONDS)

    async def queued() -> None:
        wait_in(queue)
        await asyncio.sleep(FOREVER)

    assert await given_up(deadline, queued())
    assert deadline.late


async def test_a_queue_that_moves_for_ever_ends_the_wait_without_blame() -> None:
    queue, deadline = Queue(), Deadline(SECONDS)

    async def queued() -> None:
        wait_in(queue)
        while True:
            await asyncio.sleep(SECONDS / TICKS / 2)
            queue.done += 1

    assert await given_up(deadline, queued())
    assert not deadline.late


async def test_who_insists_hears_of_the_lateness_and_waits_on() -> None:
    told = asyncio.Event()
    deadline = Deadline(SECONDS, at_most=FOREVER, on_late=told.set)

    async def until_told() -> None:
        await told.wait()
        await asyncio.sleep(2 * SECONDS)

    assert not await given_up(deadline, until_told())
    assert deadline.late


async def test_who_insists_is_given_up_at_the_end_of_all() -> None:
    deadline = Deadline(SECONDS, at_most=2 * SECONDS, on_late=lambda: None)
    assert await given_up(deadline, asyncio.sleep(FOREVER))
    assert deadline.expired


@pytest.mark.parametrize("error", [TimeoutError("of its own"), ValueError("no time-out")])
async def test_an_error_of_the_work_is_no_expiry(error: Exception) -> None:
    async def failing() -> None:
        raise error

    deadline = Deadline(FOREVER)
    with pytest.raises(type(error)) as raised, deadline:
        await failing()
    assert raised.value is error
    assert not deadline.expired


async def test_a_caller_that_is_cancelled_is_cancelled() -> None:
    deadline = Deadline(FOREVER)
    task = asyncio.ensure_future(given_up(deadline, asyncio.sleep(FOREVER)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not deadline.expired


async def test_work_within_two_deadlines_is_the_inner_ones() -> None:
    """The outer one is told of no queue after the inner one has ended."""
    queue, outer = Queue(), Deadline(SECONDS)

    async def nested() -> None:
        with Deadline(FOREVER):
            wait_in(queue)
        queue.done += 1
        await asyncio.sleep(FOREVER)

    assert await given_up(outer, nested())
    assert outer.late
