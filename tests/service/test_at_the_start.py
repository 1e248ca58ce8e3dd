"""What a service begins with its sync and ends with it: document V's startup and shutdown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from cascada import Alert, AlertRule, BadInput, Cache, CacheService, Context, Limits, MissingTenant
from cascada.integrations.fastapi import lifespan
from cascada.model.errors import TierUnavailable
from cascada.service import starting
from cascada.service.alerting import Watch
from cascada.service.sharing import Shared
from cascada.testing.inside import inside
from tests.scenarios.row import until

Make = Callable[..., CacheService]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(cache: Cache | None = None, **given: Any) -> CacheService:
        cache = cache or Cache(database=str(tmp_path / "c.db"), limits=Limits(op_timeout=10))
        return CacheService(60, cache=cache, **given)

    return made


class Source:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.waits = asyncio.Event()
        self.waits.set()

    async def load(self, key: str) -> str:
        from cascada.api.context import current_tenant

        self.asked.append((str(current_tenant()), key))
        await self.waits.wait()
        return f"of {key}"


async def used(service: CacheService, **by_tenant: list[str]) -> None:
    """They are read again and again, by a process that then ends."""
    for tenant, keys in by_tenant.items():
        with Context(tenant_id=tenant):
            await service.set("there", 1)
            for key in keys:
                for _ in range(2):
                    await service.get(key)
    await service.cache.aclose()


def tasks(name: str) -> list[asyncio.Task[Any]]:
    return [each for each in asyncio.all_tasks() if each.get_name() == f"cascada:{name}"]


async def test_the_keys_of_all_tenants_are_warmed_in_turns(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cascada")
    many = [f"k:{number}" for number in range(30)]
    await used(make(), acme=many, umbrella=["k:1", "k:2"])
    source = Source()
    service = make(warm_on_start=6, loader=source.load)
    app = FastAPI(lifespan=lifespan(service))
    with Context(tenant_id="somebody"):  # it is nobody's work
        async with app.router.lifespan_context(app):
            await until(lambda: len(source.asked) == 6 and not tasks("warm on start"))
            assert sorted(source.asked)[4:] == [("umbrella", "k:1"), ("umbrella", "k:2")]
            with Context(tenant_id="umbrella"):
                assert await service.get("k:1") == "of k:1"
    assert "of 2 keys 0 were there, 2 were loaded" in caplog.text


async def test_a_start_waits_for_none_of_it_and_a_stop_ends_it(make: Make) -> None:
    await used(make(), acme=["k:1", "k:2"])
    source = Source()
    source.waits.clear()
    service = make(
        warm_on_start=9, loader=source.load, alerts=[AlertRule("errors", 0)], on_alert=print
    )
    await service.start_sync()
    first = service.sync_task
    await until(lambda: len(source.asked) == 2)
    await service.start_sync()  # it runs: nothing is begun again
    assert service.sync_task is first
    assert len(tasks("warm on start")) == len(tasks("alerts")) == 1
    await service.stop_sync()
    await service.stop_sync()
    assert not tasks("warm on start") + tasks("alerts") + tasks("sync")
    source.waits.set()
    await service.start_sync()
    await until(lambda: not tasks("warm on start"))
    with Context(tenant_id="acme"):
        assert await service.get("k:1") == "of k:1"
    await service.cache.aclose()  # without a stop: nothing is left behind
    assert not tasks("alerts")
    await service.stop_sync()


async def test_alerts_are_told_to_who_was_given(make: Make) -> None:
    told = list[Alert]()
    service = make(alerts=[AlertRule("memory", 0, lasts=0)], on_alert=told.append)
    async with lifespan(service)(FastAPI()):
        with Context(tenant_id="acme"):
            await service.set("k:1", 1)
        await service.check_alerts()
        assert [each.rule.figure for each in told] == ["memory"]
    assert await service.check_alerts() == []
    other = make(on_alert=told.append)  # rules of later
    with Context(tenant_id="acme"):
        assert await other.get("k:1") == 1
    await other.start_alerts([AlertRule("memory", 0, lasts=0)])
    await other.check_alerts()
    assert len(told) == 2
    await other.cache.aclose()


async def test_one_tenant_that_is_refused_is_no_other_s_matter(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await used(make(), acme=["k:1"], gone=["k:1"])

    def known(tenant: str) -> None:
        if tenant == "gone":
            raise MissingTenant("it has left")

    cache = Cache(
        database=str(tmp_path / "c.db"), limits=Limits(op_timeout=10), tenant_validator=known
    )
    source = Source()
    service = make(cache, warm_on_start=9, loader=source.load)
    await service.start_sync()
    await until(lambda: not tasks("warm on start"))
    assert source.asked == [("acme", "k:1")]
    assert "it has left" in caplog.text
    await cache.aclose()


async def test_a_list_that_cannot_be_read_is_asked_for_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "AGAIN", 0.001)
    await used(make(), acme=["k:1"])
    source, tries = Source(), 0
    service = make(warm_on_start=9, loader=source.load)
    read = Shared.most_used_of_all

    async def away(shared: Shared, most: int) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise TierUnavailable("it is away")
        return await read(shared, most)

    monkeypatch.setattr(Shared, "most_used_of_all", away)
    await service.start_sync()
    await until(lambda: len(source.asked) == 1)
    assert tries == 3
    await service.cache.aclose()


async def test_what_fails_on_the_way_still_ends_the_sync(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stumble(watch: Watch) -> None:
        raise RuntimeError("no end of it")

    service = make(alerts=[AlertRule("errors", 0)])
    await service.start_sync()
    monkeypatch.setattr(Watch, "end", stumble)
    with pytest.raises(RuntimeError):
        await service.stop_sync()
    assert service.sync_task is None
    await service.cache.aclose()
    assert inside(service.cache).engine.life.is_over


@pytest.mark.parametrize("wrong", [
    {"warm_on_start": 9}, {"warm_on_start": -1, "loader": len}, {"warm_on_start": True},
    {"loader": len}, {"warm_on_start": 5000, "loader": len}, {"warm_on_start": 9, "loader": "load"},
    {"alerts": "errors"}, {"alerts": [0.8]}, {"alerts": None}, {"on_alert": "tell"},
    {"warm_on_start": float("nan"), "loader": len}, {"on_alert": asyncio.sleep},
])  # fmt: skip
def test_what_a_service_is_not_made_with(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        CacheService(**wrong)
