"""Who may take which flight's value, and who waits for whom."""

import asyncio

import pytest

from cascada.engine.kinds import Kind
from cascada.engine.request import Answer, Request
from cascada.engine.tasks.singleflight import MAX_COOLING, Flight, Flights, LoadTask, Waiter
from cascada.model.entry import Entry
from cascada.model.errors import LoadCycle
from cascada.model.keys import Key
from cascada.model.policy import Policy

KEY = Key("t", "x", None, None, None, "1")
QUESTION = Request(Kind("t", "x", Policy()), (KEY,))


def answer() -> Answer:
    return Answer(Entry(b""), "source", value="value")


def take_off(flights: Flights) -> Flight:
    return flights.begin(QUESTION, LoadTask())


def board(flight: Flight, asked: int, parent: LoadTask | None = None) -> Waiter:
    return Waiter(flight, asked, parent, own=False)


async def wait(waiter: Waiter) -> Answer | None:
    if not waiter.is_settled:
        await waiter.turn()
    return waiter.result()


async def test_who_asked_before_it_began_has_the_value_as_soon_as_it_lands() -> None:
    flights = Flights()
    asked = flights.moment()
    flight = take_off(flights)
    waiter = board(flight, asked)
    flight.set_result(answer())
    taken = await wait(waiter)
    assert taken is not None
    assert taken.coalesced


@pytest.mark.parametrize(
    ("sealed", "proven", "taken"),
    [(False, True, True), (False, False, False), (True, True, False), (True, False, False)],
)
async def test_who_asked_after_it_began_needs_a_proof_that_is_younger_than_the_question(
    sealed: bool, proven: bool, taken: bool
) -> None:
    flights = Flights()
    flight = take_off(flights)
    if sealed:
        flight.set_result(answer())
        flight.sealed = True
    waiter = board(flight, flights.moment())
    waiting = asyncio.ensure_future(wait(waiter))
    await asyncio.sleep(0)
    flight.set_result(answer())
    flight.sealed = True
    await asyncio.sleep(0)
    assert not waiting.done(), "landing is no proof"
    flight.end(proven=proven)
    assert ((await waiting) is not None) is taken


async def test_what_was_found_in_a_tier_is_not_waited_for_but_looked_for_there() -> None:
    flights = Flights()
    flight = take_off(flights)
    early = board(flight, flights.moment())
    flight.set_result(answer(), found=True)
    assert await wait(early) is None
    late = board(flight, flights.moment())
    waiting = asyncio.ensure_future(wait(late))
    await asyncio.sleep(0)
    assert not waiting.done(), "it found nothing in the tiers, so it waits for the refresh"
    flight.end(proven=True)
    assert await waiting is None


async def test_a_flight_without_callers_is_cancelled_and_takes_no_more() -> None:
    flights = Flights()
    flight = take_off(flights)
    flight.owner.task = asyncio.ensure_future(asyncio.sleep(60))
    one, two = board(flight, 0), board(flight, 0)
    one.leave()
    assert flights.find(KEY) is flight
    assert not flight.owner.task.cancelling()
    two.leave()
    await asyncio.sleep(0)
    assert flight.owner.task.cancelling() == 1
    assert flights.find(KEY) is None
    following = take_off(flights)
    flights.remove([flight])
    assert flights.find(KEY) is following
    await asyncio.gather(flight.owner.task, return_exceptions=True)


async def test_a_flight_whose_values_are_all_there_is_not_cancelled() -> None:
    flights = Flights()
    other = Request(QUESTION.kind, (KEY._replace(resource_id="2"),))
    task = LoadTask()
    one, two = flights.begin(QUESTION, task), flights.begin(other, task)
    one.owner.task = asyncio.ensure_future(asyncio.sleep(60))
    waiters = [board(one, 0), board(two, 0)]
    one.set_result(answer())
    one.set_result(answer())  # a second landing counts for nothing
    assert not one.owner.kept
    two.set_result(answer())
    for waiter in waiters:
        waiter.leave()
    assert not one.owner.task.cancelling()
    one.owner.task.cancel()
    await asyncio.gather(one.owner.task, return_exceptions=True)


async def test_a_circle_of_waiting_is_refused_before_it_is_closed() -> None:
    flights = Flights()
    flown = [
        flights.begin(Request(QUESTION.kind, (KEY._replace(resource_id=name),)), LoadTask())
        for name in "abcd"
    ]
    a, b, c, d = flown
    board(b, 0, a.owner)
    board(c, 0, b.owner)
    board(d, 0, b.owner)
    for flight in (a, b, c):
        with pytest.raises(LoadCycle, match="for its own result"):
            board(flight, 0, c.owner)
    assert c.owner.waiters == 1, "who was refused does not wait"
    board(d, 0, c.owner)


async def test_who_has_left_waits_for_nobody() -> None:
    flights = Flights()
    a, b = take_off(flights), take_off(flights)
    twice = [board(b, 0, a.owner), board(b, 0, a.owner)]
    twice[0].leave()
    with pytest.raises(LoadCycle):
        board(a, 0, b.owner)
    twice[1].leave()
    board(a, 0, b.owner)


async def test_refreshes_that_failed_rest_until_their_time_and_are_forgotten_in_masses() -> None:
    flights = Flights()
    flights.cool(KEY, until=10.0)
    assert flights.cooling(KEY, 9.9)
    assert not flights.cooling(KEY, 10.0)
    assert not flights.cooling(KEY, 9.9), "it has been let go"
    keys = [KEY._replace(resource_id=str(number)) for number in range(3 * MAX_COOLING)]
    for key in keys:
        flights.cool(key, until=10.0)
    assert sum(flights.cooling(key, 9.9) for key in keys) <= MAX_COOLING


async def test_a_failure_that_nobody_waits_for_is_no_news(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flight = take_off(Flights())
    flight.fail(OSError("down"))
    flight.fail(OSError("again"))
    flight.end(proven=False)
    del flight
    await asyncio.sleep(0)
    assert not caplog.records


async def test_who_may_not_have_what_a_tier_had_waits_for_the_end_and_looks_again() -> None:
    """To look again at once would find the same flight, and never let it fly on."""
    flights = Flights()
    asked = flights.moment()
    flight = take_off(flights)
    from_memory = answer()
    from_memory.tier = "l1"
    flight.set_result(from_memory, found=True)
    waiting = asyncio.ensure_future(
        wait(Waiter(flight, asked, None, own=False, refused=frozenset({"l1"})))
    )
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    flight.end(proven=False)
    assert await waiting is None
    assert await wait(board(flight, asked)) is not None, "others may have it"


async def test_nobody_boards_a_flight_that_is_over_while_others_of_its_voyage_fly() -> None:
    flights = Flights()
    other = Request(QUESTION.kind, (KEY._replace(resource_id="2"),))
    task = LoadTask()
    ended, flying = flights.begin(QUESTION, task), flights.begin(other, task)
    ended.set_result(answer())
    ended.end(proven=True)
    assert flights.find(KEY) is None
    assert flights.find(other.key) is flying
    flying.fail(ValueError())
    assert flights.find(other.key) is None
