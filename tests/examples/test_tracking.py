"""What the service tracks of its reads: a HIT or a MISS of 1, and a LATENCY."""

from cascada import METRIC_CACHE_HIT, METRIC_CACHE_MISS, METRIC_LATENCY, Cache
from cascada.testing.inside import inside
from tests.examples.conftest import Running
from tests.examples.furniture import ask, furnish

Told = dict[tuple[str, str], tuple[int, float]]


def tracked(cache: Cache, tenant: str = "acme") -> Told:
    """How often each metric of each type was measured, and its sum."""
    return {
        (each.metric, each.data_type): (each.count, each.total)
        for each in inside(cache).counted.tracked
        if each.tenant == tenant
    }


async def test_each_read_over_http_is_tracked_once(service: Running) -> None:
    acme = service.client("acme")
    await furnish(acme)
    for _ in range(3):
        await acme.get("/agents/a1")
    for _ in range(2):
        await ask(acme)
    assert (await acme.get("/agents/nobody")).status_code == 404
    found = tracked(service.service.cache)
    assert found[METRIC_CACHE_MISS, "agent_config"] == (1, 1)
    assert found[METRIC_CACHE_HIT, "agent_config"] == (2, 2)
    assert found[METRIC_CACHE_MISS, "agent_response"] == (1, 1)
    assert found[METRIC_CACHE_HIT, "agent_response"] == (1, 1)
    count, milliseconds = found[METRIC_LATENCY, "agent_response"]
    assert count == 2
    assert milliseconds > 0
    assert (METRIC_CACHE_HIT, "query_result") not in found, "what an answer is made from is no read"
    assert tracked(service.service.cache, "other") == {}
