"""What comes of an odd argument: every callable, every argument, every odd value, on some tiers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, NamedTuple

import cascada
from cascada import (
    FOREVER,
    BadInput,
    Cache,
    CascadaError,
    Context,
    Hit,
    Invalidated,
    Limits,
    Policy,
)
from cascada.model.door.shown import shown
from cascada.testing.inside import inside
from cascada.tiers.breaker import Call
from tests.properties.doors import ANY, LEFT, Door, World
from tests.properties.odd import Odd, must_be_refused, odd_values

BYSTANDERS: Final = ("one", "other")
AT_ONCE: Final = 40
"""Calls under way together; the bystanders' are among them."""

_sent: ContextVar[list[str] | None] = ContextVar("sent", default=None)


class Outcome(NamedTuple):
    """Refused (by which error), gave (what), or raised something that is not cascada's."""

    how: str
    what: str
    sent: bool = False


class Attempt(NamedTuple):
    """One argument of one callable, and what is passed for it."""

    door: Door
    argument: str
    odd: Odd

    @property
    def name(self) -> str:
        return f"{self.door.name}({self.argument}={self.odd.label})"


Outcomes = dict[str, tuple[str, str]]

current: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


def attempts(doors: Iterable[Door]) -> Iterator[Attempt]:
    for door in doors:
        for parameter in door.parameters:
            for odd in odd_values():
                yield Attempt(door, parameter.name, odd)


async def besiege(
    world: World, tried: Sequence[Attempt], *, once: bool = False
) -> tuple[list[str], Outcomes]:
    """What went wrong, in words; and what each attempt came to, to be compared between tiers.

    `once`: without the same call with the plain value beside it.
    """
    wrong: list[str] = []
    outcomes: Outcomes = {}
    for start in range(0, len(tried), AT_ONCE):
        batch = tried[start : start + AT_ONCE]
        *came, well = await asyncio.gather(
            *(_came_to(world, attempt, once) for attempt in batch), bystanders_are_well(world)
        )
        for attempt, (outcome, as_plain) in zip(batch, came, strict=True):
            # What a plain value gives depends on the tier; whether it is refused does not.
            outcomes[attempt.name] = outcome.how, outcome.what * (outcome.how == "refused")
            if (why := what_is_wrong(attempt, outcome, as_plain)) is not None:
                wrong.append(f"{attempt.name}: {why}")
        if well is not None:
            wrong.append(f"after {batch[0].name} to {batch[-1].name}: {well}")
    return wrong, outcomes


def what_is_wrong(attempt: Attempt, outcome: Outcome, as_plain: Outcome | None) -> str | None:
    """What the door should have done, if it did not."""
    door, argument, odd = attempt
    parameter = next(each for each in door.parameters if each.name == argument)
    if outcome.how == "raised" and not callable(odd.value):  # a callback may raise what it likes
        return f"raised {outcome.what}"
    callback = callable(odd.value)  # which is found out about when it is called
    if outcome.how == "refused" and outcome.sent and argument not in ANY and not callback:
        return "was refused after something had been sent"
    if argument in ANY or parameter.annotation in ("Any", "object"):
        return None
    # Of the same tenant twice, one call finds what the other has left.
    shown_of = 1 if argument in ("tenant", "tenant_id") else 2
    if as_plain is not None and outcome[:shown_of] != as_plain[:shown_of]:
        return f"{outcome[:2]}, but as the plain value {as_plain[:2]}"
    if argument == "ids" or (door.name, argument) in ONE_OR_SEVERAL:
        return None
    if door.name in WHERE_IT_IS_USED:
        return None
    plain = plain_of(attempt)
    never = argument == "too_many"
    optional = parameter.default is None or "None" in str(parameter.annotation)
    if outcome.how == "gave" and (
        never or (must_be_refused(odd.value, plain, optional=optional) and plain is not LEFT)
    ):
        return "should have been refused"
    return None


ONE_OR_SEVERAL: Final = {
    ("CacheManager.invalidate", "resource_id"),
    ("Tenant.invalidate", "resource_id"),
    ("Tenant.set_many", "values"),  # a dict, or pairs
    ("Tools.call", "arguments"),  # a dict, or JSON, and models write nothing for none
}

WHERE_IT_IS_USED: Final = ("Context",)
"""What does not refuse by itself: an empty header is no mistake before its part is needed."""


