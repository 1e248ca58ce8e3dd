"""Every face runs on memory alone and on memory over SQLite, with no variable set."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascada import Cache, Limits, Policy, configure
from cascada.api.settings import VARIABLES
from cascada.testing.clock import ManualClock

POLICIES = {
    "remembered": Policy(none_ttl=60),
    "swr": Policy(ttl=10, stale_for=60),
    "spare": Policy(ttl=10, stale_if_error=60),
    "exact": Policy(lookup="exact"),
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def cache(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Cache]:
    """The default cache of a test."""
    database = None if request.param == "memory" else str(tmp_path / "cache.db")
    # A slow machine must not look like a failing tier.
    made = Cache(database=database, policies=POLICIES, clock=clock, limits=Limits(op_timeout=10))
    configure(made)
    yield made
    configure(None)
    await made.aclose()
