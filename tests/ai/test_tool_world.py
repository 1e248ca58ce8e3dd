"""The short form of `python -m tests.ai.tool_world`: true, and as much kept as there can be."""

from __future__ import annotations

import sys

import pytest

from tests.ai.tool_world import HEADING, run
from tests.servers.redis import RedisServer


@pytest.mark.parametrize(("tier", "writes"), [("memory", 30), ("redis-sqlite", 10)])
def test_agents_are_told_the_truth_and_what_was_not_written_is_kept(
    tier: str, writes: int, redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    redis_server.flush()
    outcome = run(tier, writes, 1500, redis_server.url)
    with capsys.disabled():
        sys.stdout.write(f"\n{HEADING}\n{outcome}\n")
    assert outcome.oracle.crossed > 20
    assert outcome.oracle.hits > 20
    assert outcome.kept
