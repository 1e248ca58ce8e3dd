"""The cascade of an agent with many conversations: one invalidation, whatever hangs on it.

The agent's 1,000 conversations hold 100 messages each, in memory and Redis. The cascade takes them
along by the agent's context, in which they were cached: that is held to the goal, since it does not
grow with them. By the ids that a resolver knows it grows with the number of conversations, though
not with their messages, and is told. Both are timed beside a PING, and the server's own statistics
say how many scripts they have run: one.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import time

from _caches import cache_of
from _rows import Row, script
from _servers import RawClient, redis_server

from cascada import (
    Cache,
    Tenant,
    configure,
    invalidate_agent_cache_cascade,
    register_conversation_resolver,
)

AGENT = "a1"
ROUNDS = 1
REACH_MS = 5.0
"""Milliseconds that a cascade may take beyond a PING."""


def conversations(count: int) -> list[str]:
    return [f"conversation-{number}" for number in range(count)]


async def fill(acme: Tenant, ids: list[str], messages: int) -> None:
    """What a service that has answered in all these conversations has cached."""
    await acme.set("agent", AGENT, {"name": "support"})
    await acme.within(agent=AGENT).set("agent_config", AGENT, {"model": "small"})
    texts = [f"message {number}" for number in range(messages)]
    for conversation in ids:
        here = acme.within(agent=AGENT, conversation=conversation)
        await here.load("conversation_memory", conversation, lambda: {"summary": "short"})
        await here.load("conversation_messages_list", conversation, lambda: texts)
        asked = [f"{conversation}/{number}" for number in range(messages)]
        await here.load_many("conversation_message", asked, lambda asked: texts)


async def scripts_run(raw: RawClient) -> int:
    said = (await raw.send(b"INFO", b"commandstats")).decode()
    return sum(map(int, re.findall(r"cmdstat_eval(?:sha)?:calls=(\d+)", said)))


async def attack(
    cache: Cache, raw: RawClient, ids: list[str], messages: int
) -> tuple[list[float], list[float], dict[str, int], int]:
    """Seconds of each cascade and of each PING, what the first one counted, and its scripts."""
    acme = cache.tenant("acme")
    cascades, pings = [], []
    counts: dict[str, int] = {}
    scripts = 0
    # A script that a server does not know is sent twice.
    await invalidate_agent_cache_cascade("acme", "nobody", invalidate_conversations=True)
    for _ in range(ROUNDS):
        await fill(acme, ids, messages)
        await asyncio.sleep(1.0)  # what was loaded is being stored, and published
        before = await scripts_run(raw)
        started = time.perf_counter()
        said = await invalidate_agent_cache_cascade("acme", AGENT, invalidate_conversations=True)
        cascades.append(time.perf_counter() - started)
        scripts = await scripts_run(raw) - before
        counts = counts or said
        for _ in range(20):
            started = time.perf_counter()
            await raw.send(b"PING")
            pings.append(time.perf_counter() - started)
    return cascades, pings, counts, scripts


async def measure(quick: bool) -> list[Row]:
    count, messages = (30, 10) if quick else (1000, 100)
    ids, rows = conversations(count), []
    with redis_server() as server:
        raw = await RawClient.connect(server.port)
        for name, resolver in (
            ("by the ids of its conversations", lambda tenant_id, agent_id: ids),
            ("by the agent's context", None),
        ):
            register_conversation_resolver(resolver)
            async with cache_of(redis=server.url, namespace="cascade") as cache:
                configure(cache)
                cascades, pings, counts, scripts = await attack(cache, raw, ids, messages)
            took, ping = 1000 * statistics.median(cascades), 1000 * statistics.median(pings)
            assert counts["messages"] == count * messages, f"counted {counts['messages']}"
            reach = None if resolver else REACH_MS
            told = f"{1000 * took / count:.1f} us a conversation" if resolver else ""
            rows += [
                Row(f"over a PING, {name}", took - ping, "ms", reach=reach, took=told),
                Row(f"scripts that Redis ran, {name}", scripts, "scripts", reach=1),
            ]
        configure(None)
        raw.close()
    return rows


if __name__ == "__main__":
    script("The cascade of an agent with 100,000 cached messages", measure)