def plain_of(attempt: Attempt) -> Any:
    """The plain value of the argument, or one of the same type."""
    world: Any = None
    try:
        return attempt.door.plain[attempt.argument](world)
    except AttributeError:  # it is made of the world; a text, or an object of a class of ours
        return "t" if attempt.argument in ("tenant", "tenant_id") else world


async def _came_to(world: World, attempt: Attempt, once: bool) -> tuple[Outcome, Outcome | None]:
    door, argument, odd = attempt
    current.set(attempt)
    outcome = await _tried(world, door, argument, odd.value)
    if once or odd.is_itself:
        return outcome, None
    return outcome, await _tried(world, door, argument, odd.counts_as)


async def _tried(world: World, door: Door, argument: str, value: Any) -> Outcome:
    sent: list[str] = []
    _sent.set(sent)
    world.next()
    if "miss" in door.plain:
        await world.look()
        sent.clear()
    try:
        with Context(tenant_id=world.tenant):
            result = door.call(world, argument, value)
            world.restore()
            text = " ".join([_summary(each) for each in await parts_of(result)])
    except CascadaError as error:
        return Outcome("refused", type(error).__name__, bool(sent) and isinstance(error, BadInput))
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return Outcome("raised", f"{type(error).__name__}: {shown(str(error))}")
    finally:
        world.restore()
    return Outcome("gave", text)


async def parts_of(result: Any) -> list[Any]:
    """What a call gave, run to its end if it has one."""
    if inspect.isawaitable(result):
        result = await result
    parts = [result]
    if inspect.isasyncgen(result):
        async with aclosing(result) as items:
            parts += [item async for item in items]
    elif isinstance(result, AbstractContextManager):
        with result:
            pass
    return parts


def _summary(value: Any) -> str:
    """What was given, but for what differs from call to call."""
    if isinstance(value, Hit):
        return f"Hit({shown(value.value)})"
    if isinstance(value, Invalidated):
        return f"Invalidated({value.keys})"
    if type(value) is list:
        return f"[{', '.join(map(_summary, value))}]"
    if isinstance(value, bool | int | None):
        return shown(value)
    return type(value).__name__


# --- the others ---------------------------------------------------------------------------------


async def settle_bystanders(cache: Cache) -> None:
    for name in BYSTANDERS:
        tenant = cache.tenant(name)
        await tenant.set("x", "r1", f"{name}'s", ttl=FOREVER)
        await tenant.list("inbox").rpush(f"{name}'s item")
        await tenant.increment("hits", "r1", 5)


async def bystanders_are_well(world: World) -> str | None:
    """What another tenant found wrong."""
    for name in BYSTANDERS:
        tenant = world.cache.tenant(name)
        hit, items, count = await asyncio.gather(
            tenant.get("x", "r1"), tenant.list("inbox").range(), tenant.counter("hits", "r1")
        )
        expected = (f"{name}'s", [f"{name}'s item"], 5)
        if (found := (hit.value, items, count)) != expected:
            return f"{name} found {found} in place of {expected}"
    return None


def tiers_are_well(world: World) -> bool:
    """Whether no tier is thought to have failed."""
    return all(tier.available for tier in inside(world.cache).lower)


# --- worlds -------------------------------------------------------------------------------------


@asynccontextmanager
async def world_of(folder: Path, tiers: str, redis: str | None, mode: Any) -> AsyncIterator[World]:
    """A cache of these tiers, the default one, with the bystanders' data in it."""
    cache = Cache(
        redis=redis if "redis" in tiers else None,
        database=str(folder / "cache.db") if "sqlite" in tiers else None,
        namespace=f"door-{tiers.replace(' ', '-')}-{mode}",
        mode=mode,
        limits=Limits(op_timeout=30.0),  # a slow machine must not look like a failing tier
        policies={"x": Policy(ttl=60)},
    )
    world = World(cache)
    world.restore()
    try:
        with _noting_what_is_sent():
            if mode == "on":
                await settle_bystanders(cache)
            yield world
    finally:
        cascada.configure(None)
        await cache.aclose()


@contextmanager
def _noting_what_is_sent() -> Iterator[None]:
    enter: Callable[..., Any] = Call.__enter__

    def noted(self: Call) -> Any:
        if (sent := _sent.get()) is not None:
            sent.append("a call")
        return enter(self)

    Call.__enter__ = noted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Call.__enter__ = enter  # type: ignore[method-assign]
