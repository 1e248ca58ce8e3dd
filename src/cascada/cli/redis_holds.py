"""What `cascada doctor` finds in a Redis beside entries: journals, tenants' keys, other namespaces.

It walks over all names, for a few seconds at most, and asks for nothing but names of these forms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from cascada.cli.findings import Finding
from cascada.cli.journal_checks import MOST_KEYS, Held, Waiting
from cascada.model.errors import TierUnavailable
from cascada.tiers.redis.layout import Layout
from cascada.tiers.redis_client.wire import Wire

WALKING: Final = 3.0
"""Seconds that the walk may take."""

PAGE: Final = 500

_FORMS: Final = b"*:{b0}:[ejk]*"
_HOME: Final = b":{b0}:"


class Seen(NamedTuple):
    """others: namespaces beside this one, each with its database's number."""

    held: Held
    others: Sequence[str]


async def seen_in(wire: Wire, layout: Layout, now: Callable[[], float]) -> Seen | None:
    """None if this user may not look."""
    names, whole = await _names(wire, now)
    if names is None:
        return None
    prefix = layout.prefix
    others = sorted(
        name.removesuffix(_HOME + b"e").decode(errors="replace")
        for name in names
        if name.endswith(_HOME + b"e") and name != layout.epoch
    )
    tenants = [name for name in sorted(names) if name.startswith(prefix + b"k:")]
    keys: dict[str, bytes] = {}
    for name in tenants[:MOST_KEYS]:
        wrapped = await _asked(wire, b"GET", name)
        if isinstance(wrapped, bytes):
            keys[name[len(prefix) + 2 :].decode(errors="replace")] = wrapped
    ends = [name[len(prefix) + 2 :] for name in sorted(names) if name.startswith(prefix + b"jm")]
    journals = [await _waiting(wire, prefix, end) for end in ends]
    return Seen(Held(journals, keys, whole and len(tenants) <= MOST_KEYS), others)


async def _names(wire: Wire, now: Callable[[], float]) -> tuple[set[bytes] | None, bool]:
    """The names of these forms, and whether they are all."""
    found: set[bytes] = set()
    cursor, until = b"0", now() + WALKING
    while True:
        answer = await _asked(wire, b"SCAN", cursor, b"MATCH", _FORMS, b"COUNT", PAGE)
        if answer is None:
            return None, False
        cursor, page = answer
        found.update(page)
        if cursor == b"0" or now() >= until:
            return found, cursor == b"0"


async def _waiting(wire: Wire, prefix: bytes, end: bytes) -> Waiting:
    """`end`: "" or ":" and a journal's name."""
    pending = prefix + b"jp" + end
    changes = await _asked(wire, b"ZCARD", pending) or 0
    aside = await _asked(wire, b"HLEN", prefix + b"jx" + end) or 0
    lag, clock = 0.0, await _asked(wire, b"TIME")
    for oldest in await _asked(wire, b"ZRANGE", pending, b"0", b"0") or ():
        score = await _asked(wire, b"ZSCORE", pending, oldest)
        if score is not None and clock is not None:
            lag = max(0.0, int(clock[0]) + int(clock[1]) / 1e6 - float(score) / 1e6)
    return Waiting(unquote(end[1:].decode(errors="replace")), changes, lag, aside)


async def _asked(wire: Wire, *command: bytes | int) -> Any:
    """None where the server refuses: this user may not, or somebody has put something else there.
    TierUnavailable where it has gone."""
    try:
        return await wire.send(command)
    except TierUnavailable:
        if not wire.is_open:
            raise
        return None


def environment_finding(
    namespace: str, database: int, others: Sequence[str], *, local: bool
) -> Finding:
    """Whether something tells this environment from others on the server."""
    check = "redis environment"
    beside = f"; beside it: {', '.join(others[:5])}" if others else ""
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    found = f"namespace {namespace}, database {database}{beside}{more}"
    if namespace == "cascada" and not local:
        return Finding(
            check, "warn", f"{found}: any environment that says nothing has the same",
            "name each (CASCADA_NAMESPACE=shop-prod), so that none reads or ends what is another's",
        )  # fmt: skip
    return Finding(check, "ok", found)
