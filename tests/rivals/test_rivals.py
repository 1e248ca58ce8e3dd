"""The short form of `make rivals`: every library runs, and the checker sees what it is to see."""

import asyncio

import pytest

from tests.rivals.adapters import CONFIGURED, RIVALS
from tests.rivals.trials import NAMES, Trial, attack, in_one_process
from tests.servers.redis import RedisServer

SHARING = {"cascada", "cashews", "cashews, client side", "aiocache"}
"""Those whose callers share a load."""

KEEPING = ("cascada", "cashews, client side", "valkey-glide")
"""Those that keep values in the process."""


@pytest.mark.parametrize("name", RIVALS)
def test_each_library_answers_500_callers_and_is_tried_with_names_that_hold_separators(
    name: str,
) -> None:
    loads, foreign = in_one_process(name)
    assert loads == 1 if name in SHARING else loads > 1
    assert foreign == (0 if name == "cascada" else NAMES)
    assert CONFIGURED.keys() == RIVALS.keys()


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # cashews closes its client by an old name
@pytest.mark.parametrize("name", KEEPING)
async def test_what_keeps_values_is_used_so_that_it_hears_of_changes(
    name: str, redis_server: RedisServer
) -> None:
    here, there = RIVALS[name](redis_server.port), RIVALS[name](redis_server.port)
    row = {"version": 1}

    async def loader() -> dict[str, int]:
        return dict(row)

    try:
        assert await here.load("acme", "told", loader) == await there.load("acme", "told", loader)
        row["version"] = 2
        await here.invalidate("acme", "told")
        async with asyncio.timeout(20):
            while await there.load("acme", "told", loader) != row:  # noqa: ASYNC110 - a library tells nobody
                await asyncio.sleep(0.01)
    finally:
        await here.aclose()
        await there.aclose()


def test_what_a_hand_written_cache_keeps_of_old_rows_is_seen() -> None:
    found = attack(Trial("redis-py", 6, seed=1, faults=(), settle=1.0))
    assert found.reads > 100
    assert found.old > 0
    assert found.foreign == 0


def test_cascada_under_the_same_attack_gives_nothing_old() -> None:
    found = attack(Trial("cascada", 6, seed=1, faults=("kill",), settle=2.5))
    assert found.reads > 100
    assert (found.late, found.permanent, found.foreign) == (0, 0, 0)
