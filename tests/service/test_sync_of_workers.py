"""Several workers of one service, of which one syncs: each tells what all of them do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="who made a process is not known")

PROGRAM = """
import asyncio, json, multiprocessing, os, sys
from cascada import Cache, CacheService, Limits, Mapping
from cascada.engine import filing
from cascada.integrations.prometheus import exposition
from prometheus_client.parser import text_string_to_metric_families

folder = sys.argv[1]
filing.EACH = 0.001
os.environ["CASCADA_TENANT"] = "acme"
NOWHERE = Mapping("x:", "nowhere", ["name"])

def worker(inbox, outbox):
    async def work():
        cache = Cache(database=f"{folder}/cache.db", limits=Limits(op_timeout=20))
        service = CacheService(
            cache=cache, database=f"sqlite:///{folder}/app.db", mappings=[NOWHERE]
        )
        while (given := await asyncio.to_thread(inbox.recv)) is not None:
            call, *arguments = given
            answer = None
            if call == "set":
                for key in arguments:
                    assert await service.set(key, {"name": "x" * 100})
            elif call == "sync":
                answer = (await service.sync_now()).written
            elif call == "tell":
                answer = {}
                for family in text_string_to_metric_families((await exposition(cache)).decode()):
                    for sample in family.samples:
                        if sample.name.startswith("cache_sync") and "le" not in sample.labels:
                            labels = [v for k, v in sorted(sample.labels.items())]
                            answer[" ".join([sample.name, *labels])] = sample.value
                metrics = await service.get_metrics()
                answer["bytes"] = metrics.memory_usage_bytes
                answer["synced"] = metrics.last_sync and metrics.last_sync.timestamp()
            await asyncio.sleep(0.05)  # until it has looked how full memory is
            outbox.send(answer)
        await cache.aclose()

    asyncio.run(work())

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    workers = []
    for _ in range(2):
        inbox, tell = context.Pipe(False)
        hear, outbox = context.Pipe(False)
        process = context.Process(target=worker, args=(inbox, outbox))
        process.start()
        workers.append((process, tell, hear))
    for which, given in json.loads(sys.argv[2]):
        if given == "kill":
            workers[which][0].kill()
            workers[which][0].join()
        else:
            workers[which][1].send(given)
            print(json.dumps(workers[which][2].recv()))
    for process, tell, hear in workers:
        if process.is_alive():
            tell.send(None)
            process.join()
"""


def run(folder: Path, *steps: Any) -> list[Any]:
    program = folder / "program.py"
    program.write_text(PROGRAM, "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), str(folder), json.dumps(steps)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_worker_tells_of_the_sync_of_all(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        (0, ["set", "a", "b"]), (1, ["set", "c"]),
        (0, ["tell"]), (1, ["tell"]),
        (0, ["sync"]),
        (0, ["tell"]), (1, ["tell"]),
        (1, ["set", "x:1"]), (1, ["sync"]),  # which fails: there is no such table
        (0, ["tell"]), (1, ["tell"]),
        (0, "kill"), (1, ["tell"]),
    )  # fmt: skip
    before, after, failed, (alone,) = told[2:4], told[5:7], told[9:11], told[11:]
    one, other = before
    assert one["bytes"] == other["bytes"] > 300
    for each in before:
        assert each["cache_sync_lag_seconds default"] > 0, "it waits, whoever syncs"
        assert each["synced"] is None
    one, other = after
    assert one == other
    assert one["cache_sync_rows_total default"] == 3
    assert one["cache_sync_round_seconds_count default"] == 1
    assert one["cache_sync_lag_seconds default"] == 0
    assert one["synced"] > 0
    for each in (*failed, alone):
        assert each["cache_sync_errors_total schema default"] == 1, each
        assert each["cache_sync_rows_total default"] == 3, "of who was killed, too"
        assert each["cache_sync_lag_seconds default"] > 0
        assert each["synced"] == one["synced"]
    assert failed[0]["bytes"] > alone["bytes"] > 0, "of those that live"
