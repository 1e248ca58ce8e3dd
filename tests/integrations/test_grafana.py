"""The dashboard is what its program makes, and asks for nothing that is not there.

`python -m tests.integrations.grafana` has a Prometheus run its queries.
"""

from __future__ import annotations

import asyncio
import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from cascada.integrations.prometheus import exposition
from tests.integrations.grafana import BOARD, busy_cache, named, queries, use
from tests.servers.redis import RedisServer

TEXT = BOARD.read_text("utf-8")
PANELS: list[dict[str, Any]] = json.loads(TEXT)["panels"]


def test_the_file_is_what_its_program_makes() -> None:
    assert runpy.run_path(str(BOARD.with_name("build.py")))["built"]() == TEXT


def test_grafanas_own_types_read_it_and_write_the_same() -> None:
    register_default_plugins()
    board = Dashboard.from_json(json.loads(TEXT))
    assert JSONEncoder(sort_keys=True, indent=2).encode(board) + "\n" == TEXT


def test_panels_have_numbers_of_their_own_places_and_queries() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [tuple(panel["gridPos"][side] for side in "xy") for panel in PANELS]
    assert len(set(places)) == len(places)
    assert all(panel["type"] == "row" or panel["targets"] for panel in PANELS)
    assert all(
        target["datasource"]["uid"] == "${datasource}"
        for panel in PANELS
        for target in panel.get("targets", ())
    )


async def test_every_metric_and_label_of_a_query_is_exposed(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    redis_server.flush()
    async with busy_cache(tmp_path, redis_server.url) as cache:
        await use(cache, 60)
        await asyncio.sleep(0.1)  # a hit is compared with its source
        page = await exposition(cache)
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    asked = [(title, *each) for title, _, query in queries() for each in named(query)]
    assert len(asked) > 40
    for title, metric, by in asked:
        assert metric in labels, f"{title}: nobody exposes {metric}"
        assert by <= labels[metric], f"{title}: {metric} has no label {by - labels[metric]}"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("cache_x", [("cache_x", set())]),
        ('sum by (a, b) (rate(cache_x{c!="1", d=~"2"}[5m])) / cache_y > 0',
         [("cache_x", {"a", "b", "c", "d"}), ("cache_y", set())]),
        ("min by (a) (sum by (a, b) (cache_x))", [("cache_x", {"a", "b"})]),
    ],
)  # fmt: skip
def test_a_query_is_read_as_it_is_meant(query: str, found: list[tuple[str, set[str]]]) -> None:
    assert list(named(query)) == found
