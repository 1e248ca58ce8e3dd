"""The memory tier, alone and behind its guard, through the contract suite that users get."""

from cascada.testing.clock import ManualClock
from cascada.testing.contract import TierContract
from cascada.tiers.contract import Tier
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.memory.tier import MemoryTier


class TestMemory(TierContract):
    async def open_tier(self, clock: ManualClock) -> Tier:
        return MemoryTier(clock)


class TestGuardedMemory(TierContract):
    async def open_tier(self, clock: ManualClock) -> Tier:
        return GuardedTier(MemoryTier(clock), clock)
