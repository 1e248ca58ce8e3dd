"""One scrape behind one port tells what all workers have counted, also those that were killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.processes.conftest import Figures
from tests.processes.gunicorn import PATIENCE, Gunicorn
from tests.properties.budget import FACTOR

SCRAPES = 100 * FACTOR
KILLS = range(30, SCRAPES, 30)
"""CASCADA_EXAMPLES=10 scrapes a thousand times, and kills 33 workers."""
CLIENTS = 4
ROWS = 5

Page = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Port:
    """Clients of one socket, behind which any worker may answer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.answered: dict[str, int] = {}
        self.failed = 0
        self.closing = False

    async def ask(self, way: str) -> tuple[str, str]:
        """Status and body, over a connection of its own."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(f"GET {way} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        finally:
            writer.close()
        return head.partition("\r\n")[0][9:12], body

    async def up(self, gunicorn: Gunicorn) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError):
                await self.ask("/metrics")
                return
            assert time.monotonic() < until, gunicorn.said
            await asyncio.sleep(0.05)

    async def keep_reading(self, first: int) -> None:
        number = first
        while not self.closing:
            number += 1
            try:
                status, body = await self.ask(f"/row/{number % ROWS}")
            except OSError:
                status, body = "", ""
            if status == "200":
                pid = body.partition('"pid":')[2].partition(",")[0]
                self.answered[pid] = self.answered.get(pid, 0) + 1
            else:
                self.failed += 1  # its worker was killed: perhaps it had counted it

    async def page(self) -> Page:
        status, body = await self.ask("/metrics")
        assert status == "200", body
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }


def reads(page: Page) -> float:
    """Hits of all layers, what none had, and what shared a load."""
    total = 0.0
    for (name, labels), value in page.items():
        lowest = name == "cache_miss_total" and ("layer", "l3") in labels
        if lowest or name in ("cache_hit_total", "cache_coalesced_total"):
            total += value
    return total


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Gunicorn]:
    with Gunicorn(tmp_path, workers=4) as running:
        for row in range(ROWS):
            (running.source / str(row)).write_text("value", "utf-8")
        yield running


async def test_counters_never_fall_and_their_sum_is_what_was_answered(
    gunicorn: Gunicorn, tmp_path: Path, figures: Figures
) -> None:
    port = Port(tmp_path / "s")
    await port.up(gunicorn)
    assert reads(await port.page()) == 0, "the master's warm-up is no worker's"
    load = [asyncio.ensure_future(port.keep_reading(first)) for first in range(CLIENTS)]
    before: Page = {}
    killed = []
    for scrape in range(SCRAPES):
        page = await port.page()
        for key, value in before.items():
            if key[0].endswith(("_total", "_bucket", "_count", "_sum")):
                assert page[key] >= value, f"{key} fell at scrape {scrape}"
        before = page
        if scrape in KILLS:
            busiest = max(port.answered.keys() - killed, key=lambda pid: port.answered[pid])
            os.kill(int(busiest), signal.SIGKILL)
            killed.append(busiest)
    port.closing = True
    await asyncio.gather(*load)
    answered = sum(port.answered.values())
    counted = reads(await port.page())
    figures(f"{answered:.0f} reads answered by {len(port.answered)} workers, {counted:.0f} counted")
    figures(f"{port.failed} were asked of a worker that was killed before it answered")
    assert answered <= counted <= answered + port.failed
    assert len(port.answered) > 4, "those that came later answer, too"
