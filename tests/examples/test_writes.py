"""Every route that writes ends in an invalidation, and that comes after the commit."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from cascada import Event
from cascada.testing.inside import inside
from tests.examples.attack import OF_A_TENANT, furnish, ids_of, send
from tests.examples.conftest import Running

SYNCED = ("PUT /campaigns/{campaign_id}", "POST /campaigns/clear")
"""What the cache's journal is told, or the cache alone."""
WRITES = [
    each
    for each in OF_A_TENANT
    if each.method != "GET" and not each.path.endswith("/query") and str(each) not in SYNCED
]


@pytest.fixture
def steps(service: Running) -> Iterator[list[str]]:
    """Commits and invalidations, in their order."""
    seen: list[str] = []

    def committed(_: Any) -> None:
        seen.append("commit")

    def told(what: Event) -> None:
        if what.kind == "invalidate":
            seen.append("invalidate")

    inside(service.service.cache).trace.observers.append(told)
    engine = service.service.database._engine.sync_engine
    event.listen(engine, "commit", committed)
    yield seen
    event.remove(engine, "commit", committed)


async def test_every_write_commits_and_then_invalidates(service: Running, steps: list[str]) -> None:
    assert len(WRITES) >= 14
    for number, operation in enumerate(WRITES):
        client = service.client(f"tenant-{number}")
        ids = await furnish(client, ids_of("own"), "mine")
        steps.clear()
        assert (await send(client, operation, ids)).is_success, str(operation)
        assert steps == ["commit", "invalidate"], str(operation)


async def test_what_fails_invalidates_nothing(service: Running, steps: list[str]) -> None:
    client = service.client("empty")
    refused = 0
    for operation in WRITES:
        if operation.ids:
            answer = await send(client, operation, {**ids_of("own"), "message_id": "1"})
            assert answer.status_code == 404, str(operation)
            refused += 1
    assert refused >= 11
    assert "invalidate" not in steps
