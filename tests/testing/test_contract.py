"""The contracts run their tests by themselves, and those that a subclass adds."""

from __future__ import annotations

import inspect

import pytest

from cascada.testing.clock import ManualClock
from cascada.testing.contract import TierContract
from cascada.testing.data_contract import DataContract
from cascada.tiers.contract import Tier
from cascada.tiers.memory.tier import MemoryTier


class OfMemory(TierContract):
    async def open_tier(self, clock: ManualClock) -> Tier:
        return MemoryTier(clock)

    async def test_of_ones_own(self, tier: Tier) -> None:
        assert await tier.lease([], []) == ["this", "fails"], "once it is run"

    async def test_with_a_fixture(self, tier: Tier, tmp_path: object) -> None:
        """For a plugin, which knows fixtures."""


@pytest.mark.parametrize("contract", [TierContract, DataContract])
def test_every_test_of_a_contract_is_one_that_pytest_runs_without_a_plugin(contract: type) -> None:
    tests = [name for name in dir(contract) if name.startswith("test_")]
    assert len(tests) > 10
    for name in tests:
        test = getattr(contract, name)
        assert not inspect.iscoroutinefunction(test), name
        assert [*inspect.signature(test).parameters] == ["self"], name


def test_a_test_of_ones_own_is_run_as_well() -> None:
    with pytest.raises(AssertionError, match="once it is run"):
        OfMemory().test_of_ones_own()  # type: ignore[call-arg, unused-coroutine]  # it is run here
    assert inspect.iscoroutinefunction(OfMemory.test_with_a_fixture)
