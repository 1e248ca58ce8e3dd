"""Routes whose responses are kept whole: each, found in the document, as a browser sees it."""

import asyncio
from pathlib import Path

import httpx
import pytest

from cascada import METRIC_CACHE_HIT, METRIC_CACHE_MISS
from examples.agent_service.callers import tenant_of_token
from examples.agent_service.process import running_service
from examples.agent_service.settings import Settings
from tests.examples import furniture
from tests.examples.attack import OF_A_TENANT, Operation, furnish, ids_of
from tests.examples.conftest import Running, running
from tests.examples.test_callers import KEY, SECRET, bearer, token
from tests.examples.test_tracking import tracked
from tests.integrations.browser import Browser
from tests.servers.redis import RedisServer

KEPT = [each for each in OF_A_TENANT if each.unchanged]


def test_there_are_some() -> None:
    assert [each.method for each in KEPT] == ["GET", "GET"]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'service.db'}"


def path_of(operation: Operation, ids: dict[str, str]) -> str:
    return operation.request(ids)[1]


@pytest.mark.parametrize("operation", KEPT, ids=str)
async def test_a_browser_asks_again_and_gets_304_until_it_changes(
    service: Running, operation: Operation
) -> None:
    acme = service.client("acme")
    ids = await furnish(acme, ids_of("acme"), "Cranes")
    url, browser = path_of(operation, ids), Browser(acme)
    first = await browser.show(url)
    assert (first.asked, b"Cranes" in first.body) == (200, True)
    again = await browser.show(url)
    assert (again.asked, again.body) == (304, first.body)
    assert first.headers["Cache-Control"] == "private, no-cache"
    await change(acme, ids)
    changed = await browser.show(url)
    assert (changed.asked, b"Owls" in changed.body) == (200, True)
    assert changed.headers["ETag"] != first.headers["ETag"]
    # The same browser, after somebody else has logged in.
    other = await browser.show(url, **{"X-Tenant-ID": "other"})
    assert (other.asked, b"Owls" in other.body) == (404, False)


async def change(client: httpx.AsyncClient, ids: dict[str, str]) -> None:
    """Owls everywhere."""
    agent, talk = ids["agent_id"], ids["conversation_id"]
    for path, body in (
        (f"/agents/{agent}/tools", {"id": "t2", "name": "Owls", "description": "Owls"}),
        (f"/conversations/{talk}/messages", {"text": "Owls"}),
    ):
        assert (await client.post(path, json=body)).is_success


async def test_a_token_that_is_revoked_gets_401_on_every_kept_route(tmp_path: Path) -> None:
    environment = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'service.db'}",
        "AGENT_SERVICE_JWT_SECRET": SECRET,
    }
    async with running(Settings.from_env(environment)) as started:
        anybody = started.client(None)
        anybody.headers.update(bearer(token(tenant="acme")))
        ids = await furnish(anybody, ids_of("acme"), "Cranes")
        tags = {}
        for operation in KEPT:
            for _ in range(2):
                answer = await anybody.get(path_of(operation, ids))
            assert answer.headers["Cache-Status"].startswith("cascada; hit")
            tags[operation] = answer.headers["ETag"]
        expired = bearer(token(tenant="acme", exp=1))
        started.app.state.tenant_of = tenant_of_token(SECRET)
        for operation, tag in tags.items():
            for headers in (expired, {**expired, "If-None-Match": tag}):
                answer = await anybody.get(path_of(operation, ids), headers=headers)
                assert answer.status_code == 401, str(operation)
        started.app.state.tenant_of = tenant_of_token(KEY)  # all tokens of the old secret
        for operation, tag in tags.items():
            for more in ({}, {"If-None-Match": tag}):
                answer = await anybody.get(path_of(operation, ids), headers=more)
                assert answer.status_code == 401, str(operation)
                assert b"Cranes" not in answer.content


async def test_what_is_given_again_is_tracked_as_a_hit_of_what_it_shows(service: Running) -> None:
    acme = service.client("acme")
    ids = await furnish(acme, ids_of("acme"), "Cranes")
    for _ in range(3):
        assert (await acme.get(f"/agents/{ids['agent_id']}/tools")).status_code == 200
    found = tracked(service.service.cache)
    assert found[METRIC_CACHE_MISS, "agent_tools"] == (1, 1)
    assert found[METRIC_CACHE_HIT, "agent_tools"] == (2, 2)


async def test_a_browser_of_one_process_sees_what_changes_in_the_other(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.flush()
    environment = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'service.db'}",
        "REDIS_URL": redis_server.url,
        "CACHE_DATABASE_URL": "",
        "AGENT_SERVICE_MODEL_LATENCY_MS": "0",
    }
    for name in ("REDIS_URL", "CACHE_DATABASE_URL"):
        monkeypatch.setenv(name, environment[name])
    async with (
        running_service(environment) as address,
        httpx.AsyncClient(
            base_url=address, headers={"X-Tenant-ID": "acme"}, timeout=30, trust_env=False
        ) as there,
        running(Settings.from_env(environment)) as started,
    ):
        clients = [there, started.client("acme")]
        await furniture.furnish(there)
        path = "/agents/a1/tools"
        browsers = [Browser(client) for client in clients]
        for browser in browsers:
            assert [(await browser.show(path)).asked for _ in range(2)] == [200, 304]
        tags = {browser.pages[path][0].headers["ETag"] for browser in browsers}
        assert len(tags) == 1, "what both show is one"
        for number, (writer, reader) in enumerate([(0, 1), (1, 0)] * 3):
            body = {"id": f"new-{number}", "name": "New", "description": f"The {number} of six."}
            assert (await clients[writer].post(path, json=body)).is_success
            own = await browsers[writer].show(path)
            assert (own.asked, body["description"].encode() in own.body) == (200, True)
            for _ in range(100):  # the other process hears of it a few milliseconds later
                shown = await browsers[reader].show(path)
                if shown.asked == 200:
                    break
                await asyncio.sleep(0.05)
            assert body["description"].encode() in shown.body
            assert shown.headers["ETag"] == own.headers["ETag"] not in tags
            tags.add(own.headers["ETag"])
