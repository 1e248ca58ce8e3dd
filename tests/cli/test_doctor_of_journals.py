"""`cascada doctor`, where values are written behind: may this Redis keep the journal, how long?"""

from __future__ import annotations

import pytest

from tests.cli.conftest import Doctor
from tests.servers.redis import RedisServer


@pytest.mark.parametrize(
    ("setting", "value", "status", "says"),
    [
        ("maxmemory-policy", "allkeys-lru", "fail", "volatile-lru"),
        ("appendonly", "no", "warn", "appendonly yes"),
        ("appendonly", "yes", "ok", "appendfsync"),
    ],
)
def test_a_journal_is_as_durable_as_its_redis(
    doctor: Doctor,
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    value: str,
    status: str,
    says: str,
) -> None:
    server.say("CONFIG", "SET", setting, value)
    assert "redis journal" not in doctor("--redis", server.url).text
    monkeypatch.setenv("CACHE_WRITE_STRATEGY", "WRITE_BEHIND")
    found, text = doctor("--redis", server.url)("redis journal")
    assert found == status
    assert says in text
