"""What `cascada doctor` finds in a Redis beside entries: journals, tenants' keys, other namespaces.

It walks over all names, for a few seconds at most, and asks for nothing but names of these forms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
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
        wrapped = await wire.send((b"GET", name))
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
        try:
            cursor, page = await wire.send((b"SCAN", cursor, b"MATCH", _FORMS, b"COUNT", PAGE))
        except TierUnavailable:
            if not wire.is_open:
                raise
            return None, False
        found.update(page)
        if cursor == b"0" or now() >= until:
            return found, cursor == b"0"


async def _waiting(wire: Wire, prefix: bytes, end: bytes) -> Waiting:
    """`end`: "" or ":" and a journal's name."""
    seconds, micros = await wire.send((b"TIME",))
    changes = int(await wire.send((b"ZCARD", prefix + b"jp" + end)))
    aside = int(await wire.send((b"HLEN", prefix + b"jx" + end)))
    lag = 0.0
    for oldest in await wire.send((b"ZRANGE", prefix + b"jp" + end, b"0", b"0")):
        score = await wire.send((b"ZSCORE", prefix + b"jp" + end, oldest))
        number = 0.0 if score is None else float(score)
        lag = max(0.0, int(seconds) + int(micros) / 1e6 - number / 1e6)
    return Waiting(unquote(end[1:].decode(errors="replace")), changes, lag, aside)


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
