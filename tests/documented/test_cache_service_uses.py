"""Document V, how its `CacheService` is set up and used: its examples run as they are printed."""

import asyncio

import pytest
from fastapi import FastAPI, HTTPException

from cascada import BadInput, Cache, CacheService, Context, Limits, MissingTenant, Misuse
from cascada.testing.inside import inside
from tests.documented import cache_service as document
from tests.documented.sections import without_a_test

SECTIONS = [
    "clase_principal",
    "configuracion",
    "uso_inicializacion",
    "uso_en_servicios",
    "seguridad_validacion",
]


def test_every_section_has_its_test() -> None:
    assert without_a_test("v", SECTIONS, globals()) == []


@pytest.fixture(autouse=True)
def tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The document's calls name none: the environment does."""
    monkeypatch.setenv("CASCADA_TENANT", "acme")


def test_v_clase_principal() -> None:
    service = CacheService(sync_interval=300, cache=Cache())
    assert (service.sync_interval, service.sync_task) == (300, None)
    assert service.settings == {
        "USAGE_THRESHOLD": 50,
        "DEFAULT_TTL": 3600,
        "PEAK_TTL": 1800,
        "DEFAULT_CACHE_SIZE": 1000,
        "PEAK_CACHE_SIZE": 2000,
    }
    assert service.hourly_access_stats == []


def test_v_configuracion(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CacheService().sync_interval == 300
    monkeypatch.setenv("REDIS_SYNC_INTERVAL", "60")
    monkeypatch.setenv("REDIS_CACHE_TTL", "7200")
    assert CacheService().sync_interval == 60
    assert CacheService(sync_interval=5).sync_interval == 5, "arguments go before variables"
    assert CacheService().settings["DEFAULT_TTL"] == 7200
    own = Cache(limits=Limits(default_ttl=120))
    assert CacheService(cache=own).settings["DEFAULT_TTL"] == 120


def test_v_configuracion_settings_change_while_it_runs() -> None:
    service = CacheService()
    service.settings["DEFAULT_TTL"] = 60
    service.settings.update({"PEAK_TTL": 0}, USAGE_THRESHOLD=10)
    service.settings |= {"PEAK_CACHE_SIZE": 7}
    assert service.settings["PEAK_TTL"] == 0
    assert service.settings["PEAK_CACHE_SIZE"] == 7
    for name, bad in (("DEFAULT_TTL", -1), ("DEFAULT_CACHE_SIZE", True), ("PEAK_TLL", 5)):
        with pytest.raises(BadInput, match=name):
            service.settings.update({"PEAK_TTL": 9, name: bad})
    for wrong in (5, "PEAK_TTL", [1]):
        with pytest.raises(BadInput, match="a dict of settings"):
            service.settings.update(wrong)
    with pytest.raises(BadInput, match="removed"):
        del service.settings["PEAK_TTL"]
    assert service.settings["PEAK_TTL"] == 0, "all of it or nothing"


@pytest.mark.filterwarnings(r"ignore:\s*on_event is deprecated")
async def test_v_uso_inicializacion(
    cache: Cache, tiers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At import there is no tenant, and no loop; in the events no tenant."""
    monkeypatch.delenv("CASCADA_TENANT")
    app, service = document.with_events(FastAPI()), document.cache_service
    if tiers == "memory":
        with pytest.raises(Misuse, match="in memory alone"):
            await app.router.lifespan_context(app).__aenter__()
    else:
        async with app.router.lifespan_context(app):
            with Context(tenant_id="acme"):
                assert await service.set("campaign:c1", {"id": "c1"})
            assert not service.sync_task.done()
        assert service.sync_task is None
        assert (await service.sync_now()).written == 0, "it was written when the sync was stopped"
    for call in (
        lambda: document.cache_service.get("k"),
        lambda: document.cache_service.set("k", 1),
        lambda: document.cache_service.delete("k"),
        lambda: document.cache_service.clear(),
    ):
        with pytest.raises(MissingTenant):
            await call()


@pytest.mark.filterwarnings("ignore:The `dict` method is deprecated")
async def test_v_uso_en_servicios(cache: Cache) -> None:
    supabase = document.Supabase()
    supabase.insert("c1", "Spring", 12.5)
    service = document.CampaignService(supabase, CacheService())
    first = await service.get_campaign("c1")
    assert first == await service.get_campaign("c1") == document.Campaign(
        id="c1", name="Spring", budget=12.5
    )  # fmt: skip
    assert supabase.asked == ["c1"]
    # Another tenant's is another value.
    with Context(tenant_id="other"):
        await service.get_campaign("c1")
    assert supabase.asked == ["c1", "c1"]
    for _ in range(2):  # what is not there is not cached
        with pytest.raises(HTTPException):
            await service.get_campaign("c2")
    assert supabase.asked == ["c1", "c1", "c2", "c2"]


async def test_v_seguridad_validacion(cache: Cache) -> None:
    service = CacheService(types={"campaign": document.Campaign})
    row = {"id": "c1", "name": "Spring", "budget": 2.0}
    assert await service.set("campaign:c1", row)
    assert await service.get("campaign:c1") == row
    campaign = await service.get("campaign:c1", type=document.Campaign)
    assert campaign == document.Campaign(**row)
    assert await service.set("campaign:c1", document.Campaign(id="c1", name="Summer"))
    with pytest.raises(BadInput, match="budget"):
        await service.set("campaign:c1", {**row, "budget": "much"})
    stored = await service.get("campaign:c1")
    assert stored == {"id": "c1", "name": "Summer", "budget": 0.0}, (
        "what is refused changes nothing"
    )
    with pytest.raises(BadInput, match=r"value\.x\[1\]"):
        await service.set("other", {"x": [1, object()]})
    with pytest.raises(BadInput, match="types"):
        CacheService(types={"campaign": 5})
    await asyncio.sleep(0)
    assert not inside(cache).finishing
