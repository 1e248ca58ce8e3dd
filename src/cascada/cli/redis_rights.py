"""What the user that `cascada doctor` connects as may do: it is tried, in one step.

The keys bear the doctor's name. They are deleted in the step that makes them, and live for ten
seconds where this user may not delete.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from cascada.cli.findings import Finding
from cascada.model.errors import TierUnavailable
from cascada.tiers.redis.layout import Layout
from cascada.tiers.redis_client.wire import Wire

PATIENCE: Final = 5.0
"""Seconds that a subscription is waited for."""

_SCRIPT: Final = """
local failed = {}
local function try(...)
  local said = redis.pcall(...)
  if type(said) == 'table' and said.err then
    failed[#failed + 1] = select(1, ...)
    failed[#failed + 1] = said.err
  end
end
local text, set, list, number = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
try('TIME')
try('SET', text, 'probe', 'PX', 10000)
try('GET', text)
try('MGET', text, set)
try('GETRANGE', text, 0, 1)
try('EXISTS', text)
try('STRLEN', text)
try('SCAN', '0', 'COUNT', 1)
try('PEXPIRE', text, 10000)
try('PTTL', text)
try('DEL', text)
try('ZADD', set, 1, 'probe')
redis.pcall('PEXPIRE', set, 10000)
try('ZSCORE', set, 'probe')
try('ZCARD', set)
try('ZRANGE', set, 0, 1)
try('ZRANGEBYSCORE', set, 1, 1)
try('ZREMRANGEBYRANK', set, 5, 6)
try('ZREMRANGEBYSCORE', set, 5, 6)
try('RPUSH', list, 'probe')
try('LPUSH', list, 'probe')
try('RPOP', list)
redis.pcall('PEXPIRE', list, 10000)
try('LLEN', list)
try('LRANGE', list, 0, 1)
try('LTRIM', list, 0, 5)
try('LPOP', list)
try('INCRBY', number, 1)
redis.pcall('PEXPIRE', number, 10000)
try('UNLINK', text, set, list, number)
try('PUBLISH', ARGV[1], 'w')
return failed
"""
_DATA: Final = frozenset({"INCRBY", "LLEN", "LPOP", "LPUSH", "LRANGE", "LTRIM", "RPOP", "RPUSH"})
"""What lists and counters need, and nothing else."""

ENOUGH: Final = "+@read +@write +@scripting +@pubsub +@connection -@dangerous +info +time"
"""What such a user may do, of its own keys and channels (`tests/tiers/test_redis_user.py`)."""

_WITHOUT: Final = {
    "INFO": "each new connection of any process empties what Redis holds",
    "SCAN": "what entries take is not known, and L2_CACHE_SIZE_MB does not bound them",
    "STRLEN": "what entries take is not known, and L2_CACHE_SIZE_MB does not bound them",
    "PUBLISH": "other processes hear of this one's invalidations up to 0.1 s later",
    "SUBSCRIBE": "nothing is served from memory",
}
"""What can be done without, and what that costs."""


async def refused_commands(
    wire: Wire,
    connect: Callable[[], Awaitable[Wire]],
    layout: Layout,
    said_of: Callable[[BaseException], str],
) -> dict[str, str]:
    """What the server refuses, and why."""
    prefix = layout.prefix + b"doctor:" + os.urandom(8).hex().encode()
    keys = [prefix + b":%d" % number for number in range(4)]
    refused: dict[str, str] = {}
    try:
        said = await wire.send((b"EVAL", _SCRIPT, len(keys), *keys, layout.channel))
        refused |= {a.decode(): b.decode() for a, b in zip(said[::2], said[1::2], strict=True)}
    except TierUnavailable as error:
        refused["EVAL"] = said_of(error)
    if "EVAL" not in refused:
        try:
            await wire.send((b"EVALSHA", _digest(_SCRIPT), len(keys), *keys, layout.channel))
        except TierUnavailable as error:
            refused["EVALSHA"] = said_of(error)
    try:
        await wire.send((b"INFO", b"server"))
    except TierUnavailable as error:
        refused["INFO"] = said_of(error)
    try:
        heard = await connect()
        heard.send_unanswered((b"SUBSCRIBE", layout.channel))
        async with asyncio.timeout(PATIENCE):
            await heard.send((b"PING",))
    except (TierUnavailable, TimeoutError) as error:
        refused["SUBSCRIBE"] = said_of(error)
    return refused


def findings_of(refused: dict[str, str], layout: Layout, *, replica: bool) -> Iterator[Finding]:
    """What follows from what was refused."""
    check = "redis rights"
    prefix = layout.prefix.decode()
    oom = [name for name, why in refused.items() if "OOM" in why or "MISCONF" in why]
    if oom:
        yield Finding(
            "redis writes", "fail", f"it takes no writes: {refused[oom[0]]}",
            "give it more memory or a policy that evicts; if it cannot save, free its disk",
        )  # fmt: skip
    forbidden = {name: why for name, why in refused.items() if name not in oom}
    if replica:
        forbidden = {name: why for name, why in forbidden.items() if "READONLY" not in why}
    needed = [name for name in forbidden if name not in (*_DATA, *_WITHOUT)]
    if needed:
        yield Finding(
            check, "fail",
            f"the user may not use {', '.join(needed)}: {forbidden[needed[0]]}",
            f"give cascada a user who may: ACL SETUSER NAME {ENOUGH} "
            f"resetkeys ~{prefix}* resetchannels &{prefix}*",
        )  # fmt: skip
    for name, without in _WITHOUT.items():
        if name in forbidden:
            yield Finding(
                check, "warn", f"the user may not use {name}, so {without}",
                f"allow it: ACL SETUSER NAME +{name.lower()}, and of channels {prefix}*",
            )  # fmt: skip
    data = [name for name in forbidden if name in _DATA]
    if data and not needed:
        yield Finding(
            check, "warn",
            f"the user may not use {', '.join(data)}, which lists and counters need",
            "allow them, if the application has lists or counters",
        )  # fmt: skip
    if not refused:
        yield Finding(check, "ok", "the user may do all that is needed")


def _digest(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
