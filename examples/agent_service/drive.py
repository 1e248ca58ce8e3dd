"""Drives one column of the demo, its two workers, over HTTP, and judges every answer.

As many requests at once as `concurrency`, and none before its time in the schedule: so all columns
meet the same load, and a fast one is not measured at its limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from examples.agent_service.client import Client, NoAnswer, Response
from examples.agent_service.compare import Truth
from examples.agent_service.workload import Edit, Read, Step
from examples.agent_service.world import Request


@dataclass(frozen=True, slots=True)
class Bill:
    """What a column has asked of others, as its workers count it, and what its cache answered.

    spent, saved, seconds: dollars, and seconds of waiting, by cascada's own account (`stats()`).
    """

    queries: int = 0
    model_calls: int = 0
    dollars: float = 0.0
    hits: int = 0
    misses: int = 0
    spent: float = 0.0
    saved: float = 0.0
    seconds: float = 0.0

    @property
    def hit_ratio(self) -> float:
        """Hits over hits and misses of loading reads; coalesced reads are neither."""
        return self.hits / ((self.hits + self.misses) or 1)

    def __add__(self, other: Bill) -> Bill:
        return Bill(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Bill) -> Bill:
        return Bill(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer, and where it came from, as the header Cache-Status says it."""

    status: int
    text: str
    came_from: str
    wrong: str | None


@dataclass(slots=True)
class Tally:
    """What was answered so far. `seconds`: of each read, at the client."""

    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    edits: int = 0


class Column:
    """One way to cache, in as many processes as it has clients."""

    def __init__(self, name: str, clients: Sequence[Client]) -> None:
        self.name = name
        self.tally = Tally()
        self.truth = Truth()
        self._clients = clients
        self._editing = asyncio.Lock()

    async def create(self, requests: Iterable[Request]) -> None:
        """What there is at the start; each must succeed."""
        for request in requests:
            answer = await _send(self._clients[0], request)
            if not answer.is_success:
                raise NoAnswer(f"{request.method} {request.path}: {answer.status} {answer.text}")

    async def drive(self, steps: Iterable[Step], *, concurrency: int, rate: float) -> None:
        schedule = _schedule(steps, rate)
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(self._work(schedule))

    async def ask(self, read: Read) -> Answered:
        sent = time.perf_counter()
        response = await self._try(read.worker, read.request)
        received = time.perf_counter()
        self.tally.seconds.append(received - sent)
        if response is None:
            return Answered(0, "", "", None)
        came_from = response.headers.get("cache-status", "")
        wrong = None
        if read.shows:
            wrong = self.truth.judge(response.text, read.request.tenant, sent, received)
            if wrong is not None:
                self.tally.wrong.append(f"{read.request.method} {read.request.path}: {wrong}")
        return Answered(response.status, response.text, came_from, wrong)

    async def edit(self, edit: Edit) -> None:
        """One after the other, so that it is known which version replaces which."""
        async with self._editing:
            begun = time.perf_counter()
            for place, version in edit.versions.items():
                self.truth.begin(place, version, begun)
            if await self._try(edit.worker, edit.request) is not None:
                stored = time.perf_counter()
                for place, version in edit.versions.items():
                    self.truth.stored(place, version, stored)
                self.tally.edits += len(edit.versions)

    async def send(self, request: Request, worker: int) -> None:
        """Something that is neither read nor edited; what fails is told and counted."""
        await self._try(worker, request)

    async def statistics(self) -> list[dict[str, Any]]:
        """What each worker says of itself."""
        return [(await client.request("GET", "/stats")).json() for client in self._clients]

    async def bill(self) -> Bill:
        bill = Bill()
        for stats in await self.statistics():
            of_cache = stats["cache"]["total"]
            bill += Bill(
                stats["database"]["queries"],
                stats["model"]["calls"],
                stats["model"]["dollars"],
                sum(of_cache["by_tier"].values()),
                of_cache["misses"],
                float(of_cache["spent"]["money"] or 0),
                float(of_cache["saved"]["money"] or 0),
                of_cache["saved"]["seconds"],
            )
        return bill

    async def _work(self, schedule: Iterator[tuple[float, Step]]) -> None:
        for moment, step in schedule:
            if (early := moment - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            if isinstance(step, Edit):
                await self.edit(step)
            else:
                await self.ask(step)

    async def _try(self, worker: int, request: Request) -> Response | None:
        """The answer, if it is one of success; anything else is told and counted."""
        try:
            response = await _send(self._clients[worker], request)
        except NoAnswer as error:
            said = repr(error)
        else:
            if response.is_success:
                return response
            said = f"{response.status} {response.text[:200]}"
        self.tally.failed.append(f"{request.method} {request.path}: {said}")
        return None


def _schedule(steps: Iterable[Step], rate: float) -> Iterator[tuple[float, Step]]:
    """The steps with the moment before which each is not to be sent."""
    begun = time.perf_counter()
    for number, step in enumerate(steps):
        yield begun + number / rate, step


async def _send(client: Client, request: Request) -> Response:
    return await client.request(
        request.method, request.path, request.body, {"X-Tenant-ID": request.tenant}
    )
