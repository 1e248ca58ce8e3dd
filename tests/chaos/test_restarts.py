"""The short form of `python -m tests.chaos.restarts`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.chaos.restarts import campaign
from tests.servers.redis import RedisServer


def test_nothing_old_comes_back_whoever_is_killed(server: RedisServer, tmp_path: Path) -> None:
    outcome = asyncio.run(campaign(tmp_path, server, kills=3, seed=1))
    assert outcome.is_sound, outcome
    assert outcome.kills >= 3
    assert outcome.found >= 0.5 * outcome.there
