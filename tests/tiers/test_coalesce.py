"""What one turn of the loop asks for is done together, and nobody harms another."""

import asyncio
import gc
from contextvars import Context, ContextVar

import pytest

from cascada.engine.tasks.background import Background
from cascada.tiers.coalesce import Coalescer

asker: ContextVar[int | None] = ContextVar("asker", default=None)


class Work:
    """Answers with the request, once `go` is set; what it was asked together is in `batches`,
    and in `contexts` who asked, as far as that can be seen."""

    def __init__(self) -> None:
        self.background = Background()
        self.turns: Coalescer[int, int] = Coalescer(
            self, start=lambda work: self.background.answer(work, "work", Context())
        )
        self.batches: list[list[int]] = []
        self.contexts: list[int | None] = []
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, requests: list[int]) -> list[int]:
        self.batches.append(requests)
        self.contexts.append(asker.get())
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return [10 * each for each in requests]


@pytest.fixture
async def work() -> Work:
    return Work()


async def some_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_idle_a_request_is_carried_out_at_once_and_the_next_ones_together(work: Work) -> None:
    asked = [asyncio.ensure_future(work.turns.ask(number)) for number in range(5)]
    await some_turns()
    assert work.batches == [[0], [1, 2, 3, 4]]
    later = asyncio.ensure_future(work.turns.ask(5))
    await some_turns()
    assert work.batches[2:] == [[5]], "nobody waits for what is under way"
    work.go.set()
    assert await asyncio.gather(*asked, later) == [0, 10, 20, 30, 40, 50]
    await some_turns()
    assert await work.turns.ask(6) == 60
    assert work.batches[3:] == [[6]]


async def test_what_is_done_together_is_done_in_nobodys_context(work: Work) -> None:
    async def ask(number: int) -> int:
        asker.set(number)
        return await work.turns.ask(number)

    asked = [asyncio.ensure_future(ask(number)) for number in range(3)]
    await some_turns()
    work.go.set()
    assert await asyncio.gather(*asked) == [0, 10, 20]
    assert work.contexts == [0, None]


async def test_who_is_cancelled_takes_nothing_from_the_others(work: Work) -> None:
    asked = [asyncio.ensure_future(work.turns.ask(number)) for number in range(5)]
    await some_turns()
    asked[0].cancel()  # the one that went alone
    asked[1].cancel()  # the first of those that went together
    await some_turns()
    work.go.set()
    assert await asyncio.gather(*asked[2:]) == [20, 30, 40]
    assert await work.turns.ask(7) == 70
    assert work.batches == [[0], [1, 2, 3, 4], [7]], "and it is idle again"


async def test_everybody_is_cancelled_before_the_turn_has_come(work: Work) -> None:
    first = asyncio.ensure_future(work.turns.ask(0))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(work.turns.ask(1))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    await some_turns()
    work.go.set()
    await some_turns()
    assert await work.turns.ask(2) == 20


async def test_a_failure_is_everybodys_of_that_batch_and_of_nobody_else(work: Work) -> None:
    asked = [asyncio.ensure_future(work.turns.ask(number)) for number in range(3)]
    await some_turns()
    work.error = OSError("away")
    work.go.set()
    failed = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(each) for each in failed] == ["away"] * 3
    work.error = None
    assert await work.turns.ask(4) == 40


async def test_closing_ends_those_who_wait(work: Work) -> None:
    asked = [asyncio.ensure_future(work.turns.ask(number)) for number in range(3)]
    await some_turns()
    await work.background.drain(0)
    for each in asked[1:]:
        with pytest.raises(asyncio.CancelledError):
            await each
    asked[0].cancel()


async def test_nobody_hangs_on_a_turn_that_is_ended_before_its_first_step(work: Work) -> None:
    asked = [asyncio.ensure_future(work.turns.ask(number)) for number in range(2)]
    started = asyncio.get_running_loop().create_future()

    def end_what_has_started() -> None:
        asyncio.get_running_loop().call_soon(started.set_result, None)
        for turn in asyncio.all_tasks():
            if turn.get_name().startswith("cascada:"):
                turn.cancel()

    await asyncio.sleep(0)  # both have asked, and the turn of the second one begins next
    asyncio.get_running_loop().call_soon(end_what_has_started)
    await started
    assert work.batches == [[0]]
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asked[1], 1)
    work.go.set()
    assert await asked[0] == 0


# --- what a batch must never do ----------------------------------------------------------------


async def test_work_that_answers_too_few_fails_for_all_and_nobody_hangs(work: Work) -> None:
    work.go.set()
    short: Coalescer[int, int] = Coalescer(
        work, start=asyncio.ensure_future, share=lambda asked, answers: answers[:-1], delay=0
    )
    asked = [asyncio.ensure_future(short.ask(number)) for number in range(3)]
    failed = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 1)
    assert isinstance(failed[-1], ValueError)


async def test_work_that_cannot_begin_fails_for_its_batch_alone() -> None:
    refused = True

    def send(asked: list[int]) -> asyncio.Future[list[int]]:
        if refused:
            raise ConnectionError("there is none")
        sent: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        sent.set_result(asked)
        return sent

    turns: Coalescer[int, int] = Coalescer(send)
    with pytest.raises(ConnectionError):
        await turns.ask(1)
    joined = [turns.join(number) for number in range(3)]
    failed = await asyncio.gather(*joined, return_exceptions=True)
    assert [type(each) for each in failed] == [ConnectionError] * 3
    refused = False
    assert await turns.ask(2) == 2
    assert await asyncio.gather(turns.join(3), turns.join(4)) == [3, 4]


async def test_a_failure_that_nobody_waits_for_any_more_is_not_complained_of(work: Work) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, what: complaints.append(what))
    asked = [asyncio.ensure_future(work.turns.ask(number)) for number in range(3)]
    await some_turns()
    asked[1].cancel()
    asked[2].cancel()
    work.error = OSError("away")
    work.go.set()
    assert isinstance((await asyncio.gather(asked[0], return_exceptions=True))[0], OSError)
    await some_turns()
    gc.collect()
    assert not complaints


async def test_with_a_delay_a_batch_waits_for_more_and_leaves_once_it_is_full(work: Work) -> None:
    work.go.set()
    turns: Coalescer[int, int] = Coalescer(work, start=asyncio.ensure_future, delay=60, most=3)
    asked = [asyncio.ensure_future(turns.ask(number)) for number in range(5)]
    assert await asyncio.gather(*asked[:3]) == [0, 10, 20]
    await some_turns()
    assert work.batches == [[0, 1, 2]], "the others wait for one more, or for the minute"
    last = asyncio.ensure_future(turns.ask(5))
    assert await asyncio.gather(*asked[3:], last) == [30, 40, 50]


async def test_a_thousand_at_once_are_two_batches_and_each_gets_his_own(work: Work) -> None:
    asked = [asyncio.ensure_future(work.turns.ask(number)) for number in range(1000)]
    await some_turns()
    work.go.set()
    assert await asyncio.gather(*asked) == [10 * number for number in range(1000)]
    assert [len(batch) for batch in work.batches] == [1, 999]
