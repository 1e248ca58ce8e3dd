"""Every query of the Grafana dashboard, run by a real Prometheus that scrapes a cache under load.

    python -m tests.integrations.grafana [SECONDS]

`prometheus` has to be on the PATH (on Debian: `apt-get install prometheus`). It scrapes twice a
second, for so long (15), what a cache over Redis and SQLite exposes while it is read, written,
invalidated, filled beyond its memory and let down by its tiers. Each query has to answer with
finite numbers, none below 0, no share above 1. No Grafana is asked: the dashboard is validated, not
rendered.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import shutil
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from cascada import (
    Cache,
    CacheService,
    Context,
    Cost,
    Limits,
    Loaded,
    Policy,
    Price,
    configure,
    invalidate_agent_cache_cascade,
    invalidate_conversation_cache_cascade,
)
from cascada.integrations.prometheus import exposition
from cascada.testing.inside import inside
from tests.servers.redis import RedisServer, free_port

BOARD = Path(__file__).parents[2] / "docs/grafana/cascada.json"
INTERVAL = "10s"


def queries() -> list[tuple[str, float, str]]:
    """Title, largest value and query of each line of all panels, as the file has them."""
    panels = json.loads(BOARD.read_text("utf-8"))["panels"]
    return [
        (
            panel["title"],
            panel["fieldConfig"]["defaults"].get("max", math.inf),
            target["expr"].replace("$__rate_interval", INTERVAL),
        )
        for panel in panels
        for target in panel.get("targets", ())
    ]


@asynccontextmanager
async def busy_cache(folder: Path, redis: str) -> AsyncIterator[Cache]:
    """A cache that has something of everything to tell."""
    policies = {
        "answer": Policy(ttl=0.5, stale_for=60, trial=Policy(ttl=5)),
        "document": Policy(ttl=1, stale_for=5),
        "part": Policy(ttl=0.2, prefetch=True, loader=lambda key: "part"),
    }
    limits = Limits(l1_bytes=100_000, self_check=0.05, prefetch_budget=0.5)
    prices = {"m": Price(input=1, output=2)}
    async with Cache(
        redis=redis,
        database=str(folder / "l3.sqlite"),
        write_strategy="WRITE_BEHIND",
        policies=policies,
        limits=limits,
        prices=prices,
    ) as cache:
        application = f"sqlite:///{folder / 'application.sqlite'}"
        service = CacheService(name="shop", cache=cache, database=application, sync_interval=1)
        with Context(tenant_id="acme"):
            await service.set("campaign:1", {"budget": 1})
        await service.start_sync()
        await service.sync_now()
        configure(cache)
        await invalidate_agent_cache_cascade("acme", "a1")
        await invalidate_conversation_cache_cascade("acme", "c1")
        try:
            yield cache
        finally:
            configure(None)
            await service.stop_sync()


async def use(cache: Cache, times: int) -> None:
    """Read, write, invalidate; fail at times."""
    acme = cache.tenant("acme")
    cost = Cost(model="m", tokens_in=10, tokens_out=5)

    async def answer() -> Loaded[str]:
        await asyncio.sleep(0.001)
        return Loaded("answer" * 50, cost=cost)

    def broken() -> str:
        raise ConnectionError("for the test")

    draw = random.Random(1)
    for number in range(times):
        for step in range(3):
            await acme.load("part", f"{number % 4}-{step}", lambda: "part")
            await asyncio.sleep(0.002)
        some = str(int(draw.paretovariate(0.6)) % 400)
        await asyncio.gather(*(acme.load("answer", some, answer) for _ in range(3)))
        await acme.load("document", some, lambda: "text" * 100)
        await acme.get("document", some)
        await acme.set("document", str(number % 50), "text" * 100)
        if number % 5 == 0:
            await acme.invalidate("document", some)
        if number % 11 == 0:
            await asyncio.gather(acme.load("broken", some, broken), return_exceptions=True)
            inside(cache).trace.tier_failed("feed", "for the test")
            inside(cache).trace.failed_aside("metrics")


@asynccontextmanager
async def page_of(cache: Cache) -> AsyncIterator[int]:
    """The metrics over HTTP; yields the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = await exposition(cache)
        head = f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def prometheus(folder: Path, target: int) -> AsyncIterator[str]:
    """A Prometheus that scrapes the port; yields its address."""
    port = free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n"
        "scrape_configs:\n"
        f"- {{job_name: cascada, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}\n"
    )
    command = [
        "prometheus", f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(*command, stderr=(folder / "log").open("wb"))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


def asked(address: str, query: str) -> list[float]:
    """What an instant query answers with."""
    url = f"{address}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=10) as reply:
        said = json.load(reply)
    assert said["status"] == "success", said
    return [float(each["value"][1]) for each in said["data"]["result"]]


async def run(seconds: float) -> int:
    """How many queries have no good answer."""
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "redis").mkdir()
        server = RedisServer(folder / "redis")
        try:
            async with (
                busy_cache(folder, server.url) as cache,
                page_of(cache) as target,
                prometheus(folder, target) as address,
            ):
                loop = asyncio.get_running_loop()
                until = loop.time() + seconds
                while loop.time() < until:
                    await use(cache, 20)
                for title, most, query in queries():
                    found = await asyncio.to_thread(asked, address, query)
                    good = bool(found) and all(
                        math.isfinite(each) and 0 <= each <= most for each in found
                    )
                    bad += not good
                    said = f"{'ok ' if good else 'BAD'} {title}: {len(found)} series\n"
                    sys.stdout.write(said if good else f"{said}    {query}\n    {found}\n")
        finally:
            server.kill()
    sys.stdout.write(f"{len(queries())} queries, {bad} without a good answer\n")
    return bad


# --- what the short form looks at -----------------------------------------------------------------

SELECTOR = re.compile(r"(cache_\w+)(?:\{([^}]*)\})?")
GROUPED = re.compile(r"by \(([\w, ]+)\) \(")


def named(query: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric that a query names, with the labels that it is selected and grouped by."""
    grouped = [
        ({*match[1].split(", ")}, match.end(), _closing(query, match.end()))
        for match in GROUPED.finditer(query)
    ]
    for match in SELECTOR.finditer(query):
        labels = set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", match[2] or ""))
        for by, first, last in grouped:
            if first <= match.start() < last:
                labels |= by
        yield match[1], labels


def _closing(query: str, start: int) -> int:
    """Where the parenthesis ends that is open there."""
    depth = 1
    for place in range(start, len(query)):
        depth += {"(": 1, ")": -1}.get(query[place], 0)
        if not depth:
            return place
    raise ValueError(f"a parenthesis of {query} does not end")


if __name__ == "__main__":
    if shutil.which("prometheus") is None:
        raise SystemExit("there is no prometheus on the PATH")
    raise SystemExit(bool(asyncio.run(run(float(sys.argv[1]) if len(sys.argv) > 1 else 15.0))))
