"""What the server lets this process do, found out on every new connection.

Managed servers and ACLs forbid some commands. Each that is missing has a fallback, which is said
once; none of them may lead to an old value. All processes of a namespace need the same rights, or
those that know the run_id and those that do not go on emptying Redis for each other.

- INFO (the server's run_id): every connection begins a new epoch, so that nothing from before a
  restart or a snapshot is ever taken for valid. It costs all that Redis holds, for all processes,
  each time that one of them connects.
- EVAL or EVALSHA: nothing is read from Redis or stored there. An invalidation makes all that other
  processes store there void, since it cannot be done for names alone.
- PUBLISH: other processes hear of this one's invalidations at their next heartbeat (0.1 s), which
  empties their memory.
- SUBSCRIBE: nothing is served from memory (`feed` finds it out and says so).
"""

from __future__ import annotations

import os
import re
from typing import Final

import msgspec

from cascada.tiers.contract import NotPermitted
from cascada.tiers.redis.layout import NONCE, RUN_ID, Layout
from cascada.tiers.redis.script_replies import begun
from cascada.tiers.redis_client.wire import Wire
from cascada.tiers.redis_scripts.steps import BEGIN

ANY_SERVER: Final = b"?" * RUN_ID
"""In the place of a run_id that the server does not tell, the same for all processes."""

NO_RUN_ID: Final = (
    "Redis does not tell its run_id (INFO is forbidden), so each new connection of any process "
    "empties what Redis holds; allow INFO to this user"
)
NO_SCRIPTS: Final = (
    "Redis forbids EVAL or EVALSHA, without which nothing can be kept right in it: it is not used, "
    "and an invalidation empties it for all; allow both to this user"
)
NO_PUBLISH: Final = (
    "Redis forbids PUBLISH on cascada's channel, so other processes hear of invalidations made "
    "here up to 0.1 s later; allow it to this user"
)
NO_SUBSCRIBE: Final = (
    "Redis forbids SUBSCRIBE to cascada's channel, so nothing is served from memory; "
    "allow it to this user"
)


class Rights(msgspec.Struct, frozen=True):
    """What one connection may do; `wanting` says what is missing, in sentences."""

    run_id: bytes
    scripts: bool = True
    wanting: tuple[str, ...] = ()


def forbidden(error: NotPermitted) -> bool:
    """Whether the server does not let this user do it, or has no such command."""
    text = str(error)
    # The last two are what 7 and 6.2 say of a command inside a script.
    signs = (": NOPERM", "unknown command", "ACL failure", "can't run this command")
    return any(sign in text for sign in signs)


async def run_id_on(wire: Wire) -> bytes:
    """The identity of the server at the other end; `ANY_SERVER` if it does not tell."""
    try:
        info = await wire.send((b"INFO", b"server"))
    except NotPermitted as error:
        if forbidden(error):
            return ANY_SERVER
        raise
    found = re.search(rb"^run_id:([0-9a-f]{40})", info, re.MULTILINE)
    return found.group(1) if found else ANY_SERVER


async def find_out(wire: Wire, layout: Layout) -> Rights:
    """Try what is needed, and begin an epoch where there is none."""
    run_id = await run_id_on(wire)
    wanting = [NO_RUN_ID] if run_id == ANY_SERVER else []
    begin = (len(layout.common), *layout.common, run_id, b"%04d" % layout.number, os.urandom(NONCE))
    try:
        # Both ways, as every other script will be sent.
        anew = b"1" if run_id == ANY_SERVER else b"0"
        await wire.send((b"EVAL", BEGIN.text, *begin, anew), begun)
        await wire.send((b"EVALSHA", BEGIN.digest, *begin, b"0"), begun)
    except NotPermitted as error:
        if not forbidden(error):
            raise
        # In its own words as well: it may be the keys that this user may not use.
        return Rights(run_id, scripts=False, wanting=(*wanting, f"{NO_SCRIPTS} ({error})"))
    try:
        # A wake-up for nobody, which listeners of every layout pass over.
        await wire.send((b"PUBLISH", layout.channel, b"w"))
    except NotPermitted as error:
        if not forbidden(error):
            raise
        wanting.append(NO_PUBLISH)
    return Rights(run_id, wanting=tuple(wanting))
