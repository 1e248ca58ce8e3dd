"""One load per key, whoever asks; every caller gets a value of its own."""

import asyncio
import time
from contextvars import ContextVar

import pytest

from cascada.api.cache import Cache
from cascada.engine.reading.backfill import backfill
from cascada.model.loaded import Loaded
from cascada.model.policy import Policy
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored, kept, turns

CALLERS = 500
ASKING: ContextVar[str] = ContextVar("asking")


async def test_500_callers_of_one_missing_key_cause_one_load_and_wait_no_longer_than_it_takes(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "warm", 1)  # opening the database is not part of a load
    for attempt in range(5):  # the machine does other things as well: the best one counts
        row = Row({"n": 1}, seconds=2.0)
        started = time.perf_counter()
        answers = await asyncio.gather(*(acme.load("x", attempt, row.read) for _ in range(CALLERS)))
        ratio = (time.perf_counter() - started) / row.slowest
        assert row.reads == 1
        assert all(answer.value == {"n": 1} for answer in answers)
        if ratio <= 1.25:
            return
    pytest.fail(f"the callers waited {ratio:.2f} times as long as the loader took")


async def test_all_but_the_first_caller_are_told_that_they_shared_a_load(cache: Cache) -> None:
    acme = cache.tenant("acme")
    answers = await asyncio.gather(*(acme.load("x", "1", Row().read) for _ in range(5)))
    assert [answer.coalesced for answer in answers] == [False, True, True, True, True]
    assert {answer.tier for answer in answers} == {"source"}
    assert (await cache.stats()).total.coalesced == 4
    assert (await cache.stats()).total.misses == 1


async def test_what_one_caller_does_to_its_value_no_other_caller_sees(cache: Cache) -> None:
    acme = cache.tenant("acme")
    row = Row({"tags": ["a"], "deep": {"er": [1]}}, seconds=0.01)
    answers = await asyncio.gather(*(acme.load("x", "1", row.read) for _ in range(6)))
    for position, answer in enumerate(answers):
        assert answer.value == {"tags": ["a"], "deep": {"er": [1]}}
        answer.value["tags"].append(position)
        answer.value["deep"]["er"].clear()
    await all_stored(acme)
    hits = [await acme.get("x", "1"), await acme.get("x", "1")]
    hits[0].value["tags"].append("mine")
    assert hits[1].value == {"tags": ["a"], "deep": {"er": [1]}}
    assert (await acme.load("x", "1", row.read)).value == {"tags": ["a"], "deep": {"er": [1]}}
    assert row.reads == 1


async def test_followers_get_copies_of_a_value_that_is_not_stored(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def fetch() -> Loaded[list[int]]:
        await asyncio.sleep(0.01)
        return Loaded([1], store=False)

    first, second = await asyncio.gather(acme.load("x", "1", fetch), acme.load("x", "1", fetch))
    first.value.append(2)
    assert second.value == [1]
    assert await kept(acme) is None


async def test_a_type_whose_policy_shares_hands_out_one_object(make_cache: MakeCache) -> None:
    acme = make_cache(policy=Policy(shared=True)).tenant("acme")
    row = Row({"n": 1})
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    one, other = await acme.get("x", "1"), await acme.get("x", "1")
    assert one.value is other.value


async def test_it_is_one_object_also_where_it_was_found_below(
    make_cache: MakeCache, tiers: str
) -> None:
    if tiers == "memory":
        pytest.skip("nothing is below")
    here, there = (make_cache(policy=Policy(shared=True)).tenant("acme") for _ in range(2))
    await there.get("x", "warm")
    await here.load("x", "1", lambda: {"n": [1]})
    await all_stored(here)
    hits = [await there.get("x", "1") for _ in range(3)]
    assert hits[0].tier != "l1"
    assert all(hit.value is hits[0].value for hit in hits)


@pytest.mark.parametrize("debug", [True, False])
async def test_who_changes_a_shared_value_is_told_in_debug_mode(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture, debug: bool
) -> None:
    acme = make_cache(policy=Policy(shared=True), debug=debug).tenant("acme")
    await acme.load("x", "1", lambda: {"secret": [1]})
    await all_stored(acme)
    for _ in range(2):
        hit = await acme.get("x", "1")
        assert (hit.value, hit.tier) == ({"secret": [1]}, "l1")
    assert caplog.messages == []
    hit.value["secret"].append(2)
    again = await acme.get("x", "1")
    if debug:
        assert again.value == {"secret": [1]}
        (said,) = caplog.messages
        assert said.startswith("a value of x was changed by who got it")
        assert "secret" not in said
    else:
        assert again.value is hit.value


async def test_callers_with_different_keys_do_not_wait_for_each_other(cache: Cache) -> None:
    acme, other = cache.tenant("acme"), cache.tenant("other")
    slow, quick = Row("slow"), Row("quick")
    slow.hold()
    waiting = asyncio.ensure_future(acme.load("x", "1", slow.read))
    await slow.being_read()
    assert (await other.load("x", "1", quick.read)).value == "quick"
    assert (await acme.load("x", "2", quick.read)).value == "quick"
    assert (await acme.within(agent="a").load("x", "1", quick.read)).value == "quick"
    slow.let_go()
    assert (await waiting).value == "slow"


async def test_a_caller_has_its_value_before_it_is_stored(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = make_cache().tenant("acme")
    storing = asyncio.Event()

    async def late(*args: object) -> list[bool]:
        await storing.wait()
        return await backfill(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("cascada.engine.reading.load_task.backfill", late)
    row = Row()
    assert (await acme.load("x", "1", row.read)).value == "old"
    asking = asyncio.ensure_future(acme.get("x", "1"))
    await turns()
    assert not asking.done(), "no tier has it yet, and it is about to"
    storing.set()
    assert (await asking).value == "old"
    await acme.load("x", "1", row.read)
    assert row.reads == 1
    assert await kept(acme) == "old"


async def test_plain_functions_are_loaders_and_do_not_block_the_loop(cache: Cache) -> None:
    acme = cache.tenant("acme")
    beats = 0

    async def heart() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.005)
            beats += 1

    beating = asyncio.ensure_future(heart())

    def slow() -> str:
        time.sleep(0.2)
        return "from a thread"

    assert (await acme.load("x", "1", slow)).value == "from a thread"
    beating.cancel()
    assert beats > 5


async def test_a_plain_function_sees_the_context_variables_of_its_caller(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def ask(name: str) -> object:
        ASKING.set(name)
        return (await acme.load("x", name, lambda: ASKING.get())).value

    assert await asyncio.gather(ask("one"), ask("other")) == ["one", "other"]


async def test_a_plain_function_may_return_something_to_await(cache: Cache) -> None:
    acme = cache.tenant("acme")
    row = Row("awaited")
    assert (await acme.load("x", "1", lambda: row.read())).value == "awaited"
