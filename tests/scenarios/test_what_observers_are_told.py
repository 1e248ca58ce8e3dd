"""Every branch tells what it is: where the answer came from, and if it was stale."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest

from cascada import Limits
from cascada.api.cache import Cache
from cascada.api.tenant.handle import Tenant
from cascada.model.events import Event
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from cascada.testing.nodes import hear
from tests.scenarios.conftest import TIMEOUT
from tests.scenarios.row import Row, all_stored, turns

Told = list[tuple[str, str | None, bool]]


class Scene:
    """A cache over a flaky tier, and what its observer was told of since `listen`."""

    def __init__(self, cache: Cache, tier: FlakyTier, clock: ManualClock, heard: list[Event]):
        self.cache = cache
        self.acme: Tenant = cache.tenant("acme")
        self.tier = tier
        self.clock = clock
        self.heard = heard

    def listen(self) -> None:
        self.heard.clear()

    def forget(self) -> None:
        inside(self.cache).memory.flush()

    async def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await hear(self.cache)

    @property
    def told(self) -> Told:
        return [
            (event.kind, event.tier, event.stale) for event in self.heard if event.tier != "feed"
        ]


@pytest.fixture
async def scene(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> AsyncIterator[Scene]:
    heard: list[Event] = []
    policies = {"x": Policy(ttl=10, stale_for=10, stale_if_error=1000, refresh_at=0.8, none_ttl=10)}
    cache = Cache(
        tiers=[flaky],
        clock=clock,
        limits=Limits(op_timeout=TIMEOUT),
        policies=policies,
        observers=[heard.append],
    )
    async with cache:
        yield Scene(cache, flaky, clock, heard)


async def got_from_memory(scene: Scene) -> None:
    await scene.acme.set("x", "1", "value")
    scene.listen()
    await scene.acme.get("x", "1")


async def got_from_below(scene: Scene) -> None:
    await scene.acme.set("x", "1", "value")
    scene.forget()
    scene.listen()
    await scene.acme.get("x", "1")


async def got_nothing(scene: Scene) -> None:
    await scene.acme.get("x", "1")


async def got_stale_from_memory(scene: Scene) -> None:
    await got_from_memory(scene)
    await scene.wait(15)
    scene.listen()
    await scene.acme.get("x", "1")


async def got_stale_from_below(scene: Scene) -> None:
    await got_from_memory(scene)
    await scene.wait(15)
    scene.forget()
    scene.listen()
    await scene.acme.get("x", "1")


async def got_a_known_absence(scene: Scene) -> None:
    await scene.acme.load("x", "1", Row(None).read)
    await all_stored(scene.acme)
    scene.listen()
    await scene.acme.get("x", "1")


async def loaded(scene: Scene) -> None:
    await scene.acme.load("x", "1", Row().read)


async def loaded_from_memory(scene: Scene) -> None:
    await got_from_memory(scene)
    scene.listen()
    await scene.acme.load("x", "1", Row().read)


async def loaded_from_below(scene: Scene) -> None:
    await got_from_memory(scene)
    scene.forget()
    scene.listen()
    await scene.acme.load("x", "1", Row().read)


async def shared_a_load(scene: Scene) -> None:
    row = Row()
    row.hold()
    first = asyncio.create_task(scene.acme.load("x", "1", row.read))
    await row.being_read()
    second = asyncio.create_task(scene.acme.load("x", "1", row.read))
    await turns()
    row.let_go()
    await asyncio.gather(first, second)


async def loaded_nothing(scene: Scene) -> None:
    await scene.acme.load("y", "1", Row(None).read)


async def loader_failed(scene: Scene) -> None:
    with pytest.raises(OSError, match="down"):
        await scene.acme.load("x", "1", Row(OSError("down")).read)


async def served_stale_and_refreshed(scene: Scene) -> None:
    await got_stale_from_memory(scene)
    scene.listen()
    await scene.acme.load("x", "1", Row("new").read)


async def served_due_and_refreshed(scene: Scene) -> None:
    await got_from_memory(scene)
    await scene.wait(9)
    scene.listen()
    await scene.acme.load("x", "1", Row("new").read)


async def refresh_failed(scene: Scene) -> None:
    await got_stale_from_memory(scene)
    scene.listen()
    await scene.acme.load("x", "1", Row(OSError("down")).read)


async def served_in_need(scene: Scene) -> None:
    await got_from_memory(scene)
    await scene.wait(25)
    scene.listen()
    await scene.acme.load("x", "1", Row(OSError("down")).read)


async def made_of_something_stale(scene: Scene) -> None:
    await got_stale_from_memory(scene)
    scene.listen()
    await scene.acme.load("y", "1", lambda: made_of(scene.acme))


async def made_of(handle: Tenant) -> str:
    return f"made of {(await handle.get('x', '1')).value}"


async def set_a_value(scene: Scene) -> None:
    await scene.acme.set("x", "1", "value")


async def set_after_a_miss_and_an_invalidation(scene: Scene) -> None:
    await scene.acme.get("x", "1")
    await scene.acme.invalidate("x", "1")
    scene.listen()
    await scene.acme.set("x", "1", "old row")


async def invalidated(scene: Scene) -> None:
    await set_a_value(scene)
    scene.listen()
    await scene.acme.invalidate("x", "1")


async def invalidated_during_a_load(scene: Scene) -> None:
    row = Row()
    row.hold()
    loading = asyncio.create_task(scene.acme.load("x", "1", row.read))
    await row.being_read()
    await scene.acme.invalidate("x", "1")
    scene.listen()
    row.let_go()
    await loading


async def does_not_decode(scene: Scene) -> None:
    await set_a_value(scene)
    scene.listen()
    await scene.acme.get("x", "1", type=dict[str, int])


async def the_tier_failed(scene: Scene) -> None:
    scene.tier.fail("read", times=1)
    await scene.acme.get("x", "1")


async def the_tier_went_and_came(scene: Scene) -> None:
    scene.tier.fail("read", times=3)
    for _ in range(3):
        await scene.acme.get("x", "1")
    await scene.wait(2)
    await scene.acme.get("x", "1")


BRANCHES: list[tuple[Callable[[Scene], Awaitable[None]], Told]] = [
    (got_from_memory, [("hit", "l1", False)]),
    (got_from_below, [("fill", "l1", False), ("hit", "l3", False)]),
    (got_nothing, [("miss", None, False)]),
    (got_stale_from_memory, [("hit", "l1", True)]),
    (got_stale_from_below, [("fill", "l1", False), ("hit", "l3", True)]),
    (got_a_known_absence, [("hit", "l1", False)]),
    (
        loaded,
        [("load", None, False), ("miss", None, False), ("fill", "l3", False),
         ("fill", "l1", False)],
    ),
    (loaded_from_memory, [("hit", "l1", False)]),
    (loaded_from_below, [("fill", "l1", False), ("hit", "l3", False)]),
    (
        shared_a_load,
        [("load", None, False), ("miss", None, False), ("fill", "l3", False),
         ("fill", "l1", False), ("coalesced", None, False)],
    ),
    (loaded_nothing, [("load", None, False), ("miss", None, False)]),
    (loader_failed, [("load_failed", None, False)]),
    (
        served_stale_and_refreshed,
        [("hit", "l1", True), ("load", None, False), ("fill", "l3", False),
         ("fill", "l1", False)],
    ),
    (
        served_due_and_refreshed,
        [("hit", "l1", False), ("load", None, False), ("fill", "l3", False),
         ("fill", "l1", False)],
    ),
    (refresh_failed, [("hit", "l1", True), ("refresh_failed", None, False)]),
    (served_in_need, [("load_failed", None, False), ("hit", "l3", True)]),
    (
        made_of_something_stale,
        [("fill", "l1", False), ("hit", "l3", True), ("load", None, False),
         ("unstored", None, False), ("miss", None, True)],
    ),
    (set_a_value, [("fill", "l3", False), ("fill", "l1", False)]),
    (set_after_a_miss_and_an_invalidation, [("refused", "l3", False)]),
    (invalidated, [("invalidate", None, False)]),
    (
        invalidated_during_a_load,
        [("load", None, False), ("miss", None, False), ("refused", "l3", False)],
    ),
    (
        does_not_decode,
        [("corrupt", "l1", False), ("corrupt", "l3", False), ("miss", None, False)],
    ),
    (the_tier_failed, [("tier_error", "l3", False), ("miss", None, False)]),
    (
        the_tier_went_and_came,
        [("tier_error", "l3", False), ("miss", None, False)] * 2
        + [("tier_down", "l3", False), ("tier_error", "l3", False), ("miss", None, False)]
        + [("tier_up", "l3", False), ("miss", None, False)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("branch", "told"), BRANCHES, ids=[row[0].__name__ for row in BRANCHES])
async def test_every_branch_tells_its_kind_its_tier_and_if_it_was_stale(
    scene: Scene, branch: Callable[[Scene], Awaitable[None]], told: Told
) -> None:
    scene.listen()
    await branch(scene)
    await all_stored(scene.acme)
    assert scene.told == told


@pytest.mark.parametrize(
    "raised", [ValueError, SystemExit, asyncio.CancelledError, StopIteration, GeneratorExit]
)
async def test_what_an_observer_raises_is_logged_once_and_harms_nobody(
    raised: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """It runs in the middle of a load, whose callers have nothing to do with it."""

    def write_to(password: str, event: Event) -> None:
        raise raised(password)

    async with Cache(observers=[partial(write_to, "a secret")]) as cache:
        acme = cache.tenant("acme")
        assert (await acme.load("x", "1", lambda: "value")).value == "value"
        assert await acme.set("x", "2", "value")
        assert await acme.get("x", "2")
        assert (await acme.invalidate("x", "1")).keys == 1
    (said,) = [each.getMessage() for each in caplog.records if "observer" in each.getMessage()]
    assert said.startswith("observer partial failed")
    assert "secret" not in caplog.text
