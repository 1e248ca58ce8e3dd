"""`cascada doctor` of journals and tenants' keys: may a Redis keep them, what waits, what opens."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cascada import Cache, CacheService, Context, Limits, Policy
from cascada.cli import journal_checks
from cascada.cli.journal_checks import Waiting, waiting_findings
from tests.cli.conftest import Doctor, Said
from tests.sealing.conftest import key_of
from tests.servers.redis import RedisServer

OLD, NEW = f"2026-05:{key_of(1)}", f"2026-11:{key_of(2)}"


@pytest.mark.parametrize(
    ("setting", "value", "status", "says"),
    [
        ("maxmemory-policy", "allkeys-lru", "fail", "volatile-lru"),
        ("appendonly", "no", "warn", "appendonly yes"),
        ("appendonly", "yes", "ok", "last second"),
        ("appendfsync", "no", "warn", "appendfsync everysec"),
        ("appendfsync", "always", "ok", "no acknowledged set is lost"),
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
    server.say("CONFIG", "SET", "appendonly", "yes")
    server.say("CONFIG", "SET", setting, value)
    assert "redis journal" not in doctor("--redis", server.url).text
    monkeypatch.setenv("CACHE_WRITE_STRATEGY", "WRITE_BEHIND")
    found, text = doctor("--redis", server.url)("redis journal")
    assert found == status
    assert says in text


def test_who_may_not_see_its_settings_is_told_what_to_look_for(
    doctor: Doctor, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.say("CONFIG", "SET", "appendonly", "yes")
    server.say("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-@dangerous", "+info")
    monkeypatch.setenv("CACHE_WRITE_STRATEGY", "WRITE_BEHIND")
    url = server.url.replace("//", "//app:pw@")
    found, text = doctor("--redis", url)("redis journal")
    assert (found, "if appendfsync is always" in text) == ("ok", True)


class Tier:
    """The lowest tier of a set-up. `doctor`: looking at it."""

    def __init__(self, options: dict[str, str], look: Callable[[], Said]) -> None:
        self.options = options
        self.doctor = look

    async def used(self, *, keys: str | None = None, folder: Path, sets: int = 0) -> None:
        policies = {"doc": Policy(sensitive=True)} if keys else {}
        more = {"encryption_keys": keys} if keys else {}
        async with Cache(
            **self.options, **more, policies=policies, limits=Limits(op_timeout=10)
        ) as cache:  # type: ignore[arg-type]
            if keys:
                for tenant in ("acme", "globex"):
                    assert await cache.tenant(tenant).set("doc", "1", "sealed")
            # A database that is not there: what is set waits.
            nowhere = f"sqlite:///{folder}/nowhere/app.db"
            service = CacheService(name="shop", cache=cache, database=nowhere)
            with Context(tenant_id="acme"):
                for number in range(sets):
                    assert await service.set(f"campaign:{number}", {"n": number})


@pytest.fixture(params=["redis", "sqlite"])
def tier(
    request: pytest.FixtureRequest, doctor: Doctor, tmp_path: Path, redis_server: RedisServer
) -> Iterator[Tier]:
    if request.param == "redis":
        redis_server.flush()
        url = redis_server.url
        yield Tier({"redis": url}, lambda: doctor("--redis", url, database=False))
        redis_server.flush()
    else:
        yield Tier({"database": str(tmp_path / "cache.db")}, doctor)


def test_changes_that_wait_and_for_how_long(
    tier: Tier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(tier.used(folder=tmp_path, sets=3))
    status, text = tier.doctor()("sync lag")
    assert (status, "service.shop: 3 changes wait" in text) == ("ok", True)
    if "redis" in tier.options:
        assert tier.doctor()("redis journal")[0] == "warn", "it is one, and it does not last"
    monkeypatch.setattr(journal_checks, "LEAST_LAG", 0.0)
    monkeypatch.setenv("REDIS_SYNC_INTERVAL", "0.0001")
    status, text = tier.doctor()("sync lag")
    assert (status, "start_sync" in text) == ("warn", True)


def test_what_was_set_aside(doctor: Doctor, tmp_path: Path) -> None:
    tier = Tier({"database": str(tmp_path / "cache.db")}, doctor)
    asyncio.run(tier.used(folder=tmp_path, sets=3))
    with closing(sqlite3.connect(tmp_path / "cache.db")) as file, file:
        file.execute(
            "INSERT INTO aside SELECT journal, number, key, tenant, q, put, size, names, envelope,"
            " 'constraint: it is too long' FROM changes LIMIT 1"
        )
        file.execute("DELETE FROM changes")
    said = doctor()
    status, text = said("set aside")
    assert (status, "sync_retry" in text) == ("warn", True)
    assert "service.shop: nothing waits" in said("sync lag")[1]


def test_one_that_waits_long_and_one_that_does_not() -> None:
    journals = [Waiting("service.a", 2, 901.0, 0), Waiting("", 1, 899.0, 0)]
    late, soon = waiting_findings(journals, 300.0)
    assert (late.status, soon.status) == ("warn", "ok")
    assert "WRITE_BEHIND: 1 changes wait" in soon.found


def test_keys_by_which_nothing_opens_or_something_still_does(
    tier: Tier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(keys: str) -> tuple[str, str]:
        monkeypatch.setenv("CACHE_ENCRYPTION_KEYS", keys)
        said = tier.doctor()
        for number in (1, 2, 3):
            assert key_of(number) not in said.text
        return said("encryption keys")

    assert look("")[0] == "ok", "none, and nothing is sealed"
    assert look(OLD)[0] == "ok"
    asyncio.run(tier.used(keys=OLD, folder=tmp_path))
    status, text = look("")
    assert status == "fail"
    assert "values of 2 tenants are sealed by '2026-05'" in text
    status, text = look(NEW)
    assert (status, "'2026-05'" in text) == ("fail", True)
    status, text = look(f"{NEW},{OLD}")
    assert (status, "cascada keys rotate" in text) == ("warn", True)
    status, text = look(f"2026-05:{key_of(3)}")
    assert (status, "do not open" in text) == ("fail", True)
    status, text = look(f"{OLD},{NEW}")
    assert (status, "'2026-11' wraps nothing any more" in text) == ("ok", True)
    monkeypatch.setenv("CASCADA_ENCRYPT", "all")
    assert look("")[0] == "fail"


def test_keys_that_are_none_are_named_and_not_shown(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_ENCRYPTION_KEYS", "2026-11:aHVudGVyMg==")
    said = doctor()
    assert said("settings")[0] == "fail"
    assert "CACHE_ENCRYPTION_KEYS" in said.text
    assert "aHVudGVyMg" not in said.text
