"""Several workers of one service: rules look at the sums, and one alert is one call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cascada import Alert, AlertRule, Cache, CacheService, Context, Policy
from cascada.engine import filing
from cascada.service.alerts import Counts, Judge, Standing, Window
from cascada.telemetry import workers
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="who made a process is not known")

PROGRAM = """
import asyncio, json, multiprocessing, os, sys
from cascada import AlertRule, Cache, CacheService, Context
from cascada.testing.clock import ManualClock

RULES = [
    AlertRule("hit_ratio", 0.5, lasts=20), AlertRule("errors", 5, lasts=0),
    AlertRule("memory", 0.9, lasts=0),
]

def worker(inbox, outbox):
    clock, told = ManualClock(), []
    cache = Cache(clock=clock)
    service = CacheService(cache=cache)

    async def work():
        await service.start_alerts(RULES, told.append, every=3600)
        while (given := await asyncio.to_thread(inbox.recv)) is not None:
            hits, misses, seconds = given
            clock.advance(seconds)
            with Context(tenant_id="acme"):
                await service.set("k", 1)
                for _ in range(hits):
                    await service.get("k")
                for number in range(misses):
                    await service.get("nothing")
            standing = await service.check_alerts()
            outbox.send([[[each.rule.figure, each.firing, round(each.value, 2)] for each in told],
                         len(standing)])
            told.clear()
        await service.stop_alerts()
        await cache.aclose()

    asyncio.run(work())

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    workers = []
    def start():
        inbox, tell = context.Pipe(False)
        hear, outbox = context.Pipe(False)
        process = context.Process(target=worker, args=(inbox, outbox))
        process.start()
        workers.append((process, tell, hear))
    def step(which, *given):
        workers[which][1].send(given)
        print(json.dumps([which, *workers[which][2].recv()]))
    start(); start()
    for which, given in json.loads(sys.argv[1]):
        if given == "kill":
            workers[which][0].kill()
            workers[which][0].join()
            start()
        else:
            step(which, *given)
    for process, tell, hear in workers:
        if process.is_alive():
            tell.send(None)
            process.join()
"""

Step = tuple[int, list[int] | str]


def run(tmp_path: Path, *steps: Step) -> list[tuple[int, list[tuple[str, bool, float]], int]]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), json.dumps(steps)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_sums_decide_and_one_worker_tells(tmp_path: Path) -> None:
    """Each clock is by hand: all of a step are at one time. One worker alone has a low ratio, which
    is none of all; then all have one, whose alert is told by who sees it first; it is known to who
    comes in the place of one that is killed, and is over once."""
    answers = run(
        tmp_path,
        (0, [0, 0, 0]), (1, [0, 0, 0]),
        (0, [90, 10, 10]), (1, [1, 9, 10]),  # 91 of 110
        (0, [0, 0, 15]), (1, [0, 0, 15]),
        (0, [10, 90, 10]), (1, [10, 90, 10]),  # it is low in all of them from here on
        (0, [0, 0, 25]), (1, [0, 0, 25]),
        (0, [0, 0, 1]), (1, [0, 0, 1]),
        (0, "kill"), (2, [0, 0, 61]),
        (1, [900, 10, 10]), (2, [0, 0, 10]),
    )  # fmt: skip
    told = [(which, *each) for which, alerts, _ in answers for each in alerts]
    assert [each[1:3] for each in told] == [("hit_ratio", True), ("hit_ratio", False)]
    standing = [number for _, _, number in answers]
    assert standing[:8] == [0] * 8
    assert standing[8:-2] == [1] * (len(standing) - 10)
    assert standing[-2:] == [0, 0]


def test_what_is_left_is_taken_up() -> None:
    rule = AlertRule("hit_ratio", 0.8, lasts=10)
    window, judge = Window(), Judge("s", rule)
    for now in (0.0, 5.0, 12.0):
        window.grown(Counts(hits=int(now)), now)
        judge.look(0.5, now)
    assert judge.standing is not None
    data = Standing().leave(window, [judge])
    other_window, other = Window(), Judge("s", rule)
    Standing.left(data).take(other_window, [other])
    assert list(other_window.known) == list(window.known)
    assert other.standing is not None
    assert other.look(0.5, 20.0) is None, "it was told"
    over = other.look(0.95, 30.0)
    assert over is not None
    assert (over.firing, over.for_seconds) == (False, 30.0)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x81\xa5known\x01"])
def test_what_another_version_left_is_nothing(data: bytes) -> None:
    assert Standing.left(data) == Standing()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This process is one of several workers."""
    monkeypatch.setattr(filing, "maker_of_this", os.getpid)
    monkeypatch.setattr(workers, "folder_of_group", lambda: tmp_path)
    monkeypatch.setattr(filing, "ordinals", Counter())


async def told_of_bulk(values: int) -> list[bool]:
    told = list[Alert]()
    filing.ordinals.clear()  # the same cache, in another worker
    cache = Cache(policies={"service.default": Policy(bulky_bytes=10)}, clock=ManualClock())
    service = CacheService(cache=cache)
    with Context(tenant_id="acme"):
        await service.start_alerts([AlertRule("bulky", 1, lasts=0)], told.append, every=3600)
        await service.check_alerts()
        for number in range(values):
            await service.set(f"k:{number}", "x" * 100)
        await service.check_alerts()
    await cache.aclose()
    return [each.firing for each in told]


@pytest.mark.usefixtures("worker")
async def test_without_room_for_files_each_worker_judges_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*args: object, **named: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(workers.Workers, "others", full)
    assert await told_of_bulk(3) == [True]
    assert await told_of_bulk(1) == []


@pytest.mark.usefixtures("worker")
async def test_who_finds_another_one_at_it_leaves_it_to_him(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.01)
    filing.ordinals.clear()
    async with Cache() as cache:
        held = inside(cache).engine.filing.turn()
        _, _, alone = held.__enter__()
        assert alone
        assert await told_of_bulk(3) == []
        held.__exit__(None, None, None)
        assert await told_of_bulk(3) == [True]
