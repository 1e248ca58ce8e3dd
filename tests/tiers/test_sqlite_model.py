"""Any order of calls, against a model that knows only when which name was invalidated."""

from __future__ import annotations

import random

import pytest

from cascada.model.keys import Key
from cascada.model.names import key_name, static_names, tag_name, tenant_name
from cascada.tiers.contract import Found, Lease
from cascada.tiers.sqlite import forgetting as sqlite_forgetting
from cascada.tiers.sqlite import maintenance as sqlite_upkeep
from cascada.tiers.sqlite.tier import SqliteTier
from tests.tiers.sqlite_world import World, entry, fill, grant, key

STEPS = 250
KEYS = [key(i, agent="a1" if i % 2 else None, tenant=f"t{i % 3}") for i in range(6)]


class Model:
    """Three processes that share a file, and what must be true of what they answer.

    A value is a number: which of the values stored so far it is. `moment` counts the steps.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.tiers = [world.tier(max_tombstones=12) for _ in range(3)]
        self.moment = 0
        self.ended: dict[str, int] = {}
        self.values: list[tuple[str, ...]] = []
        self.current: dict[Key, int] = {}
        self.leases: list[tuple[int, Lease]] = []

    async def step(self) -> None:
        self.moment += 1
        act = self.dice.choices(
            [self.read, self.lease, self.hold, self.fill, self.invalidate, self.upkeep],
            [3, 3, 1, 4, 2, 1],
        )[0]
        await act(self.dice.choice(KEYS))

    async def read(self, wanted: Key) -> None:
        (answer,) = await self.tier.read([wanted])
        found = int(answer.entry.data) if isinstance(answer, Found) else None
        # Both ways: nothing that was invalidated, and everything that was not.
        assert found == self.current.get(wanted)

    async def lease(self, wanted: Key) -> None:
        self.leases.append((self.moment, await grant(self.tier, wanted)))

    async def hold(self, wanted: Key) -> None:
        self.leases.append((self.moment, await grant(self.tier, wanted, force=True)))

    async def fill(self, _: Key) -> None:
        if not self.leases:
            return
        granted, lease = self.leases.pop(self.dice.randrange(len(self.leases)))
        tags = tuple(self.dice.sample(self.tags(lease.key.tenant), self.dice.randrange(3)))
        names = (*static_names(lease.key), *tags)
        number = len(self.values)
        self.values.append(names)
        answer = await fill(self.tier, lease, entry(b"%d" % number, names=tags))
        # The sweep may refuse more than this, never less.
        assert not answer.accepted or all(self.ended.get(name, 0) <= granted for name in names)
        if lease.forced:
            self.end([names[0]])
        if answer.accepted:
            self.current[lease.key] = number

    async def invalidate(self, wanted: Key) -> None:
        choice = [key_name(wanted), tenant_name(wanted.tenant), *self.tags(wanted.tenant)]
        named = self.dice.sample([*choice, *static_names(wanted)[1:]], self.dice.randrange(1, 3))
        answer = await self.tier.invalidate(named)
        went = self.end(named)
        assert answer.keys >= went
        assert not answer.exact or answer.keys == went

    async def upkeep(self, _: Key) -> None:
        await self.tier.upkeep()

    @property
    def tier(self) -> SqliteTier:
        return self.dice.choice(self.tiers)

    def tags(self, tenant: str) -> list[str]:
        return [tag_name(tenant, tag) for tag in "xyz"]

    def end(self, names: list[str]) -> int:
        """These names were invalidated now; how many values went."""
        self.ended.update(dict.fromkeys(names, self.moment))
        gone = [key for key, value in self.current.items() if {*self.values[value]} & {*names}]
        for wanted in gone:
            del self.current[wanted]
        return len(gone)


@pytest.mark.parametrize("seed", range(12))
async def test_any_order_of_calls_keeps_the_promise_and_the_sums(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_upkeep, "CHUNK", 3)
    monkeypatch.setattr(sqlite_upkeep, "TOMBSTONES", 5)
    monkeypatch.setattr(sqlite_forgetting, "KEPT", 3)
    monkeypatch.setattr(sqlite_forgetting, "NEWS", 0)
    model = Model(world, seed)
    for step in range(STEPS):
        await model.step()
        if step % 25 == 24:
            world.check_sums()
