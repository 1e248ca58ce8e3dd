"""Drives a running service over HTTP through a workload, and keeps every answer and its latency.

As many requests at once as `concurrency`, and none before its time in the schedule: so both runs
of a comparison meet the same load, and a fast service is not measured at its limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from examples.agent_service.workload import Phase, Read
from examples.agent_service.world import Request

Progress = Callable[[int], None]
"""Told how many more reads are done."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One read's answer, as it came over the wire. `at`: seconds since the run began."""

    read: Read
    status: int
    body: bytes
    at: float
    seconds: float


@dataclass(slots=True)
class Run:
    """All that one run gave."""

    answers: list[Answered] = field(default_factory=list)
    write_seconds: list[float] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)


class Refused(RuntimeError):
    """A write, which must succeed, did not."""


async def create(client: httpx.AsyncClient, requests: Iterable[Request]) -> None:
    """Send requests one after the other; each must succeed."""
    for request in requests:
        await _write(client, request)


async def drive(
    client: httpx.AsyncClient,
    phases: Sequence[Phase],
    *,
    concurrency: int,
    rate: float,
    progress: Progress = lambda done: None,
) -> Run:
    """Run all phases, and ask the service for its statistics."""
    driver = Driver(client, concurrency=concurrency, rate=rate, progress=progress)
    for phase in phases:
        await driver.drive(phase)
    return await driver.end()


class Driver:
    """One run, phase by phase, so that another run's phases may come between its own.

    `at` of an answer is the time that this run has taken, without those.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        concurrency: int,
        rate: float,
        progress: Progress = lambda done: None,
    ) -> None:
        self._client = client
        self._concurrency = concurrency
        self._rate = rate
        self._progress = progress
        self._run = Run()
        self._taken = 0.0

    async def drive(self, phase: Phase) -> None:
        """A write comes before its phase's reads, or when a third of them are done."""
        started = time.perf_counter()
        begun = started - self._taken
        client, run = self._client, self._run
        if phase.write is not None and not phase.in_the_midst:
            run.write_seconds.append(await _write(client, phase.write))
        # A write in the midst starts while earlier reads are still under way and later ones follow.
        place = len(phase.reads) // 3 if phase.in_the_midst else -1
        schedule = _schedule(phase, place, self._rate)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                group.create_task(_work(client, schedule, run, begun, self._progress))
        self._taken += time.perf_counter() - started

    async def end(self) -> Run:
        stats = await self._client.get("/stats")
        self._run.stats = stats.raise_for_status().json()
        return self._run


def _schedule(phase: Phase, place: int, rate: float) -> Iterator[tuple[float, Read | Request]]:
    """The phase's requests with the moment before which each is not to be sent."""
    begun = time.perf_counter()
    for number, read in enumerate(phase.reads):
        moment = begun + number / rate
        if number == place and phase.write is not None:
            yield moment, phase.write
        yield moment, read


async def _work(
    client: httpx.AsyncClient,
    schedule: Iterator[tuple[float, Read | Request]],
    run: Run,
    begun: float,
    progress: Progress,
) -> None:
    for moment, what in schedule:
        if (early := moment - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        if isinstance(what, Request):
            run.write_seconds.append(await _write(client, what))
            continue
        sent = time.perf_counter()
        response = await _send(client, what.wish.request)
        seconds = time.perf_counter() - sent
        run.answers.append(
            Answered(what, response.status_code, response.content, sent - begun, seconds)
        )
        progress(1)


async def _write(client: httpx.AsyncClient, request: Request) -> float:
    sent = time.perf_counter()
    response = await _send(client, request)
    if not response.is_success:
        raise Refused(f"{request.method} {request.path}: {response.status_code} {response.text}")
    return time.perf_counter() - sent


async def _send(client: httpx.AsyncClient, request: Request) -> httpx.Response:
    return await client.request(
        request.method, request.path, json=request.body, headers={"X-Tenant-ID": request.tenant}
    )
