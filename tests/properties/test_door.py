"""Whatever is passed to whatever public callable: it works as for the plain value, or it is refused
with one of cascada's errors before anything is sent; and it concerns nobody else.

What is public is found by looking (`doors`), so that a callable or an argument that is new is not
forgotten. What counts as a plain value, and what cannot be meant, is written down apart from the
code under test (`odd`). Every tier and every mode has to refuse the same.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from cascada import Context
from cascada.model.door import arguments
from tests.properties import doors
from tests.properties.budget import FACTOR
from tests.properties.doors import COVERED
from tests.properties.left_out import LEFT_OUT
from tests.properties.siege import (
    AT_ONCE,
    Attempt,
    Outcomes,
    attempts,
    besiege,
    current,
    parts_of,
    tiers_are_well,
    world_of,
)

ALL: Final = list(attempts(doors.doors()))
FEW: Final = 2
THIRD: Final = 3
"""In the other tiers and modes: every value that counts as another one, a few of those that an
argument takes as they are, and a third of what is refused, another one for each argument."""

MODES: Final = ("off", "observe")

CHECKS: Final = {
    name: check
    for name, check in inspect.getmembers(arguments, inspect.isfunction)
    if check.__module__ == arguments.__name__ and not name.startswith("_") and name != "refused"
}
"""The functions of the door."""


class InMemory(NamedTuple):
    """What comes of all in memory alone, and which attempts each check has looked at."""

    wrong: list[str]
    outcomes: Outcomes
    looked_at: dict[str, list[Attempt]]

    def worth_trying_elsewhere(self) -> list[Attempt]:
        taken: Counter[tuple[str, str]] = Counter()
        chosen = []
        for number, attempt in enumerate(ALL):
            given = self.outcomes[attempt.name][0] == "gave"
            if not given and number % THIRD:
                continue
            if given and attempt.odd.is_itself:
                taken[attempt.door.name, attempt.argument] += 1
                if taken[attempt.door.name, attempt.argument] > FEW:
                    continue
            chosen.append(attempt)
        return chosen

    def differences(self, others: Outcomes) -> list[str]:
        return [
            f"{name}: {other}, in memory {self.outcomes[name]}"
            for name, other in others.items()
            if other != self.outcomes[name]
        ]


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> InMemory:
    looked_at: dict[str, dict[str, Attempt]] = {name: {} for name in CHECKS}

    def recording(name: str, check: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any, **named: Any) -> Any:
            if (attempt := current.get()) is not None:
                looked_at[name][attempt.name] = attempt
            return check(*args, **named)

        return recorded

    async def run() -> tuple[list[str], Outcomes]:
        async with world_of(tmp_path_factory.mktemp("door"), "memory", None, "on") as world:
            return await besiege(world, ALL)

    with pytest.MonkeyPatch.context() as patch:
        for name, check in CHECKS.items():
            patch.setattr(arguments, name, recording(name, check))
        wrong, outcomes = asyncio.run(run())
    return InMemory(wrong, outcomes, {name: [*each.values()] for name, each in looked_at.items()})


def test_every_public_callable_is_covered_or_left_out_for_a_reason() -> None:
    assert set(doors.found()) == {*COVERED, *LEFT_OUT}, "a new one belongs into one of the two"
    assert not {*COVERED} & {*LEFT_OUT}


async def test_what_calls_return_has_no_methods_that_nobody_has_looked_at(tmp_path: Path) -> None:
    known = {name.partition(".")[0] for name in (*COVERED, *LEFT_OUT)}
    async with world_of(tmp_path, "memory", None, "on") as world:
        for door in doors.doors():
            world.next()
            await world.look()
            with Context(tenant_id=world.tenant):
                parts = await parts_of(door.call(world))
            world.restore()
            for kind in map(type, parts):
                if kind.__module__.startswith("cascada") and kind.__name__ not in known:
                    assert not doors.methods_of(kind), f"{door.name} returns a {kind}"


def test_nothing_odd_gets_through(in_memory: InMemory) -> None:
    wrong = in_memory.wrong
    assert not wrong, f"{len(wrong)} of {len(in_memory.outcomes)}:\n" + "\n".join(wrong[:60])


@pytest.mark.parametrize(
    "tiers", ["redis and sqlite"] if FACTOR == 1 else ["sqlite", "redis", "redis and sqlite"]
)
async def test_every_tier_says_the_same(
    tiers: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    in_memory: InMemory,
) -> None:
    url = request.getfixturevalue("redis_server").url if "redis" in tiers else None
    async with world_of(tmp_path, tiers, url, "on") as world:
        wrong, outcomes = await besiege(world, in_memory.worth_trying_elsewhere(), once=True)
        assert tiers_are_well(world), "an argument has made a tier look bad"
    assert not wrong, f"{len(wrong)} of {len(outcomes)}:\n" + "\n".join(wrong[:60])
    assert in_memory.differences(outcomes) == []
    said = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    # A loaded value that does not fit the odd `type=` of its own call, and an odd function's own
    # failure, which is no other key's.
    known = ("cannot be stored", "warm of default")
    assert [text for text in said if not any(each in text for each in known)] == []


@pytest.mark.parametrize("mode", MODES)
async def test_every_mode_refuses_the_same(mode: str, tmp_path: Path, in_memory: InMemory) -> None:
    tried = in_memory.worth_trying_elsewhere()
    if FACTOR == 1:  # each in one of the two: the door comes before the mode
        tried = tried[MODES.index(mode) :: len(MODES)]
    async with world_of(tmp_path, "memory", None, mode) as world:
        _, outcomes = await besiege(world, tried, once=True)
    assert in_memory.differences(outcomes) == []


PREDICATES: Final = dict.fromkeys(("is_several", "is_blank"), lambda value: True)


@pytest.mark.parametrize("name", CHECKS)
async def test_no_check_can_be_left_out(
    name: str, tmp_path: Path, in_memory: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_through = PREDICATES.get(name, lambda value, *args, **named: value)
    looked_at = in_memory.looked_at[name]
    async with world_of(tmp_path, "memory", None, "on") as world:
        monkeypatch.setattr(arguments, name, let_through)
        for start in range(0, len(looked_at), AT_ONCE):
            some = looked_at[start : start + AT_ONCE]
            wrong, outcomes = await asyncio.wait_for(besiege(world, some), 20)
            if wrong or in_memory.differences(outcomes):
                return
    pytest.fail(f"nothing noticed that it was gone, in {len(looked_at)} attempts")
