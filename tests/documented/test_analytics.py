"""The short form of `python -m tests.documented.analytics`."""

import pytest

from tests.documented.analytics import compared, differing
from tests.servers.redis import RedisServer


async def test_analytics_say_what_others_have_counted(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")
    redis_server.flush()
    told = await compared(redis_server.port, 700, seed=1)
    assert differing(told) == []
    assert min(told["hits of l1"][1], told["hits of l2"][1], told["misses"][1]) > 50
