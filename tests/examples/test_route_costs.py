"""What a route may cost, by counting: one read of the cache for an answer that is there, and no
worker thread. Its time is measured in benchmarks/route.py."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import pytest

from cascada import Tenant
from tests.examples.attack import OF_A_TENANT, Operation, furnish, ids_of, send
from tests.examples.conftest import Running

READS = ("get", "get_many", "load", "load_many", "peek", "ttl", "explain")
READING = [operation for operation in OF_A_TENANT if operation.told]


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    """One kind is enough: an answer that is there asks none."""
    return f"sqlite:///{tmp_path / 'service.db'}"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each way of reading the cache was gone, from now on."""
    gone: Counter[str] = Counter()

    def counted(name: str, ask: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            gone[name] += 1
            return ask(*arguments, **named)

        return call

    for name in READS:
        monkeypatch.setattr(Tenant, name, counted(name, getattr(Tenant, name)))
    return gone


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What was handed to a worker thread, from now on; it is run where it is."""
    handed: Counter[str] = Counter()

    async def run_sync(run: Callable[..., Any], *arguments: Any, **how: Any) -> Any:
        handed[repr(run)] += 1
        return run(*arguments)

    async def run_in_executor(_: Any, __: Any, run: Callable[..., Any], *arguments: Any) -> Any:
        handed[repr(run)] += 1
        return run(*arguments)

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)
    monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", run_in_executor)
    return handed


@pytest.mark.parametrize("operation", READING, ids=str)
async def test_an_answer_that_is_there_is_read_once_and_in_no_thread(
    service: Running, operation: Operation, read: Counter[str], threads: Counter[str]
) -> None:
    acme = service.client("acme")
    ids = await furnish(acme, ids_of("acme"), "Cranes")
    assert (await send(acme, operation, ids)).status_code == 200
    read.clear()
    threads.clear()
    queries = service.service.database.queries
    answer = await send(acme, operation, ids)
    assert answer.headers["Cache-Status"].startswith("cascada; hit; ttl=")
    assert read == ({"peek": 1} if operation.unchanged else {"load": 1})
    assert threads == {}
    assert service.service.database.queries == queries


async def test_no_route_needs_a_worker_thread(service: Running, threads: Counter[str]) -> None:
    acme = service.client("acme")
    ids = await furnish(acme, ids_of("acme"), "Cranes")
    # What deletes comes last, and what is deleted has been asked for by then.
    for operation in sorted(OF_A_TENANT, key=lambda each: each.method == "DELETE"):
        threads.clear()
        answer = await send(acme, operation, ids)
        assert answer.status_code < 500, str(operation)
        assert threads == {}, str(operation)
