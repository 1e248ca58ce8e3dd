"""The SQLite tier, alone and behind its guard, through the contract suites that users get."""

from pathlib import Path

import pytest

from cascada.testing.clock import ManualClock
from cascada.testing.contract import TierContract
from cascada.tiers.contract import Tier
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.sqlite.tier import SqliteTier
from tests.sealed import sealed_tier

PATIENCE = 30.0  # of the guard: what is tested here is the contract, not a slow disk


@pytest.fixture(autouse=True)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    request.instance.path = tmp_path / "cache.db"


class TestSqlite(TierContract):
    path: Path

    async def open_tier(self, clock: ManualClock) -> SqliteTier:
        return SqliteTier(self.path, namespace="test", clock=clock)


class TestInlineSqlite(TierContract):
    path: Path

    async def open_tier(self, clock: ManualClock) -> SqliteTier:
        return SqliteTier(self.path, namespace="test", clock=clock, inline_reads=True)


class TestGuardedSqlite(TierContract):
    path: Path

    async def open_tier(self, clock: ManualClock) -> Tier:
        tier = SqliteTier(self.path, namespace="test", clock=clock)
        return GuardedTier(tier, clock, timeout=PATIENCE)


class TestSealedSqlite(TierContract):
    path: Path

    async def open_tier(self, clock: ManualClock) -> Tier:
        return sealed_tier(SqliteTier(self.path, namespace="test", clock=clock), clock)
