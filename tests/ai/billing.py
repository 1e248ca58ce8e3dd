"""A full bill, kept by a fake provider and by who calls it, against what the cache says it was.

    python -m tests.ai.billing [CALLS] [SEED]

Two processes share a Redis and make so many calls of two tenants: new questions, each asked several
times at once, plain and streamed; answers that are cut off, and refused calls; then the same
questions again, of either process. The provider notes what it bills. Each process notes what the
answers that it is given say of themselves, by how they were to be answered: by a call, with another
caller's, from a tier, by a stream from a tier. All must be equal, to the token and to the cent.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from cascada import Cache, Limits, Price
from cascada.ai.httpx2 import AsyncModelTransport
from cascada.testing.inside import inside
from tests.scenarios.row import until
from tests.servers.model import Body, Reply, chat, events, model_server, pieces, streaming, whole
from tests.servers.redis import RedisServer

PRICES = {
    "gpt-5": Price(input=1.25, output=10, cached=0.125),
    "tiny": Price(input=Decimal("0.037"), output=Decimal("0.149"), call=Decimal("0.0001")),
}
MODELS = ("gpt-5", "tiny", "nobody knows")
AT_ONCE = 5
"""How many ask a new question at the same time."""
ROUNDS = 8
"""Rounds that run beside each other."""


@dataclass
class Ledger:
    """A sum, kept without cascada."""

    count: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    money: Decimal = Decimal(0)
    unpriced: int = 0

    def add(self, model: str, usage: Any) -> None:
        """One answer, as it says of itself; nothing if it does not."""
        self.count += 1
        if usage is None:
            self.unpriced += 1
            return
        into, out = usage["prompt_tokens"], usage["completion_tokens"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        self.tokens_in += into
        self.tokens_out += out
        self.tokens_cached += cached
        if model == "gpt-5":
            sum_ = (into - cached) * Decimal("1.25") + cached * Decimal("0.125") + out * 10
            self.money += sum_ / 10**6
        elif model == "tiny":
            self.money += (into * Decimal("0.037") + out * Decimal("0.149")) / 10**6
            self.money += Decimal("0.0001")
        else:
            self.unpriced += 1


def usage_of(question: int) -> dict[str, Any]:
    into = 100 + question * 7919 % 4001
    cached = into // 3 if question % 4 == 0 else 0
    return {
        "prompt_tokens": into,
        "completion_tokens": 10 + question * 104729 % 997,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


class Provider:
    """Answers as the question says, and notes what it bills."""

    def __init__(self) -> None:
        self.billed = Ledger()

    def answer(self, path: str, body: Body) -> Reply:
        text = body["messages"][0]["content"]
        what, number = text.split()
        usage, model = usage_of(int(number)), body["model"]
        if what == "refused":
            self.billed.count += 1
            self.billed.unpriced += 1
            return whole({"error": {"message": "too many"}}, 429)
        told = usage if not body.get("stream") or body.get("stream_options") else None
        self.billed.add(model, told)
        if body.get("stream"):
            *said, done = pieces(body, ["an", " answer"])
            last = {**json.loads(said[0][6:]), "choices": [], "usage": usage}
            return streaming([*said, *(events(last) if told else ()), done], pause=0.002)
        return whole({**chat(body, text, "length" if what == "cut" else "stop"), "usage": usage})


async def ask(
    http: httpx2.AsyncClient, url: str, number: int, what: str, stream: bool
) -> tuple[str, Any]:
    """The model, and the usage that the answer says."""
    model = MODELS[number % len(MODELS)]
    body: Body = {"model": model, "messages": [{"role": "user", "content": f"{what} {number}"}]}
    if stream:
        body["stream"] = True
        if number % 5:
            body["stream_options"] = {"include_usage": True}
    answer = await http.post(f"{url}/chat/completions", json=body)
    if not stream:
        return model, answer.json().get("usage")
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    return model, next((said for each in lines if (said := json.loads(each).get("usage"))), None)


async def work(part: int, calls: int, seed: int, url: str, redis: str) -> dict[str, Any]:
    """One process: half of the new questions, then questions of both."""
    rng = random.Random(seed * 2 + part)
    ledgers: defaultdict[str, Ledger] = defaultdict(Ledger)
    new = max(2, calls // 2 // AT_ONCE)
    limits = Limits(op_timeout=10, load_wait=60, max_loads_per_type=64)
    async with Cache(redis=redis, prices=PRICES, limits=limits) as cache:
        clients = [
            httpx2.AsyncClient(transport=AsyncModelTransport(cache, tenant=tenant), timeout=60)
            for tenant in ("acme", "globex")
        ]
        turns = asyncio.Semaphore(ROUNDS)

        def of(number: int) -> tuple[httpx2.AsyncClient, bool]:
            return clients[number // 2 % 2], number % 7 < 2

        async def asked_at_once(number: int) -> None:
            async with turns:
                http, stream = of(number)
                if number % 20 == 7:
                    await asyncio.gather(*[ask(http, url, number, "cut", False) for _ in range(2)])
                if number % 20 == 9:
                    await ask(http, url, number, "refused", False)
                each = [ask(http, url, number, "good", stream) for _ in range(AT_ONCE)]
                _, *others = await asyncio.gather(*each)
                for model, usage in others:
                    ledgers["coalesced"].add(model, usage)

        async def asked_again(number: int) -> None:
            async with turns:
                http, stream = of(number)
                model, usage = await ask(http, url, number, "good", stream)
                ledgers["replays" if stream else "hits"].add(model, usage)

        numbers = [2 * each + part for each in range(new)]
        await asyncio.gather(*map(asked_at_once, numbers))
        await until(lambda: not inside(cache).flights, seconds=60)
        _say("asked")
        await asyncio.to_thread(sys.stdin.readline)
        again = [rng.randrange(2 * new) for _ in range(calls - new * AT_ONCE)]
        await asyncio.gather(*map(asked_again, again))
        total = (await cache.stats()).total
        for http in clients:
            await http.aclose()
    said = {**total.saved_by, "spent": total.spent}
    return {
        "noted": {how: asdict(each) for how, each in ledgers.items()},
        "said": {how: asdict(each) for how, each in said.items()},
    }


def _sum(pages: list[dict[str, Any]], how: str) -> Ledger:
    total = Ledger()
    for page in pages:
        for name, value in page.get(how, {}).items():
            if name != "seconds" and value is not None:
                add: Callable[[Any], Any] = Decimal if name == "money" else int
                setattr(total, name, getattr(total, name) + add(value))
    return total


def compare(calls: int, seed: int, redis: str) -> dict[str, tuple[Ledger, Ledger]]:
    """By how a read was answered: what it was by the notes, and what the cache says."""
    provider = Provider()
    with model_server() as server:
        server.behave, server.before = provider.answer, 0.02
        command = [sys.executable, "-m", "tests.ai.billing", "work"]
        workers = [
            subprocess.Popen(
                [*command, *map(str, (part, calls // 2, seed, server.url, redis))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for part in range(2)
        ]  # fmt: skip
        try:
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "asked\n"
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
            pages = [json.loads(each.communicate()[0]) for each in workers]
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    noted, said = [page["noted"] for page in pages], [page["said"] for page in pages]
    kinds = ("hits", "replays", "coalesced")
    found = {how: (_sum(noted, how), _sum(said, how)) for how in kinds}
    return {"spent": (provider.billed, _sum(said, "spent")), **found}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    if sys.argv[1:2] == ["work"]:
        part, calls, seed, url, redis = sys.argv[2:]
        page = asyncio.run(work(int(part), int(calls), int(seed), url, redis))
        _say(json.dumps(page, default=str))
        return 0
    calls, seed = (int(each) for each in (*sys.argv[1:], "10000", "1")[:2])
    with TemporaryDirectory() as folder:
        redis = RedisServer(Path(folder))
        try:
            found = compare(calls, seed, redis.url)
        finally:
            redis.kill()
    for how, (noted, said) in found.items():
        told = "equal" if noted == said else "DIFFERENT"
        _say(f"{how}: {told}\n  bill  {noted}\n  cache {said}")
    return 0 if all(noted == said for noted, said in found.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
